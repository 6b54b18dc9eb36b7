"""The state machine of a circuit breaker: when it opens, who may try, when it closes.

Synchronous, free of I/O and of `await`, so every transition is atomic on an event
loop and needs no lock. It is not for several threads. The states are those of
M. Nygard, "Release It!", chapter 5; the window over the last calls is that of
resilience4j's COUNT_BASED breaker.

An *era* ends with every transition. Whoever began a call hands in its outcome
only if the era is still the same: what a target did before the circuit opened
says nothing about how it does now.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, final

from ..protocols.resilience import BreakerConfig, BreakerState

__all__ = ("BreakerMachine", "Change", "Trial")

_CLOSED = BreakerState.CLOSED
_OPEN = BreakerState.OPEN
_HALF_OPEN = BreakerState.HALF_OPEN

# Times are floats: a wait that was promised must not fall short by their last digit.
_GRAIN_S = 1e-6
_ROUNDED_BELOW_S = 1e9


class Change(NamedTuple):
    """One transition, not yet reported."""

    previous: BreakerState
    current: BreakerState
    cause: str


@final
class Trial:
    """The permit of one call through a half-open circuit, compared by identity."""

    __slots__ = ()


@final
class BreakerMachine:
    """The states, the window and the permits of one breaker.

    Args:
        config: When to open and how to close.
        monotonic: Reads the clock; only while the circuit is not closed, and to open it.
    """

    __slots__ = (
        "_failures",
        "_monotonic",
        "_next",
        "_open_since",
        "_ring",
        "_seen",
        "_successes",
        "_trials",
        "changes",
        "closed",
        "config",
        "era",
        "quiet",
        "refused",
        "state",
    )

    def __init__(self, config: BreakerConfig, monotonic: Callable[[], float]) -> None:
        self.config: BreakerConfig = config
        self.state: BreakerState = _CLOSED
        self.closed: bool = True
        """Whether `state` is CLOSED: the one question of a call on its way in."""
        self.era: int = 0
        self.quiet: bool = False
        """Whether one more success changes nothing: the window is full of successes."""
        self.refused: int = 0
        self.changes: list[Change] = []
        """Transitions since the caller last took them out."""
        self._monotonic = monotonic
        # The outcomes of the last calls, 1 for a failure; `_next` is the oldest once full.
        self._ring = bytearray(config.window_calls)
        self._next = 0
        self._seen = 0
        self._failures = 0
        self._open_since = 0.0
        # Running trials and when they began, oldest first; empty unless half-open.
        self._trials: dict[Trial, float] = {}
        self._successes = 0

    @property
    def calls(self) -> int:
        """The number of calls in the window."""
        return self._seen

    @property
    def failures(self) -> int:
        """The number of failures in the window."""
        return self._failures

    def count(self, *, failed: bool) -> None:
        """Put the outcome of a call of this era, begun while closed, into the window."""
        if self.quiet and not failed:
            return
        at = self._next
        ring = self._ring
        if self._seen < len(ring):
            self._seen += 1
        elif ring[at]:
            self._failures -= 1
        if failed:
            ring[at] = 1
            self._failures += 1
        else:
            ring[at] = 0
        self._next = at + 1 if at + 1 < len(ring) else 0
        if not self._failures:
            self.quiet = self._seen == len(ring)
            return
        self.quiet = False
        config = self.config
        if (
            self._seen >= config.minimum_calls
            and self._failures / self._seen >= config.failure_rate
        ):
            self._open("failure_rate")

    def wait_s(self) -> float:
        """Return how long to wait for a trial, 0 when one may begin or the circuit is closed.

        Time having passed, an open circuit becomes half-open here, and a round with
        a hung trial becomes a new round.
        """
        if self.closed:
            return 0.0
        if self.state is _OPEN:
            left = self._open_since + self.config.open_s - self._monotonic()
            if left > _GRAIN_S:
                return _round_up(left)
            self._move(_HALF_OPEN, "open_time_over")
            return 0.0
        left = self._until_hung()
        if len(self._trials) + self._successes < self.config.half_open_permits:
            return 0.0
        # A round without a free permit has a running trial: were all of them
        # successes, the circuit would be closed.
        return _round_up(left)

    def begin(self) -> Trial:
        """Take a permit. Only at once after `wait_s` has returned 0 and not closed."""
        trial = Trial()
        self._trials[trial] = self._monotonic()
        return trial

    def finish(self, trial: Trial, *, failed: bool | None) -> None:
        """Give a permit back with the trial's outcome; None when it says nothing."""
        self._until_hung()
        # A trial of an earlier round is not there any more.
        if self._trials.pop(trial, None) is None or failed is None:
            return
        if failed:
            self._open("trial_failed")
            return
        self._successes += 1
        if self._successes >= self.config.half_open_permits:
            self._close("trials_succeeded")

    def reset(self) -> None:
        """Close and forget; calls that are on their way count no more."""
        self._close("reset")

    def configure(self, config: BreakerConfig) -> None:
        """Take other settings, keeping the state and the newest calls that fit the window."""
        oldest_first = self._ring[self._next :] + self._ring[: self._next]
        if self._seen < len(self._ring):
            oldest_first = self._ring[: self._seen]
        kept = oldest_first[-config.window_calls :]
        self.config = config
        self._seen = len(kept)
        self._failures = sum(kept)
        self._ring = kept + bytearray(config.window_calls - len(kept))
        self._next = self._seen % config.window_calls
        self.quiet = False
        if self.state is _HALF_OPEN and self._successes >= config.half_open_permits:
            self._close("configured")

    def _until_hung(self) -> float:
        """Return the seconds the oldest trial has left, beginning a new round if none."""
        if not self._trials:
            return 0.0
        oldest = next(iter(self._trials.values()))
        left = oldest + self.config.half_open_max_wait_s - self._monotonic()
        if left > _GRAIN_S:
            return left
        self._move(_HALF_OPEN, "trial_hung")
        return 0.0

    def _open(self, cause: str) -> None:
        self._open_since = self._monotonic()
        self._move(_OPEN, cause)

    def _close(self, cause: str) -> None:
        self._next = self._seen = self._failures = 0
        self.quiet = False
        self._move(_CLOSED, cause)

    def _move(self, state: BreakerState, cause: str) -> None:
        previous, self.state = self.state, state
        self.closed = state is _CLOSED
        self.era += 1
        self._trials = {}
        self._successes = 0
        if previous is not state or cause == "trial_hung":
            self.changes.append(Change(previous, state, cause))


def _round_up(seconds: float) -> float:
    # To the millisecond, upwards: whoever waits this long is let through.
    return math.ceil(seconds * 1000) / 1000 if seconds < _ROUNDED_BELOW_S else seconds
