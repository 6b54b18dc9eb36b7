"""Read by type checkers, never run: our stubs of aiobreaker say what a caller gets."""

from typing import assert_type

from aiobreaker import CircuitBreaker, CircuitBreakerListener, CircuitBreakerState


class Listener(CircuitBreakerListener):
    def success(self, breaker: CircuitBreaker) -> None:
        assert_type(breaker.current_state, CircuitBreakerState)


breaker = CircuitBreaker(fail_max=3, listeners=[Listener()])


@breaker
async def guarded(number: int) -> str:
    return str(number)


async def use() -> None:
    assert_type(await guarded(1), str)
    assert_type(await breaker.call_async(guarded, 1), str)
    assert_type(breaker.fail_counter, int)
