"""Writes whole lines to a descriptor: at once where it takes them, else one after another.

A line that was begun is written to its end, whatever becomes of its sender, so that two
lines never run into each other. What waits is bounded. Times are seconds.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import final

import anyio
import anyio.lowlevel

from .streams import FdWriter

__all__ = ("LineWriter",)

_PIECE = 65_536
_AT_ONCE = 16


@final
class _Waiting:
    """A line, or the rest of one, that waits to be written."""

    def __init__(self, data: memoryview, taken: Callable[[], object]) -> None:
        self.data = data
        self.taken = taken
        self.begun = False
        self.over = anyio.Event()


@final
class LineWriter:
    """Takes lines from any number of tasks. `run` must be running.

    Args:
        writer: The descriptor.
        room: How many lines may wait without holding their senders up.
        stall_timeout_s: How long the other side may take nothing of what waits.
    """

    def __init__(
        self, writer: FdWriter, *, room: int = 1, stall_timeout_s: float = math.inf
    ) -> None:
        self._writer = writer
        self._room = room
        self._stall_timeout_s = stall_timeout_s
        self._queue: deque[_Waiting] = deque()
        self._work = anyio.Event()
        self._failure: OSError | None = None
        self._is_over = False
        self._in_a_row = 0

    async def send(self, line: bytes, taken: Callable[[], object] = lambda: None) -> None:
        """Write a line, or leave it to `run`; wait while too many wait already.

        What is sent after the other side has gone is dropped: `run` says so.

        Args:
            line: The line, with its end.
            taken: Is called when its turn comes, before the other side can have it.
        """
        if self._is_over:
            await anyio.lowlevel.checkpoint()
            return
        done = 0
        is_first = not self._queue
        if is_first:
            taken()
            try:
                done = self._writer.try_write(line)
            except OSError as error:
                self._fail(error)
                return
            if done == len(line):
                # Mostly nothing was waited for; the others must get their turn.
                self._in_a_row += 1
                if self._in_a_row >= _AT_ONCE:
                    self._in_a_row = 0
                    await anyio.lowlevel.checkpoint()
                return
        waiting = _Waiting(memoryview(line)[done:], taken)
        waiting.begun = is_first
        self._queue.append(waiting)
        self._work.set()
        if len(self._queue) <= self._room:
            await anyio.lowlevel.checkpoint()
            return
        try:
            await waiting.over.wait()
        finally:
            if not waiting.begun and waiting in self._queue:
                self._queue.remove(waiting)

    async def flushed(self) -> None:
        """Wait until nothing waits any more."""
        while self._queue:
            await self._queue[-1].over.wait()

    async def run(self) -> None:
        """Write what could not be written at once; runs until it is cancelled.

        Raises:
            OSError: The other side is gone.
            TimeoutError: It took nothing for too long.
        """
        try:
            while True:
                await self._work.wait()
                self._work = anyio.Event()
                while self._queue:
                    waiting = self._queue[0]
                    if not waiting.begun:
                        waiting.begun = True
                        waiting.taken()
                    await self._write(waiting.data)
                    self._queue.popleft()
                    waiting.over.set()
                if self._failure is not None:
                    raise self._failure
        finally:
            self._is_over = True
            while self._queue:
                self._queue.popleft().over.set()

    async def _write(self, data: memoryview) -> None:
        # In pieces, so that it is progress that is timed.
        for start in range(0, len(data), _PIECE):
            with anyio.fail_after(
                None if self._stall_timeout_s == math.inf else self._stall_timeout_s
            ):
                await self._writer.write(data[start : start + _PIECE])

    def _fail(self, error: OSError) -> None:
        self._failure = error
        self._is_over = True
        self._work.set()
