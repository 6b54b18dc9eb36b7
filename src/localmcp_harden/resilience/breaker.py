"""Refuses calls to a target that fails too often, and finds out when it is well again.

All times are seconds. The circuit opens when, of the calls in its window, at least
`minimum_calls` were seen and `failure_rate` of them failed or `slow_call_rate` were
slow; after `open_s` it lets `half_open_permits` trials through and closes when all of
them succeed. See `mechanisms.breaker_machine` for the states and their source.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, final

from ..core.errors import CircuitOpenError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.breaker_machine import BreakerMachine
from ..mechanisms.breaker_reports import BreakerReports, CallJudge
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.outcome_windows import FAILED, SLOW
from ..protocols.resilience import BreakerConfig, BreakerMode, BreakerSnapshot, BreakerState

__all__ = ("SlidingWindowBreaker",)

T = TypeVar("T")

_REASON = "the target failed too often and is left in peace; try again later"


@final
class SlidingWindowBreaker:
    """The default `CircuitBreaker`, with `BreakerControls`: in memory, one sliding window.

    Belongs to one event loop. A predicate or a sink that raises is reported as
    `GuardFailed`, and changes neither the call's result nor the state.

    Args:
        config: When to open and how to close.
        name: How events call this breaker.
        clock: Time.
        random: Chance, for `open_jitter`.
        sink: Told of every transition.
    """

    __slots__ = (
        "_fallback",
        "_judge",
        "_machine",
        "_monotonic",
        "_plain",
        "_reports",
        "_slow_s",
        "name",
    )

    def __init__(
        self,
        config: BreakerConfig | None = None,
        *,
        name: str = "breaker",
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        clock = clock or SystemClock()
        self._monotonic = clock.monotonic
        self._reports = BreakerReports(name, clock, sink)
        self._machine = BreakerMachine(
            config or BreakerConfig(), clock.monotonic, random or SystemRandom()
        )
        self._fallback: Callable[[], Awaitable[Any]] | None = None
        self._settle()

    @property
    def config(self) -> BreakerConfig:
        """The settings in force."""
        return self._machine.config

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation unless the circuit is open.

        Raises:
            CircuitOpenError: The circuit is open, or its trials are all taken, and
                there is no fallback.
        """
        machine = self._machine
        if machine.closed:
            era = machine.era
            began = 0.0 if self._slow_s is None else self._monotonic()
            try:
                result = await operation()
            except Exception as error:
                self._count(era, self._judge.error(error), began, error)
                raise
            if not self._plain:
                self._count(era, self._judge.result(result), began)
            # Most calls end here: a window full of good outcomes takes no note of one more.
            elif not machine.quiet and machine.era == era:
                machine.count(0)
                if machine.changes:
                    self._report()
            return result
        wait_s = machine.wait_s()
        if not wait_s:
            return await self._try(operation)
        machine.refused += 1
        if machine.changes:
            self._report()
        if self._fallback is not None:
            answer: T = await self._fallback()
            return answer
        raise CircuitOpenError(_REASON, wait_s if wait_s < math.inf else None)

    def get_state(self) -> BreakerState:
        """Return where the breaker stands now, time having passed."""
        self._machine.wait_s()
        self._report()
        return self._machine.state

    def snapshot(self) -> BreakerSnapshot:
        """Return the breaker's numbers; while it is not closed, the window that opened it."""
        taken = self._machine.snapshot()
        self._report()
        return taken

    def reset(self) -> None:
        """Close the circuit, end a mode, and forget what was counted."""
        self._machine.reset()
        self._report()

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings, keeping the state and what of the window still fits.

        A half-open circuit closes if it has seen as many successes as are now needed.
        """
        self._machine.configure(config)
        self._settle()
        self._report()

    def set_fallback(self, fallback: Callable[[], Awaitable[Any]] | None, /) -> None:
        """Answer with `fallback` instead of refusing; None takes it away.

        What the fallback returns or raises is the caller's, and is not counted.
        """
        self._fallback = fallback

    def force_open(self) -> None:
        """Refuse every call until released, however long; a fallback still answers."""
        self._set_mode(BreakerMode.FORCED_OPEN)

    def disable(self) -> None:
        """Let every call pass, counting none."""
        self._set_mode(BreakerMode.DISABLED)

    def metrics_only(self) -> None:
        """Let every call pass and count it; tell when the circuit would have opened."""
        self._set_mode(BreakerMode.METRICS_ONLY)

    def release(self) -> None:
        """Let the outcomes of calls decide again, from a closed circuit and an empty window."""
        self._set_mode(BreakerMode.AUTOMATIC)

    def get_mode(self) -> BreakerMode:
        """Return who decides where the breaker stands."""
        return self._machine.mode

    async def _try(self, operation: Callable[[], Awaitable[T]]) -> T:
        machine = self._machine
        trial = machine.begin()
        began = self._monotonic()
        failed: bool | None = None
        decisive: Exception | None = None
        try:
            self._report()
            try:
                result = await operation()
            except Exception as error:
                failed = self._judge.error(error)
                decisive = error
                raise
            failed = self._judge.result(result)
            return result
        finally:
            # Cancellation ends here with `failed` still None: the permit goes back, no more.
            machine.finish(trial, failed=failed, slow=self._was_slow(began), error=decisive)
            # The frame is in the error's traceback: it must not hold the error in turn.
            decisive = None
            self._report()

    def _count(
        self,
        era: int,
        failed: bool | None,  # noqa: FBT001
        began: float,
        error: Exception | None = None,
    ) -> None:
        machine = self._machine
        if failed is not None and machine.era == era:
            outcome = FAILED if failed else 0
            slow_s = self._slow_s
            if slow_s is not None and self._monotonic() - began >= slow_s:
                outcome |= SLOW
            machine.count(outcome, error)
            if machine.changes:
                self._report()

    def _was_slow(self, began: float) -> bool:
        slow_s = self._slow_s
        return slow_s is not None and self._monotonic() - began >= slow_s

    def _settle(self) -> None:
        """Take from the settings what every call asks for."""
        config = self._machine.config
        self._slow_s = config.slow_call_s
        self._judge = CallJudge.of(config, self._reports.reporter)
        self._plain = self._judge.plain and self._slow_s is None

    def _set_mode(self, mode: BreakerMode) -> None:
        self._machine.set_mode(mode)
        self._report()

    def _report(self) -> None:
        self._reports.report(self._machine)
