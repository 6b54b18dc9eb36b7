"""The rules of `BreakerControls`: what an operator may do to a circuit breaker.

`make(config, /, *, clock, sink)` returns a closed breaker that has them.
"""

import math
from collections.abc import Callable
from typing import Protocol

from ...core.errors import CircuitOpenError
from ...core.events import BreakerStateChanged, EventSink
from ...core.ports import Clock
from ...protocols.resilience import (
    BreakerConfig,
    BreakerControls,
    BreakerMode,
    BreakerState,
    CircuitBreaker,
)
from .circuit import BoomError, Circuit, Held, nothing
from .kit import ContractKit, expect

__all__ = ("ControlledBreaker", "MakeControlledBreaker", "circuit_breaker_modes")

_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class ControlledBreaker(CircuitBreaker, BreakerControls, Protocol):
    """A circuit breaker with controls."""


class MakeControlledBreaker(Protocol):
    """Makes the breaker that is to be checked."""

    def __call__(
        self, config: BreakerConfig, /, *, clock: Clock, sink: EventSink
    ) -> ControlledBreaker:
        """Return a closed breaker."""
        ...


circuit_breaker_modes: ContractKit[MakeControlledBreaker] = ContractKit("BreakerControls")


def _controlled(
    make: MakeControlledBreaker, **settings: object
) -> tuple[Circuit, ControlledBreaker]:
    made: list[ControlledBreaker] = []

    def kept(config: BreakerConfig, /, *, clock: Clock, sink: EventSink) -> CircuitBreaker:
        made.append(make(config, clock=clock, sink=sink))
        return made[0]

    circuit = Circuit(kept, **settings)
    return circuit, made[0]


@circuit_breaker_modes.rule("BC1")
async def forced_open_refuses_for_good(make: MakeControlledBreaker) -> None:
    """A breaker that is forced open refuses however long it lasts, and promises no end."""
    circuit, breaker = _controlled(make)
    breaker.force_open()
    circuit.clock.advance(1e6)
    circuit.expect_state(_OPEN)
    try:
        await breaker.execute(nothing)
    except CircuitOpenError as refusal:
        expect(refusal.retry_after_s is None, f"it promises {refusal.retry_after_s}")
    else:
        raise AssertionError("the call was not refused")
    expect(breaker.snapshot().retry_after_s == math.inf, "the snapshot promises an end")
    breaker.configure(circuit.config)
    circuit.expect_state(_OPEN)

    async def fallback() -> str:
        return "instead"

    breaker.set_fallback(fallback)
    expect(await breaker.execute(nothing) == "instead", "the fallback was not asked")


@circuit_breaker_modes.rule("BC2")
async def disabled_lets_all_pass_uncounted(make: MakeControlledBreaker) -> None:
    """A disabled breaker lets every call pass and counts none, from an open circuit too."""
    circuit, breaker = _controlled(make)
    await circuit.trip()
    breaker.disable()
    for answer in (BoomError(), BoomError(), 1) * 5:
        expect(await circuit.call(answer) != "refused", "a call was refused")
    circuit.expect_state(_CLOSED)
    expect(breaker.snapshot().calls == 0, "a call was counted")
    breaker.configure(circuit.config)
    await circuit.call(1)
    expect(breaker.snapshot().calls == 0, "a call was counted after `configure`")


@circuit_breaker_modes.rule("BC3")
async def metrics_only_counts_and_tells(make: MakeControlledBreaker) -> None:
    """With metrics only, every call passes and counts, and `would_open` is told once."""
    circuit, breaker = _controlled(make)
    breaker.metrics_only()
    for _ in range(4):
        expect(await circuit.call(BoomError()) == "failed", "a call was refused")
    circuit.expect_state(_CLOSED)
    expect(breaker.snapshot().failures == 4, f"saw {breaker.snapshot()}")
    for answer in (1, 1, 1, 1, BoomError(), BoomError()):
        await circuit.call(answer)
    causes = [event.cause for event in circuit.sink.of(BreakerStateChanged)]
    expect(causes == ["metrics_only", "would_open", "would_open"], f"saw {causes}")


@circuit_breaker_modes.rule("BC4")
async def release_begins_anew(make: MakeControlledBreaker) -> None:
    """`release` and `reset` end every mode: closed, nothing counted, and calls decide again."""
    modes: list[tuple[BreakerMode, Callable[[ControlledBreaker], None]]] = [
        (BreakerMode.FORCED_OPEN, lambda breaker: breaker.force_open()),
        (BreakerMode.DISABLED, lambda breaker: breaker.disable()),
        (BreakerMode.METRICS_ONLY, lambda breaker: breaker.metrics_only()),
    ]
    for mode, enter in modes:
        for leave in ("release", "reset"):
            circuit, breaker = _controlled(make)
            await circuit.call(BoomError())
            enter(breaker)
            expect(breaker.get_mode() is mode, f"the mode is {breaker.get_mode()}")
            expect(breaker.snapshot().mode is mode, f"saw {breaker.snapshot()}")
            await circuit.call(BoomError())
            if leave == "release":
                breaker.release()
            else:
                breaker.reset()
            expect(breaker.get_mode() is BreakerMode.AUTOMATIC, f"{leave} did not end {mode}")
            circuit.expect_state(_CLOSED)
            expect(breaker.snapshot().calls == 0, f"{mode}: the window was kept")
            await circuit.trip()
            circuit.clock.advance(circuit.config.open_s)
            circuit.expect_state(_HALF_OPEN)


@circuit_breaker_modes.rule("BC5")
async def modes_end_the_era(make: MakeControlledBreaker) -> None:
    """What was on its way when a mode began or ended counts no more."""
    circuit, breaker = _controlled(make, minimum_calls=1)
    held = Held()

    async def during() -> None:
        breaker.disable()
        breaker.release()
        await held.finish(BoomError())
        circuit.expect_state(_CLOSED)

    await circuit.background(held, during)
    expect(breaker.snapshot().calls == 0, "an old outcome was counted")

    await circuit.half_open()
    trial = Held()

    async def forced() -> None:
        breaker.force_open()
        await trial.finish()
        circuit.expect_state(_OPEN)

    await circuit.background(trial, forced)


@circuit_breaker_modes.rule("BC6")
async def modes_are_told(make: MakeControlledBreaker) -> None:
    """Each change of mode is one `BreakerStateChanged`, whether or not the state changes."""
    circuit, breaker = _controlled(make)
    breaker.force_open()
    breaker.disable()
    breaker.metrics_only()
    breaker.release()
    told = [(e.previous, e.current, e.cause) for e in circuit.sink.of(BreakerStateChanged)]
    wanted = [
        ("closed", "open", "forced_open"),
        ("open", "closed", "disabled"),
        ("closed", "closed", "metrics_only"),
        ("closed", "closed", "released"),
    ]
    expect(told == wanted, f"saw {told}")
