"""The parts of `breaker_aiobreaker` that decide nothing: exclusions, listeners, generators."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

from ..mechanisms.breaker_records import Trial
from ..mechanisms.breaker_reports import BreakerReports

__all__ = ("AiobreakerBase", "Call", "Exclusion")

T = TypeVar("T")

Exclusion: TypeAlias = type[Exception] | Callable[[Exception], object]
"""A type of exceptions, or a predicate over one."""


class Call:
    """One call on its way: the era it began in, or the permit it holds."""

    __slots__ = ("began", "era", "trial")

    def __init__(self, era: int, trial: Trial | None, began: float) -> None:
        self.era: int = era
        self.trial: Trial | None = trial
        self.began: float = began


class AiobreakerBase:
    """Who is told, what says nothing, and calls that end after they have returned."""

    _exclude: list[Exclusion]
    _listeners: list[object]
    _reports: BreakerReports

    @property
    def excluded_exceptions(self) -> tuple[Exclusion, ...]:
        """What says nothing about the target."""
        return tuple(self._exclude)

    def add_excluded_exception(self, exception: Exclusion) -> None:
        """Take an exception, or those of a predicate, to say nothing about the target."""
        self._exclude.append(exception)

    def add_excluded_exceptions(self, *exceptions: Exclusion) -> None:
        """Take several exceptions to say nothing about the target."""
        self._exclude.extend(exceptions)

    def remove_excluded_exception(self, exception: Exclusion) -> None:
        """Count an exception again.

        Raises:
            ValueError: It was not excluded.
        """
        self._exclude.remove(exception)

    def is_system_error(self, exception: Exception) -> bool:
        """Return whether an exception counts as a failure."""
        return not any(
            isinstance(exception, each) if isinstance(each, type) else each(exception)
            for each in self._exclude
        )

    @property
    def listeners(self) -> tuple[object, ...]:
        """Who is told."""
        return tuple(self._listeners)

    def add_listener(self, listener: object) -> None:
        """Tell a listener from now on."""
        self._listeners.append(listener)

    def add_listeners(self, *listeners: object) -> None:
        """Tell several listeners from now on."""
        self._listeners.extend(listeners)

    def remove_listener(self, listener: object) -> None:
        """Tell a listener no more.

        Raises:
            ValueError: It was not told.
        """
        self._listeners.remove(listener)

    async def _through_awaitable(self, call: Call, pending: Awaitable[T]) -> T:
        try:
            result = await pending
        except Exception as error:
            self._failed(call, error)
            raise
        except BaseException:
            self._give_back(call)
            raise
        self._ended(call, result)
        return result

    def _through_generator(
        self, call: Call, items: Generator[Any, Any, Any]
    ) -> Generator[Any, Any, Any]:
        try:
            result = yield from items
        except Exception as error:
            self._failed(call, error)
            raise
        except BaseException:
            self._give_back(call)
            raise
        self._ended(call, result)
        return result

    async def _through_async_generator(
        self, func: Callable[..., AsyncGenerator[Any, None]], args: Any, kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        call = self._enter()
        try:
            if self._listeners:
                self._tell("before_call", func, *args, **kwargs)
            async with aclosing(func(*args, **kwargs)) as items:
                async for item in items:
                    yield item
        except Exception as error:
            self._failed(call, error)
            raise
        except BaseException:
            self._give_back(call)
            raise
        self._ended(call, None)

    def _tell(self, hook: str, *args: object, **kwargs: object) -> None:
        for listener in tuple(self._listeners):
            try:
                getattr(listener, hook)(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a host's listener may raise anything
                self._reports.reporter.guard_failed(f"listener.{hook}", error)

    def _enter(self) -> Call:
        raise NotImplementedError

    def _ended(self, call: Call, result: object) -> None:
        raise NotImplementedError

    def _failed(self, call: Call, error: Exception) -> None:
        raise NotImplementedError

    def _give_back(self, call: Call) -> None:
        raise NotImplementedError
