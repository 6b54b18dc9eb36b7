"""The rules of when a `CircuitBreaker` opens, and for how long: part of its kit.

Windows of time, slow calls, failures in a row, a growing open time, and what its
events say; `make` is that of `circuit_breaker`.
"""

from ...core.events import BreakerStateChanged
from ...protocols.resilience import BreakerState
from .circuit import BoomError, Circuit, MakeCircuitBreaker
from .kit import ContractKit, expect

__all__ = ("circuit_breaker_windows",)

_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN

circuit_breaker_windows: ContractKit[MakeCircuitBreaker] = ContractKit("CircuitBreaker windows")


@circuit_breaker_windows.rule("CB24")
async def a_time_window_forgets_what_is_old(make: MakeCircuitBreaker) -> None:
    """With `window_s` the calls of the last seconds count, however many they are."""
    circuit = Circuit(make, window_s=10.0, window_calls=1, minimum_calls=3, failure_rate=0.5)
    await circuit.call(BoomError())
    await circuit.call(BoomError())
    circuit.clock.advance(11.0)
    for answer in (BoomError(), 1, 1, 1):
        await circuit.call(answer)
    circuit.expect_state(_CLOSED)
    snapshot = circuit.breaker.snapshot()
    expect((snapshot.calls, snapshot.failures) == (4, 1), f"saw {snapshot}")
    circuit.clock.advance(8.0)
    await circuit.call(BoomError())
    circuit.expect_state(_CLOSED)
    await circuit.call(BoomError())
    circuit.expect_state(_OPEN)


@circuit_breaker_windows.rule("CB25")
async def slow_calls_open_it(make: MakeCircuitBreaker) -> None:
    """Calls of `slow_call_s` or longer open it at their own rate, though all succeed."""
    circuit = Circuit(
        make, window_calls=4, minimum_calls=4, slow_call_s=2.0, slow_call_rate=0.5, open_s=10.0
    )

    async def lasting(seconds: float) -> str:
        async def operation() -> str:
            circuit.clock.advance(seconds)
            return "done"

        return await circuit.breaker.execute(operation)

    for seconds in (1.9, 2.0, 1.9, 1.9):
        expect(await lasting(seconds) == "done", "a slow call's result was lost")
    circuit.expect_state(_CLOSED)
    expect(circuit.breaker.snapshot().slow == 1, f"saw {circuit.breaker.snapshot()}")
    await lasting(2.5)
    circuit.expect_state(_OPEN)
    circuit.clock.advance(10.0)
    await lasting(2.0)
    circuit.expect_state(_OPEN)
    circuit.clock.advance(10.0)
    await lasting(1.9)
    circuit.expect_state(_CLOSED)
    causes = [event.cause for event in circuit.sink.of(BreakerStateChanged)]
    expect(causes[0] == "slow_call_rate" and causes[2] == "trial_slow", f"saw {causes}")


@circuit_breaker_windows.rule("CB26")
async def failures_in_a_row_open_it(make: MakeCircuitBreaker) -> None:
    """With `consecutive_failures` so many in a row open it, and a success begins anew."""
    circuit = Circuit(make, consecutive_failures=3, failure_rate=0.1, minimum_calls=1)
    for answer in (BoomError(), BoomError(), 1, BoomError(), BoomError(), 1, 1):
        await circuit.call(answer)
    circuit.expect_state(_CLOSED)
    for _ in range(3):
        circuit.expect_state(_CLOSED)
        await circuit.call(BoomError())
    circuit.expect_state(_OPEN)
    cause = circuit.sink.of(BreakerStateChanged)[0].cause
    expect(cause == "consecutive_failures", f"saw {cause}")


@circuit_breaker_windows.rule("CB27")
async def the_open_time_grows_and_starts_again(make: MakeCircuitBreaker) -> None:
    """The open time grows by `open_factor` to `max_open_s`, and starts again after `stable_s`."""
    circuit = Circuit(make, open_s=10.0, open_factor=2.0, max_open_s=35.0, stable_s=60.0)

    async def opens_for(seconds: float) -> None:
        circuit.expect_state(_OPEN)
        circuit.clock.advance(seconds - 0.1)
        circuit.expect_state(_OPEN)
        circuit.clock.advance(0.1)
        circuit.expect_state(_HALF_OPEN)

    await circuit.trip()
    for seconds in (10.0, 20.0, 35.0):
        await opens_for(seconds)
        await circuit.call(BoomError())
    await opens_for(35.0)
    await circuit.call(1)
    circuit.clock.advance(59.0)
    await circuit.trip()
    await opens_for(35.0)
    await circuit.call(1)
    circuit.clock.advance(60.0)
    await circuit.trip()
    await opens_for(10.0)
    await circuit.call(BoomError())
    circuit.breaker.reset()
    await circuit.trip()
    await opens_for(10.0)


@circuit_breaker_windows.rule("CB28")
async def exceptions_may_be_ignored_by_a_predicate(make: MakeCircuitBreaker) -> None:
    """What `is_ignored` calls so is neither failure nor success."""
    circuit = Circuit(make, is_ignored=_is_business)
    for _ in range(5):
        await circuit.call(BoomError("business"))
    expect(circuit.breaker.snapshot().calls == 0, "ignored errors are in the window")
    await circuit.half_open()
    await circuit.call(BoomError("business"))
    circuit.expect_state(_HALF_OPEN)
    await circuit.call(BoomError())
    circuit.expect_state(_OPEN)


@circuit_breaker_windows.rule("CB29")
async def events_say_how_long_and_why(make: MakeCircuitBreaker) -> None:
    """An event says how long the state before it lasted, and which error decided."""
    circuit = Circuit(make)
    circuit.clock.advance(7.0)
    await circuit.half_open()
    circuit.expect_state(_HALF_OPEN)
    circuit.clock.advance(1.0)
    await circuit.call(1)
    told = [(e.duration_s, e.error_type) for e in circuit.sink.of(BreakerStateChanged)]
    wanted = [(7.0, "BoomError"), (10.0, ""), (1.0, "")]
    expect(told == wanted, f"saw {told}")
    eras = [event.era for event in circuit.sink.of(BreakerStateChanged)]
    expect(eras == sorted(set(eras)), f"eras do not grow: {eras}")


def _is_business(error: Exception) -> bool:
    return error.args == ("business",)
