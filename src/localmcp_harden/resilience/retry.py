"""Repeats an operation that failed for a passing reason, after a random wait.

All times are seconds. The wait before repetition n (from 0) is drawn from
`uniform(0, min(max_wait_s, base_s * 2**n))`: full jitter, from M. Brooker,
"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). stamina counts the
attempts; it is imported after the first failure, and sees neither errors nor
results, so nothing that it or its hooks log can hold a secret.
"""

import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, instance_of, le

from ..core.errors import RefusedError, UpstreamError
from ..core.events import EventSink, RetryScheduled, discard
from ..core.model import Outcome
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.resilience import never_fails

if TYPE_CHECKING:
    import stamina

__all__ = ("RetryConfig", "StaminaRetry")

T = TypeVar("T")

_MAX_LEAVES = 1_000


def _are_exceptions(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    kinds: list[object] = list(value) if isinstance(value, tuple) else [value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if not isinstance(value, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
    ):
        raise TypeError(
            f"{attribute.name} must be a tuple of subclasses of Exception; "
            "cancellation and interrupts are never retried"
        )


@final
@frozen(kw_only=True)
class RetryConfig:
    """How often to repeat, how long to wait, and what for.

    Args:
        attempts: How often the operation runs at most, the first time included
            (1 to 100; 3, which rides out a short fault and adds little load to a
            long one).
        base_s: The upper end of the first wait (0 to 3,600; 0.1).
        max_wait_s: The upper end of every wait (0 to 3,600; 5). A target that asks
            for a longer wait (`retry_after_s`) is not called again.
        retry_on: What is retried; an exception group is when all its members are.
            A refusal of this package is only when its class is named here, not
            when a base class such as `Exception` is (connection errors, timeouts,
            and a wrapped server that went away).
    """

    attempts: int = field(default=3, validator=[instance_of(int), and_(ge(1), le(100))])
    base_s: float = field(default=0.1, validator=and_(ge(0.0), le(3_600.0)))
    max_wait_s: float = field(default=5.0, validator=and_(ge(0.0), le(3_600.0)))
    retry_on: tuple[type[Exception], ...] = field(
        default=(ConnectionError, TimeoutError, UpstreamError), validator=_are_exceptions
    )


class _AttemptFailedError(Exception):
    """What stamina is shown instead of what happened."""


@final
class _Repeating:
    """A repetition that goes on; tasks it started may outlive it, hence the flag."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = True


_repeating: ContextVar[_Repeating | None] = ContextVar("localmcp_harden_repeating", default=None)


@final
class _Ended(Generic[T]):
    """How one attempt ended: with an error or a result, and what went wrong in either."""

    __slots__ = ("cause", "error", "kind", "result")

    def __init__(self, error: Exception | None, result: T | None = None) -> None:
        self.error = error
        self.result = result
        # The chain's results say in a field what their handler raised.
        self.cause = result.failure if isinstance(result, Outcome) else error
        self.kind = "result" if self.cause is None else type(self.cause).__name__


@final
class StaminaRetry:
    """The default `Retry`: full jitter, attempts counted by stamina.

    Retries do not multiply: while one operation is being repeated, a further
    `StaminaRetry` inside it makes single attempts.

    A host that switches stamina off, or puts it in its testing mode, switches
    repetition off here too.

    Args:
        config: How often, how long, what for.
        name: How events and notes call the operation.
        clock: Time; it does the waiting.
        random: The jitter.
        sink: Told of every repetition.
        remaining_s: Tells how much time is left, for example `deadline.remaining_s`;
            a wait that would use it up is not begun.
    """

    def __init__(
        self,
        config: RetryConfig | None = None,
        *,
        name: str = "operation",
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
        remaining_s: Callable[[], float | None] | None = None,
    ) -> None:
        self.config: RetryConfig = config or RetryConfig()
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, self._clock, name)
        self._remaining_s = remaining_s
        self._refusals = tuple(
            kind for kind in self.config.retry_on if issubclass(kind, RefusedError)
        )

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
            Exception: What the last attempt raised, with a note that says how many
                attempts there were. What is not retryable is raised at once.
        """
        try:
            result = await operation()
        except Exception as error:
            if not self._is_retryable(error) or self._is_single():
                raise
            first = _Ended[T](error)
        else:
            # Most calls end here; nothing of what follows is imported or made for them.
            if is_failure is never_fails:
                return result
            if not self._is_bad(is_failure, result) or self._is_single():
                return result
            first = _Ended(None, result)
        try:
            return await self._repeat(operation, is_failure, first)
        finally:
            # An error's traceback holds this frame; the frame must not hold the error.
            del first

    async def _repeat(
        self,
        operation: Callable[[], Awaitable[T]],
        is_failure: Callable[[T], bool],
        last: _Ended[T],
    ) -> T:
        import stamina  # noqa: PLC0415 - heavy, and only needed once something has failed

        turns = aiter(
            stamina.retry_context(
                on=_repeat_at_once,
                attempts=self.config.attempts,
                timeout=None,
                wait_initial=0.0,
                wait_max=0.0,
                wait_jitter=0.0,
            )
        )
        kinds = [last.kind]
        mine = _Repeating()
        _repeating.set(mine)
        try:
            # The bare attempt is the first that stamina counts.
            _mark_failed(await anext(turns))
            while (wait_s := self._wait_s(len(kinds) - 1, last.cause)) is not None:
                turn = await self._next_turn(turns)
                if turn is None:
                    break
                self._reporter.report(
                    RetryScheduled(
                        at=self._clock.wall(),
                        operation=self.name,
                        attempt=len(kinds),
                        wait_s=wait_s,
                        error_type=last.kind,
                    )
                )
                await self._clock.sleep(wait_s)
                last, again = await self._attempt(operation, is_failure)
                kinds.append(last.kind)
                if not again:
                    break
                _mark_failed(turn)
            if last.error is None:
                return last.result  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
            _note(last.error, kinds)
            raise last.error
        finally:
            # The flag ends it, and not a reset of the variable: a generator may end in
            # another context than it began in, and tasks may have copied this one.
            mine.active = False
            del last

    async def _attempt(
        self, operation: Callable[[], Awaitable[T]], is_failure: Callable[[T], bool]
    ) -> tuple[_Ended[T], bool]:
        """Run the operation once; return how it ended and whether to repeat it."""
        try:
            result = await operation()
        except Exception as error:  # noqa: BLE001 - handed back, and raised by the caller
            return _Ended(error), self._is_retryable(error)
        return _Ended(None, result), self._is_bad(is_failure, result)

    async def _next_turn(self, turns: Any) -> "stamina.Attempt | None":
        """Return stamina's next attempt, None when there is none."""
        try:
            turn: stamina.Attempt = await anext(turns)
        except _AttemptFailedError:
            return None
        except Exception as error:  # noqa: BLE001 - a process-wide hook of the host's broke
            self._reporter.guard_failed("stamina", error)
            return None
        return turn

    def _wait_s(self, repetition: int, cause: Exception | None) -> float | None:
        """Return how long to wait before the next attempt, None to give up."""
        limit = self.config.max_wait_s
        wait_s = self._random.uniform(0.0, min(limit, self.config.base_s * 2.0**repetition))
        asked_s = self._asked_s(cause)
        if asked_s > limit:
            return None
        wait_s = max(wait_s, asked_s)
        if self._remaining_s is not None:
            left_s = self._remaining_s()
            if left_s is not None and wait_s >= left_s:
                return None
        return wait_s

    def _asked_s(self, cause: Exception | None) -> float:
        """Return how long the target asks to be left alone, 0 when it does not say."""
        longest = 0.0
        for leaf in _leaves(cause):
            try:
                asked: object = getattr(leaf, "retry_after_s", None)
            except Exception as broken:  # noqa: BLE001 - a property may raise anything
                self._reporter.guard_failed("retry_after_s", broken)
                continue
            if isinstance(asked, bool) or not isinstance(asked, (int, float)):
                continue
            if not math.isnan(asked):
                longest = max(longest, float(asked))
        return longest

    def _is_single(self) -> bool:
        if self.config.attempts == 1:
            return True
        outer = _repeating.get()
        return outer is not None and outer.active

    def _is_retryable(self, error: Exception) -> bool:
        leaves = _leaves(error)
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


def _repeat_at_once(error: Exception) -> float | bool:
    # Zero: stamina waits for nothing, since our clock does the waiting.
    return 0.0 if isinstance(error, _AttemptFailedError) else False


def _mark_failed(turn: "stamina.Attempt") -> None:
    # Handed over, not raised: a raised one would carry the frames and, as its
    # context, the error itself to whatever hook stamina calls.
    turn.__exit__(_AttemptFailedError, _AttemptFailedError(), None)


def _leaves(cause: Exception | None) -> list[BaseException]:
    """Return what an exception group is made of, the error itself when it is none."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [] if cause is None else [cause]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        else:
            found.append(each)
        if len(found) + len(waiting) > _MAX_LEAVES:
            return []
    return found


def _note(error: Exception, kinds: list[str]) -> None:
    note = f"gave up after {len(kinds)} attempts: {', '.join(kinds)}"
    # An error that is made once and raised often must not collect the same note for ever.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
