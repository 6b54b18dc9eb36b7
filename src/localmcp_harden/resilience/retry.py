"""Repeats an operation that failed for a passing reason, after a random wait.

All times are seconds. The first attempt is the bare call; what follows a failure is
decided here, waited for by the clock, and counted by stamina. See `mechanisms.backoff`
for the waits and their source, and `mechanisms.attempt_counter` for what stamina sees.
"""

import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar, final

from ..core.errors import DeadlineExceededError, RefusedError
from ..core.events import EventSink, RetryEnded, RetryScheduled, discard
from ..core.ports import Clock, Random
from ..mechanisms.attempt_counter import AttemptCounter
from ..mechanisms.backoff import Backoff, Jitter
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..mechanisms.retry_after import asked_wait_s
from ..protocols.repeats import RetryBudget
from ..protocols.resilience import never_fails
from .retry_config import RetryConfig
from .retry_history import Attempt, attempts_of, remember
from .retry_run import Ended, RepeatedRun, leaves_of

__all__ = ("Attempt", "Jitter", "RetryConfig", "StaminaRetry", "attempts_of")

T = TypeVar("T")


@final
class _Repeating:
    """A repetition that goes on; tasks it started may outlive it, hence the flag."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = True


_repeating: ContextVar[_Repeating | None] = ContextVar("localmcp_harden_repeating", default=None)


@final
class StaminaRetry:
    """The default `Retry`: random waits, attempts counted by stamina.

    Retries do not multiply: while one operation is being repeated, a further
    `StaminaRetry` inside it makes single attempts.

    A host that switches stamina off, or puts it in its testing mode, switches
    repetition off here too.

    A predicate, a budget or a sink that raises is reported as `GuardFailed`; the
    operation's result and error stay what they are.

    Args:
        config: How often, how long, what for.
        name: How events call the operation, where the call says nothing else.
        budget: What bounds repetitions, best the one that hedges share; None for no
            bound but `attempts`.
        clock: Time; it does the waiting and the cutting off.
        random: The jitter.
        sink: Told of every repetition, and how each repeated operation ended.
        remaining_s: Tells how much time is left, for example `deadline.remaining_s`;
            a wait that would use it up is not begun.
    """

    def __init__(
        self,
        config: RetryConfig | None = None,
        *,
        name: str = "operation",
        budget: RetryBudget | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
        remaining_s: Callable[[], float | None] | None = None,
    ) -> None:
        self.config: RetryConfig = config or RetryConfig()
        self.name: str = name
        self._budget = budget
        self._clock: Clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, self._clock, name)
        self._remaining_s = remaining_s
        self._timed = (
            self.config.attempt_timeout_s is not None or self.config.total_timeout_s is not None
        )
        self._refusals = tuple(
            kind for kind in self.config.retry_on if issubclass(kind, RefusedError)
        )

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
            Exception: What the last attempt raised, with a note that says how many
                attempts there were; `attempts_of` tells each. What is not retryable
                is raised at once.
            TimeoutError: The last attempt took longer than `attempt_timeout_s`.
            DeadlineExceededError: All of it took longer than `total_timeout_s`.
        """
        budget = self._budget
        if budget is not None:
            try:
                budget.begin()
            except Exception as broken:  # noqa: BLE001 - a host's budget may raise anything
                self._reporter.guard_failed("budget", broken)
        began = self._monotonic()
        try:
            result = await (self._cut(operation, began) if self._timed else operation())
        except Exception as error:
            if not self._is_retryable(error) or self.config.attempts == 1:
                raise
            first = Ended[T](error, bad=True)
        else:
            # Most calls end here; nothing of what follows is imported or made for them.
            if is_failure is never_fails or not self._is_bad(is_failure, result):
                if budget is not None:
                    self._succeed(budget, 0.0)
                return result
            if self.config.attempts == 1:
                return result
            first = Ended(None, result, bad=True)
        try:
            return await self._repeat(operation, is_failure, first, began, name or self.name)
        finally:
            # An error's traceback holds this frame; the frame must not hold the error.
            del first

    async def _repeat(
        self,
        operation: Callable[[], Awaitable[T]],
        is_failure: Callable[[T], bool],
        last: Ended[T],
        began: float,
        name: str,
    ) -> T:
        config = self.config
        total_s = math.inf if config.total_timeout_s is None else config.total_timeout_s
        backoff = Backoff(config.jitter, config.base_s, config.max_wait_s, self._random)
        run = RepeatedRun(name, backoff, began + total_s)
        run.add(last.kind, self._monotonic() - began)
        outer = _repeating.get()
        nested = outer is not None and outer.active
        mine = _Repeating()
        outcome = "nested" if nested else ""
        try:
            counter = None if nested else AttemptCounter(config.attempts)
            if counter is not None:
                _repeating.set(mine)
            while counter is not None:
                wait_s, outcome = self._next(run, counter, last.cause)
                if outcome:
                    break
                # What ends here otherwise ends by cancellation.
                outcome = "cancelled"
                self._schedule(run, wait_s, last.kind)
                await self._clock.sleep(wait_s)
                at = self._monotonic()
                last, again = await self._attempt(operation, is_failure, began)
                run.add(last.kind if last.bad else "", self._monotonic() - at, wait_s)
                if not again:
                    outcome = "not_retryable" if last.bad else "recovered"
                    break
            if outcome == "recovered" and self._budget is not None:
                self._succeed(self._budget, run.taken)
            if last.error is not None:
                if len(run.attempts) > 1:
                    remember(last.error, tuple(run.attempts))
                raise last.error
            return last.result  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
        finally:
            # The flag ends it, and not a reset of the variable: a generator may end in
            # another context than it began in, and tasks may have copied this one.
            mine.active = False
            self._end(run, outcome, last.kind if last.bad else "")
            del last

    async def _attempt(
        self, operation: Callable[[], Awaitable[T]], is_failure: Callable[[T], bool], began: float
    ) -> tuple[Ended[T], bool]:
        """Run the operation once; return how it ended and whether to repeat it."""
        try:
            result = await (self._cut(operation, began) if self._timed else operation())
        except Exception as error:  # noqa: BLE001 - handed back, and raised by the caller
            return Ended(error, bad=True), self._is_retryable(error)
        bad = is_failure is not never_fails and self._is_bad(is_failure, result)
        return Ended(None, result, bad=bad), bad

    async def _cut(self, operation: Callable[[], Awaitable[T]], began: float) -> T:
        """Run the operation for as long as one attempt, and all of them, may take."""
        attempt_s, total_s = self.config.attempt_timeout_s, self.config.total_timeout_s
        left_s = math.inf if total_s is None else began + total_s - self._monotonic()
        limit_s = left_s if attempt_s is None else min(attempt_s, left_s)
        if limit_s > 0.0:
            with self._clock.cut_after(limit_s):
                return await operation()
        # Reached only when our scope has caught the cancellation that it caused itself.
        if attempt_s is not None and attempt_s < left_s:
            raise TimeoutError(f"the attempt did not finish within {attempt_s:g} seconds")
        raise DeadlineExceededError(f"the attempts did not finish within {total_s:g} seconds")

    def _next(
        self, run: RepeatedRun, counter: AttemptCounter, cause: Exception | None
    ) -> tuple[float, str]:
        """Return how long to wait before the next attempt, or why there is none."""
        if not self._go_on(counter):
            # stamina says so: all attempts were made, or the host has switched it off.
            spent = len(run.attempts) >= self.config.attempts
            return 0.0, "exhausted" if spent else "switched_off"
        wait_s, outcome = self._wait_s(run, cause)
        if not outcome and self._budget is not None:
            run.taken = self._take(self._budget, cause)
            if not run.taken:
                outcome = "budget"
        return wait_s, outcome

    def _wait_s(self, run: RepeatedRun, cause: Exception | None) -> tuple[float, str]:
        wait_s = run.backoff.next_s()
        asked_s = self._asked_s(cause)
        if asked_s > self.config.max_wait_s:
            return asked_s, "asked_wait"
        wait_s = max(wait_s, asked_s)
        left_s = run.until - self._monotonic()
        if self.config.total_timeout_s is not None:
            # Of a clock that stands still the waits themselves are what has passed.
            left_s = min(left_s, self.config.total_timeout_s - run.waited_s)
        outer_s = self._left_outside_s()
        if outer_s is not None:
            left_s = min(left_s, outer_s)
        return wait_s, "" if wait_s < left_s else "deadline"

    def _left_outside_s(self) -> float | None:
        if self._remaining_s is None:
            return None
        try:
            return self._remaining_s()
        except Exception as broken:  # noqa: BLE001 - the host's function may raise anything
            self._reporter.guard_failed("remaining_s", broken)
            return None

    def _asked_s(self, cause: Exception | None) -> float:
        """Return how long the target asks to be left alone, 0 when it does not say."""
        longest = 0.0
        for leaf in leaves_of(cause):
            try:
                longest = max(longest, asked_wait_s(leaf, wall_s=self._clock.wall()))
            except Exception as broken:  # noqa: BLE001 - a property may raise anything
                self._reporter.guard_failed("retry_after_s", broken)
        return longest

    def _go_on(self, counter: AttemptCounter) -> bool:
        try:
            return counter.go_on()
        except Exception as broken:  # noqa: BLE001 - a process-wide hook of the host's broke
            self._reporter.guard_failed("stamina", broken)
            return False

    def _is_retryable(self, error: Exception) -> bool:
        leaves = leaves_of(error)
        if not leaves:
            return False
        try:
            return all(
                isinstance(
                    leaf, self._refusals if isinstance(leaf, RefusedError) else self.config.retry_on
                )
                for leaf in leaves
            )
        except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
            self._reporter.guard_failed("retry_on", broken)
            return False

    def _is_bad(self, is_failure: Callable[[T], bool], result: T) -> bool:
        try:
            return bool(is_failure(result))
        except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_failure", broken)
            return False

    def _take(self, budget: RetryBudget, cause: Exception | None) -> float:
        try:
            return budget.take(timed_out=any(isinstance(e, TimeoutError) for e in leaves_of(cause)))
        except Exception as broken:  # noqa: BLE001 - a host's budget may raise anything
            # A budget that can not say what is left has nothing left.
            self._reporter.guard_failed("budget", broken)
            return 0.0

    def _succeed(self, budget: RetryBudget, taken: float) -> None:
        try:
            budget.succeed(taken)
        except Exception as broken:  # noqa: BLE001 - a host's budget may raise anything
            self._reporter.guard_failed("budget", broken)

    def _schedule(self, run: RepeatedRun, wait_s: float, kind: str) -> None:
        self._reporter.report(
            RetryScheduled(
                at=self._clock.wall(),
                operation=run.name,
                attempt=len(run.attempts),
                wait_s=wait_s,
                error_type=kind,
            )
        )

    def _end(self, run: RepeatedRun, outcome: str, kind: str) -> None:
        self._reporter.report(
            RetryEnded(
                at=self._clock.wall(),
                operation=run.name,
                outcome=outcome,
                attempts=len(run.attempts),
                waited_s=run.waited_s,
                error_type=kind,
            )
        )
