"""Degradation levels that tell what they were asked, and otherwise work."""

from typing import final

from ...core.events import EventSink, discard
from ...core.ports import Clock
from ...protocols.degradation import DegradationConfig, DegradationSnapshot
from ...resilience.degradation import DegradationLevels
from ..clock import FakeClock

__all__ = ("FakeDegradation",)


@final
class FakeDegradation:
    """A `Degradation` on a clock that stands still.

    Args:
        config: The levels and what moves between them.
        clock: The clock; a fake one of its own by default.
        sink: Told of every change.
    """

    def __init__(
        self,
        config: DegradationConfig | None = None,
        /,
        *,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.asked: list[str] = []
        """Every feature that was asked about, in order."""
        self.off: set[str] = set()
        """Features that are off whatever the level."""
        self._real = DegradationLevels(config, name="fake", clock=clock or FakeClock(), sink=sink)

    def get_state(self) -> str:
        """Return the level's name."""
        return self._real.get_state()

    def is_on(self, feature: str, /) -> bool:
        """Return whether the feature is on, by the level and by `off`."""
        self.asked.append(feature)
        return feature not in self.off and self._real.is_on(feature)

    def observe(self, status: str, /) -> None:
        """Take a health status."""
        self._real.observe(status)

    def set_level(self, name: str | None, /) -> None:
        """Take this level and keep it; None lets health decide again.

        Raises:
            ValueError: There is no such level.
        """
        self._real.set_level(name)

    def snapshot(self) -> DegradationSnapshot:
        """Return where the service stands."""
        return self._real.snapshot()

    def configure(self, config: DegradationConfig, /) -> None:
        """Go on with other levels."""
        self._real.configure(config)
