"""Makes the blocks of a pipeline from their settings, and the layers from the blocks.

A layer takes what runs further in and returns what runs there: each is one closure and
no coroutine of its own, so that a part costs little more than its block does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, cast, final

from attrs import evolve, frozen

from ..core.errors import ConfigError, DeadlineExceededError
from ..core.events import EventSink
from ..core.ports import Clock, Random
from ..protocols.chaos import Chaos, ChaosConfig
from ..protocols.degradation import Fallback, FallbackConfig
from ..protocols.load import Bulkhead, BulkheadConfig, Priority, Throttle, ThrottleConfig
from ..protocols.repeats import BudgetSnapshot, Hedge, HedgeConfig, RetryBudget
from ..protocols.resilience import BreakerConfig, CircuitBreaker, Deadline, Retry, never_fails
from ..resilience.breaker import SlidingWindowBreaker
from ..resilience.budget import WindowRetryBudget
from ..resilience.bulkhead import QueueBulkhead
from ..resilience.chaos import RuleChaos
from ..resilience.deadline import DeadlineConfig, ScopeDeadline
from ..resilience.fallback import OrderedFallback
from ..resilience.hedge import PercentileHedge
from ..resilience.retry import RetryConfig, StaminaRetry
from ..resilience.throttle import AdaptiveThrottle

__all__ = ("Layer", "Operation", "Parts", "Settings", "attempt_layer", "make_parts")

T = TypeVar("T")
C = TypeVar("C")

Operation: TypeAlias = Callable[[], Awaitable[Any]]
Layer: TypeAlias = Callable[[Operation], Awaitable[Any]]
"""Runs an operation behind one or more parts."""

_MARGIN = 0.05
_MOST_MARGIN_S = 0.01


@final
@frozen(kw_only=True)
class Settings:
    """What a pipeline was asked to be made of: blocks, or the settings of default ones."""

    name: str
    deadline: Deadline | DeadlineConfig | None
    fallback: Fallback | FallbackConfig | None
    bulkhead: Bulkhead | BulkheadConfig | None
    throttle: Throttle | ThrottleConfig | None
    hedge: Hedge | HedgeConfig | None
    retry: Retry | RetryConfig | None
    budget: RetryBudget | None
    breaker: CircuitBreaker | BreakerConfig | None
    attempt_timeout_s: float | None
    chaos: Chaos | ChaosConfig | None
    is_failure: Callable[[Any], bool]
    read_only: bool
    priority: Priority
    clock: Clock
    random: Random
    sink: EventSink


@final
@frozen(kw_only=True)
class Parts:
    """The blocks of a pipeline; None where it has none."""

    deadline: Deadline | None
    fallback: Fallback | None
    bulkhead: Bulkhead | None
    throttle: Throttle | None
    hedge: Hedge | None
    retry: Retry | None
    breaker: CircuitBreaker | None
    attempt_timeout_s: float | None
    chaos: Chaos | None


@final
class _RepeatsOnly:
    """A budget for a retry inside a hedge that has taken note of the call already."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def begin(self) -> None:
        """Do nothing."""

    def take(self, *, timed_out: bool = False) -> float:
        return self._budget.take(timed_out=timed_out)

    def succeed(self, taken: float = 0.0, /) -> None:
        if taken:
            self._budget.succeed(taken)

    def snapshot(self) -> BudgetSnapshot:
        return self._budget.snapshot()


