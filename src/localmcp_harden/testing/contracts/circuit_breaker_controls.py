"""The rules of what a `CircuitBreaker` offers beside `execute`: part of its kit.

Fallback, reset, settings, events and snapshot; `make` is that of `circuit_breaker`.
"""

from ...core.events import BreakerStateChanged, Event
from ...protocols.resilience import BreakerConfig, BreakerState
from ..clock import FakeClock
from .circuit import BoomError, Circuit, Held, MakeCircuitBreaker, nothing
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("circuit_breaker_controls",)

_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN

circuit_breaker_controls: ContractKit[MakeCircuitBreaker] = ContractKit("CircuitBreaker controls")


@circuit_breaker_controls.rule("CB17")
async def fallback_answers_for_an_open_circuit(make: MakeCircuitBreaker) -> None:
    """With a fallback, what would be refused is answered by it, until it is taken away."""
    circuit = Circuit(make)

    async def fallback() -> str:
        return "instead"

    circuit.breaker.set_fallback(fallback)
    expect(await circuit.breaker.execute(nothing) is None, "the fallback came before its time")
    await circuit.trip()
    expect(await circuit.breaker.execute(nothing) == "instead", "the fallback was not asked")
    circuit.breaker.set_fallback(None)
    expect(await circuit.call(1) == "refused", "the fallback was not taken away")


@circuit_breaker_controls.rule("CB18")
async def reset_closes_and_forgets(make: MakeCircuitBreaker) -> None:
    """`reset` closes the circuit from every state and empties the window."""
    for steps in ("closed", "open", "half-open"):
        circuit = Circuit(make)
        await circuit.call(BoomError())
        if steps != "closed":
            await circuit.trip()
        if steps == "half-open":
            circuit.clock.advance(10.0)
        circuit.breaker.reset()
        circuit.expect_state(_CLOSED)
        expect(circuit.breaker.snapshot().calls == 0, f"{steps}: the window was kept")


@circuit_breaker_controls.rule("CB19")
async def configure_keeps_state_and_window(make: MakeCircuitBreaker) -> None:
    """`configure` keeps the state and the newest calls that fit the new window."""
    circuit = Circuit(make, window_calls=10, minimum_calls=10)
    for answer in (BoomError(), BoomError(), 1, BoomError(), 1):
        await circuit.call(answer)
    circuit.breaker.configure(BreakerConfig(window_calls=3, minimum_calls=3, failure_rate=0.6))
    circuit.expect_state(_CLOSED)
    snapshot = circuit.breaker.snapshot()
    expect((snapshot.calls, snapshot.failures) == (3, 1), f"saw {snapshot}")
    await circuit.call(BoomError())
    circuit.expect_state(_OPEN)
    circuit.breaker.configure(BreakerConfig(window_calls=3, minimum_calls=3, open_s=20.0))
    circuit.clock.advance(19.0)
    circuit.expect_state(_OPEN)
    circuit.clock.advance(1.0)
    circuit.expect_state(_HALF_OPEN)


@circuit_breaker_controls.rule("CB20")
async def every_transition_is_told_once(make: MakeCircuitBreaker) -> None:
    """Each transition is one `BreakerStateChanged`, in order, with its cause."""
    circuit = Circuit(make)
    await circuit.half_open()
    await circuit.call(BoomError())
    circuit.clock.advance(10.0)
    await circuit.call(1)
    told = [(e.previous, e.current, e.cause) for e in circuit.sink.of(BreakerStateChanged)]
    wanted = [
        ("closed", "open", "failure_rate"),
        ("open", "half_open", "open_time_over"),
        ("half_open", "open", "trial_failed"),
        ("open", "half_open", "open_time_over"),
        ("half_open", "closed", "trials_succeeded"),
    ]
    expect(told == wanted, f"saw {told}")


@circuit_breaker_controls.rule("CB21")
async def broken_listeners_do_no_harm(make: MakeCircuitBreaker) -> None:
    """A sink or predicate that raises changes neither the call's result nor the state."""

    def broken(_anything: object) -> bool:
        raise RuntimeError("broken")

    def sink(event: Event) -> None:
        broken(event)

    clock = FakeClock()
    breaker = make(
        BreakerConfig(window_calls=2, minimum_calls=2, is_failure=broken), clock=clock, sink=sink
    )
    for _ in range(5):
        expect(await breaker.execute(nothing) is None, "a good result was lost")
    expect(breaker.snapshot().calls == 0, "a call that could not be judged was counted")
    for _ in range(2):
        boom = BoomError()

        async def operation(error: Exception = boom) -> None:
            raise error

        try:
            await breaker.execute(operation)
        except Exception as error:  # noqa: BLE001
            expect(error is boom, f"saw {type(error).__name__}")
    expect(breaker.get_state() is _OPEN, "the broken sink kept it from opening")


@circuit_breaker_controls.rule("CB22")
async def cancelled_calls_do_not_count(make: MakeCircuitBreaker) -> None:
    """Cancelled calls of a closed circuit are neither failures nor successes."""
    circuit = Circuit(make, minimum_calls=1)
    for _ in range(3):
        async with open_tasks() as tasks:
            tasks.start_soon(circuit.through, held := Held())
            await held.begun.wait()
            tasks.cancel_scope.cancel()
    circuit.expect_state(_CLOSED)
    expect(circuit.breaker.snapshot().calls == 0, "a cancelled call was counted")


@circuit_breaker_controls.rule("CB23")
async def snapshot_is_consistent(make: MakeCircuitBreaker) -> None:
    """A snapshot tells the state, an era that only grows, and the wait for the next trial."""
    circuit = Circuit(make)
    first = circuit.breaker.snapshot()
    await circuit.trip()
    opened = circuit.breaker.snapshot()
    circuit.clock.advance(10.0)
    halfway = circuit.breaker.snapshot()
    states = (first.state, opened.state, halfway.state)
    expect(states == (_CLOSED, _OPEN, _HALF_OPEN), f"saw {states}")
    expect(first.era < opened.era < halfway.era, "eras do not grow")
    waits = (first.retry_after_s, opened.retry_after_s, halfway.retry_after_s)
    expect(waits == (0.0, 10.0, 0.0), f"saw waits {waits}")
