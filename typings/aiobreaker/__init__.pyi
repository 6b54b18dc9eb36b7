from . import storage as storage
from .circuitbreaker import CircuitBreaker as CircuitBreaker
from .listener import CircuitBreakerListener as CircuitBreakerListener
from .state import (
    CircuitBreakerError as CircuitBreakerError,
    CircuitBreakerState as CircuitBreakerState,
)
