"""One thread that writes what many tasks hand over, as few durable transactions.

Whatever waits while a transaction is on its way to the disk goes into the next one, so
that the cost of reaching the disk is shared. Places in the queue are counted before they
are used: who holds one can hand its item over later, without waiting and without failure.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar, final

from ..core.errors import StoreError
from .loop_bridge import LoopHandle, Waiter

__all__ = ("BatchStore", "GroupCommitWriter", "QueueFullError", "StoreDownError")

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class QueueFullError(Exception):
    """Every place in the queue is taken."""


class StoreDownError(Exception):
    """The store has failed, or is closed; nothing is taken until it works again."""


class BatchStore(Protocol[T_contra, R_co]):
    """What the writer writes to. Every method runs in the writer's thread."""

    def open(self) -> None:
        """Open the store, or open it again after a failure.

        Raises:
            StoreError: It can not be opened.
        """

    def write(self, items: Sequence[T_contra], /) -> Sequence[R_co]:
        """Make the items durable in order, all or none, and return a result for each.

        Raises:
            StoreError: They are not durable.
        """
        ...

    def close(self) -> None:
        """Close the store."""


@final
class _Stop:
    """Tells the thread to write what is queued and end."""


_STOP = _Stop()


@final
class GroupCommitWriter(Generic[T, R]):
    """A queue, a thread, and a store.

    When the store fails, items that somebody waits for are given back with
    `StoreDownError`; items that nobody waits for keep their places and are written first
    when the store works again.

    Args:
        store: What is written to.
        max_queued: Places in the queue.
        max_batch: Items in one transaction.
        linger_s: Seconds that items may gather when nobody waits for them.
        retry_wait_s: Seconds between attempts to use a store that has failed.
        on_failure: Told of a failure and how many items are kept for later; runs in the thread.
        on_loss: Told how many items were never written, since the writer ended; runs in any
            thread.
        make_recovery: Makes the item that is written first after a failure.
        name: The thread's name.
    """

    def __init__(
        self,
        store: BatchStore[T, R],
        *,
        max_queued: int,
        max_batch: int,
        linger_s: float,
        retry_wait_s: float,
        on_failure: Callable[[Exception, int], None],
        on_loss: Callable[[int], None],
        make_recovery: Callable[[Exception], T],
        name: str,
    ) -> None:
        self._store = store
        self._max_queued = max_queued
        self._max_batch = max_batch
        self._linger_s = linger_s
        self._hurry = threading.Event()
        # How many places may be taken before nothing is gained by gathering further.
        self._enough = min(max_batch, max_queued // 2)
        self._retry_wait_s = retry_wait_s
        self._on_failure = on_failure
        self._on_loss = on_loss
        self._make_recovery = make_recovery
        self._queue: queue.SimpleQueue[tuple[T, Waiter[R] | None] | _Stop] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._taken = 0
        self._failure: Exception | None = None
        self._is_open = False
        self._stopping = False
        self._is_over = False
        self._ended: list[Waiter[None]] = []
        self._opened: list[Waiter[None]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, opened: Waiter[None] | None = None) -> None:
        """Start the thread, which opens the store; `opened` is told how that went."""
        if opened is not None:
            self._opened.append(opened)
        self._thread.start()

    def reserve(self) -> None:
        """Take a place.

        Raises:
            QueueFullError: There is none.
            StoreDownError: The store has failed, or the writer ends.
        """
        if self._failure is not None or self._stopping:
            raise StoreDownError
        with self._lock:
            if self._taken >= self._max_queued:
                raise QueueFullError
            self._taken += 1

    def release(self) -> None:
        """Give back a place that was not used."""
        with self._lock:
            self._taken -= 1

    def submit(self, item: T, waiter: Waiter[R]) -> None:
        """Take a place and hand the item over at once.

        Raises:
            QueueFullError: There is no place.
            StoreDownError: The store has failed, or the writer ends.
        """
        with self._lock:
            if self._failure is not None or self._stopping:
                raise StoreDownError
            if self._taken >= self._max_queued:
                raise QueueFullError
            self._taken += 1
            self._queue.put((item, waiter))

    def put(self, item: T, waiter: Waiter[R] | None = None) -> None:
        """Hand over an item that has a place; `waiter` is told when it is durable."""
        # Under the lock: an item goes to a thread that will see it, or nowhere.
        with self._lock:
            if not self._is_over:
                self._queue.put((item, waiter))
                if waiter is not None or self._taken >= self._enough:
                    self._hurry.set()
                return
        if waiter is not None:
            _tell([(waiter, None, StoreDownError())])
        else:
            self._on_loss(1)

    def stop(self, ended: Waiter[None] | None = None) -> None:
        """Write what is queued and end; `ended` is told when that is done."""
        with self._lock:
            over = self._is_over or not self._thread.is_alive()
            if ended is not None and not over:
                self._ended.append(ended)
            first, self._stopping = not self._stopping, True
        if first:
            self._queue.put(_STOP)
            self._hurry.set()
        if ended is not None and over:
            ended.settle(None)
            ended.wake()

    def join(self, timeout_s: float) -> None:
        """Wait, blocking, until the thread has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        # Items in hand, oldest first; each one holds a place, but for the recovery's.
        backlog: deque[tuple[T, Waiter[R] | None]] = deque()
        try:
            self._loop(backlog)
        finally:
            self._is_open = False
            with suppress(Exception):
                self._store.close()
            with self._lock:
                self._stopping = self._is_over = True
            # What came in between the last look and now has missed the store.
            with suppress(queue.Empty):
                while True:
                    item = self._queue.get_nowait()
                    if not isinstance(item, _Stop):
                        backlog.append(item)
            self._give_back(backlog)
            lost = len(backlog) - (self._failure is not None)
            if lost > 0:
                with suppress(Exception):
                    self._on_loss(lost)
            with self._lock:
                ended, self._ended = self._ended, []
            _tell([(waiter, None, None) for waiter in (*ended, *self._opened)])

    def _loop(self, backlog: deque[tuple[T, Waiter[R] | None]]) -> None:
        stopping = False
        retry_at = 0.0
        if not self._open(backlog):
            retry_at = time.monotonic() + self._retry_wait_s
        while True:
            timeout_s: float | None = None
            if self._failure is not None:
                timeout_s = max(0.0, retry_at - time.monotonic())
            if backlog and self._failure is None:
                timeout_s = 0.0
            stopping |= self._collect(backlog, 0.0 if stopping else timeout_s)
            if self._failure is not None:
                self._give_back(backlog)
                if not stopping and time.monotonic() < retry_at:
                    continue
            wrote = self._write(backlog)
            if stopping and (not wrote or (not backlog and self._queue.empty())):
                return
            if not wrote:
                retry_at = time.monotonic() + self._retry_wait_s

    def _open(self, backlog: deque[tuple[T, Waiter[R] | None]]) -> bool:
        try:
            self._store.open()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store is not open
            self._failed(error, backlog)
            opened, self._opened = self._opened, []
            if not isinstance(error, StoreError):
                error = StoreError(f"the store could not be opened ({type(error).__name__})")
            _tell([(waiter, None, error) for waiter in opened])
            return False
        self._is_open = True
        opened, self._opened = self._opened, []
        _tell([(waiter, None, None) for waiter in opened])
        return True

    def _collect(self, backlog: deque[tuple[T, Waiter[R] | None]], timeout_s: float | None) -> bool:
        """Move what is queued into the backlog; return whether it is time to end."""
        stopping = False
        try:
            item = self._queue.get(timeout=timeout_s) if timeout_s else self._first(timeout_s)
            if timeout_s is None and self._queue.qsize() < self._max_batch:
                # One wake-up and one transaction for what comes close together: each
                # costs the event loop more than the entry itself.
                self._hurry.wait(self._linger_s)
            self._hurry.clear()
            while True:
                if isinstance(item, _Stop):
                    stopping = True
                else:
                    backlog.append(item)
                if len(backlog) >= self._max_batch and not stopping:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return stopping

    def _first(self, timeout_s: float | None) -> tuple[T, Waiter[R] | None] | _Stop:
        return self._queue.get() if timeout_s is None else self._queue.get_nowait()

    def _write(self, backlog: deque[tuple[T, Waiter[R] | None]]) -> bool:
        """Write one batch; return whether the store works."""
        if not self._is_open and not self._open(backlog):
            return False
        count = min(len(backlog), self._max_batch)
        if not count:
            return True
        batch = [backlog.popleft() for _ in range(count)]
        try:
            results = self._store.write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is durable
            self._is_open = False
            with suppress(Exception):
                self._store.close()
            backlog.extendleft(reversed(batch))
            self._failed(error, backlog)
            return False
        recovered = self._failure is not None
        with self._lock:
            self._taken -= count - recovered
            self._failure = None
        _tell(
            [
                (waiter, results[place], None)
                for place, (_, waiter) in enumerate(batch)
                if waiter is not None
            ]
        )
        return True

    def _failed(self, error: Exception, backlog: deque[tuple[T, Waiter[R] | None]]) -> None:
        first = self._failure is None
        self._failure = self._failure or error
        if first:
            # Told before those who wait are: whoever is refused finds the reason reported.
            kept = sum(waiter is None for _, waiter in backlog)
            with suppress(Exception):
                self._on_failure(error, kept)
        self._give_back(backlog)
        if first:
            backlog.appendleft((self._make_recovery(error), None))

    def _give_back(self, backlog: deque[tuple[T, Waiter[R] | None]]) -> None:
        """Tell those who wait that it failed; keep what nobody waits for."""
        waiting = [waiter for _, waiter in backlog if waiter is not None]
        if not waiting:
            return
        kept = [entry for entry in backlog if entry[1] is None]
        backlog.clear()
        backlog.extend(kept)
        with self._lock:
            self._taken -= len(waiting)
        _tell([(waiter, None, StoreDownError()) for waiter in waiting])


def _tell(outcomes: Sequence[tuple[Waiter[R], R | None, Exception | None]]) -> None:
    """Settle waiters and wake them, with one call into each loop."""
    loops: dict[LoopHandle, list[Waiter[R]]] = {}
    for waiter, result, error in outcomes:
        waiter.settle(result, error)
        loops.setdefault(waiter.loop, []).append(waiter)
    for loop, waiters in loops.items():
        loop.call_soon(_wake_all(waiters))


def _wake_all(waiters: Sequence[Waiter[R]]) -> Callable[[], None]:
    def wake() -> None:
        for waiter in waiters:
            waiter.wake()

    return wake
