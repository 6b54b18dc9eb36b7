"""A clock that stands still until it is told to move."""

import heapq
import itertools
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import anyio.lowlevel

from ..core.ports import TimeoutScope

__all__ = ("FakeClock",)


class FakeClock:
    """Time in a test's hands, for asyncio and trio.

    Sleepers wake and deadlines fall only in `advance`, in the order of their times.

    Args:
        autojump: Whether a sleeper moves time itself instead of waiting for
            `advance`: right for code that runs alone, wrong for two tasks that race.
    """

    def __init__(self, *, autojump: bool = False) -> None:
        self.slept_s: list[float] = []
        """Every wait that was asked for, in order."""
        self._autojump = autojump
        self._now = 1_000.0
        self._epoch = 1_800_000_000.0 - self._now
        self._order = itertools.count()
        self._due: list[tuple[float, int, anyio.Event | anyio.CancelScope]] = []

    def monotonic(self) -> float:
        """Return the time of the test."""
        return self._now

    def wall(self) -> float:
        """Return the time of the test as seconds since the Unix epoch."""
        return self._now + self._epoch

    async def sleep(self, seconds: float, /) -> None:
        """Wait until `advance` has passed `seconds`, or jump there when `autojump`."""
        self.slept_s.append(seconds)
        if self._autojump:
            self.advance(max(0.0, seconds))
            await anyio.lowlevel.checkpoint()
            return
        wake = anyio.Event()
        self._schedule(seconds, wake)
        await wake.wait()

    @contextmanager
    def cut_after(self, seconds: float, /) -> Generator[TimeoutScope]:
        """Cancel the body when `advance` passes `seconds`."""
        with anyio.CancelScope() as scope:
            entry = self._schedule(seconds, scope)
            try:
                yield scope
            finally:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)

    def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers and ending scopes that fall due.

        Raises:
            ValueError: `seconds` is negative; `step_wall` is for clocks that jump.
        """
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back: seconds must not be negative")
        target = self._now + seconds
        while self._due and self._due[0][0] <= target:
            when, _, waiting = heapq.heappop(self._due)
            self._now = max(self._now, when)
            if isinstance(waiting, anyio.Event):
                waiting.set()
            else:
                waiting.cancel()
        self._now = target

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock by `seconds`, as NTP or an operator would; monotonic stays."""
        self._epoch += seconds

    def _schedule(
        self, seconds: float, waiting: anyio.Event | anyio.CancelScope
    ) -> tuple[float, int, anyio.Event | anyio.CancelScope]:
        entry = (self._now + seconds, next(self._order), waiting)
        heapq.heappush(self._due, entry)
        if seconds <= 0:
            self.advance(0.0)
        return entry
