"""The clock of code without an event loop: it waits by blocking its thread."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn, final

from ..core.errors import ConfigError
from ..core.ports import TimeoutScope

__all__ = ("SyncClock",)


@final
class SyncClock:
    """A `Clock` whose `sleep` blocks, for synchronous functions; it cuts nothing off."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic
        """Return the system's monotonic time."""
        self.wall: Callable[[], float] = time.time
        """Return seconds since the Unix epoch."""

    async def sleep(self, seconds: float, /) -> None:
        """Block the thread for `seconds`, without a turn of any event loop."""
        time.sleep(max(0.0, seconds))  # noqa: ASYNC251 - there is no event loop

    def cut_after(self, seconds: float, /) -> AbstractContextManager[TimeoutScope]:
        """Refuse: nothing can be cut off that does not wait in an event loop.

        Raises:
            ConfigError: Always.
        """
        return _refuse(seconds)


def _refuse(seconds: float) -> NoReturn:
    raise ConfigError(
        f"nothing can be cut off after {seconds:g} seconds without an event loop; "
        "leave deadlines and timeouts out, or run the function in a thread"
    )
