"""Opens something with its first user and closes it with its last."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, final

import anyio

__all__ = ("SharedUse", "lifespan_around")

ServerT = TypeVar("ServerT")
StateT = TypeVar("StateT")


@final
class SharedUse:
    """Counts users; opening and closing never overlap.

    Args:
        start: Opens it.
        end: Closes it.
    """

    def __init__(
        self, start: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]]
    ) -> None:
        self._start = start
        self._end = end
        self._users = 0
        self._changing: anyio.Lock | None = None
        self.is_open: bool = False
        """Whether anybody uses it."""

    async def join(self) -> None:
        """Begin to use it; what `start` raises is raised, and nothing has begun then."""
        if self._changing is None:
            # Made here and not in the constructor: it belongs to the loop that runs now.
            self._changing = anyio.Lock()
        async with self._changing:
            if self._users == 0:
                await self._start()
            self._users += 1
            self.is_open = True

    async def leave(self, *, everybody: bool = False) -> None:
        """Stop using it, or let everybody stop; without a user it does nothing."""
        lock = self._changing
        if lock is None or self._users == 0:
            return
        # Shielded: a cancelled server must not lose what its audit log has queued.
        with anyio.CancelScope(shield=True):
            async with lock:
                self._users = 0 if everybody else self._users - 1
                self.is_open = self._users > 0
                if self._users == 0:
                    await self._end()
        if self._users == 0 and not lock.statistics().tasks_waiting:
            self._changing = None


def lifespan_around(
    shared: AbstractAsyncContextManager[Any],
    host: Callable[[ServerT], AbstractAsyncContextManager[StateT]] | None,
) -> Callable[[ServerT], AbstractAsyncContextManager[StateT | dict[str, Any]]]:
    """Return a lifespan that uses something while a host's own lifespan runs.

    Args:
        shared: What is used.
        host: The host's lifespan, None for none; what it yields is what handlers see.
    """

    @asynccontextmanager
    async def lifespan(server: ServerT) -> AsyncGenerator[StateT | dict[str, Any]]:
        async with shared:
            if host is None:
                yield {}
            else:
                async with host(server) as state:
                    yield state

    return lifespan
