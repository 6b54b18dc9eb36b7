"""A retry that waits for nothing real and tells what it did."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from ...core.events import Event, RetryEnded, RetryScheduled
from ...core.ports import Clock, Random
from ...protocols.repeats import RetryBudget
from ...protocols.resilience import never_fails
from ...resilience.retry import RetryConfig, StaminaRetry
from ..chance import FakeRandom
from ..clock import FakeClock

__all__ = ("FakeRetry",)

T = TypeVar("T")


@final
class FakeRetry:
    """A `Retry` on a clock that jumps over every wait.

    Args:
        attempts: How often an operation runs at most.
        base_s: The upper end of the first wait.
        max_wait_s: The upper end of every wait.
        retry_on: What is retried.
        budget: What bounds repetitions; nothing but `attempts` by default.
        clock: The clock; a fake one of its own that jumps by default.
        random: Chance; the middle of every range by default.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        base_s: float = 0.1,
        max_wait_s: float = 5.0,
        retry_on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
        budget: RetryBudget | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.attempts: list[int] = []
        """How often each operation ran, in the order in which the operations began."""
        self.scheduled: list[RetryScheduled] = []
        """Every repetition, in order."""
        self.ended: list[RetryEnded] = []
        """How each operation that was to be repeated ended, in order."""
        self.active: bool = True
        """When False, every operation runs once."""
        self._real = StaminaRetry(
            RetryConfig(attempts=attempts, base_s=base_s, max_wait_s=max_wait_s, retry_on=retry_on),
            budget=budget,
            clock=clock or FakeClock(autojump=True),
            random=random or FakeRandom(),
            sink=self._keep,
        )

    async def execute(
        self,
        operation: Callable[[], Awaitable[T]],
        /,
        *,
        is_failure: Callable[[T], bool] = never_fails,
        name: str = "",
    ) -> T:
        """Run the operation, and repeat it as a real retry would unless not `active`."""
        place = len(self.attempts)
        self.attempts.append(0)

        async def counted() -> T:
            self.attempts[place] += 1
            return await operation()

        if not self.active:
            return await counted()
        return await self._real.execute(counted, is_failure=is_failure, name=name)

    def _keep(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self.scheduled.append(event)
        elif isinstance(event, RetryEnded):
            self.ended.append(event)
