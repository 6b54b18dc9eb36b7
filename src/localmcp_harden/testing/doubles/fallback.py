"""A fallback that a test answers for, and which otherwise works."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, final

from ...core.events import EventSink, discard
from ...core.ports import Clock
from ...protocols.degradation import Answer, AnswerSource, FallbackConfig
from ...resilience.fallback import NO_VALUE, OrderedFallback
from ..clock import FakeClock

__all__ = ("FakeFallback",)

T = TypeVar("T")


@final
class FakeFallback:
    """A `Fallback` on a clock that stands still.

    Args:
        config: What is replaced.
        value: What to answer in the last resort.
        clock: The clock; a fake one of its own by default.
        sink: Told of every answer that is not the operation's.
    """

    def __init__(
        self,
        config: FallbackConfig | None = None,
        /,
        *,
        value: Any = NO_VALUE,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.sources: list[AnswerSource] = []
        """Where each answer came from; nothing for an error."""
        self._real = OrderedFallback(
            config, value=value, name="fake", clock=clock or FakeClock(), sink=sink
        )

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> T:
        """Return the operation's result, or what stands in for it."""
        return (await self.answer(operation, key=key)).value

    async def answer(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> Answer[T]:
        """Do what `execute` does, and say where the result comes from."""
        answer = await self._real.answer(operation, key=key)
        self.sources.append(answer.source)
        return answer

    def configure(self, config: FallbackConfig, /) -> None:
        """Go on with other settings."""
        self._real.configure(config)

    def set_function(
        self, function: Callable[[Exception | None], Awaitable[Any]] | None, /
    ) -> None:
        """Answer with what `function` makes of the error; None takes it away."""
        self._real.set_function(function)
