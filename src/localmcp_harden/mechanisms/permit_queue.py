"""A bounded number of permits, and a bounded queue for them with priorities.

Synchronous, free of I/O and of `await`, so every step is atomic on an event loop and
needs no lock. It is not for several threads. Every step takes the same time whatever
the number of waiters.

While somebody waits there is no free permit: one that is given back goes to who is
next, in the same step. So nobody is overtaken, and one permit wakes one waiter. A waiter that
is cancelled when it already holds a permit gives it back by `leave`.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import final

from ..protocols.load import BulkheadConfig, BulkheadState, Priority, QueueOrder
from .codel import StandingQueue

__all__ = ("PermitQueue", "Verdict", "Waiter")


class Verdict(Enum):
    """What became of a waiter."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    """It holds a permit."""
    DISPLACED = "displaced"
    """It gave way to a newer one."""
    SHED = "shed"
    """It waited too long while the queue stood."""


@final
class Waiter:
    """One that waits, compared by identity.

    Args:
        priority: How important it is.
        since: When it began to wait.
        wake: Called once, when its verdict is known. Must not raise.
    """

    __slots__ = ("priority", "since", "verdict", "wake")

    def __init__(self, priority: Priority, since: float, wake: Callable[[], object]) -> None:
        self.priority: Priority = priority
        self.since: float = since
        self.wake: Callable[[], object] = wake
        self.verdict: Verdict = Verdict.WAITING


@final
class PermitQueue:
    """The permits and the waiters of one bulkhead.

    `running` and `limit` are read by whoever takes a permit: while `running` is below
    `limit`, adding one to `running` takes a permit.

    Args:
        config: The bounds and the order.
        monotonic: Reads the clock; only while somebody waits.
    """

    __slots__ = (
        "_config",
        "_lanes",
        "_monotonic",
        "_newest_first",
        "_watches",
        "displaced",
        "limit",
        "refused_full",
        "refused_waited",
        "running",
        "shed",
        "waiting",
    )

    def __init__(self, config: BulkheadConfig, monotonic: Callable[[], float]) -> None:
        self.limit: int = config.max_concurrent
        """How many permits there are."""
        self.running: int = 0
        """How many are taken. Above `limit` for a while after the limit went down."""
        self.waiting: int = 0
        self.refused_full: int = 0
        self.refused_waited: int = 0
        self.displaced: int = 0
        self.shed: int = 0
        self._config = config
        self._newest_first = config.order is QueueOrder.ADAPTIVE_LIFO
        self._monotonic = monotonic
        # One queue and one watch a priority: an important call that never waits says
        # nothing about those that starve behind it.
        self._lanes: tuple[OrderedDict[Waiter, None], ...] = tuple(OrderedDict() for _ in Priority)
        self._watches = tuple(
            StandingQueue(config.target_wait_s, config.interval_s) for _ in Priority
        )

    @property
    def state(self) -> BulkheadState:
        """How busy it is."""
        if self.running < self.limit:
            return BulkheadState.FREE
        if self.waiting >= self._config.max_queue or any(each.stands for each in self._watches):
            return BulkheadState.OVERLOADED
        return BulkheadState.BUSY

    def lengths(self) -> tuple[int, ...]:
        """Return how many wait, by priority."""
        return tuple(map(len, self._lanes))

    def join(self, priority: Priority, wake: Callable[[], object]) -> Waiter | None:
        """Return a new waiter, None when there is no room and nobody gives way.

        Only while `running` is not below `limit`.
        """
        if self.waiting >= self._config.max_queue:
            last = self._last_after(priority)
            if last is None:
                self.refused_full += 1
                return None
            self.displaced += 1
            self._end(last, Verdict.DISPLACED)
        waiter = Waiter(priority, self._monotonic(), wake)
        self._lanes[priority][waiter] = None
        self.waiting += 1
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting; a permit that the waiter already holds goes to the next."""
        if waiter.verdict is Verdict.ADMITTED:
            self.give_back()
        elif waiter.verdict is Verdict.WAITING:
            self._remove(waiter)

    def give_back(self) -> None:
        """Give a permit back."""
        self.running -= 1
        if self.waiting:
            self.admit()

    def admit(self) -> None:
        """Hand free permits to who is next. To be called when there may be one."""
        while self.waiting and self.running < self.limit:
            waiter = self._next()
            if waiter is not None:
                self.running += 1
                self._end(waiter, Verdict.ADMITTED)

    def set_limit(self, limit: int) -> None:
        """Have more or fewer permits; those that are taken stay taken."""
        self.limit = limit
        self.admit()

    def configure(self, config: BulkheadConfig) -> None:
        """Take other bounds and another order; who waits keeps its place."""
        self._config = config
        self._newest_first = config.order is QueueOrder.ADAPTIVE_LIFO
        for watch in self._watches:
            watch.target_s = config.target_wait_s
            watch.interval_s = config.interval_s

    def _next(self) -> Waiter | None:
        """Return who is next, or None having turned one away that waited too long."""
        priority = self._first_lane()
        lane, watch = self._lanes[priority], self._watches[priority]
        oldest = next(iter(lane))
        now = self._monotonic()
        stands = watch.see(now - oldest.since, now)
        if self._config.codel and watch.is_late(now - oldest.since):
            self.shed += 1
            self._end(oldest, Verdict.SHED)
            return None
        return next(reversed(lane)) if stands and self._newest_first else oldest

    def _first_lane(self) -> int:
        return next(index for index, lane in enumerate(self._lanes) if lane)

    def _last_after(self, priority: Priority) -> Waiter | None:
        """Return who would be let in last, if that is after a newcomer of this priority."""
        for index in range(len(self._lanes) - 1, priority - 1, -1):
            lane = self._lanes[index]
            if not lane:
                continue
            if self._newest_first and self._watches[index].stands:
                return next(iter(lane))
            # The newcomer would be behind all of its own priority.
            return next(reversed(lane)) if index > priority else None
        return None

    def _end(self, waiter: Waiter, verdict: Verdict) -> None:
        self._remove(waiter)
        waiter.verdict = verdict
        waiter.wake()

    def _remove(self, waiter: Waiter) -> None:
        lane = self._lanes[waiter.priority]
        del lane[waiter]
        self.waiting -= 1
        if not lane:
            self._watches[waiter.priority].empty()
