"""The rules of a `CircuitBreaker`.

`make(config, /, *, clock, sink)` returns a closed breaker with these settings.
"""

import anyio
import anyio.lowlevel

from ...core.errors import CircuitOpenError
from ...protocols.resilience import BreakerState
from .circuit import BoomError, Circuit, Held, MakeCircuitBreaker, nothing
from .circuit_breaker_controls import circuit_breaker_controls
from .circuit_breaker_windows import circuit_breaker_windows
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeCircuitBreaker", "circuit_breaker")

_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
_CROWD = 200


circuit_breaker: ContractKit[MakeCircuitBreaker] = ContractKit("CircuitBreaker")


@circuit_breaker.rule("CB1")
async def errors_are_the_callers_own(make: MakeCircuitBreaker) -> None:
    """What the operation raises reaches the caller as it is, the tripping call's error too."""
    circuit = Circuit(make)
    for _ in range(2):
        boom = BoomError("mine")

        async def operation(error: Exception = boom) -> None:
            raise error

        try:
            await circuit.breaker.execute(operation)
        except Exception as error:  # noqa: BLE001
            expect(error is boom, f"saw {type(error).__name__}")
            expect(error.__cause__ is None, "the error was given a cause")
    circuit.expect_state(_OPEN)


@circuit_breaker.rule("CB2")
async def opens_at_its_rate_and_not_before_its_minimum(make: MakeCircuitBreaker) -> None:
    """It opens when `failure_rate` is reached, with `minimum_calls` in the window or more."""
    circuit = Circuit(make, window_calls=10, minimum_calls=4, failure_rate=0.5)
    for answer in (BoomError(), BoomError(), 1):
        await circuit.call(answer)
    circuit.expect_state(_CLOSED)
    await circuit.call(1)
    circuit.expect_state(_OPEN)


@circuit_breaker.rule("CB3")
async def open_means_untouched(make: MakeCircuitBreaker) -> None:
    """An open circuit refuses without running the operation."""
    circuit = Circuit(make)
    await circuit.trip()
    ran: list[int] = []

    async def operation() -> None:
        ran.append(1)

    try:
        await circuit.breaker.execute(operation)
    except CircuitOpenError as refusal:
        expect(refusal.code == "circuit_open", f"the code is {refusal.code}")
    else:
        raise AssertionError("the call was not refused")
    expect(not ran, "the operation ran")
    expect(circuit.breaker.snapshot().refused == 1, "the refusal was not counted")


@circuit_breaker.rule("CB4")
async def retry_after_counts_down(make: MakeCircuitBreaker) -> None:
    """`retry_after_s` of a refusal counts down, and waiting for it is enough."""
    circuit = Circuit(make, open_s=10.1)

    async def asked() -> float:
        try:
            await circuit.breaker.execute(nothing)
        except CircuitOpenError as refusal:
            return refusal.retry_after_s or 0.0
        return 0.0

    await circuit.trip()
    first = await asked()
    circuit.clock.advance(3.3)
    second = await asked()
    expect(10.1 <= first <= 10.2, f"asked for {first} of 10.1")
    expect(6.8 <= second <= 6.9, f"asked for {second} of 6.8")
    circuit.clock.advance(second)
    expect(await asked() == 0.0, "the promised call was refused")


@circuit_breaker.rule("CB5")
async def half_opens_on_time(make: MakeCircuitBreaker) -> None:
    """It is open for `open_s`, no less, and then half-open."""
    circuit = Circuit(make)
    await circuit.trip()
    circuit.clock.advance(9.9)
    circuit.expect_state(_OPEN)
    circuit.clock.advance(0.1)
    circuit.expect_state(_HALF_OPEN)


@circuit_breaker.rule("CB6")
async def permits_hold_in_a_crowd(make: MakeCircuitBreaker) -> None:
    """Of 200 callers of a half-open circuit at most `half_open_permits` get through."""
    for permits in (1, 3):
        circuit = Circuit(make, half_open_permits=permits)
        await circuit.half_open()
        held = Held()
        refused: list[int] = []

        async def caller(
            circuit: Circuit = circuit, held: Held = held, refused: list[int] = refused
        ) -> None:
            try:
                await circuit.breaker.execute(held)
            except CircuitOpenError:
                refused.append(1)

        async with open_tasks() as tasks:
            for _ in range(_CROWD):
                tasks.start_soon(caller)
            while held.running + len(refused) < _CROWD:
                await anyio.lowlevel.checkpoint()
            expect(held.running == permits, f"{held.running} trials for {permits} permits")
            expect(len(refused) == _CROWD - permits, f"{len(refused)} refusals")
            held.end()
        circuit.expect_state(_CLOSED)


@circuit_breaker.rule("CB7")
async def good_trials_close(make: MakeCircuitBreaker) -> None:
    """As many good trials as there are permits close the circuit, and not one less."""
    circuit = Circuit(make, half_open_permits=2)
    await circuit.half_open()
    await circuit.call(1)
    circuit.expect_state(_HALF_OPEN)
    await circuit.call(1)
    circuit.expect_state(_CLOSED)


@circuit_breaker.rule("CB8")
async def cancelled_trial_returns_its_permit(make: MakeCircuitBreaker) -> None:
    """A cancelled trial is no outcome: the circuit stays half-open and the permit is free."""
    circuit = Circuit(make)
    await circuit.half_open()
    async with open_tasks() as tasks:
        tasks.start_soon(circuit.through, held := Held())
        await held.begun.wait()
        expect(await circuit.call(1) == "refused", "there were two trials for one permit")
        tasks.cancel_scope.cancel()
    circuit.expect_state(_HALF_OPEN)
    expect(await circuit.call(1) == "ok", "the permit was lost")


