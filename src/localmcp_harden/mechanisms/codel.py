"""Tells a queue that stands from one that only takes up a burst, by how long its head waits.

A burst drains: now and then the head of the queue has hardly waited, or the queue is
empty. When neither has happened for a whole interval, the queue stands, and whoever
joins it waits for nothing. From K. Nichols and V. Jacobson, "Controlling Queue Delay"
(ACM Queue, 2012); turning away what waited more than twice the target, instead of ever
more often, is folly's form of it for calls.
"""

from typing import final

__all__ = ("StandingQueue",)

_SLOUGH = 2.0


@final
class StandingQueue:
    """Watches one queue. Synchronous; times are seconds on one monotonic clock.

    Args:
        target_s: The wait that is still good.
        interval_s: How long waits are above it before the queue stands.
    """

    __slots__ = ("_above_since", "interval_s", "stands", "target_s")

    def __init__(self, target_s: float, interval_s: float) -> None:
        self.target_s: float = target_s
        self.interval_s: float = interval_s
        self.stands: bool = False
        """Whether the queue stands."""
        self._above_since: float | None = None

    def see(self, waited_s: float, now: float) -> bool:
        """Take note of how long the head has waited; return whether the queue stands."""
        if waited_s <= self.target_s:
            self._above_since = None
            self.stands = False
        elif self._above_since is None:
            self._above_since = now
        else:
            self.stands = now - self._above_since >= self.interval_s
        return self.stands

    def empty(self) -> None:
        """Take note that nobody waits."""
        self._above_since = None
        self.stands = False

    def is_late(self, waited_s: float) -> bool:
        """Return whether one that waited so long is to be turned away."""
        return self.stands and waited_s > _SLOUGH * self.target_s
