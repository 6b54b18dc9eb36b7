"""Hands every event to several readers, none of which can hurt a call or another reader."""

from typing import final

from ..core.events import Event, EventSink, GuardFailed
from ..core.ports import Clock

__all__ = ("FanOut",)


@final
class FanOut:
    """An `EventSink` over several others.

    A reader that raises is reported to the others, as `GuardFailed` with its name.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sinks: tuple[EventSink, ...] = ()

    def subscribe(self, *sinks: EventSink) -> None:
        """Add readers; each sees every later event, in the order in which it was added."""
        self._sinks = (*self._sinks, *sinks)

    def clear(self) -> None:
        """Take every reader away."""
        self._sinks = ()

    def __call__(self, event: Event, /) -> None:
        """Hand one event to every reader."""
        for sink in self._sinks:
            try:
                sink(event)
            except Exception as error:  # noqa: BLE001 - a reader must not hurt the call
                self._report(sink, error)

    def _report(self, broken: EventSink, error: Exception) -> None:
        name = getattr(broken, "__qualname__", type(broken).__qualname__)
        failure = GuardFailed(
            at=self._clock.wall(), guard=f"sink:{name}", error_type=type(error).__name__
        )
        for sink in self._sinks:
            if sink is not broken:
                try:
                    sink(failure)
                except Exception:  # noqa: BLE001, S112  # nosec B112 - it fails at every event
                    continue
