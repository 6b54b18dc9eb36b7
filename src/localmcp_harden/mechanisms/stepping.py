"""Runs a coroutine that does not wait, and halts one where its body is to run.

`run_sync` is for coroutines of blocks round a synchronous function. `Halted` turns a
block's `execute(operation)` inside out: the coroutine goes on to where it would run the
operation, the caller's own code runs instead, and then the coroutine ends with its
outcome. All of it happens in one task, so cancel scopes and context variables hold.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, final

from ..core.errors import ConfigError

__all__ = ("Halted", "run_sync")

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits to its end.

    Raises:
        ConfigError: It waited; it was closed.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise ConfigError(
        "a part waits for an event loop, and a synchronous function has none; "
        "give every part the SyncClock, or run the function in a thread"
    )


class _Here:
    """What is yielded where the body is to run; no event loop ever sees it."""

    def __await__(self) -> Generator["_Here", None, None]:
        yield self


@final
class Halted:
    """A coroutine that halts where its operation is to run.

    Args:
        execute: Makes a coroutine that runs the operation it is given once.
    """

    __slots__ = ("_coroutine", "_here")

    def __init__(
        self, execute: Callable[[Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]
    ) -> None:
        self._here = _Here()
        self._coroutine = execute(self._operation)

    async def _operation(self) -> None:
        await self._here

    async def begin(self) -> None:
        """Go on to where the body is to run.

        Raises:
            ConfigError: The coroutine ended before; the body must not run.
            Exception: What the coroutine refuses with.
        """
        if not await _Steps(self._coroutine, self._here, None):
            raise ConfigError("a part answered in place of the body; leave its fallback out")

    async def end(self, error: BaseException | None) -> None:
        """Go on from where the body has run.

        Args:
            error: What the body raised.

        Raises:
            ConfigError: The coroutine would have run the body again.
            BaseException: What the coroutine makes of the error.
        """
        if await _Steps(self._coroutine, self._here, error):
            self._coroutine.close()
            raise ConfigError("a part would run the body again, which runs once; leave it out")


@final
class _Steps:
    """Takes a coroutine on, passing its waits to the event loop; True when it has halted."""

    __slots__ = ("_coroutine", "_error", "_here")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], here: _Here, error: BaseException | None
    ) -> None:
        self._coroutine = coroutine
        self._here = here
        self._error = error

    def __await__(self) -> Generator[Any, Any, bool]:
        coroutine, error = self._coroutine, self._error
        sent: Any = None
        while True:
            try:
                waits = coroutine.send(sent) if error is None else coroutine.throw(error)
            except StopIteration:
                return False
            if waits is self._here:
                return True
            error = None
            try:
                sent = yield waits
            except BaseException as thrown:  # noqa: BLE001 - it is the coroutine's to handle
                error = thrown
