from abc import ABC, abstractmethod
from datetime import datetime

from aiobreaker.state import CircuitBreakerState

class CircuitBreakerStorage(ABC):
    _name: str
    def __init__(self, name: str) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    @abstractmethod
    def state(self) -> CircuitBreakerState: ...
    @state.setter
    @abstractmethod
    def state(self, state: CircuitBreakerState) -> None: ...
    @abstractmethod
    def increment_counter(self) -> None: ...
    @abstractmethod
    def reset_counter(self) -> None: ...
    @property
    @abstractmethod
    def counter(self) -> int: ...
    # None on a breaker that never opened.
    @property
    @abstractmethod
    def opened_at(self) -> datetime | None: ...
    @opened_at.setter
    @abstractmethod
    def opened_at(self, date_time: datetime) -> None: ...
