"""Where lines go: standard error, a file, or a stream of the host.

Only the sink's thread comes here.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol, TextIO, final

__all__ = ("ByteStream", "FileTarget", "LineTarget", "StderrTarget", "StreamTarget")

_RETRY_S = 0.01
_LINE_END = ord("\n")


class ByteStream(Protocol):
    """What a host hands over to be written to: a binary file, a socket's file, `io.BytesIO`."""

    def write(self, data: bytes, /) -> Any:
        """Write bytes."""
        ...

    def flush(self) -> Any:
        """Hand on what is buffered."""
        ...


class LineTarget(Protocol):
    """Takes whole lines. May block and may raise: the sink's thread bears both."""

    @property
    def written(self) -> int:
        """How many bytes of the last `write` went out, when it raised."""
        ...

    def write(self, data: bytes, /) -> None:
        """Write whole lines."""
        ...

    def close(self) -> None:
        """Let go of what this target opened itself. Never raises."""
        ...


@final
class StderrTarget:
    """Standard error, as it is at the moment of writing.

    Goes to the file descriptor where there is one: a thread that hangs in a buffered
    writer at exit takes the interpreter down with it.
    """

    def __init__(self) -> None:
        self._appender = _Appender()

    @property
    def written(self) -> int:
        """How many bytes of the last write went out."""
        return self._appender.written

    def write(self, data: bytes, /) -> None:
        """Write to the descriptor of `sys.stderr`, or to the object that stands for it."""
        self._appender.written = 0
        stream: TextIO | None = sys.stderr
        if stream is None:
            raise OSError("there is no standard error")
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError, AttributeError):
            stream.write(data.decode())
            stream.flush()
            return
        self._appender.append(descriptor, data)

    def close(self) -> None:
        """Leave standard error open: it is the host's."""


@final
class FileTarget:
    """A file that lines are appended to; made with mode 0600, opened at the first line.

    Args:
        path: The file. Several processes may append to the same one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._appender = _Appender()

    @property
    def written(self) -> int:
        """How many bytes of the last write went out."""
        return self._appender.written

    def write(self, data: bytes, /) -> None:
        """Append lines."""
        self._appender.written = 0
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self._path, flags, 0o600)
        self._appender.append(self._descriptor, data)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


@final
class StreamTarget:
    """A binary stream of the host, which stays the host's to close."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    @property
    def written(self) -> int:
        """Nothing is known of how much a failed stream took."""
        return 0

    def write(self, data: bytes, /) -> None:
        """Write and flush."""
        self._stream.write(data)
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open."""


@final
class _Appender:
    """Writes all of a batch to a descriptor, and mends a line that a failure tore."""

    def __init__(self) -> None:
        self.written = 0
        self._torn = False

    def append(self, descriptor: int, data: bytes) -> None:
        mend = b"\n" if self._torn else b""
        rest = memoryview(mend + data)
        self.written = -len(mend)
        while rest:
            try:
                count = os.write(descriptor, rest)
            except BlockingIOError:
                # Somebody made the descriptor non-blocking; here waiting is right.
                time.sleep(_RETRY_S)
                continue
            self.written += count
            self._torn = rest[count - 1] != _LINE_END
            rest = rest[count:]
