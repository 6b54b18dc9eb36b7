"""Refuses calls to a target that fails too often, and finds out when it is well again.

All times are seconds. The circuit opens when, of the last `window_calls` calls, at
least `minimum_calls` were seen and `failure_rate` of them failed; after `open_s` it
lets `half_open_permits` trials through and closes when all of them succeed. See
`mechanisms.breaker_machine` for the states and their source.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, final

from ..core.errors import CircuitOpenError
from ..core.events import BreakerStateChanged, EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.breaker_machine import BreakerMachine
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.resilience import BreakerConfig, BreakerSnapshot, BreakerState, never_fails

__all__ = ("SlidingWindowBreaker",)

T = TypeVar("T")

_REASON = "the target failed too often and is left in peace; try again later"


@final
class SlidingWindowBreaker:
    """The default `CircuitBreaker`: in memory, one window over the last calls.

    Belongs to one event loop. A predicate or a sink that raises is reported as
    `GuardFailed`, and changes neither the call's result nor the state.

    Args:
        config: When to open and how to close.
        name: How events call this breaker.
        clock: Time.
        sink: Told of every transition.
    """

    __slots__ = ("_clock", "_fallback", "_machine", "_plain", "_reporter", "name")

    def __init__(
        self,
        config: BreakerConfig | None = None,
        *,
        name: str = "breaker",
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, name)
        self._machine = BreakerMachine(config or BreakerConfig(), self._clock.monotonic)
        self._plain = self._machine.config.is_failure is never_fails
        self._fallback: Callable[[], Awaitable[Any]] | None = None

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
            try:
                result = await operation()
            except Exception as error:
                self._count(era, self._judge_error(error))
                raise
            # Most calls end here: a window full of successes takes no note of one more.
            if not (self._plain and machine.quiet):
                self._count(era, self._judge_result(result))
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
        machine = self._machine
        wait_s = machine.wait_s()
        taken = BreakerSnapshot(
            state=machine.state,
            era=machine.era,
            calls=machine.calls,
            failures=machine.failures,
            refused=machine.refused,
            retry_after_s=wait_s,
        )
        self._report()
        return taken

    def reset(self) -> None:
        """Close the circuit and forget what was counted."""
        self._machine.reset()
        self._report()

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings, keeping the state and what of the window still fits.

        A half-open circuit closes if it has seen as many successes as are now needed.
        """
        self._machine.configure(config)
        self._plain = config.is_failure is never_fails
        self._report()

    def set_fallback(self, fallback: Callable[[], Awaitable[Any]] | None, /) -> None:
        """Answer with `fallback` instead of refusing; None takes it away.

        What the fallback returns or raises is the caller's, and is not counted.
        """
        self._fallback = fallback

    async def _try(self, operation: Callable[[], Awaitable[T]]) -> T:
        trial = self._machine.begin()
        failed: bool | None = None
        try:
            self._report()
            try:
                result = await operation()
            except Exception as error:
                failed = self._judge_error(error)
                raise
            failed = self._judge_result(result)
            return result
        finally:
            # Cancellation ends here with `failed` still None: the permit goes back, no more.
            self._machine.finish(trial, failed=failed)
            self._report()

    def _count(self, era: int, failed: bool | None) -> None:  # noqa: FBT001
        machine = self._machine
        if failed is not None and machine.era == era:
            machine.count(failed=failed)
            if machine.changes:
                self._report()

    def _judge_result(self, result: object) -> bool | None:
        if self._plain:
            return False
        try:
            return bool(self._machine.config.is_failure(result))
        except Exception as error:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_failure", error)
            return None

    def _judge_error(self, error: Exception) -> bool | None:
        ignore = self._machine.config.ignore
        if not ignore:
            return True
        try:
            ignored = _is_only(error, ignore)
        except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
            self._reporter.guard_failed("ignore", broken)
            return None
        return None if ignored else True

    def _report(self) -> None:
        changes = self._machine.changes
        if not changes:
            return
        # Taken out first: a sink may call this breaker.
        self._machine.changes = []
        at = self._clock.wall()
        for previous, current, cause in changes:
            self._reporter.report(
                BreakerStateChanged(
                    at=at,
                    breaker=self.name,
                    previous=previous.value,
                    current=current.value,
                    cause=cause,
                )
            )


def _is_only(error: Exception, kinds: tuple[type[Exception], ...]) -> bool:
    """Return whether an error is of these kinds, or a task group's group of nothing else."""
    if isinstance(error, kinds):
        return True
    if not isinstance(error, ExceptionGroup):
        return False
    return cast("ExceptionGroup[Exception]", error).split(kinds)[1] is None
