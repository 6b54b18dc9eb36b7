"""Bounds how many calls run at once, how many wait, and for how long.

All times are seconds. Who waits is let in by priority, then in the queue's order; a
permit that is given back goes to the next waiter in the same step. See
`mechanisms.permit_queue` for the queue, `mechanisms.codel` for when it stands, and
`mechanisms.concurrency_limits` for a limit that moves, each with its source.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

import anyio

from ..core.errors import BulkheadFullError, OverloadedError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.concurrency_limits import LimitFinder
from ..mechanisms.exception_groups import leaves
from ..mechanisms.permit_queue import PermitQueue, Verdict
from ..mechanisms.reporter import Reporter
from ..protocols.load import (
    AdaptiveLimitConfig,
    BulkheadConfig,
    BulkheadSnapshot,
    BulkheadState,
    Priority,
)

__all__ = ("QueueBulkhead",)

T = TypeVar("T")

_FULL = "too many calls run and wait; try again later"
_DISPLACED = "the call gave way to another one in a full queue; try again later"
_SHED = "the call waited too long in a queue that does not drain; try again later"


@final
class QueueBulkhead:
    """The default `Bulkhead`: in memory, one queue for each priority.

    Belongs to one event loop. While a permit is free, taking it neither waits nor
    reads the clock. A predicate that raises is reported as `GuardFailed`, and changes
    neither the call's result nor the limit.

    Args:
        config: The bounds.
        name: How events call this bulkhead.
        clock: Time.
        sink: Told when a predicate raises; the record tells of every refused call.
    """

    __slots__ = ("_clock", "_finder", "_queue", "_reporter", "config", "name")

    def __init__(
        self,
        config: BulkheadConfig | None = None,
        *,
        name: str = "bulkhead",
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.config: BulkheadConfig = config or BulkheadConfig()
        """The settings in force."""
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, name)
        self._queue = PermitQueue(self.config, self._clock.monotonic)
        self._finder: LimitFinder | None = None
        self._set_finder()

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, priority: Priority = Priority.NORMAL
    ) -> T:
        """Run the operation when it is its turn.

        An operation that goes through the same bulkhead again takes a second permit,
        and may wait for itself until `max_wait_s` is over.

        Raises:
            BulkheadFullError: As many calls run and wait as may.
            OverloadedError: It waited in vain, or gave way to another call.
        """
        queue = self._queue
        if queue.running < queue.limit:
            queue.running += 1
        else:
            await self._wait(priority)
        # From here on the permit is ours: no await before the `try` that gives it back.
        try:
            if self._finder is not None:
                return await self._measured(operation, self._finder)
            return await operation()
        finally:
            queue.running -= 1
            if queue.waiting:
                queue.admit()

    def get_state(self) -> BulkheadState:
        """Return how busy the bulkhead is."""
        return self._queue.state

    def snapshot(self) -> BulkheadSnapshot:
        """Return the bulkhead's numbers."""
        queue = self._queue
        return BulkheadSnapshot(
            state=queue.state,
            limit=queue.limit,
            running=queue.running,
            waiting=queue.lengths(),
            refused_full=queue.refused_full,
            refused_waited=queue.refused_waited,
            displaced=queue.displaced,
            shed=queue.shed,
        )

    def configure(self, config: BulkheadConfig, /) -> None:
        """Go on with other settings; who runs goes on, who waits keeps its place and its time.

        A limit that moves stays where it is, as far as the new bounds let it.
        """
        self.config = config
        self._queue.configure(config)
        self._set_finder()

    def _set_finder(self) -> None:
        adaptive, finder = self.config.adaptive, self._finder
        if adaptive is None:
            self._finder = None
            self._queue.set_limit(self.config.max_concurrent)
            return
        if finder is None:
            finder = LimitFinder(adaptive, self.config.max_concurrent, self._clock.monotonic())
            self._finder = finder
        else:
            finder.configure(adaptive)
        self._queue.set_limit(finder.limit)

    async def _wait(self, priority: Priority) -> None:
        """Return with a permit, or raise without one."""
        queue = self._queue
        turn = anyio.Event()
        waiter = queue.join(priority, turn.set)
        if waiter is None:
            raise BulkheadFullError(_FULL)
        max_wait_s = self.config.max_wait_s
        try:
            with self._clock.cut_after(max_wait_s):
                await turn.wait()
        except BaseException:
            # The permit may have come in the same moment as the cancellation.
            queue.leave(waiter)
            raise
        # Asked for the verdict and not for the scope: a permit that came in the last
        # moment is a permit.
        if waiter.verdict is Verdict.ADMITTED:
            return
        if waiter.verdict is Verdict.WAITING:
            queue.leave(waiter)
            queue.refused_waited += 1
            raise OverloadedError(
                f"the call waited {max_wait_s:g} seconds for its turn; try again later"
            )
        raise OverloadedError(_SHED if waiter.verdict is Verdict.SHED else _DISPLACED)

    async def _measured(self, operation: Callable[[], Awaitable[T]], finder: LimitFinder) -> T:
        monotonic = self._clock.monotonic
        running = self._queue.running
        began = monotonic()
        overloaded: bool | None = None
        try:
            result = await operation()
        except Exception as error:
            overloaded = self._judge_error(finder.config, error)
            raise
        else:
            overloaded = self._judge_result(finder.config, result)
            return result
        finally:
            # What ended by cancellation or by another error says nothing of the load: it may
            # have ended early.
            if overloaded is not None:
                now = monotonic()
                moved = finder.see(now - began, running, now, overloaded=overloaded)
                # Another finder may be in force by now.
                if moved and finder is self._finder:
                    self._queue.set_limit(finder.limit)

    def _judge_result(self, config: AdaptiveLimitConfig, result: object) -> bool | None:
        try:
            return bool(config.is_overload(result))
        except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_overload", broken)
            return None

    def _judge_error(self, config: AdaptiveLimitConfig, error: Exception) -> bool | None:
        try:
            found = any(isinstance(leaf, config.overload_on) for leaf in leaves(error))
        except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
            self._reporter.guard_failed("overload_on", broken)
            return None
        return True if found else None
