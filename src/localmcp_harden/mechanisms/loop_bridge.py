"""Hands results from a thread to tasks of asyncio or trio, without polling and without blocking.

The thread never waits for the loop: an event loop that is busy, or has ended, holds no
writer up.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, final

import anyio
import anyio.lowlevel

__all__ = ("LoopCache", "LoopHandle", "Waiter", "current_loop")

R = TypeVar("R")


@final
class LoopHandle:
    """A running event loop, seen from another thread. Equal for the same loop."""

    def __init__(self, native: object) -> None:
        self.native: object = native
        # asyncio and trio have the same thing under two names.
        soon = getattr(native, "call_soon_threadsafe", None)
        self._soon: Callable[..., Any] = soon or cast("Any", native).run_sync_soon
        self.is_asyncio: bool = soon is not None

    def call_soon(self, function: Callable[[], object]) -> bool:
        """Run `function` in the loop, soon; return False when the loop has ended."""
        try:
            self._soon(function)
        except RuntimeError:
            # asyncio: the loop is closed; trio: RunFinishedError is a RuntimeError.
            return False
        return True

    def make_waiter(self) -> "Waiter[Any]":
        """Return a fresh waiter of this loop; to be called in the loop."""
        return Waiter(self)

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same loop."""
        return isinstance(other, LoopHandle) and self.native is other.native

    def __hash__(self) -> int:
        """Hash by the loop's identity."""
        return id(self.native)


@final
class LoopCache:
    """Finds the loop that runs, and remembers the last one it found."""

    def __init__(self) -> None:
        self._last: LoopHandle | None = None

    def current(self) -> LoopHandle | None:
        """Do what `current_loop` does, ten times as fast on asyncio."""
        try:
            # A task, not only a loop: trio may run as a guest of asyncio, outside its tasks.
            native = None if asyncio.current_task() is None else asyncio.get_running_loop()
        except RuntimeError:
            native = None
        last = self._last
        if native is None or last is None or last.native is not native:
            last = self._last = current_loop()
        return last


def current_loop() -> LoopHandle | None:
    """Return the loop that runs in this thread, None when there is none."""
    try:
        token = anyio.lowlevel.current_token()
    except (RuntimeError, LookupError):
        # anyio names it NoEventLoopError, a RuntimeError.
        return None
    return LoopHandle(token.native_token)


@final
class Waiter(Generic[R]):
    """One task's wait for one result.

    On asyncio it is a bare future, which costs a third of an event; elsewhere an event.
    """

    __slots__ = ("_error", "_event", "_future", "_result", "loop")

    def __init__(self, loop: LoopHandle) -> None:
        self.loop: LoopHandle = loop
        self._future: asyncio.Future[None] | None
        # `settle` comes before `wake`, so that no outcome is read before it is there.
        self._result: R | None
        self._error: Exception | None
        if loop.is_asyncio:
            self._future = cast("asyncio.AbstractEventLoop", loop.native).create_future()
        else:
            self._future = None
            self._event: anyio.Event = anyio.Event()

    def settle(self, result: R | None, error: Exception | None = None) -> None:
        """Take the outcome; from any thread, once, before `wake`."""
        self._result = result
        self._error = error

    def wake(self) -> None:
        """Let the task go on; to be called in the loop."""
        if self._future is None:
            self._event.set()
        elif not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> R:
        """Wait for the outcome and return it, or raise it."""
        if self._future is None:
            await self._event.wait()
        else:
            await self._future
        if self._error is not None:
            raise self._error
        return cast("R", self._result)
