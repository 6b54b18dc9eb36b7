"""A retry budget that a test empties, and which otherwise works."""

from typing import final

from ...core.ports import Clock
from ...protocols.repeats import BudgetSnapshot
from ...resilience.budget import WindowBudgetConfig, WindowRetryBudget
from ..clock import FakeClock

__all__ = ("FakeRetryBudget",)


@final
class FakeRetryBudget:
    """A `RetryBudget` on a clock that stands still.

    Args:
        repeats: How many repeats there are without any call.
        ratio: How many each call brings.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(
        self, *, repeats: int = 10, ratio: float = 0.2, clock: Clock | None = None
    ) -> None:
        self.begun: int = 0
        """How many operations began."""
        self.succeeded: list[float] = []
        """What the attempt cost that went well, for each success."""
        self.spent: bool = False
        """When True, every repeat is refused."""
        config = WindowBudgetConfig(ratio=ratio, min_per_s=repeats / 10.0, window_s=10.0)
        self._real = WindowRetryBudget(config, clock=clock or FakeClock())

    def begin(self) -> None:
        """Take note of an operation's first attempt."""
        self.begun += 1
        self._real.begin()

    def take(self, *, timed_out: bool = False) -> float:
        """Return what a repeat costs; 0 when there is none left, or `spent` is set."""
        return 0.0 if self.spent else self._real.take(timed_out=timed_out)

    def succeed(self, taken: float = 0.0, /) -> None:
        """Take note of a success."""
        self.succeeded.append(taken)
        self._real.succeed(taken)

    def snapshot(self) -> BudgetSnapshot:
        """Return the budget's numbers."""
        return self._real.snapshot()
