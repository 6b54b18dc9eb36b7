from abc import ABC
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NoReturn, ParamSpec, TypeVar

from .circuitbreaker import CircuitBreaker

_P = ParamSpec("_P")

T = TypeVar("T")

class CircuitBreakerError(Exception):
    message: str
    # None where the local clock is ahead of UTC.
    reopen_time: datetime | None
    def __init__(self, message: str, reopen_time: datetime | None) -> None: ...
    @property
    def time_remaining(self) -> timedelta: ...
    async def sleep_until_open(self) -> None: ...

class CircuitBreakerBaseState(ABC):
    _breaker: CircuitBreaker
    _state: CircuitBreakerState
    def __init__(self, breaker: CircuitBreaker, state: CircuitBreakerState) -> None: ...
    @property
    def state(self) -> CircuitBreakerState: ...
    def _handle_error(
        self, func: Callable[..., Any] | None, exception: Exception
    ) -> NoReturn: ...
    def _handle_success(self) -> None: ...
    def call(self, func: Callable[_P, T], *args: _P.args, **kwargs: _P.kwargs) -> T: ...
    async def call_async(
        self, func: Callable[_P, Awaitable[T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> T: ...
    def generator_call(self, wrapped_generator: Generator[T, Any, Any]) -> Generator[T, Any]: ...
    def before_call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None: ...
    def on_success(self) -> None: ...
    def on_failure(self, exception: Exception) -> None: ...

class CircuitClosedState(CircuitBreakerBaseState):
    def __init__(
        self,
        breaker: CircuitBreaker,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> None: ...

class CircuitOpenState(CircuitBreakerBaseState):
    def __init__(
        self,
        breaker: CircuitBreaker,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> None: ...

class CircuitHalfOpenState(CircuitBreakerBaseState):
    def __init__(
        self,
        breaker: CircuitBreaker,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> None: ...

class CircuitBreakerState(Enum):
    OPEN = CircuitOpenState
    CLOSED = CircuitClosedState
    HALF_OPEN = CircuitHalfOpenState
