"""A bulkhead that a test fills up, and which otherwise works."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from ...core.errors import BulkheadFullError
from ...core.ports import Clock
from ...protocols.load import BulkheadConfig, BulkheadSnapshot, BulkheadState, Priority
from ...resilience.bulkhead import QueueBulkhead
from ..clock import FakeClock

__all__ = ("FakeBulkhead",)

T = TypeVar("T")


@final
class FakeBulkhead:
    """A `Bulkhead` on a clock that stands still.

    Args:
        config: The bounds.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(
        self, config: BulkheadConfig | None = None, /, *, clock: Clock | None = None
    ) -> None:
        self.priorities: list[Priority] = []
        """The priority of each call, in order."""
        self.full: bool = False
        """When True, every call is refused as if the queue were full."""
        self._real = QueueBulkhead(config, name="fake", clock=clock or FakeClock())

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, priority: Priority = Priority.NORMAL
    ) -> T:
        """Refuse when told to; otherwise run the operation when it is its turn.

        Raises:
            BulkheadFullError: The queue is full, or `full` is set.
            OverloadedError: It waited in vain, or gave way to another call.
        """
        self.priorities.append(priority)
        if self.full:
            raise BulkheadFullError("scripted refusal")
        return await self._real.execute(operation, priority=priority)

    def get_state(self) -> BulkheadState:
        """Return how busy the bulkhead is."""
        return BulkheadState.OVERLOADED if self.full else self._real.get_state()

    def snapshot(self) -> BulkheadSnapshot:
        """Return the bulkhead's numbers."""
        return self._real.snapshot()

    def configure(self, config: BulkheadConfig, /) -> None:
        """Go on with other settings."""
        self._real.configure(config)