@circuit_breaker.rule("CB9")
async def failed_results_count(make: MakeCircuitBreaker) -> None:
    """A result that `is_failure` calls a failure reaches the caller, and counts."""
    circuit = Circuit(make, is_failure=_is_bad)

    async def operation() -> str:
        return "bad"

    for _ in range(2):
        expect(await circuit.breaker.execute(operation) == "bad", "the result was changed")
    circuit.expect_state(_OPEN)
    circuit.clock.advance(10.0)
    expect(await circuit.breaker.execute(operation) == "bad", "the trial's result was changed")
    circuit.expect_state(_OPEN)


@circuit_breaker.rule("CB10")
async def ignored_errors_say_nothing(make: MakeCircuitBreaker) -> None:
    """An ignored error is neither failure nor success, and gives a permit back."""
    circuit = Circuit(make, ignore=(LookupError,))
    for _ in range(20):
        await circuit.call(KeyError("business"))
    circuit.expect_state(_CLOSED)
    expect(circuit.breaker.snapshot().calls == 0, "ignored errors are in the window")
    await circuit.half_open()
    expect(await circuit.call(KeyError("business")) == "failed", "the trial was refused")
    circuit.expect_state(_HALF_OPEN)
    expect(await circuit.call(1) == "ok", "the permit was lost")
    circuit.expect_state(_CLOSED)


@circuit_breaker.rule("CB11")
async def failed_trial_reopens(make: MakeCircuitBreaker) -> None:
    """A failed trial opens the circuit again, for all of `open_s`."""
    circuit = Circuit(make, half_open_permits=2)
    await circuit.half_open()
    await circuit.call(1)
    await circuit.call(BoomError())
    circuit.expect_state(_OPEN)
    circuit.clock.advance(9.9)
    circuit.expect_state(_OPEN)
    circuit.clock.advance(0.1)
    circuit.expect_state(_HALF_OPEN)


@circuit_breaker.rule("CB12")
async def closing_forgets(make: MakeCircuitBreaker) -> None:
    """A circuit that closes again begins with an empty window."""
    circuit = Circuit(make)
    await circuit.half_open()
    await circuit.call(1)
    await circuit.call(BoomError())
    circuit.expect_state(_CLOSED)
    expect(circuit.breaker.snapshot().calls == 1, "old calls are still counted")


@circuit_breaker.rule("CB13")
async def late_outcomes_change_nothing(make: MakeCircuitBreaker) -> None:
    """An outcome that began before the last transition changes nothing."""
    late_success = Circuit(make)
    held = Held()

    async def success_after_opening() -> None:
        await late_success.half_open()
        late_success.expect_state(_HALF_OPEN)
        await held.finish()
        late_success.expect_state(_HALF_OPEN)

    await late_success.background(held, success_after_opening)

    late_failure = Circuit(make, minimum_calls=1)
    slow = Held()

    async def failure_after_recovery() -> None:
        await late_failure.half_open()
        await late_failure.call(1)
        await slow.finish(BoomError())
        late_failure.expect_state(_CLOSED)

    await late_failure.background(slow, failure_after_recovery)

    straggler = Circuit(make)
    last = Held()

    async def failure_while_open() -> None:
        await straggler.trip()
        straggler.clock.advance(5.0)
        await last.finish(BoomError())
        straggler.clock.advance(5.0)
        straggler.expect_state(_HALF_OPEN)

    await straggler.background(last, failure_while_open)


@circuit_breaker.rule("CB14")
async def hung_trial_does_not_block(make: MakeCircuitBreaker) -> None:
    """After `half_open_max_wait_s` a hung trial's permit is free, and its outcome is dropped."""
    circuit = Circuit(make)
    await circuit.half_open()
    hung = Held()

    async def next_round() -> None:
        circuit.clock.advance(4.9)
        expect(await circuit.call(1) == "refused", "the permit was given away too early")
        circuit.clock.advance(0.1)
        hung_again = Held()

        async def late_failure() -> None:
            await hung.finish(BoomError())
            circuit.expect_state(_HALF_OPEN)
            expect(await circuit.call(1) == "refused", "the late outcome freed a permit")
            hung_again.end()

        await circuit.background(hung_again, late_failure)
        expect(hung_again.running == 1, "no new trial was let through")
        circuit.expect_state(_CLOSED)

    await circuit.background(hung, next_round)


@circuit_breaker.rule("CB15")
async def failures_need_not_be_consecutive(make: MakeCircuitBreaker) -> None:
    """Two failures in three calls open it, though a success always comes between."""
    circuit = Circuit(make, window_calls=9, minimum_calls=9, failure_rate=0.6)
    for _ in range(3):
        for answer in (BoomError(), BoomError(), 1):
            await circuit.call(answer)
    circuit.expect_state(_OPEN)


@circuit_breaker.rule("CB16")
async def only_the_window_counts(make: MakeCircuitBreaker) -> None:
    """Failures that left the window are forgotten."""
    circuit = Circuit(make, window_calls=4, minimum_calls=4, failure_rate=0.5)
    for answer in (1, 1, 1, BoomError(), 1, 1, 1, 1, BoomError()):
        await circuit.call(answer)
    circuit.expect_state(_CLOSED)
    snapshot = circuit.breaker.snapshot()
    expect((snapshot.calls, snapshot.failures) == (4, 1), f"saw {snapshot}")


def _is_bad(result: object) -> bool:
    return result == "bad"


circuit_breaker.include(circuit_breaker_controls)
circuit_breaker.include(circuit_breaker_windows)
