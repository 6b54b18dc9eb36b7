"""The two ends of a connection as the SDK's stream protocols want them.

A message is read where it is awaited and written where it is sent, in the task that
wants it: nothing is handed from task to task on the way.
"""

from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Self, TypeAlias, final

import anyio
import anyio.lowlevel

try:
    from mcp.shared.message import SessionMessage
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "reading and writing messages") from _missing

from .framing import Line, LineSplitter
from .streams import FdReader

__all__ = ("Item", "LineSource", "ReadEnd", "WriteEnd")

Item: TypeAlias = SessionMessage | Exception


class _End:
    """What can be closed."""

    _closed = False

    def close(self) -> None:
        """Refuse whatever comes from now on."""
        self._closed = True

    async def aclose(self) -> None:
        """See `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the end."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class ReadEnd(_End, ABC):
    """Where messages come from; for one reader."""

    async def receive(self) -> Item:
        """Return the next message.

        Raises:
            EndOfStream: There will be none.
            ClosedResourceError: This end was closed.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        return await self._next()

    def __aiter__(self) -> Self:
        """Return itself: it can be run through once."""
        return self

    async def __anext__(self) -> Item:
        """Return the next message."""
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    @abstractmethod
    async def _next(self) -> Item:
        """Return the next message; raise EndOfStream when there is none."""


class WriteEnd(_End, ABC):
    """Where messages go; for any number of writers."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message, or leave it with whoever writes once there is room.

        Raises:
            ClosedResourceError: This end was closed.
            BrokenResourceError: Nobody is at the other end.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        await self._put(item)

    @abstractmethod
    async def _put(self, item: SessionMessage) -> None:
        """Write the message."""


@final
class LineSource:
    """The lines that a descriptor brings, read as they are asked for.

    Args:
        reader: The descriptor.
        max_bytes: The greatest length of a line, bytes.
        whole_only: Whether it ends as soon as a line is too long, and what follows the
            last newline counts for nothing.
    """

    def __init__(self, reader: FdReader, max_bytes: int, *, whole_only: bool = False) -> None:
        self._reader = reader
        self._whole_only = whole_only
        self._splitter = LineSplitter(max_bytes)
        self._lines: deque[Line] = deque()
        self._ended = False
        self.chunks: int = 0
        """How often something was read."""

    @property
    def overflowing(self) -> bool:
        """Return whether the line that is being read is already too long."""
        return self._splitter.overflowing

    async def next(self) -> Line | None:
        """Return the next line; None at the end.

        Raises:
            OSError: The descriptor can not be read.
        """
        if self._lines:
            # Else whoever sends much at once would have the event loop for itself.
            await anyio.lowlevel.checkpoint()
        while not self._lines:
            if self._ended or (self._whole_only and self.overflowing):
                return None
            chunk = await self._reader.read()
            if chunk:
                self.chunks += 1
                self._lines.extend(self._splitter.feed(chunk))
                continue
            self._ended = True
            if not self._whole_only and (rest := self._splitter.finish()) is not None:
                self._lines.append(rest)
        return None if self._reader.was_ended() else self._lines.popleft()
