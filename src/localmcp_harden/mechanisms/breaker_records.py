"""What a breaker's state machine hands out, and the arithmetic of its open time."""

import math
from typing import NamedTuple, final

from ..protocols.resilience import BreakerConfig, BreakerState

__all__ = ("AdoptedState", "Change", "Trial", "open_time_s", "round_up")

_ROUNDED_BELOW_S = 1e9


class Change(NamedTuple):
    """One transition, not yet reported."""

    previous: BreakerState
    current: BreakerState
    cause: str
    era: int
    duration_s: float
    error_type: str


class AdoptedState(NamedTuple):
    """Where a circuit that is shared with other processes stands.

    `since_s` is how long ago the state was entered; `outcomes` the window over calls.
    """

    state: BreakerState
    since_s: float
    openings: int
    draw: float
    calls: int
    failures: int
    slow: int
    outcomes: bytes


@final
class Trial:
    """The permit of one call through a half-open circuit, compared by identity."""

    __slots__ = ()


def open_time_s(config: BreakerConfig, openings: int, draw: float) -> float:
    """Return how long a circuit stays open.

    Args:
        config: The settings.
        openings: How often it has opened without having been stable in between.
        draw: Chance, 0 to 1.
    """
    open_s = config.open_s
    if config.open_factor > 1.0 and openings > 1:
        # The exponent is bounded, or a circuit that never heals overflows a float.
        grown = open_s * config.open_factor ** min(openings - 1, 100)
        open_s = min(grown, config.max_open_s)
    return open_s * (1.0 - config.open_jitter * draw)


def round_up(seconds: float) -> float:
    """Return a wait in whole milliseconds, upwards: whoever waits this long is let through."""
    return math.ceil(seconds * 1000) / 1000 if seconds < _ROUNDED_BELOW_S else seconds
