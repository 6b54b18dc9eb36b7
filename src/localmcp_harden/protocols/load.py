"""Load: how many calls run at once, how many wait, and how many are sent at all.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable
from enum import IntEnum, StrEnum
from typing import Any, Protocol, TypeVar, final

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, lt, optional

from ..core.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    OverloadedError,
    ThrottledError,
    UpstreamError,
)
from .resilience import never_fails

__all__ = (
    "AdaptiveLimitConfig",
    "Bulkhead",
    "BulkheadConfig",
    "BulkheadSnapshot",
    "BulkheadState",
    "LimitAlgorithm",
    "Priority",
    "QueueOrder",
    "Throttle",
    "ThrottleConfig",
    "ThrottleSnapshot",
    "are_exceptions",
)

T = TypeVar("T")


def are_exceptions(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    """Validate a tuple of subclasses of `Exception`.

    Raises:
        TypeError: It is none: cancellation and interrupts are never an outcome.
    """
    kinds: tuple[object, ...] = value if isinstance(value, tuple) else (None,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise TypeError(
            f"{attribute.name} must be a tuple of subclasses of Exception; "
            "cancellation and interrupts are no outcome of a call"
        )


class Priority(IntEnum):
    """How important a call is: the smaller number is let in first and turned away last."""

    CRITICAL = 0
    """A person waits, and nothing else will do."""
    HIGH = 1
    NORMAL = 2
    LOW = 3
    """Nobody waits: prefetching, indexing, reports."""


class QueueOrder(StrEnum):
    """Which of the waiting calls of one priority is let in next."""

    FIFO = "fifo"
    """Who came first."""
    ADAPTIVE_LIFO = "adaptive_lifo"
    """Who came first; while the queue stands, who came last, since its caller still waits."""


class LimitAlgorithm(StrEnum):
    """How the number of calls at once follows what the target can do."""

    GRADIENT2 = "gradient2"
    """Down when calls take longer than in the long run, up when they do not."""
    AIMD = "aimd"
    """Up by one while calls are quick, down by a share when one is slow or turned away."""


@final
@frozen(kw_only=True)
class AdaptiveLimitConfig:
    """How the limit of a bulkhead finds its height.

    Args:
        algorithm: What moves the limit (`gradient2`, which needs no threshold).
        min_limit: The least calls at once (1 to 1,000,000; 2, so that one slow call
            never blocks all others).
        max_limit: The most calls at once (`min_limit` to 1,000,000; 200).
        sample_s: How long calls are gathered before the limit moves (0 to 3,600; 0.5).
        sample_calls: How many calls are gathered before it moves (1 to 100,000; 10).
        tolerance: Gradient2: how many times the usual duration counts as usual (1 to 10; 1.5).
        smoothing: Gradient2: the weight of a new limit against the old (above 0, up
            to 1; 0.2).
        headroom: Gradient2: how many calls more than fit are tried (1 to 1,000; 4).
        backoff: AIMD: what remains of the limit after a slow call (above 0, below 1; 0.9).
        slow_s: AIMD: from when a call is slow (above 0; 5).
        overload_on: Exceptions that say the target has too much to do: what its
            timeouts and its own refusals raise.
        is_overload: Whether a returned result says so.
    """

    algorithm: LimitAlgorithm = field(
        default=LimitAlgorithm.GRADIENT2, validator=instance_of(LimitAlgorithm)
    )
    min_limit: int = field(default=2, validator=[instance_of(int), and_(ge(1), le(1_000_000))])
    max_limit: int = field(default=200, validator=[instance_of(int), and_(ge(1), le(1_000_000))])
    sample_s: float = field(default=0.5, validator=and_(ge(0.0), le(3_600.0)))
    sample_calls: int = field(default=10, validator=[instance_of(int), and_(ge(1), le(100_000))])
    tolerance: float = field(default=1.5, validator=and_(ge(1.0), le(10.0)))
    smoothing: float = field(default=0.2, validator=and_(gt(0.0), le(1.0)))
    headroom: int = field(default=4, validator=[instance_of(int), and_(ge(1), le(1_000))])
    backoff: float = field(default=0.9, validator=and_(gt(0.0), lt(1.0)))
    slow_s: float = field(default=5.0, validator=gt(0.0))
    overload_on: tuple[type[Exception], ...] = field(
        default=(TimeoutError, DeadlineExceededError, OverloadedError, ThrottledError),
        validator=are_exceptions,
    )
    is_overload: Callable[[Any], bool] = never_fails

    def __attrs_post_init__(self) -> None:
        """Refuse bounds that cross."""
        if self.min_limit > self.max_limit:
            raise ValueError(
                f"min_limit ({self.min_limit}) must not be above max_limit ({self.max_limit})"
            )


@final
@frozen(kw_only=True)
class BulkheadConfig:
    """How many calls run at once, how many wait, and for how long.

    Args:
        max_concurrent: Calls at once (1 to 1,000,000; 64, far above what one agent
            does and far below what exhausts a process). With `adaptive`, where the
            limit begins.
        max_queue: Calls that wait (0 to 1,000,000; 128). Beyond it, calls of the
            lowest priority give way.
        max_wait_s: How long a call waits (above 0, up to 3,600; 5).
        order: Which waiting call of one priority is next (`fifo`).
        codel: Whether calls that waited more than twice `target_wait_s` are turned
            away while the queue stands (False: it suits short calls).
        target_wait_s: The wait that is still good (above 0, up to 3,600; 0.005).
        interval_s: How long waits are above the target before the queue counts as
            standing (above 0, up to 3,600; 0.1).
        adaptive: How the limit moves, None for a limit that stays.
    """

    max_concurrent: int = field(
        default=64, validator=[instance_of(int), and_(ge(1), le(1_000_000))]
    )
    max_queue: int = field(default=128, validator=[instance_of(int), and_(ge(0), le(1_000_000))])
    max_wait_s: float = field(default=5.0, validator=and_(gt(0.0), le(3_600.0)))
    order: QueueOrder = field(default=QueueOrder.FIFO, validator=instance_of(QueueOrder))
    codel: bool = field(default=False, validator=instance_of(bool))
    target_wait_s: float = field(default=0.005, validator=and_(gt(0.0), le(3_600.0)))
    interval_s: float = field(default=0.1, validator=and_(gt(0.0), le(3_600.0)))
    adaptive: AdaptiveLimitConfig | None = field(
        default=None, validator=optional(instance_of(AdaptiveLimitConfig))
    )


class BulkheadState(StrEnum):
    """How busy a bulkhead is."""

    FREE = "free"
    """The next call runs at once."""
    BUSY = "busy"
    """The next call waits."""
    OVERLOADED = "overloaded"
    """The queue is full, or has stood for longer than its interval."""


@final
@frozen(kw_only=True)
class BulkheadSnapshot:
    """A bulkhead's numbers at one moment; counts are since it was made.

    Args:
        state: How busy it is.
        limit: Calls that may run at once, now.
        running: Calls that run.
        waiting: Calls that wait, by priority, the most important first.
        refused_full: Calls that could not wait.
        refused_waited: Calls that waited for `max_wait_s` in vain.
        displaced: Waiting calls that gave way to a newer one.
        shed: Waiting calls that CoDel turned away.
    """

    state: BulkheadState
    limit: int
    running: int
    waiting: tuple[int, ...]
    refused_full: int
    refused_waited: int
    displaced: int
    shed: int


class Bulkhead(Protocol):
    """Bounds how many calls run at once and how many wait.

    A permit is given back on every way out, cancellation included, and goes to who
    is next without a chance for others to take it. A call's own result and own error
    reach its caller unchanged.
    """

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, priority: Priority = Priority.NORMAL
    ) -> T:
        """Run the operation when it is its turn.

        Raises:
            BulkheadFullError: As many calls run and wait as may.
            OverloadedError: It waited in vain, or gave way to another call.
        """
        ...

    def get_state(self) -> BulkheadState:
        """Return how busy the bulkhead is."""
        ...

    def snapshot(self) -> BulkheadSnapshot:
        """Return the bulkhead's numbers."""
        ...

    def configure(self, config: BulkheadConfig, /) -> None:
        """Go on with other settings; who runs goes on, who waits keeps its place and its time."""
        ...


