from collections.abc import Callable
from typing import Any

from .circuitbreaker import CircuitBreaker
from .state import CircuitBreakerBaseState

class CircuitBreakerListener:
    def before_call(
        self, breaker: CircuitBreaker, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None: ...
    def failure(self, breaker: CircuitBreaker, exception: Exception) -> None: ...
    def success(self, breaker: CircuitBreaker) -> None: ...
    # Annotated with the enum at run time, but handed the state objects.
    def state_change(
        self, breaker: CircuitBreaker, old: CircuitBreakerBaseState, new: CircuitBreakerBaseState
    ) -> None: ...
