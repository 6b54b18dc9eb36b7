"""A hedge on a clock in a test's hands that tells what it did."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from ...core.events import Event, HedgeStarted
from ...core.ports import Clock
from ...protocols.repeats import HedgeConfig, HedgeSnapshot, RetryBudget
from ...protocols.resilience import never_fails
from ...resilience.hedge import PercentileHedge
from ..clock import FakeClock
from .retry_budget import FakeRetryBudget

__all__ = ("FakeHedge",)

T = TypeVar("T")


@final
class FakeHedge:
    """A `Hedge` that hedges when its clock is advanced.

    Args:
        config: When to begin again.
        clock: The clock; a fake one of its own by default.
        budget: What bounds further attempts; a fake one by default.
    """

    def __init__(
        self,
        config: HedgeConfig | None = None,
        /,
        *,
        clock: Clock | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self.started: list[HedgeStarted] = []
        """Every further attempt, in order."""
        self.active: bool = True
        """When False, every operation runs once."""
        self._real = PercentileHedge(
            config,
            name="fake",
            clock=clock or FakeClock(),
            budget=budget or FakeRetryBudget(),
            sink=self._keep,
        )

    async def execute(
        self,
        operation: Callable[[], Awaitable[T]],
        /,
        *,
        read_only: bool,
        is_failure: Callable[[T], bool] = never_fails,
    ) -> T:
        """Run the operation, and again beside it as a real hedge would unless not `active`."""
        may = read_only and self.active
        return await self._real.execute(operation, read_only=may, is_failure=is_failure)

    def snapshot(self) -> HedgeSnapshot:
        """Return the hedge's numbers."""
        return self._real.snapshot()

    def configure(self, config: HedgeConfig, /) -> None:
        """Go on with other settings."""
        self._real.configure(config)

    def _keep(self, event: Event) -> None:
        if isinstance(event, HedgeStarted):
            self.started.append(event)
