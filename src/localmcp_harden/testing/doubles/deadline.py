"""A deadline that a test lets pass, and which otherwise works."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar, final

from ...core.errors import DeadlineExceededError
from ...core.ports import Clock
from ...resilience.deadline import DeadlineConfig, ScopeDeadline
from ..clock import FakeClock

__all__ = ("FakeDeadline",)

T = TypeVar("T")


@final
class FakeDeadline:
    """A `Deadline` on a clock that stands still.

    Args:
        timeout_s: Seconds for each operation, None for no limit.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(self, *, timeout_s: float | None = 60.0, clock: Clock | None = None) -> None:
        self.timeouts: list[float | None] = []
        """The `timeout_s` that each call asked for, in order."""
        self.exceeded: bool = False
        """When True, every operation is refused as if its time were up."""
        self._real = ScopeDeadline(DeadlineConfig(timeout_s=timeout_s), clock=clock or FakeClock())

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, timeout_s: float | None = None
    ) -> T:
        """Refuse when told to; otherwise run the operation under its deadline.

        Raises:
            DeadlineExceededError: The time was up, or `exceeded` is set.
        """
        self.timeouts.append(timeout_s)
        if self.exceeded:
            raise DeadlineExceededError("scripted refusal")
        return await self._real.execute(operation, timeout_s=timeout_s)

    @contextmanager
    def limit(self, timeout_s: float | None = None) -> Generator[None]:
        """Refuse when told to; otherwise run the body under its deadline.

        Raises:
            DeadlineExceededError: The time was up, or `exceeded` is set.
        """
        self.timeouts.append(timeout_s)
        if self.exceeded:
            raise DeadlineExceededError("scripted refusal")
        with self._real.limit(timeout_s):
            yield

    def remaining_s(self) -> float | None:
        """Return the seconds left, 0 when every operation is refused."""
        return 0.0 if self.exceeded else self._real.remaining_s()
