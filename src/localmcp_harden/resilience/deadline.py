"""Cuts off an operation that takes too long, by one cancel scope of the clock's.

All times are seconds. How much is left is known to everything the operation calls,
through a context variable; without a timeout there is neither scope nor variable.
"""

import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast, final

from attrs import field, frozen
from attrs.validators import and_, gt, le, optional

from ..core.errors import DeadlineExceededError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock

__all__ = ("DeadlineConfig", "ScopeDeadline")

T = TypeVar("T")


@final
@frozen(kw_only=True)
class DeadlineConfig:
    """How long an operation may take.

    Args:
        timeout_s: Seconds for each operation (above 0, up to 86,400; 60, after which
            the usual MCP client has given up), None for no limit.
    """

    timeout_s: float | None = field(
        default=cast("float | None", 60.0), validator=optional(and_(gt(0.0), le(86_400.0)))
    )


@final
class _Limit:
    """A deadline in force. `until` is on the clock that `monotonic` reads.

    Tasks that the operation started may outlive it and still see its context, so
    the flag says whether it is over.
    """

    __slots__ = ("active", "monotonic", "outer", "until")

    def __init__(
        self, monotonic: Callable[[], float], until: float, outer: "_Limit | None"
    ) -> None:
        self.monotonic = monotonic
        self.until = until
        self.outer = outer
        self.active = True


_limit: ContextVar[_Limit | None] = ContextVar("localmcp_harden_deadline", default=None)


@final
class ScopeDeadline:
    """The default `Deadline`: works on every event loop that the clock works on.

    Args:
        config: How long.
        clock: Time; it does the cutting.
    """

    def __init__(
        self,
        config: DeadlineConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - the record tells of every call cut off
    ) -> None:
        self.config: DeadlineConfig = config or DeadlineConfig()
        clock = clock or SystemClock()
        # Bound once: a call looks them up no more.
        self._monotonic = clock.monotonic
        self._cut_after = clock.cut_after

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, timeout_s: float | None = None
    ) -> T:
        """Run the operation for at most `timeout_s` seconds, or the default when None.

        Of nested deadlines the earlier counts. `math.inf` means no limit of its own;
        with nothing left (zero, less, or an enclosing deadline that is over) the
        operation is not begun.

        Raises:
            DeadlineExceededError: The time was up; the operation has been cancelled.
        """
        budget_s = self.config.timeout_s if timeout_s is None else timeout_s
        if budget_s is None or budget_s == math.inf:
            return await operation()
        limit = self._begin(budget_s)
        try:
            # Our own budget, not what the outer deadline leaves: that one cuts for
            # itself, and only what our own scope cut is ours to report.
            with self._cut_after(budget_s):
                return await operation()
        finally:
            # The flag ends it, and not a reset of the variable: a generator may end in
            # another context than it began in, and tasks may have copied this one.
            limit.active = False
        # Reached only when our scope has caught the cancellation that it caused itself.
        raise _exceeded(budget_s)

    @contextmanager
    def limit(self, timeout_s: float | None = None) -> Generator[None]:
        """Do for a body what `execute` does for an operation.

        Args:
            timeout_s: Seconds for the body, the default when None; `math.inf` for no
                limit of its own.

        Raises:
            DeadlineExceededError: The time was up; the body has been cancelled, or was
                not begun since nothing was left.
        """
        budget_s = self.config.timeout_s if timeout_s is None else timeout_s
        if budget_s is None or budget_s == math.inf:
            yield
            return
        limit = self._begin(budget_s)
        try:
            with self._cut_after(budget_s):
                yield
                return
        finally:
            limit.active = False
        raise _exceeded(budget_s)

    def remaining_s(self) -> float | None:
        """Return the seconds left to the current task, None when nothing limits it."""
        limit = _limit_in_force()
        return None if limit is None else max(0.0, limit.until - limit.monotonic())

    def _begin(self, budget_s: float) -> _Limit:
        monotonic = self._monotonic
        now = monotonic()
        outer = _limit.get()
        if outer is not None:
            outer = _limit_in_force()
        until = now + budget_s
        if outer is not None:
            # The clocks may differ; what is left is the same on both.
            until = min(until, now + outer.until - outer.monotonic())
        # Not `<=`: of a budget that is not a number nothing is left either.
        if not until > now:
            raise _exceeded(budget_s)
        limit = _Limit(monotonic, until, outer)
        _limit.set(limit)
        return limit


def _limit_in_force() -> _Limit | None:
    limit = _limit.get()
    while limit is not None and not limit.active:
        limit = limit.outer
    return limit


def _exceeded(budget_s: float) -> DeadlineExceededError:
    return DeadlineExceededError(f"the call did not finish within {budget_s:g} seconds")
