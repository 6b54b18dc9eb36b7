"""Keeps the last durations in order of size, so that any percentile is at hand."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from typing import final

__all__ = ("DurationWindow",)


@final
class DurationWindow:
    """The last `size` durations. Synchronous; for one thread.

    Args:
        size: How many are kept.
        durations: The first of them, oldest first; only the newest `size` count.
    """

    __slots__ = ("_newest", "_size", "_sorted")

    def __init__(self, size: int, durations: Iterable[float] = ()) -> None:
        self._size = size
        self._newest: deque[float] = deque(durations, size)
        self._sorted = sorted(self._newest)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._newest)

    def add(self, duration_s: float) -> None:
        """Put in a duration, and take out the oldest when there are too many."""
        if len(self._newest) == self._size:
            # Not by value from the end: of equal ones it is all the same which goes.
            del self._sorted[bisect_left(self._sorted, self._newest[0])]
        self._newest.append(duration_s)
        insort(self._sorted, duration_s)

    def percentile(self, share: float) -> float:
        """Return the duration that `share` of them do not exceed. Not while there are none."""
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]

    def resized(self, size: int) -> "DurationWindow":
        """Return a window of another size with the newest of these."""
        return DurationWindow(size, self._newest)
