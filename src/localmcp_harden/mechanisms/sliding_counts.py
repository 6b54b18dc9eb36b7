"""Counts events of a few kinds over a sliding window, in slices of time.

The window is exact to one slice: it covers between `slices - 1` and `slices` of them.
Adding and reading take the same time whatever the number of events.
"""

from typing import final

__all__ = ("SlidingCounts",)


@final
class SlidingCounts:
    """Counters over the last `window_s` seconds. Synchronous; for one thread.

    Args:
        window_s: How far back is counted.
        slices: Into how many parts time is cut.
        kinds: How many counters there are.
        now: The time, on the clock of every later call.
    """

    __slots__ = ("_kinds", "_ring", "_slice_s", "_slices", "_start", "epoch", "totals")

    def __init__(self, window_s: float, *, slices: int, kinds: int, now: float) -> None:
        self.epoch: int = 0
        """The number of the slice that time is in, since it was made."""
        self.totals: list[int] = [0] * kinds
        """The sum of each counter over the window, as of the last `roll`."""
        self._slice_s = window_s / slices
        self._slices = slices
        self._kinds = kinds
        self._start = now
        self._ring: list[list[int]] = [[0] * kinds for _ in range(slices)]

    def roll(self, now: float) -> None:
        """Forget the slices that have left the window."""
        epoch = int((now - self._start) / self._slice_s)
        if epoch <= self.epoch:
            return
        if epoch - self.epoch >= self._slices:
            self._ring = [[0] * self._kinds for _ in range(self._slices)]
            self.totals = [0] * self._kinds
        else:
            for gone in range(self.epoch + 1, epoch + 1):
                counts = self._ring[gone % self._slices]
                for kind, count in enumerate(counts):
                    if count:
                        self.totals[kind] -= count
                        counts[kind] = 0
        self.epoch = epoch

    def add(self, kind: int, count: int = 1) -> None:
        """Count in the slice that time is in. After `roll`."""
        self._ring[self.epoch % self._slices][kind] += count
        self.totals[kind] += count

    def add_at(self, epoch: int, kind: int, count: int) -> None:
        """Count in an earlier slice, if it is still in the window. After `roll`."""
        if self.epoch - epoch < self._slices:
            self._ring[epoch % self._slices][kind] += count
            self.totals[kind] += count

    def of(self, epoch: int, kind: int) -> int:
        """Return the count of one slice; 0 when it has left the window or is before the first."""
        if epoch < 0 or self.epoch - epoch >= self._slices:
            return 0
        return self._ring[epoch % self._slices][kind]