@final
@frozen(kw_only=True)
class ThrottleConfig:
    """When calls to a target are no longer sent.

    Args:
        window_s: How far back is looked (above 0, up to 86,400; 120, the SRE book's).
        multiplier: How many calls are sent for one that is accepted (above 1, up to
            100; 2, the SRE book's). Nearer to 1 is harder on a failing target.
        max_rejection: The share of calls that is turned away at most (0 to 1; 0.9),
            so that some always find out whether the target is well again.
        minimum_calls: Answered calls in the window before any is turned away (1 to
            100,000; 10).
        rejected_on: Exceptions that say the target took no call. Every other one,
            and every result, is an accepted call.
        is_rejection: Whether a returned result says so.
    """

    window_s: float = field(default=120.0, validator=and_(gt(0.0), le(86_400.0)))
    multiplier: float = field(default=2.0, validator=and_(gt(1.0), le(100.0)))
    max_rejection: float = field(default=0.9, validator=and_(ge(0.0), le(1.0)))
    minimum_calls: int = field(default=10, validator=[instance_of(int), and_(ge(1), le(100_000))])
    rejected_on: tuple[type[Exception], ...] = field(
        default=(
            ConnectionError,
            TimeoutError,
            UpstreamError,
            CircuitOpenError,
            DeadlineExceededError,
            OverloadedError,
            ThrottledError,
        ),
        validator=are_exceptions,
    )
    is_rejection: Callable[[Any], bool] = never_fails


@final
@frozen(kw_only=True)
class ThrottleSnapshot:
    """A throttle's numbers at one moment.

    Args:
        requests: Calls in the window, those turned away here included, those that
            have only just begun not.
        accepts: Calls in the window that the target accepted.
        rejection: The share of calls that is turned away now (0 to 1).
        refused: Calls turned away since it was made.
    """

    requests: int
    accepts: int
    rejection: float
    refused: int


class Throttle(Protocol):
    """Sends fewer calls to a target the more of them it turns away.

    A cancelled call is neither accepted nor rejected.
    """

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation unless chance turns it away.

        Raises:
            ThrottledError: The target turns calls away, and this one was not sent.
        """
        ...

    def snapshot(self) -> ThrottleSnapshot:
        """Return the throttle's numbers."""
        ...

    def configure(self, config: ThrottleConfig, /) -> None:
        """Go on with other settings; another window begins empty."""
        ...
