"""The resilience family: what stands between a call and a target that fails.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol, TypeVar, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le

__all__ = (
    "BreakerConfig",
    "BreakerSnapshot",
    "BreakerState",
    "CircuitBreaker",
    "Deadline",
    "Retry",
    "never_fails",
)

T = TypeVar("T")


class BreakerState(StrEnum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    """Calls pass and are counted."""
    OPEN = "open"
    """Calls are refused."""
    HALF_OPEN = "half_open"
    """A few calls pass, to find out whether the target is well again."""


def never_fails(_result: object, /) -> bool:
    """Return False: the predicate of an operation whose results are all good."""
    return False


@final
@frozen(kw_only=True)
class BreakerConfig:
    """When a circuit breaker opens, and how it closes again.

    Args:
        window_calls: How many of the last calls are looked at (1 to 100,000; 100,
            resilience4j's default).
        minimum_calls: How many calls must be in the window before it may open
            (1 to `window_calls`; 10, so that a first failure does not open it).
        failure_rate: The share of failures that opens it (above 0, up to 1; 0.5).
        open_s: How long it stays open (above 0; 30).
        half_open_permits: How many trials run at once, and how many must succeed
            before it closes (1 to 1,000; 1).
        half_open_max_wait_s: How long a trial may take before its permit is taken
            back and a new round begins (above 0; 30), so that a hung trial never
            keeps the circuit from recovering.
        is_failure: Whether a returned result counts as a failure.
        ignore: Exceptions that say nothing about the target: neither failure nor success.
    """

    window_calls: int = field(default=100, validator=[instance_of(int), and_(ge(1), le(100_000))])
    minimum_calls: int = field(default=10, validator=[instance_of(int), ge(1)])
    failure_rate: float = field(default=0.5, validator=and_(gt(0.0), le(1.0)))
    open_s: float = field(default=30.0, validator=gt(0.0))
    half_open_permits: int = field(default=1, validator=[instance_of(int), and_(ge(1), le(1_000))])
    half_open_max_wait_s: float = field(default=30.0, validator=gt(0.0))
    is_failure: Callable[[Any], bool] = never_fails
    ignore: tuple[type[Exception], ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse a minimum that the window can never hold."""
        if self.minimum_calls > self.window_calls:
            msg = (
                f"minimum_calls ({self.minimum_calls}) must not be above "
                f"window_calls ({self.window_calls}), or the breaker never opens"
            )
            raise ValueError(msg)


@final
@frozen(kw_only=True)
class BreakerSnapshot:
    """A breaker's numbers at one moment.

    Args:
        state: Where it stands.
        era: How many transitions there were; a result of an older era is not counted.
        calls: Calls in the window.
        failures: Failures among them.
        refused: Calls refused since it was made.
        retry_after_s: Seconds until the next trial may run, 0 when calls pass.
    """

    state: BreakerState
    era: int
    calls: int
    failures: int
    refused: int
    retry_after_s: float


class CircuitBreaker(Protocol):
    """Leaves a failing target in peace, and finds out when it is well again.

    A call's own result and own error always reach its caller unchanged. A
    cancelled call is neither success nor failure and gives its permit back. A
    result that began before the last transition changes nothing.
    """

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation unless the circuit is open.

        Raises:
            CircuitOpenError: The circuit is open and there is no fallback.
        """
        ...

    def get_state(self) -> BreakerState:
        """Return where the breaker stands now, time having passed."""
        ...

    def snapshot(self) -> BreakerSnapshot:
        """Return the breaker's numbers."""
        ...

    def reset(self) -> None:
        """Close the circuit and forget what was counted."""
        ...

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings, keeping the state and what of the window still fits."""
        ...

    def set_fallback(self, fallback: Callable[[], Awaitable[Any]] | None, /) -> None:
        """Answer with `fallback` instead of refusing; None takes it away."""
        ...


class Retry(Protocol):
    """Repeats an operation that failed for a passing reason.

    The caller answers for the operation being safe to repeat.
    """

    async def execute(
        self,
        operation: Callable[[], Awaitable[T]],
        /,
        *,
        is_failure: Callable[[T], bool] = never_fails,
    ) -> T:
        """Run the operation until it succeeds or the attempts are spent.

        Args:
            operation: What to run.
            is_failure: Whether a returned result is to be retried.

        Returns:
            The first good result, or the last bad one.

        Raises:
            Exception: What the last attempt raised, unchanged but for a note that
                says how many attempts there were. What is not retryable is raised
                at once.
        """
        ...


class Deadline(Protocol):
    """Cuts off an operation that takes too long.

    Deadlines nest: the earlier one counts, and `remaining_s` tells how much is left.
    """

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, timeout_s: float | None = None
    ) -> T:
        """Run the operation for at most `timeout_s` seconds, or the default when None.

        Raises:
            DeadlineExceededError: The time was up; the operation has been cancelled.
        """
        ...

    def remaining_s(self) -> float | None:
        """Return the seconds left to the current task, None when nothing limits it."""
        ...
