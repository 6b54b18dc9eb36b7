"""Bounds how many calls are made twice: one budget for all retries and hedges of a target.

A retry for every failure multiplies the load on a target that is down; a budget bounds
it to a share of the calls that there are anyway. See `mechanisms.repeat_budgets` for the
two ways to keep count and their sources.
"""

from typing import final

from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.repeat_budgets import (
    QuotaBudgetConfig,
    QuotaTokens,
    WindowBudgetConfig,
    WindowTokens,
)

__all__ = ("QuotaBudgetConfig", "QuotaRetryBudget", "WindowBudgetConfig", "WindowRetryBudget")


@final
class WindowRetryBudget(WindowTokens):
    """The default `RetryBudget`: a share of the calls of the last seconds, and some besides.

    Args:
        config: The share, the minimum and the window.
        clock: Time.
    """

    def __init__(
        self,
        config: WindowBudgetConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - who asks the budget reports
    ) -> None:
        super().__init__(config or WindowBudgetConfig(), (clock or SystemClock()).monotonic)


@final
class QuotaRetryBudget(QuotaTokens):
    """A `RetryBudget` without a clock: tokens that repeats spend and successes bring.

    Args:
        config: The store's size, the costs and the gain.
    """

    def __init__(
        self,
        config: QuotaBudgetConfig | None = None,
        *,
        clock: Clock | None = None,  # noqa: ARG002 - the constructor every block has
        random: Random | None = None,  # noqa: ARG002
        sink: EventSink = discard,  # noqa: ARG002
    ) -> None:
        super().__init__(config or QuotaBudgetConfig())
