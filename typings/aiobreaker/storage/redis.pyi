import logging
from datetime import datetime
from typing import Any

from aiobreaker.state import CircuitBreakerState

from .base import CircuitBreakerStorage

HAS_REDIS_SUPPORT: bool

class CircuitRedisStorage(CircuitBreakerStorage):
    BASE_NAMESPACE: str
    logger: logging.Logger
    RedisError: type[Exception]
    _redis: Any
    _namespace_name: str | None
    _fallback_circuit_state: CircuitBreakerState
    _initial_state: CircuitBreakerState
    def __init__(
        self,
        state: CircuitBreakerState,
        # A synchronous client of the `redis` package.
        redis_object: Any,
        namespace: str | None = None,
        fallback_circuit_state: CircuitBreakerState = ...,
    ) -> None: ...
    def _initialize_redis_state(self, state: CircuitBreakerState) -> None: ...
    @property
    def state(self) -> CircuitBreakerState: ...
    @state.setter
    def state(self, state: CircuitBreakerState) -> None: ...
    def increment_counter(self) -> None: ...
    def reset_counter(self) -> None: ...
    @property
    def counter(self) -> int: ...
    @property
    def opened_at(self) -> datetime | None: ...
    @opened_at.setter
    def opened_at(self, now: datetime) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]
    def _namespace(self, key: str) -> str: ...