def make_parts(asked: Settings) -> Parts:
    """Return the blocks, those made that were given as settings.

    Raises:
        ConfigError: The parts do not fit together.
    """
    if asked.hedge is not None and not asked.read_only:
        raise ConfigError(
            "a hedge runs an operation twice at the same time; say read_only=True where that "
            "does no harm, or leave the hedge out",
            "hedge",
        )
    options: Any = {
        "name": asked.name,
        "clock": asked.clock,
        "random": asked.random,
        "sink": asked.sink,
    }
    fails = asked.is_failure

    def judged(config: C) -> C:
        """Return settings that judge results as the pipeline does, unless they say how."""
        judging: Any = config
        if fails is never_fails or judging.is_failure is not never_fails:
            return config
        return cast("C", evolve(judging, is_failure=fails))

    deadline: Any = asked.deadline
    if isinstance(deadline, DeadlineConfig):
        deadline = ScopeDeadline(deadline, clock=asked.clock, sink=asked.sink)
    fallback: Any = asked.fallback
    if isinstance(fallback, FallbackConfig):
        fallback = OrderedFallback(judged(fallback), **options)
    bulkhead: Any = asked.bulkhead
    if isinstance(bulkhead, BulkheadConfig):
        bulkhead = QueueBulkhead(bulkhead, **options)
    throttle: Any = asked.throttle
    if isinstance(throttle, ThrottleConfig):
        throttle = AdaptiveThrottle(throttle, **options)
    breaker: Any = asked.breaker
    if isinstance(breaker, BreakerConfig):
        breaker = SlidingWindowBreaker(judged(breaker), **options)
    chaos: Any = asked.chaos
    if isinstance(chaos, ChaosConfig):
        chaos = RuleChaos(chaos, **options)
    hedge, retry, attempt_timeout_s = _make_repeats(asked, deadline, options)
    return Parts(
        deadline=deadline,
        fallback=fallback,
        bulkhead=bulkhead,
        throttle=throttle,
        hedge=hedge,
        retry=retry,
        breaker=breaker,
        attempt_timeout_s=attempt_timeout_s,
        chaos=chaos,
    )


def _make_repeats(asked: Settings, deadline: Deadline | None, options: Any) -> tuple[Any, Any, Any]:
    """Return hedge and retry on one budget, and how long an attempt may take."""
    hedge: Any = asked.hedge
    retry: Any = asked.retry
    attempt_timeout_s = asked.attempt_timeout_s
    budget = asked.budget
    if budget is None and (isinstance(hedge, HedgeConfig) or isinstance(retry, RetryConfig)):
        budget = WindowRetryBudget(clock=asked.clock)
    if isinstance(hedge, HedgeConfig):
        hedge = PercentileHedge(hedge, budget=budget, **options)
    if isinstance(retry, RetryConfig):
        if retry.attempt_timeout_s is not None:
            # Cut off further in, where the breaker sees it.
            attempt_timeout_s = attempt_timeout_s or retry.attempt_timeout_s
            retry = evolve(retry, attempt_timeout_s=None)
        counted = isinstance(hedge, PercentileHedge) and budget is not None
        retry = StaminaRetry(
            retry,
            budget=_RepeatsOnly(budget) if counted and budget is not None else budget,
            remaining_s=None if deadline is None else deadline.remaining_s,
            **options,
        )
    return hedge, retry, attempt_timeout_s


def attempt_layer(
    inner: Layer | None,
    clock: Clock,
    timeout_s: float | None,
    remaining_s: Callable[[], float | None] | None,
) -> Layer:
    """Return a layer that cuts off one attempt, by an error that the parts outside count.

    A cancellation by the deadline outside says nothing about the target to the breaker,
    so an attempt that would last until then is cut off a twentieth earlier (at most 10 ms).
    """

    async def run_attempt(operation: Operation) -> Any:
        left_s = None if remaining_s is None else remaining_s()
        if left_s is not None:
            left_s -= min(_MOST_MARGIN_S, left_s * _MARGIN)
        by_deadline = left_s is not None and (timeout_s is None or left_s < timeout_s)
        limit_s = left_s if by_deadline else timeout_s
        if limit_s is None:
            return await (operation() if inner is None else inner(operation))
        if limit_s > 0.0:
            with clock.cut_after(limit_s):
                return await (operation() if inner is None else inner(operation))
        # Reached only when our scope has caught the cancellation that it caused itself.
        if by_deadline:
            raise DeadlineExceededError("the attempt did not finish before the call's deadline")
        raise TimeoutError(f"the attempt did not finish within {timeout_s:g} seconds")

    return run_attempt


def around(inner: Layer | None, execute: Callable[..., Awaitable[Any]], **settings: Any) -> Layer:
    """Return a layer that runs `inner` behind a block's `execute`.

    Lambdas and not `partial`: made and called for every part of every call, they take half
    of its time.
    """
    if not settings:
        if inner is None:
            return execute
        return lambda operation: execute(lambda: inner(operation))
    if inner is None:
        return lambda operation: execute(operation, **settings)
    if settings.keys() == {"name"}:
        name = settings["name"]
        return lambda operation: execute(lambda: inner(operation), name=name)
    return lambda operation: execute(lambda: inner(operation), **settings)
