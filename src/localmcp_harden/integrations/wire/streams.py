"""Reads and writes file descriptors without threads, so that nothing hangs at exit.

A thread that waits in a read can not be called back, and keeps the process from ending.
Here the event loop waits, and what it waits for can be cancelled. For POSIX.
"""

import errno
import fcntl
import os
import select
import socket
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
        self._was_ended = False

    async def read(self) -> bytes:
        """Return what there is, at least one byte; nothing at the end, or after `end`."""
        if self.was_ended():
            return b""
        if self._can_wait:
            try:
                await anyio.wait_readable(self._fd)
            except anyio.ClosedResourceError:
                return b""
            except OSError as error:
                # A regular file is always ready, and epoll refuses to say so.
                if error.errno != errno.EPERM:
                    raise
                self._can_wait = False
        if not self._can_wait:
            await anyio.lowlevel.checkpoint()
        # Nobody else reads here: what is ready stays ready, and this does not block.
        return b"" if self.was_ended() else os.read(self._fd, _CHUNK)

    def was_ended(self) -> bool:
        """Return whether `end` was called."""
        return self._was_ended

    def end(self) -> None:
        """Read no more, and wake whoever waits in `read`."""
        if not self._was_ended:
            self._was_ended = True
            anyio.notify_closing(self._fd)


@final
class FdWriter:
    """Writes to a pipe, a socket, a terminal or a file, and never blocks the event loop.

    Use it as a context manager: it may hold a descriptor of its own.

    Args:
        fd: The descriptor.
        owned: Whether it is a pipe of our own making that nobody shares: it is closed
            at the end.
    """

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        if owned:
            os.set_blocking(fd, False)
        self._own = fd if owned else _reopened(fd)
        self._fd = fd if self._own is None else self._own
        self._can_wait = True
        self._socket = None if owned else _as_socket(fd)
        self._was_ended = False

    def __enter__(self) -> "FdWriter":
        """Return the writer."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close what is its own."""
        if self._own is not None:
            os.close(self._own)
            self._own = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def end(self) -> None:
        """Close what is its own, and wake whoever waits in `write`."""
        if not self._was_ended:
            self._was_ended = True
            anyio.notify_closing(self._fd)
            self.__exit__()

    def try_write(self, data: bytes | memoryview) -> int:
        """Write what is taken without waiting, and return how many bytes that was.

        Zero, too, where it can not be known whether a write would wait.

        Raises:
            OSError: The other side is gone, or this one was ended.
        """
        self._require_open()
        try:
            if self._own is not None:
                return os.write(self._own, data)
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        return 0

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`.

        Raises:
            OSError: The other side is gone.
        """
        rest = memoryview(data)
        while rest:
            self._require_open()
            if self._own is not None or self._socket is not None:
                if (taken := self.try_write(rest[:_CHUNK])) == 0:
                    await self._wait()
                rest = rest[taken:]
                continue
            await self._wait()
            self._require_open()
            # As much as POSIX promises to take at once when it says that it is ready.
            rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
        await anyio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        if not self._can_wait:
            return
        try:
            await anyio.wait_writable(self._fd)
        except anyio.ClosedResourceError:
            self._require_open()
            raise
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            self._can_wait = False

    def _require_open(self) -> None:
        # The number may be another file's by now.
        if self._was_ended:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


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


def _as_socket(fd: int) -> socket.socket | None:
    """Return a socket as one, so that a single write can be told not to wait."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        return socket.socket(fileno=os.dup(fd))
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
