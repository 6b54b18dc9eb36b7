"""A circuit breaker whose state a test can force, and which otherwise works."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, final

from attrs import evolve

from ...core.errors import CircuitOpenError
from ...core.events import EventSink, discard
from ...core.ports import Clock
from ...protocols.resilience import BreakerConfig, BreakerMode, BreakerSnapshot, BreakerState
from ...resilience.breaker import SlidingWindowBreaker
from ..clock import FakeClock

__all__ = ("FakeCircuitBreaker",)

T = TypeVar("T")


@final
class FakeCircuitBreaker:
    """A `CircuitBreaker` with `BreakerControls` on a clock that stands still.

    Args:
        config: When to open and how to close.
        clock: The clock; a fake one of its own by default.
        sink: Told of every transition that is not forced.
    """

    def __init__(
        self,
        config: BreakerConfig | None = None,
        /,
        *,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.forced: BreakerState | None = None
        """When set, the breaker says it is in this state; only OPEN refuses, none counts."""
        self.outcomes: list[str] = []
        """How each call ended: `ok`, `refused`, `cancelled`, or the error's type."""
        self._fallback: Callable[[], Awaitable[Any]] | None = None
        self._real = SlidingWindowBreaker(
            config, name="fake", clock=clock or FakeClock(), sink=sink
        )

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation as the forced state says, or as a real breaker would.

        Raises:
            CircuitOpenError: The circuit is open, or forced open, and has no fallback.
        """
        self.outcomes.append("cancelled")
        place = len(self.outcomes) - 1
        try:
            result = await self._run(operation)
        except CircuitOpenError:
            self.outcomes[place] = "refused"
            raise
        except Exception as error:
            self.outcomes[place] = type(error).__name__
            raise
        self.outcomes[place] = "ok"
        return result

    def get_state(self) -> BreakerState:
        """Return the forced state, or where the breaker stands."""
        return self._real.get_state() if self.forced is None else self.forced

    def snapshot(self) -> BreakerSnapshot:
        """Return the breaker's numbers, with the forced state."""
        taken = self._real.snapshot()
        return taken if self.forced is None else evolve(taken, state=self.forced)

    def reset(self) -> None:
        """Close the circuit, end forcing, and forget what was counted."""
        self.forced = None
        self._real.reset()

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings."""
        self._real.configure(config)

    def set_fallback(self, fallback: Callable[[], Awaitable[Any]] | None, /) -> None:
        """Answer with `fallback` instead of refusing; None takes it away."""
        self._fallback = fallback
        self._real.set_fallback(fallback)

    def force_open(self) -> None:
        """Refuse every call until released."""
        self._real.force_open()

    def disable(self) -> None:
        """Let every call pass, counting none."""
        self._real.disable()

    def metrics_only(self) -> None:
        """Let every call pass and count it."""
        self._real.metrics_only()

    def release(self) -> None:
        """Let the outcomes of calls decide again, and end forcing."""
        self.forced = None
        self._real.release()

    def get_mode(self) -> BreakerMode:
        """Return who decides where the breaker stands."""
        return self._real.get_mode()

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        if self.forced is None:
            return await self._real.execute(operation)
        if self.forced is not BreakerState.OPEN:
            return await operation()
        if self._fallback is not None:
            answer: T = await self._fallback()
            return answer
        raise CircuitOpenError("scripted refusal", self._real.config.open_s)
