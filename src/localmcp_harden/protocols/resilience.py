"""The resilience family: what stands between a call and a target that fails.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol, TypeVar, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, optional

__all__ = (
    "BreakerConfig",
    "BreakerControls",
    "BreakerMode",
    "BreakerSnapshot",
    "BreakerState",
    "CircuitBreaker",
    "Deadline",
    "DeadlineScopes",
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


class BreakerMode(StrEnum):
    """Who decides where a circuit breaker stands."""

    AUTOMATIC = "automatic"
    """The outcomes of the calls."""
    FORCED_OPEN = "forced_open"
    """An operator: every call is refused until `release`."""
    DISABLED = "disabled"
    """An operator: every call passes, and none is counted."""
    METRICS_ONLY = "metrics_only"
    """Nobody: every call passes and is counted, and it is told when it would have opened."""


def never_fails(_result: object, /) -> bool:
    """Return False: the predicate of an operation whose results are all good."""
    return False


@final
@frozen(kw_only=True)
class BreakerConfig:
    """When a circuit breaker opens, and how it closes again.

    Args:
        window_calls: How many of the last calls are looked at (1 to 100,000; 100,
            resilience4j's default). Without meaning when `window_s` is set.
        window_s: How many of the last seconds are looked at instead (above 0, up to
            86,400; None for the last calls), exact to a tenth of it.
        minimum_calls: How many calls must be in the window before it may open
            (1 to 100,000, at most `window_calls`; 10, so that a first failure does not
            open it).
        failure_rate: The share of failures that opens it (above 0, up to 1; 0.5).
        consecutive_failures: How many failures in a row open it, instead of
            `failure_rate` (1 to 100,000; None for the rate).
        slow_call_s: How long a call takes that counts as slow (above 0; None, so that
            no clock is read while all is well). A slow trial fails.
        slow_call_rate: The share of slow calls that opens it (above 0, up to 1; 1.0,
            resilience4j's default).
        open_s: How long it stays open (above 0; 30).
        open_factor: By how much it stays open longer each time it opens again before
            it was closed for `stable_s` (1 to 100; 1, always as long).
        max_open_s: How long it stays open at most when the time grows (above 0, at
            least `open_s` when `open_factor` is above 1; 300).
        open_jitter: The share of the open time that chance may take away, so that
            many breakers do not try at once (0 to 1; 0).
        stable_s: How long it must have been closed for the open time to start again
            at `open_s` (0 or above; 60).
        half_open_permits: How many trials run at once, and how many must succeed
            before it closes (1 to 1,000; 1).
        half_open_max_wait_s: How long a trial may take before its permit is taken
            back and a new round begins (above 0; 30), so that a hung trial never
            keeps the circuit from recovering.
        is_failure: Whether a returned result counts as a failure.
        ignore: Exceptions that say nothing about the target: neither failure nor success.
        is_ignored: Whether an exception that `ignore` does not name says nothing either.
    """

    window_calls: int = field(default=100, validator=[instance_of(int), and_(ge(1), le(100_000))])
    window_s: float | None = field(default=None, validator=optional(and_(gt(0.0), le(86_400.0))))
    minimum_calls: int = field(default=10, validator=[instance_of(int), and_(ge(1), le(100_000))])
    failure_rate: float = field(default=0.5, validator=and_(gt(0.0), le(1.0)))
    consecutive_failures: int | None = field(
        default=None, validator=optional(and_(instance_of(int), ge(1), le(100_000)))
    )
    slow_call_s: float | None = field(default=None, validator=optional(gt(0.0)))
    slow_call_rate: float = field(default=1.0, validator=and_(gt(0.0), le(1.0)))
    open_s: float = field(default=30.0, validator=gt(0.0))
    open_factor: float = field(default=1.0, validator=and_(ge(1.0), le(100.0)))
    max_open_s: float = field(default=300.0, validator=gt(0.0))
    open_jitter: float = field(default=0.0, validator=and_(ge(0.0), le(1.0)))
    stable_s: float = field(default=60.0, validator=ge(0.0))
    half_open_permits: int = field(default=1, validator=[instance_of(int), and_(ge(1), le(1_000))])
    half_open_max_wait_s: float = field(default=30.0, validator=gt(0.0))
    is_failure: Callable[[Any], bool] = never_fails
    ignore: tuple[type[Exception], ...] = ()
    is_ignored: Callable[[Exception], bool] = never_fails

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.window_s is None and self.minimum_calls > self.window_calls:
            msg = (
                f"minimum_calls ({self.minimum_calls}) must not be above "
                f"window_calls ({self.window_calls}), or the breaker never opens"
            )
            raise ValueError(msg)
        if self.open_factor > 1.0 and self.max_open_s < self.open_s:
            msg = (
                f"max_open_s ({self.max_open_s}) must not be below open_s ({self.open_s}) "
                "when open_factor lets the open time grow"
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
        slow: Slow calls in the window.
        mode: Who decides where it stands.
    """

    state: BreakerState
    era: int
    calls: int
    failures: int
    refused: int
    retry_after_s: float
    slow: int = 0
    mode: BreakerMode = BreakerMode.AUTOMATIC


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


class BreakerControls(Protocol):
    """What an operator may do to a circuit breaker beyond its settings.

    A mode lasts until `release` or `reset`, which both close the circuit and forget
    what was counted, for what it knew is old. Calls that are on their way count no more.
    """

    def force_open(self) -> None:
        """Refuse every call until released, however long; a fallback still answers."""
        ...

    def disable(self) -> None:
        """Let every call pass, counting none."""
        ...

    def metrics_only(self) -> None:
        """Let every call pass and count it; tell when the circuit would have opened."""
        ...

    def release(self) -> None:
        """Let the outcomes of calls decide again, from a closed circuit and an empty window."""
        ...

    def get_mode(self) -> BreakerMode:
        """Return who decides where the breaker stands."""
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
        name: str = "",
    ) -> T:
        """Run the operation until it succeeds or the attempts are spent.

        Args:
            operation: What to run.
            is_failure: Whether a returned result is to be retried.
            name: How events call the operation; the retry's own name when empty.

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


class DeadlineScopes(Protocol):
    """A further ability of a `Deadline`: limits a body of code instead of an operation."""

    def limit(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Return a context whose body has `timeout_s` seconds, or the default when None.

        Raises:
            DeadlineExceededError: The time was up; the body has been cancelled.
        """
        ...
