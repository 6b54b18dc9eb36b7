"""A bounded queue of records and the one thread that writes them as lines.

Whoever logs only appends to the queue. Encoding and writing happen in a daemon
thread, which alone feels a full disk or a reader that does not read. When the queue
fills, quiet levels are dropped first, and every lost line is counted by level.

The thread starts with the first line and does not survive a fork.
"""

import atexit
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, final

from attrs import frozen

from ..protocols.observability import LogLevel
from .line_targets import LineTarget

__all__ = ("Entry", "LineSink", "LineSinkLimits", "LossCounter")

Entry: TypeAlias = tuple[Any, ...]
"""A record on its way; its first part is the level."""

_SHARES = {LogLevel.DEBUG: 0.5, LogLevel.INFO: 0.75, LogLevel.WARNING: 0.9}
_MAX_BATCH_LINES = 512
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


@final
@frozen(kw_only=True)
class LineSinkLimits:
    """How much may wait, and for how long; see `LoggingConfig`."""

    max_queued_lines: int
    linger_s: float
    close_timeout_s: float


@final
class LossCounter:
    """Counts lost lines by level; shared by a service's sinks, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost: dict[LogLevel, int] = {}
        self.last_error: str = ""
        """The type of the error that lost the last lines, or `QueueFull`."""
        self.unreported: int = 0
        """Lines lost since somebody was told."""

    def add(self, level: int, cause: str, count: int = 1) -> None:
        """Count lost lines under the level of the standard set that `level` reaches."""
        known = _standard(level)
        with self._lock:
            self._lost[known] = self._lost.get(known, 0) + count
            self.unreported += count
            self.last_error = cause

    def take_unreported(self) -> tuple[int, str]:
        """Return how many lines were lost since the last time, and why the last one was."""
        with self._lock:
            count, self.unreported = self.unreported, 0
            return count, self.last_error

    def snapshot(self) -> dict[LogLevel, int]:
        """Return the counts by level."""
        with self._lock:
            return dict(self._lost)


@final
class LineSink:
    """The queue, the thread, and what it does when the target fails.

    Args:
        target: Where bytes go.
        encode: Makes one line of one record, its line end included; never raises.
        limits: How much may wait.
        losses: Where lost lines are counted.
    """

    def __init__(
        self,
        target: LineTarget,
        encode: Callable[[Entry], bytes],
        limits: LineSinkLimits,
        losses: LossCounter,
    ) -> None:
        self._target = target
        self._encode = encode
        self._limits = limits
        self._losses = losses
        self._queue: deque[Entry | threading.Event] = deque()
        self._room = {
            level: int(limits.max_queued_lines * _SHARES.get(level, 1.0)) for level in LogLevel
        }
        self._least_room = min(self._room.values())
        self._wake = threading.Event()
        # Cuts short a wait of the thread: for more lines, or for a target to recover.
        self._hurry = threading.Event()
        self._awake = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._in_hand: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """Let a record wait for the thread, or drop it when there is no room for its level."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._least_room and waiting >= self._room_for(entry[0]):
            self._losses.add(entry[0], "QueueFull")
            return
        if self._stopping:
            self._losses.add(entry[0], "Closed")
            return
        # Append first, then look: the thread clears `_awake` first, then takes lines.
        # So either it takes this one, or it is woken for it.
        queue.append(entry)
        if not self._awake:
            self._awake = True
            if self._thread is None:
                self._start()
            self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is written or lost; False when time runs out."""
        if self._thread is None or self._stopping:
            return not self._queue
        reached = threading.Event()
        self._queue.append(reached)
        self._hurry.set()
        self._wake.set()
        return reached.wait(timeout_s)

    def request_stop(self) -> None:
        """Take no more lines; the thread writes what waits and ends. Waits for nothing."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()

    def close(self) -> None:
        """Write what waits for up to `close_timeout_s`, count the rest as lost, and stop."""
        self.request_stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._limits.close_timeout_s)
            if thread.is_alive():
                # It hangs in the target with these; nobody will see them in time.
                for entry in self._in_hand:
                    self._lose(entry, "Closed")
        with contextlib.suppress(IndexError):
            while True:
                self._lose(self._queue.popleft(), "Closed")
        atexit.unregister(self.close)

    def _room_for(self, level: int) -> int:
        return self._room.get(_standard(level), 0)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="localmcp-harden-log", daemon=True
                )
                # A daemon thread dies with the interpreter, so what waits is written before.
                atexit.register(self.close)
                self._thread.start()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._wake.wait()
            if self._limits.linger_s and not self._hurry.is_set():
                self._hurry.wait(self._limits.linger_s)
            self._wake.clear()
            self._awake = False
            while self._queue:
                if self._write_batch():
                    pause_s = _FIRST_PAUSE_S
                    continue
                # The target fails: let it rest, and let the queue decide what is lost.
                self._hurry.clear()
                if not self._stopping:
                    self._hurry.wait(pause_s)
                    pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            if self._stopping:
                break
            self._hurry.clear()
        self._target.close()
        atexit.unregister(self.close)

    def _write_batch(self) -> bool:
        entries: list[Entry] = []
        reached: list[threading.Event] = []
        while self._queue and len(entries) < _MAX_BATCH_LINES and not reached:
            try:
                item = self._queue.popleft()
            except IndexError:
                break
            if isinstance(item, threading.Event):
                reached.append(item)
            else:
                entries.append(item)
        written = not entries or self._write(entries)
        for event in reached:
            event.set()
        return written

    def _write(self, entries: list[Entry]) -> bool:
        lines = [self._encode(entry) for entry in entries]
        self._in_hand = entries
        try:
            self._target.write(b"".join(lines))
        except Exception as error:  # noqa: BLE001 - whatever a target raises, the thread lives
            end = 0
            for entry, line in zip(entries, lines, strict=True):
                end += len(line)
                if end > self._target.written:
                    self._lose(entry, type(error).__name__)
            return False
        finally:
            self._in_hand = []
        return True

    def _lose(self, item: Entry | threading.Event, cause: str) -> None:
        if isinstance(item, threading.Event):
            item.set()
        else:
            self._losses.add(item[0], cause)


def _standard(level: int) -> LogLevel:
    """Return the highest of the five levels that `level` reaches."""
    return LogLevel(min(50, max(10, level // 10 * 10)))
