"""Repeats: how many calls are made twice, and when one is begun beside itself.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, lt, optional

from .resilience import never_fails

__all__ = ("BudgetSnapshot", "Hedge", "HedgeConfig", "HedgeSnapshot", "RetryBudget")

T = TypeVar("T")


@final
@frozen(kw_only=True)
class BudgetSnapshot:
    """A budget's numbers at one moment; counts are since it was made.

    Args:
        available: How many repeats could be had now.
        taken: Repeats that were had.
        refused: Repeats that were not.
    """

    available: int
    taken: int
    refused: int


class RetryBudget(Protocol):
    """Bounds how many calls are made twice, by all retries and hedges together.

    An operation tells `begin` once, asks `take` before each further attempt, and
    tells `succeed` when it went well.
    """

    def begin(self) -> None:
        """Take note of an operation's first attempt."""
        ...

    def take(self, *, timed_out: bool = False) -> float:
        """Return what one further attempt costs, having taken it; 0 when there is too little.

        Args:
            timed_out: Whether the attempt before ran into a timeout.
        """
        ...

    def succeed(self, taken: float = 0.0, /) -> None:
        """Take note of a success, after an attempt that cost `taken`; 0 for a first attempt."""
        ...

    def snapshot(self) -> BudgetSnapshot:
        """Return the budget's numbers."""
        ...


@final
@frozen(kw_only=True)
class HedgeConfig:
    """When an operation is begun once more beside itself.

    Args:
        percentile: Which of the last durations is waited for (above 0, below 1; 0.95:
            of twenty calls one is hedged), None to wait for `delay_s` always.
        delay_s: How long is waited while fewer than `minimum_calls` are known (above
            0, up to 3,600; 1).
        min_delay_s: The least that is waited (0 to 3,600; 0.01), so that
            operations that are always quick are not hedged for jitter.
        window_calls: How many durations are kept (10 to 10,000; 500).
        minimum_calls: How many are needed (1 to `window_calls`; 50).
        max_hedges: How many more attempts there are at most (1 to 10; 1).
    """

    percentile: float | None = field(
        default=cast("float | None", 0.95), validator=optional(and_(gt(0.0), lt(1.0)))
    )
    delay_s: float = field(default=1.0, validator=and_(gt(0.0), le(3_600.0)))
    min_delay_s: float = field(default=0.01, validator=and_(ge(0.0), le(3_600.0)))
    window_calls: int = field(default=500, validator=[instance_of(int), and_(ge(10), le(10_000))])
    minimum_calls: int = field(default=50, validator=[instance_of(int), ge(1)])
    max_hedges: int = field(default=1, validator=[instance_of(int), and_(ge(1), le(10))])

    def __attrs_post_init__(self) -> None:
        """Refuse a minimum that the window can never hold."""
        if self.minimum_calls > self.window_calls:
            raise ValueError(
                f"minimum_calls ({self.minimum_calls}) must not be above "
                f"window_calls ({self.window_calls}), or no duration is ever known"
            )


@final
@frozen(kw_only=True)
class HedgeSnapshot:
    """A hedge's numbers at one moment; counts are since it was made.

    Args:
        delay_s: How long is waited now before an operation is begun once more.
        calls: Operations that could be hedged.
        hedges: Further attempts.
        won: Further attempts that answered first.
        unaffordable: Further attempts that the budget did not allow.
    """

    delay_s: float
    calls: int
    hedges: int
    won: int
    unaffordable: int


class Hedge(Protocol):
    """Begins a slow operation once more, and takes the first good answer.

    Every other attempt is cancelled, and has ended before the answer is handed back.
    """

    async def execute(
        self,
        operation: Callable[[], Awaitable[T]],
        /,
        *,
        read_only: bool,
        is_failure: Callable[[T], bool] = never_fails,
    ) -> T:
        """Run the operation, and when it is slow, again beside it.

        Args:
            operation: What to run; each attempt calls it.
            read_only: Whether it may run twice. False: it runs once, and no more.
            is_failure: Whether a returned result is none, while another attempt runs.

        Raises:
            Exception: What the first attempt raised, when no attempt went well.
        """
        ...

    def snapshot(self) -> HedgeSnapshot:
        """Return the hedge's numbers."""
        ...

    def configure(self, config: HedgeConfig, /) -> None:
        """Go on with other settings, keeping the newest durations that still fit."""
        ...
