"""A sink that keeps what it is handed, for assertions."""

from typing import TypeVar

from ..core.events import CallRecord, Event

__all__ = ("RecordingSink",)

E = TypeVar("E", bound=Event)


class RecordingSink:
    """Keeps every event in order. Call it, or hand it over as an `EventSink`."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        """Keep one event."""
        self.events.append(event)

    @property
    def records(self) -> list[CallRecord]:
        """The records of calls, in the order in which the calls ended."""
        return self.of(CallRecord)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
