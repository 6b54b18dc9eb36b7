"""How many calls may be made twice: two ways to keep count.

`WindowTokens` allows a share of the calls of the last seconds and a small number of
repeats a second besides: that of Finagle's `RetryBudget`. `QuotaTokens` is a store of
tokens that repeats empty and successes fill: that of the AWS SDKs' standard retry mode.
Both obey the `RetryBudget` protocol, are synchronous, and are for one thread.
"""

from collections.abc import Callable
from typing import final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from ..protocols.repeats import BudgetSnapshot
from .sliding_counts import SlidingCounts

__all__ = ("QuotaBudgetConfig", "QuotaTokens", "WindowBudgetConfig", "WindowTokens")

_SLICES = 10
_CALLS, _TAKEN = 0, 1
# A product of floats must not fall short of a whole repeat by its last digit.
_GRAIN = 1e-9


@final
@frozen(kw_only=True)
class WindowBudgetConfig:
    """How many repeats a stream of calls allows.

    Args:
        ratio: Repeats for each call (0 to 10; 0.2, Finagle's: a target that is down
            gets a fifth more load, not a multiple).
        min_per_s: Repeats a second that are allowed whatever the calls (0 to 100,000;
            10, Finagle's, for servers with few calls).
        window_s: How long a call allows repeats (above 0, up to 3,600; 10, Finagle's).
    """

    ratio: float = field(default=0.2, validator=and_(ge(0.0), le(10.0)))
    min_per_s: float = field(default=10.0, validator=and_(ge(0.0), le(100_000.0)))
    window_s: float = field(default=10.0, validator=and_(gt(0.0), le(3_600.0)))


class WindowTokens:
    """A share of the calls in a sliding window.

    Args:
        config: The share, the minimum and the window.
        monotonic: Reads the clock.
    """

    def __init__(self, config: WindowBudgetConfig, monotonic: Callable[[], float]) -> None:
        self.config: WindowBudgetConfig = config
        self._monotonic = monotonic
        self._counts = self._empty(config)
        self._taken = 0
        self._refused = 0

    def begin(self) -> None:
        """Take note of an operation's first attempt."""
        self._counts.roll(self._monotonic())
        self._counts.add(_CALLS)

    def take(self, *, timed_out: bool = False) -> float:  # noqa: ARG002 - each costs the same
        """Return 1, having taken a repeat, or 0 when there is none left."""
        if self._left() < 1.0 - _GRAIN:
            self._refused += 1
            return 0.0
        self._counts.add(_TAKEN)
        self._taken += 1
        return 1.0

    def succeed(self, taken: float = 0.0, /) -> None:
        """Do nothing: a repeat is spent whether or not it helped."""

    def snapshot(self) -> BudgetSnapshot:
        """Return the budget's numbers."""
        left = max(0, int(self._left() + _GRAIN))
        return BudgetSnapshot(available=left, taken=self._taken, refused=self._refused)

    def configure(self, config: WindowBudgetConfig, /) -> None:
        """Go on with other settings; another window begins empty."""
        if config.window_s != self.config.window_s:
            self._counts = self._empty(config)
        self.config = config

    def _left(self) -> float:
        self._counts.roll(self._monotonic())
        calls, taken = self._counts.totals
        config = self.config
        return config.ratio * calls + config.min_per_s * config.window_s - taken

    def _empty(self, config: WindowBudgetConfig) -> SlidingCounts:
        return SlidingCounts(config.window_s, slices=_SLICES, kinds=2, now=self._monotonic())


@final
@frozen(kw_only=True)
class QuotaBudgetConfig:
    """What repeats cost and successes bring.

    Args:
        capacity: Tokens at most, and at the beginning (1 to 1,000,000; 500, AWS').
        retry_cost: Tokens for a repeat (above 0, up to 1,000,000; 5, AWS').
        timeout_cost: Tokens for a repeat after a timeout, which weighs more on a
            target (above 0, up to 1,000,000; 10, AWS').
        success_gain: Tokens for a success without a repeat (0 to 1,000,000; 1, AWS').
    """

    capacity: float = field(default=500.0, validator=and_(ge(1.0), le(1e6)))
    retry_cost: float = field(default=5.0, validator=and_(gt(0.0), le(1e6)))
    timeout_cost: float = field(default=10.0, validator=and_(gt(0.0), le(1e6)))
    success_gain: float = field(default=1.0, validator=and_(ge(0.0), le(1e6)))


class QuotaTokens:
    """A store of tokens.

    Args:
        config: The store's size, the costs and the gain.
    """

    def __init__(self, config: QuotaBudgetConfig) -> None:
        self.config: QuotaBudgetConfig = config
        self._tokens = config.capacity
        self._taken = 0
        self._refused = 0

    def begin(self) -> None:
        """Do nothing: calls bring tokens when they succeed."""

    def take(self, *, timed_out: bool = False) -> float:
        """Return the tokens taken for a repeat, 0 when there are too few."""
        cost = self.config.timeout_cost if timed_out else self.config.retry_cost
        if self._tokens < cost:
            self._refused += 1
            return 0.0
        self._tokens -= cost
        self._taken += 1
        return cost

    def succeed(self, taken: float = 0.0, /) -> None:
        """Bring back what the repeat cost, or a success without one its gain."""
        gain = taken if taken > 0.0 else self.config.success_gain
        self._tokens = min(self.config.capacity, self._tokens + gain)

    def snapshot(self) -> BudgetSnapshot:
        """Return the budget's numbers; `available` is in repeats without a timeout."""
        left = int(self._tokens / self.config.retry_cost)
        return BudgetSnapshot(available=left, taken=self._taken, refused=self._refused)

    def configure(self, config: QuotaBudgetConfig, /) -> None:
        """Go on with other settings, keeping the tokens that fit."""
        self.config = config
        self._tokens = min(config.capacity, self._tokens)
