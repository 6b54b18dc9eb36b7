"""A clock whose wall time can be set, as NTP or an operator would; for exercises and tests."""

from contextlib import AbstractContextManager
from typing import final

from ..core.ports import Clock, TimeoutScope
from ..mechanisms.clock import SystemClock

__all__ = ("SteppedClock",)


@final
class SteppedClock:
    """A `Clock` whose wall time is another clock's and some seconds.

    Monotonic time, waiting and cutting off are the other clock's and are never touched.

    Args:
        clock: The other clock.
    """

    __slots__ = ("_clock", "_offset_s")

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._offset_s = 0.0

    def monotonic(self) -> float:
        """Return the other clock's monotonic time."""
        return self._clock.monotonic()

    def wall(self) -> float:
        """Return the other clock's wall time, as far off as it was stepped."""
        return self._clock.wall() + self._offset_s

    async def sleep(self, seconds: float, /) -> None:
        """Wait for `seconds`."""
        await self._clock.sleep(seconds)

    def cut_after(self, seconds: float, /) -> AbstractContextManager[TimeoutScope]:
        """Return a context that cancels its body after `seconds`."""
        return self._clock.cut_after(seconds)

    def step_wall(self, seconds: float, /) -> None:
        """Set the wall time forward, or back when `seconds` is negative."""
        self._offset_s += seconds

    def set_right(self) -> None:
        """Take all steps back."""
        self._offset_s = 0.0
