"""Reads and writes file descriptors without threads, so that nothing hangs at exit.

A thread that waits in a read can not be called back, and keeps the process from ending.
Here the event loop waits, and what it waits for can be cancelled. For POSIX.
"""

import errno
import fcntl
import os
import select
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import final

import anyio
import anyio.lowlevel

from ...core.errors import ConfigError

__all__ = ("FdReader", "FdWriter", "claimed_standard_streams")

_CHUNK = 65_536
_STDIN = 0
_STDOUT = 1
_STDERR = 2


@final
class FdReader:
    """Reads a pipe, a socket, a terminal or a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._can_wait = True

    async def read(self) -> bytes:
        """Return what there is, at least one byte; nothing at the end."""
        if self._can_wait:
            try:
                await anyio.wait_readable(self._fd)
            except OSError as error:
                # A regular file is always ready, and epoll refuses to say so.
                if error.errno != errno.EPERM:
                    raise
                self._can_wait = False
        if not self._can_wait:
            await anyio.lowlevel.checkpoint()
        # Nobody else reads here: what is ready stays ready, and this does not block.
        return os.read(self._fd, _CHUNK)


@final
class FdWriter:
    """Writes to a pipe, a socket, a terminal or a file, and never blocks the event loop.

    Use it as a context manager: it may hold a descriptor of its own.
    """

    def __init__(self, fd: int) -> None:
        self._own = _reopened(fd)
        self._fd = fd if self._own is None else self._own
        self._can_wait = True

    def __enter__(self) -> "FdWriter":
        """Return the writer."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close what is its own."""
        if self._own is not None:
            os.close(self._own)
            self._own = None

    async def write(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            OSError: The other side is gone.
        """
        rest = memoryview(data)
        while rest:
            if self._own is not None:
                try:
                    rest = rest[os.write(self._fd, rest[:_CHUNK]) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._fd)
                continue
            await self._wait()
            # As much as POSIX promises to take at once when it says that it is ready.
            rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
        await anyio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        if not self._can_wait:
            return
        try:
            await anyio.wait_writable(self._fd)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            self._can_wait = False


def _reopened(fd: int) -> int | None:
    """Return the same pipe, opened once more without blocking; None where that fails.

    The flag belongs to the open file, and the one we were given is shared with other
    processes that do not expect it.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return None
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


@contextmanager
def claimed_standard_streams() -> Generator[tuple[int, int]]:
    """Take standard input and output for the protocol alone, and yield their descriptors.

    Meanwhile reading standard input ends at once and what is printed goes to standard
    error, also in child processes. Both come back at the end.

    Raises:
        ConfigError: One of them is closed.
    """
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    reading = writing = None
    try:
        reading = _divert(_STDIN, os.O_RDONLY)
        writing = _divert(_STDOUT, None)
        yield reading, writing
    finally:
        with suppress(AttributeError, OSError, ValueError):
            sys.stdout.flush()  # to standard error still
        for fd, kept in ((_STDOUT, writing), (_STDIN, reading)):
            if kept is not None:
                os.dup2(kept, fd)
                os.close(kept)


def _divert(fd: int, devnull: int | None) -> int:
    """Return a private copy of a standard stream, and point the stream elsewhere."""
    try:
        # Above the standard ones, and closed in children.
        kept = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    except OSError:
        name = "input" if fd == _STDIN else "output"
        raise ConfigError(f"standard {name} is closed; serve over HTTP instead") from None
    try:
        if devnull is None:
            os.dup2(_STDERR, fd)
        else:
            other = os.open(os.devnull, devnull)
            os.dup2(other, fd)
            os.close(other)
    except OSError:
        # Without standard error: nowhere is better than into the protocol.
        other = os.open(os.devnull, os.O_RDWR)
        os.dup2(other, fd)
        os.close(other)
    return kept
