"""Begins a slow operation once more beside itself, and takes the first good answer.

All times are seconds. The second attempt begins when the first has taken longer than
a percentile of the last durations: the hedged requests of J. Dean and L. A. Barroso,
"The Tail at Scale" (Communications of the ACM, 2013). How many there are is bounded by
a budget, so that a target that is slow for everybody does not get twice the load.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, final

import anyio
from anyio.abc import TaskGroup

from ..core.events import EventSink, HedgeStarted, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.duration_window import DurationWindow
from ..mechanisms.exception_groups import plain_errors
from ..mechanisms.repeat_budgets import WindowBudgetConfig, WindowTokens
from ..mechanisms.reporter import Reporter
from ..protocols.repeats import HedgeConfig, HedgeSnapshot, RetryBudget
from ..protocols.resilience import never_fails

__all__ = ("PercentileHedge",)

T = TypeVar("T")

# Of an own budget: twice what the 95th percentile asks for, and one a second.
_OWN_BUDGET = WindowBudgetConfig(ratio=0.1, min_per_s=1.0)


@final
class _Race(Generic[T]):
    """The attempts at one operation."""

    __slots__ = ("error", "first", "over", "result", "running", "taken", "took_s", "winner")

    def __init__(self) -> None:
        self.first = anyio.CancelScope()
        self.over = anyio.Event()
        self.running = 1
        self.winner: int | None = None
        # What the winner returned; while there is none, how the first attempt ended.
        self.result: T | None = None
        self.error: Exception | None = None
        self.taken = 0.0
        # How long the first attempt took, or had taken when it was overtaken.
        self.took_s = 0.0

    def win(self, attempt: int, result: T, taken: float) -> None:
        """End the race, unless another attempt already has."""
        if self.winner is not None:
            return
        self.winner = attempt
        self.result = result
        self.taken = taken
        if attempt:
            self.first.cancel()

    def leave(self) -> None:
        """Take an attempt out that has ended."""
        self.running -= 1
        if self.winner is not None or not self.running:
            self.over.set()


@final
class PercentileHedge:
    """The default `Hedge`: attempts are tasks of one task group, so none outlives the call.

    The first attempt runs in the caller's own task. An attempt that does not end when it is
    cancelled holds the answer back. A predicate that raises is reported as
    `GuardFailed`, and the result counts as good.

    Args:
        config: When to begin again, and how often.
        name: How events call the operation.
        budget: What bounds further attempts, best the one that retries share; by
            default one of its own: a tenth of the calls of the last 10 seconds, and
            one a second.
        clock: Time.
        sink: Told of every further attempt.
    """

    __slots__ = (
        "_budget",
        "_calls",
        "_clock",
        "_config",
        "_durations",
        "_hedges",
        "_reporter",
        "_unaffordable",
        "_won",
        "name",
    )

    def __init__(
        self,
        config: HedgeConfig | None = None,
        *,
        name: str = "operation",
        budget: RetryBudget | None = None,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._config = config or HedgeConfig()
        self._clock: Clock = clock or SystemClock()
        self._budget: RetryBudget = budget or WindowTokens(_OWN_BUDGET, self._clock.monotonic)
        self._reporter = Reporter(sink, self._clock, name)
        self._durations = DurationWindow(self._config.window_calls)
        self._calls = 0
        self._hedges = 0
        self._won = 0
        self._unaffordable = 0

    @property
    def config(self) -> HedgeConfig:
        """The settings in force."""
        return self._config

    async def execute(
        self,
        operation: Callable[[], Awaitable[T]],
        /,
        *,
        read_only: bool,
        is_failure: Callable[[T], bool] = never_fails,
    ) -> T:
        """Run the operation, and when it is slow, again beside it.

        A first attempt that fails before another was begun is not repeated: that is
        what a retry is for. When no attempt goes well, the first one's result or
        error is the answer.

        Raises:
            Exception: What the first attempt raised, when no attempt went well.
        """
        if not read_only:
            return await operation()
        self._calls += 1
        self._budget.begin()
        monotonic = self._clock.monotonic
        race: _Race[T] = _Race()
        began = monotonic()
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hedge, race, tasks, operation, is_failure)
                with race.first:
                    await self._attempt(race, 0, 0.0, operation, is_failure)
                race.took_s = monotonic() - began
                if race.winner is None and race.running:
                    await race.over.wait()
                tasks.cancel_scope.cancel()
        return self._settle(race)

    def snapshot(self) -> HedgeSnapshot:
        """Return the hedge's numbers."""
        return HedgeSnapshot(
            delay_s=self._delay_s(),
            calls=self._calls,
            hedges=self._hedges,
            won=self._won,
            unaffordable=self._unaffordable,
        )

    def configure(self, config: HedgeConfig, /) -> None:
        """Go on with other settings, keeping the newest durations that still fit."""
        if config.window_calls != self._config.window_calls:
            self._durations = self._durations.resized(config.window_calls)
        self._config = config

    def _delay_s(self) -> float:
        config = self._config
        if config.percentile is None or len(self._durations) < config.minimum_calls:
            return config.delay_s
        return max(config.min_delay_s, self._durations.percentile(config.percentile))

    async def _hedge(
        self,
        race: _Race[T],
        tasks: TaskGroup,
        operation: Callable[[], Awaitable[T]],
        is_failure: Callable[[T], bool],
    ) -> None:
        delay_s = self._delay_s()
        for attempt in range(1, self._config.max_hedges + 1):
            await self._clock.sleep(delay_s)
            if race.winner is not None or not race.running:
                return
            taken = self._budget.take()
            if not taken:
                self._unaffordable += 1
                return
            self._hedges += 1
            race.running += 1
            tasks.start_soon(self._attempt, race, attempt, taken, operation, is_failure)
            at = self._clock.wall()
            self._reporter.report(
                HedgeStarted(at=at, operation=self.name, hedge=attempt, delay_s=delay_s)
            )

    async def _attempt(
        self,
        race: _Race[T],
        attempt: int,
        taken: float,
        operation: Callable[[], Awaitable[T]],
        is_failure: Callable[[T], bool],
    ) -> None:
        try:
            result = await operation()
            if is_failure is never_fails or not self._is_bad(is_failure, result):
                race.win(attempt, result, taken)
            elif not attempt and race.winner is None:
                race.result = result
        except Exception as error:  # noqa: BLE001 - raised again when no attempt goes well
            if not attempt:
                race.error = error
        finally:
            race.leave()

    def _settle(self, race: _Race[T]) -> T:
        if race.winner is None:
            error = race.error
            if error is not None:
                try:
                    raise error
                finally:
                    # Its traceback holds this frame: no cycle that only the collector ends.
                    race.error = None
                    del error
            return race.result  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
        # Of a first attempt that was overtaken, what is known is that it would have taken
        # longer. Left out, slow durations would vanish and hedges would breed hedges.
        self._durations.add(race.took_s)
        if race.winner:
            self._won += 1
        self._budget.succeed(race.taken)
        return race.result  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def _is_bad(self, is_failure: Callable[[Any], bool], result: object) -> bool:
        try:
            return bool(is_failure(result))
        except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_failure", broken)
            return False
