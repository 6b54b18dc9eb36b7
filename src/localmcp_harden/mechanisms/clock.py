"""The real clock: monotonic and wall time of the system, waiting by anyio.

Works on asyncio and trio alike.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import anyio

from ..core.ports import TimeoutScope
from .timers import CutScope, LoopTimers

__all__ = ("SystemClock",)


class SystemClock:
    """Time as the machine tells it."""

    def __init__(self) -> None:
        self._timers = LoopTimers()
        # The system's functions themselves: a method around one costs more than it does,
        # and every call through a chain asks a dozen times.
        self.monotonic: Callable[[], float] = time.monotonic
        """Return the system's monotonic time."""
        self.wall: Callable[[], float] = time.time
        """Return seconds since the Unix epoch."""

    async def sleep(self, seconds: float, /) -> None:
        """Wait for `seconds`."""
        await anyio.sleep(max(0.0, seconds))

    def cut_after(self, seconds: float, /) -> AbstractContextManager[TimeoutScope]:
        """Return a cancel scope that ends after `seconds`.

        On asyncio the scopes of a loop share one timer, and `anyio.current_effective_deadline`
        does not know of them.
        """
        timer = self._timers.current()
        if timer is None:
            return anyio.CancelScope(deadline=anyio.current_time() + max(0.0, seconds))
        return CutScope(timer, seconds)
