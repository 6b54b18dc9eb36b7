"""What the rules of a circuit breaker stand on: a breaker, its clock, its calls."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import anyio

from ...core.errors import CircuitOpenError
from ...core.events import EventSink
from ...core.ports import Clock
from ...protocols.resilience import BreakerConfig, BreakerState, CircuitBreaker
from ..clock import FakeClock
from ..recording import RecordingSink
from .kit import expect
from .tasks import open_tasks

__all__ = ("BoomError", "Circuit", "Held", "MakeCircuitBreaker", "nothing")


class MakeCircuitBreaker(Protocol):
    """Makes the breaker that is to be checked."""

    def __call__(
        self, config: BreakerConfig, /, *, clock: Clock, sink: EventSink
    ) -> CircuitBreaker:
        """Return a closed breaker."""
        ...


class BoomError(Exception):
    """What an operation of a rule raises."""


class Held:
    """An operation that a rule ends when it likes, in the way it likes."""

    def __init__(self) -> None:
        self.running: int = 0
        self.begun: anyio.Event = anyio.Event()
        """Set when it runs, or will not, its caller having been refused."""
        self.returned: anyio.Event = anyio.Event()
        """Set when the breaker has let its caller go."""
        self._end = anyio.Event()
        self._error: Exception | None = None

    async def __call__(self) -> str:
        """Wait for `end`."""
        self.running += 1
        self.begun.set()
        await self._end.wait()
        if self._error is not None:
            raise self._error
        return "done"

    def end(self, error: Exception | None = None) -> None:
        """Return `done` from every call that waits, or raise `error`."""
        self._error = error
        self._end.set()

    async def finish(self, error: Exception | None = None) -> None:
        """Do what `end` does, and wait until the breaker has let its caller go."""
        self.end(error)
        await self.returned.wait()


class Circuit:
    """A breaker, its clock and its events."""

    def __init__(self, make: MakeCircuitBreaker, **settings: Any) -> None:
        chosen: dict[str, Any] = {
            "window_calls": 4,
            "minimum_calls": 2,
            "open_s": 10.0,
            "half_open_max_wait_s": 5.0,
            **settings,
        }
        self.clock: FakeClock = FakeClock()
        self.sink: RecordingSink = RecordingSink()
        self.config: BreakerConfig = BreakerConfig(**chosen)
        self.breaker: CircuitBreaker = make(self.config, clock=self.clock, sink=self.sink)

    async def call(self, answer: object) -> str:
        """Call once; return `ok`, `failed`, or `refused`."""

        async def operation() -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        try:
            await self.breaker.execute(operation)
        except CircuitOpenError:
            return "refused"
        except Exception:  # noqa: BLE001 - whatever the rule raised
            return "failed"
        return "ok"

    async def trip(self) -> None:
        """Fail until the circuit is not closed."""
        for _ in range(self.config.window_calls):
            if self.breaker.get_state() is BreakerState.CLOSED:
                await self.call(BoomError())
        expect(
            self.breaker.get_state() is not BreakerState.CLOSED,
            "it stays closed though every call fails",
        )

    async def half_open(self) -> None:
        """Open the circuit and wait until it is half-open."""
        await self.trip()
        self.clock.advance(self.config.open_s)

    def expect_state(self, state: BreakerState) -> None:
        """Raise `AssertionError` unless the breaker is in this state."""
        seen = self.breaker.get_state()
        expect(seen is state, f"expected {state.value}, saw {seen.value}")

    async def through(self, held: Held) -> None:
        """Run `held` through the breaker, whatever comes of it."""
        try:
            with suppress(BoomError, CircuitOpenError):
                await self.breaker.execute(held)
        finally:
            held.begun.set()
            held.returned.set()

    async def background(self, held: Held, during: Callable[[], Awaitable[None]]) -> None:
        """Run `held` through the breaker, and `during` once it has begun."""
        async with open_tasks() as tasks:
            tasks.start_soon(self.through, held)
            await held.begun.wait()
            await during()


async def nothing() -> object:
    """Do nothing, and return it."""
    return None
