"""Keeps one circuit breaker for each name, a bounded number of them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import final

from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..protocols.resilience import BreakerConfig, BreakerSnapshot, BreakerState, CircuitBreaker
from .breaker import SlidingWindowBreaker

__all__ = ("BreakerRegistry", "MakeBreaker")

MakeBreaker = Callable[[str, BreakerConfig], CircuitBreaker]
"""Makes a breaker for a name."""


@final
class BreakerRegistry:
    """Circuit breakers by name: one target's failures never close off another.

    When it is full, the breaker that was not asked for longest and is closed gives
    way; only when none is closed does an open one. A call that is on its way keeps
    its own breaker.

    Args:
        config: The settings of every breaker.
        max_breakers: How many are kept (1 to 1,000,000; 1,000).
        make: Makes a breaker for a name and settings; by default a
            `SlidingWindowBreaker` on this clock, random and sink.
        clock: Time.
        random: Chance.
        sink: Told of every transition, with the breaker's name.

    Raises:
        ValueError: `max_breakers` is out of range.
    """

    def __init__(
        self,
        config: BreakerConfig | None = None,
        *,
        max_breakers: int = 1_000,
        make: MakeBreaker | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        if not 1 <= max_breakers <= 1_000_000:  # noqa: PLR2004
            raise ValueError(f"max_breakers must be 1 to 1,000,000, not {max_breakers}")
        self.max_breakers: int = max_breakers
        shared_clock: Clock = clock or SystemClock()

        def make_default(name: str, config: BreakerConfig) -> CircuitBreaker:
            return SlidingWindowBreaker(
                config, name=name, clock=shared_clock, random=random, sink=sink
            )

        self._config = config or BreakerConfig()
        self._make: MakeBreaker = make or make_default
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def __len__(self) -> int:
        """Return how many breakers there are."""
        return len(self._breakers)

    def __call__(self, name: str, /) -> CircuitBreaker:
        """Do what `get` does: a registry serves wherever a function from names is asked for."""
        return self.get(name)

    def get(self, name: str, /) -> CircuitBreaker:
        """Return the breaker of `name`, a new one if there is none yet."""
        breakers = self._breakers
        breaker = breakers.get(name)
        if breaker is not None:
            breakers.move_to_end(name)
            return breaker
        while len(breakers) >= self.max_breakers:
            # A copy: asking for a state may report to a sink, and a sink may ask us.
            candidates = list(breakers.items())
            closed = (
                kept
                for kept, candidate in candidates
                if candidate.get_state() is BreakerState.CLOSED
            )
            breakers.pop(next(closed, candidates[0][0]), None)
        breaker = self._make(name, self._config)
        breakers[name] = breaker
        return breaker

    def snapshots(self) -> dict[str, BreakerSnapshot]:
        """Return every breaker's numbers by name, the most recently used last."""
        return {name: breaker.snapshot() for name, breaker in list(self._breakers.items())}

    def configure(self, config: BreakerConfig, /) -> None:
        """Give every breaker, and those to come, other settings; each keeps its state."""
        self._config = config
        for breaker in list(self._breakers.values()):
            breaker.configure(config)

    def reset(self) -> None:
        """Close every circuit and forget what was counted."""
        for breaker in list(self._breakers.values()):
            breaker.reset()
