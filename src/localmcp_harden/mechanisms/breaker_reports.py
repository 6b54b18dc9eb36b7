"""Judges what calls through a breaker came to, and tells its transitions.

Whatever a predicate or a sink of the host raises is reported as `GuardFailed`, and
changes neither the call's result nor the breaker's state.
"""

from collections.abc import Callable
from typing import Any, cast, final

from ..core.events import BreakerStateChanged, EventSink
from ..core.ports import Clock
from ..protocols.resilience import BreakerConfig, never_fails
from .breaker_machine import BreakerMachine
from .reporter import Reporter

__all__ = ("BreakerReports", "CallJudge")


@final
class CallJudge:
    """Says whether a result or an error is a failure.

    Args:
        reporter: Told of predicates that raise.
        is_failure: Whether a returned result is a failure.
        ignore: Exceptions that say nothing.
        is_ignored: Whether another exception says nothing either.
    """

    __slots__ = ("_ignore", "_is_failure", "_is_ignored", "_reporter", "plain")

    def __init__(
        self,
        reporter: Reporter,
        *,
        is_failure: Callable[[Any], bool] = never_fails,
        ignore: tuple[type[Exception], ...] = (),
        is_ignored: Callable[[Exception], bool] = never_fails,
    ) -> None:
        self._reporter = reporter
        self._is_failure = is_failure
        self._ignore = ignore
        self._is_ignored = is_ignored
        self.plain: bool = is_failure is never_fails
        """Whether every result is good."""

    @classmethod
    def of(cls, config: BreakerConfig, reporter: Reporter) -> "CallJudge":
        """Return a judge with the predicates of a breaker's settings."""
        return cls(
            reporter,
            is_failure=config.is_failure,
            ignore=config.ignore,
            is_ignored=config.is_ignored,
        )

    def result(self, result: object) -> bool | None:
        """Return whether a result is a failure, None when it can not be judged."""
        if self.plain:
            return False
        try:
            return bool(self._is_failure(result))
        except Exception as error:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_failure", error)
            return None

    def error(self, error: Exception) -> bool | None:
        """Return True for a failure, None for what says nothing or can not be judged."""
        if self._ignore:
            try:
                if _is_only(error, self._ignore):
                    return None
            except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
                self._reporter.guard_failed("ignore", broken)
                return None
        if self._is_ignored is not never_fails:
            try:
                if self._is_ignored(error):
                    return None
            except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
                self._reporter.guard_failed("is_ignored", broken)
                return None
        return True


@final
class BreakerReports:
    """One breaker's events.

    Args:
        name: How events call the breaker.
        clock: Tells when.
        sink: Where events go.
    """

    __slots__ = ("_clock", "name", "reporter")

    def __init__(self, name: str, clock: Clock, sink: EventSink) -> None:
        self.name: str = name
        self.reporter: Reporter = Reporter(sink, clock, name)
        self._clock = clock

    def report(self, machine: BreakerMachine) -> None:
        """Tell the transitions that were not told yet; never raises an `Exception`."""
        changes = machine.changes
        if not changes:
            return
        # Taken out first: a sink may call the breaker.
        machine.changes = []
        at = self._clock.wall()
        for previous, current, cause, era, duration_s, error_type in changes:
            self.reporter.report(
                BreakerStateChanged(
                    at=at,
                    breaker=self.name,
                    previous=previous.value,
                    current=current.value,
                    cause=cause,
                    era=era,
                    duration_s=duration_s,
                    error_type=error_type,
                )
            )


def _is_only(error: Exception, kinds: tuple[type[Exception], ...]) -> bool:
    """Return whether an error is of these kinds, or a task group's group of nothing else."""
    if isinstance(error, kinds):
        return True
    if not isinstance(error, ExceptionGroup):
        return False
    return cast("ExceptionGroup[Exception]", error).split(kinds)[1] is None
