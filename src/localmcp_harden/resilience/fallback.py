"""Answers with the next best when an operation fails: an earlier result, a function, a value.

All times are seconds. What stands in is tried in this order: the last result of the
same key if it is young enough, the function, the value. When nothing does, the
operation's own error is the answer. That a call was answered otherwise is never silent:
`answer` says so, and an event does.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, final

from ..core.errors import RefusedError
from ..core.events import EventSink, FallbackUsed, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.exception_groups import leaves
from ..mechanisms.reporter import Reporter
from ..protocols.degradation import Answer, AnswerSource, FallbackConfig
from ..protocols.resilience import never_fails

__all__ = ("NO_VALUE", "OrderedFallback")

T = TypeVar("T")


@final
class _NoValue:
    """The type of `NO_VALUE`."""

    def __repr__(self) -> str:
        return "NO_VALUE"


NO_VALUE: Any = _NoValue()
"""Says that there is no value to answer with; None is a value."""


@final
class OrderedFallback:
    """The default `Fallback`: in memory, a bounded number of earlier results.

    A predicate that raises is reported as `GuardFailed`, and nothing is replaced; a
    function that raises is too, and counts as none.

    Args:
        config: What is replaced, and how old a replacement may be.
        value: What to answer in the last resort.
        function: What to ask before that; it gets what the operation raised, None
            when it returned a bad result.
        name: How events call the operation.
        clock: Time.
        sink: Told of every answer that is not the operation's.
    """

    def __init__(
        self,
        config: FallbackConfig | None = None,
        *,
        value: Any = NO_VALUE,
        function: Callable[[Exception | None], Awaitable[Any]] | None = None,
        name: str = "operation",
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._config = config or FallbackConfig()
        self._refusals = _refusals(self._config)
        self._value = value
        self._function = function
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, name)
        # Results and when they came, the most recently used last.
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many results are kept."""
        return len(self._kept)

    @property
    def config(self) -> FallbackConfig:
        """The settings in force."""
        return self._config

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> T:
        """Return the operation's result, or what stands in for it.

        Raises:
            Exception: What the operation raised, when nothing stands in for it.
        """
        return (await self.answer(operation, key=key)).value

    async def answer(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> Answer[T]:
        """Do what `execute` does, and say where the result comes from.

        Raises:
            Exception: What the operation raised, when nothing stands in for it.
        """
        try:
            result = await operation()
        except Exception as error:
            if not self._is_replaced(error):
                raise
            found: Answer[T] | None = await self._instead(key, error)
            if found is None:
                raise
            return found
        if self._is_bad(result):
            found = await self._instead(key, None)
            return Answer(value=result) if found is None else found
        if key is not None and self._config.max_stale_s > 0.0:
            self._keep(key, result)
        return Answer(value=result)

    def configure(self, config: FallbackConfig, /) -> None:
        """Go on with other settings, keeping the results that still fit."""
        self._config = config
        self._refusals = _refusals(config)
        if config.max_stale_s <= 0.0:
            self._kept.clear()
        self._trim()

    def set_function(
        self, function: Callable[[Exception | None], Awaitable[Any]] | None, /
    ) -> None:
        """Answer with what `function` makes of the error; None takes it away."""
        self._function = function

    def forget(self, key: Hashable | None = None, /) -> None:
        """Forget the result of a key, or all of them when None."""
        if key is None:
            self._kept.clear()
        else:
            self._kept.pop(key, None)

    async def _instead(self, key: Hashable | None, error: Exception | None) -> Answer[Any] | None:
        found = self._stale(key, error)
        if found is None and self._function is not None:
            found = await self._made(self._function, error)
        if found is None and self._value is not NO_VALUE:
            found = Answer(value=self._value, source=AnswerSource.VALUE, error=error)
        if found is not None:
            self._reporter.report(
                FallbackUsed(
                    at=self._clock.wall(),
                    operation=self.name,
                    source=found.source.value,
                    error_type="result" if error is None else type(error).__name__,
                    age_s=found.age_s,
                )
            )
        return found

    def _stale(self, key: Hashable | None, error: Exception | None) -> Answer[Any] | None:
        entry = None if key is None else self._kept.get(key)
        if entry is None:
            return None
        age_s = self._clock.monotonic() - entry[0]
        if age_s > self._config.max_stale_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return Answer(value=entry[1], source=AnswerSource.STALE, age_s=age_s, error=error)

    async def _made(
        self, function: Callable[[Exception | None], Awaitable[Any]], error: Exception | None
    ) -> Answer[Any] | None:
        try:
            value = await function(error)
        except Exception as broken:  # noqa: BLE001 - a host's function may raise anything
            self._reporter.guard_failed("function", broken)
            return None
        return Answer(value=value, source=AnswerSource.FUNCTION, error=error)

    def _keep(self, key: Hashable, result: object) -> None:
        self._kept[key] = (self._clock.monotonic(), result)
        self._kept.move_to_end(key)
        self._trim()

    def _trim(self) -> None:
        while len(self._kept) > self._config.max_entries:
            self._kept.popitem(last=False)

    def _is_replaced(self, error: Exception) -> bool:
        try:
            return all(
                isinstance(
                    leaf, self._refusals if isinstance(leaf, RefusedError) else self._config.on
                )
                for leaf in leaves(error)
            )
        except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
            self._reporter.guard_failed("on", broken)
            return False

    def _is_bad(self, result: object) -> bool:
        is_failure = self._config.is_failure
        if is_failure is never_fails:
            return False
        try:
            return bool(is_failure(result))
        except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_failure", broken)
            return False


def _refusals(config: FallbackConfig) -> tuple[type[Exception], ...]:
    return tuple(kind for kind in config.on if issubclass(kind, RefusedError))
