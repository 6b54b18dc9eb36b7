"""Hands events to a sink that may itself be broken, without being broken by it."""

from contextlib import suppress
from typing import final

from ..core.events import Event, EventSink, GuardFailed
from ..core.ports import Clock

__all__ = ("Reporter",)


@final
class Reporter:
    """One block's way to its sink: a sink that raises is told so, and otherwise ignored.

    Args:
        sink: Where events go.
        clock: Tells when.
        source: The name of the block that reports.
    """

    __slots__ = ("_clock", "_sink", "_source")

    def __init__(self, sink: EventSink, clock: Clock, source: str) -> None:
        self._sink = sink
        self._clock = clock
        self._source = source

    def report(self, event: Event) -> None:
        """Hand over an event; never raises an `Exception`."""
        try:
            self._sink(event)
        except Exception as error:  # noqa: BLE001 - a sink may raise anything
            # It may refuse one kind of event and take another; if not, nobody is left to tell.
            with suppress(Exception):
                self._sink(self._failure("sink", error))

    def guard_failed(self, part: str, error: BaseException) -> None:
        """Report that a part of the block raised instead of deciding; its message stays here."""
        self.report(self._failure(part, error))

    def _failure(self, part: str, error: BaseException) -> GuardFailed:
        return GuardFailed(
            at=self._clock.wall(),
            guard=f"{self._source}.{part}",
            error_type=type(error).__name__,
        )
