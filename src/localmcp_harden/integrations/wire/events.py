"""Cuts a stream of bytes into server-sent events: linear time, bounded memory.

The format is that of the HTML standard, section 9.2 (server-sent events).
"""

from typing import NamedTuple, final

from ...core.errors import InputTooLargeError
from .framing import LineSplitter

__all__ = ("EventSplitter", "ServerEvent")

_MAX_ID = 1_024
_MAX_RETRY_DIGITS = 9


class ServerEvent(NamedTuple):
    """One event; `data` is empty where it only gives an id or a time to wait."""

    data: bytes
    event: bytes
    id: bytes | None
    retry_s: float | None


@final
class EventSplitter:
    """Gathers chunks until an event is whole.

    Args:
        max_bytes: The greatest size of an event with all its fields, and of a line.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines = LineSplitter(max_bytes)
        self._after_return = False
        self._is_first = True
        self._size = 0
        self._data: list[bytes] = []
        self._event = b""
        self._id: bytes | None = None
        self._retry_s: float | None = None
        self._has_fields = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take what was read and return the events that it completes.

        Raises:
            InputTooLargeError: An event passes the bound; nothing can be read after it.
        """
        events: list[ServerEvent] = []
        for line in self._lines.feed(self._with_newlines(chunk)):
            if line.too_long:
                raise self._too_large()
            if self._is_first:
                self._is_first = False
                data = line.data.removeprefix(b"\xef\xbb\xbf")
            else:
                data = line.data
            if data:
                self._take(data)
            elif self._has_fields:
                events.append(self._complete())
        if self._lines.overflowing:
            raise self._too_large()
        return events

    def _with_newlines(self, chunk: bytes) -> bytes:
        """Write every end of a line as a newline, also where a chunk ends within one."""
        if self._after_return and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        if b"\r" in chunk:
            self._after_return = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        # A comment (no name) keeps the connection alive and counts for nothing.
        if name == b"data":
            self._size += len(line)
            if self._size > self._max_bytes or len(self._data) > self._max_bytes // 8:
                raise self._too_large()
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if len(value) <= _MAX_ID and value.isascii() and value.decode("ascii").isprintable():
                self._id = value
        elif name == b"retry":
            if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                self._retry_s = int(value) / 1_000
        else:
            return
        self._has_fields = True

    def _complete(self) -> ServerEvent:
        done = ServerEvent(b"\n".join(self._data), self._event, self._id, self._retry_s)
        self._data.clear()
        self._size, self._event, self._id, self._retry_s = 0, b"", None, None
        self._has_fields = False
        return done

    def _too_large(self) -> InputTooLargeError:
        return InputTooLargeError(f"an event has more than {self._max_bytes} bytes")
