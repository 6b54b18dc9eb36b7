"""Cuts a stream of bytes into lines: linear time, bounded memory, whatever is sent."""

from typing import NamedTuple, final

__all__ = ("HEAD_BYTES", "TAIL_BYTES", "Line", "LineSplitter")

HEAD_BYTES = 4096
"""How much of the beginning of a line that is too long is kept."""

TAIL_BYTES = 256
"""How much of its end is kept."""


class Line(NamedTuple):
    """A line without its newline; one that was too long as its first and last bytes."""

    data: bytes
    tail: bytes = b""
    too_long: bool = False


@final
class LineSplitter:
    """Gathers chunks until a newline comes.

    Of a line beyond the bound only head and tail are kept, and it is handed out, as
    too long, when its newline comes. `overflowing` tells earlier.

    Args:
        max_bytes: The greatest length of a line, bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        self._tail = b""

    @property
    def overflowing(self) -> bool:
        """Return whether the line that is being read is already too long."""
        return self._head is not None

    def feed(self, chunk: bytes) -> list[Line]:
        """Take what was read and return the lines that it completes."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        lines: list[Line] = []
        for part in others:
            lines.append(self._take())
            self._add(part)
        return lines

    def finish(self) -> Line | None:
        """Return what stands behind the last newline, None when nothing does."""
        return self._take() if self._size else None

    def _add(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._head is not None:
            self._tail = (self._tail + part[-TAIL_BYTES:])[-TAIL_BYTES:]
            return
        self._parts.append(part)
        if self._size > self._max_bytes:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._head, self._tail = whole[:HEAD_BYTES], whole[-TAIL_BYTES:]

    def _take(self) -> Line:
        if self._head is not None:
            line = Line(self._head, self._tail, too_long=True)
        else:
            line = Line(b"".join(self._parts))
        self._parts.clear()
        self._size, self._head, self._tail = 0, None, b""
        return line
