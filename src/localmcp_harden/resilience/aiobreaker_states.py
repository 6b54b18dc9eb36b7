"""What aiobreaker 1.2 hands to its users: state objects, its enum, its error.

The only module that imports aiobreaker, which has no types.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, final

import anyio

try:
    from aiobreaker import CircuitBreakerError, CircuitBreakerState
    from aiobreaker.state import CircuitClosedState, CircuitHalfOpenState, CircuitOpenState
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("aiobreaker", "a breaker for users of aiobreaker") from _missing

from ..core.errors import CircuitOpenError
from ..protocols.resilience import BreakerState

__all__ = ("as_timedelta", "local_time", "member", "open_error", "state_object")


@final
class _OpenError(CircuitOpenError, CircuitBreakerError):
    """What `open_error` returns."""

    def __init__(
        self, message: str, retry_after_s: float | None, reopen_time: datetime | None
    ) -> None:
        # Sets `message` and `reopen_time` of aiobreaker's error to our two arguments.
        super().__init__(message, retry_after_s)
        self.args = (message, retry_after_s, reopen_time)
        self.reopen_time = reopen_time

    @property
    def time_remaining(self) -> timedelta:
        """How long until the next trial may run; negative when it may."""
        if self.reopen_time is None:
            return timedelta.max
        return self.reopen_time - datetime.now()  # noqa: DTZ005 - aiobreaker's are naive

    async def sleep_until_open(self) -> None:
        """Wait until the next trial may run."""
        await anyio.sleep(max(0.0, self.time_remaining.total_seconds()))


def open_error(
    message: str, retry_after_s: float | None, reopen_time: datetime | None
) -> CircuitOpenError:
    """Return the error of an open circuit: a refusal of this package, and aiobreaker's error.

    Args:
        message: Why.
        retry_after_s: Seconds until the next trial may run, None for no end.
        reopen_time: The same as local time.
    """
    return _OpenError(message, retry_after_s, reopen_time)


class _Closed(CircuitClosedState):
    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._breaker.call(func, *args, **kwargs)

    async def call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._breaker.call_async(func, *args, **kwargs)


class _Open(CircuitOpenState):
    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._breaker.call(func, *args, **kwargs)

    async def call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._breaker.call_async(func, *args, **kwargs)


class _HalfOpen(CircuitHalfOpenState):
    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._breaker.call(func, *args, **kwargs)

    async def call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._breaker.call_async(func, *args, **kwargs)


_STATES: dict[BreakerState, Any] = {
    BreakerState.CLOSED: _Closed,
    BreakerState.OPEN: _Open,
    BreakerState.HALF_OPEN: _HalfOpen,
}
_MEMBERS: dict[BreakerState, Enum] = {
    BreakerState.CLOSED: CircuitBreakerState.CLOSED,
    BreakerState.OPEN: CircuitBreakerState.OPEN,
    BreakerState.HALF_OPEN: CircuitBreakerState.HALF_OPEN,
}


def state_object(breaker: object, state: BreakerState) -> Any:
    """Return a state object of a breaker, which hands calls back to the breaker."""
    return _STATES[state](breaker)


def member(state: BreakerState) -> Enum:
    """Return the member of aiobreaker's enum."""
    return _MEMBERS[state]


def local_time(wall: float) -> datetime:
    """Return a time as aiobreaker has it: local and without a zone."""
    return datetime.fromtimestamp(wall)  # noqa: DTZ006 - aiobreaker's are naive


def as_timedelta(wait_s: float) -> timedelta | None:
    """Return a wait as a duration, None when there is none, or no end to it."""
    return timedelta(seconds=wait_s) if 0.0 < wait_s < math.inf else None
