"""The state machine of a circuit breaker: when it opens, who may try, when it closes.

Synchronous, free of I/O and of `await`, so every transition is atomic on an event
loop and needs no lock. It is not for several threads. The states are those of
M. Nygard, "Release It!", chapter 5; rates, slow calls and the modes besides are those
of resilience4j.

An *era* ends with every transition. Whoever began a call hands in its outcome
only if the era is still the same: what a target did before the circuit opened
says nothing about how it does now.
"""

import math
from collections.abc import Callable, Iterable
from typing import final

from ..core.ports import Random
from ..protocols.resilience import BreakerConfig, BreakerMode, BreakerSnapshot, BreakerState
from .breaker_records import AdoptedState, Change, Trial, open_time_s, round_up
from .outcome_windows import FAILED, OutcomeWindow, window_for, window_of

__all__ = ("BreakerMachine",)

_CLOSED = BreakerState.CLOSED
_OPEN = BreakerState.OPEN
_HALF_OPEN = BreakerState.HALF_OPEN

# Times are floats: a wait that was promised must not fall short by their last digit.
_GRAIN_S = 1e-6


@final
class BreakerMachine:
    """The states, the window and the permits of one breaker.

    Args:
        config: When to open and how to close.
        monotonic: Reads the clock: at a transition, while the circuit is not closed,
            and for every call where the window is one of time.
        random: Chance, for `open_jitter`.
    """

    __slots__ = (
        "_draw",
        "_monotonic",
        "_open_for_s",
        "_openings",
        "_random",
        "_rate",
        "_since",
        "_streak",
        "_successes",
        "_trials",
        "_watchful",
        "_would_open",
        "changes",
        "closed",
        "config",
        "era",
        "mode",
        "quiet",
        "refused",
        "state",
        "window",
    )

    def __init__(
        self, config: BreakerConfig, monotonic: Callable[[], float], random: Random
    ) -> None:
        self.config: BreakerConfig = config
        self.state: BreakerState = _CLOSED
        self.mode: BreakerMode = BreakerMode.AUTOMATIC
        self.closed: bool = True
        """Whether `state` is CLOSED: the one question of a call on its way in."""
        self.era: int = 0
        self.quiet: bool = False
        """Whether one more good outcome changes nothing."""
        self.refused: int = 0
        self.changes: list[Change] = []
        """Transitions since the caller last took them out."""
        self._monotonic = monotonic
        self._random = random
        # When the state was entered.
        self._since = monotonic()
        self.window: OutcomeWindow = window_for(config, self._since)
        # Failures in a row.
        self._streak = 0
        # How often it opened without having been stable in between, and for how long now.
        self._openings = 0
        self._draw = 0.0
        self._open_for_s = config.open_s
        # Running trials and when they began, oldest first; empty unless half-open.
        self._trials: dict[Trial, float] = {}
        self._successes = 0
        self._would_open = False
        self._settle()

    def count(self, outcome: int, error: Exception | None = None) -> None:
        """Put the outcome of a call of this era, begun while closed, into the window.

        Args:
            outcome: The bits `FAILED` and `SLOW`.
            error: What the call raised.
        """
        window = self.window
        if outcome:
            if self.mode is BreakerMode.DISABLED:
                return
            window.add(outcome, self._monotonic() if window.needs_time else 0.0)
            self.quiet = False
            self._streak = self._streak + 1 if outcome & FAILED else 0
        else:
            if self.quiet:
                return
            window.add(0, self._monotonic() if window.needs_time else 0.0)
            self.quiet = window.quiet
            self._streak = 0
        if window.failures / window.calls >= self._rate or self._watchful:
            self._check(error)

    def wait_s(self) -> float:
        """Return how long to wait for a trial, 0 when one may begin or the circuit is closed.

        Time having passed, an open circuit becomes half-open here, and a round with
        a hung trial becomes a new round.
        """
        if self.closed:
            return 0.0
        if self.state is _OPEN:
            left = self.peek_s()
            if not left:
                self._move(_HALF_OPEN, "open_time_over")
            return left
        left = self._until_hung()
        if len(self._trials) + self._successes < self.config.half_open_permits:
            return 0.0
        # A round without a free permit has a running trial: were all of them
        # successes, the circuit would be closed.
        return round_up(left)

    def peek_s(self) -> float:
        """Return what `wait_s` would of an open circuit, without letting time have its way."""
        if self.state is not _OPEN:
            return 0.0
        if self.mode is BreakerMode.FORCED_OPEN:
            return math.inf
        left = self._since + self._open_for_s - self._monotonic()
        return round_up(left) if left > _GRAIN_S else 0.0

    def begin(self) -> Trial:
        """Take a permit. Only at once after `wait_s` has returned 0 and not closed."""
        trial = Trial()
        self._trials[trial] = self._monotonic()
        return trial

    def finish(
        self,
        trial: Trial,
        *,
        failed: bool | None,
        slow: bool = False,
        error: Exception | None = None,
    ) -> None:
        """Give a permit back with the trial's outcome; None when it says nothing."""
        self._until_hung()
        # A trial of an earlier round is not there any more.
        if self._trials.pop(trial, None) is None or failed is None:
            return
        if failed or slow:
            self._open("trial_failed" if failed else "trial_slow", error)
            return
        self._successes += 1
        if self._successes >= self.config.half_open_permits:
            self._close("trials_succeeded")

    def trip(self, cause: str) -> None:
        """Open the circuit, as if its window had."""
        self._leave_mode()
        self._open(cause, None)

    def half_open(self, cause: str) -> None:
        """Begin a round of trials, whatever the state was."""
        self._leave_mode()
        self._move(_HALF_OPEN, cause)

    def reset(self, cause: str = "reset") -> None:
        """Close and forget, a mode too; calls that are on their way count no more."""
        self._leave_mode()
        self._openings = 0
        self._close(cause)

    def set_mode(self, mode: BreakerMode) -> None:
        """Let an operator decide, or the calls again; those on their way count no more."""
        self.mode = mode
        self._settle()
        self._openings = 0
        cause = "released" if mode is BreakerMode.AUTOMATIC else mode.value
        self._move(_OPEN if mode is BreakerMode.FORCED_OPEN else _CLOSED, cause, always=True)
        self.window.clear(self._since)
        self.quiet = mode is BreakerMode.DISABLED

    def configure(self, config: BreakerConfig) -> None:
        """Take other settings, keeping the state and what of the window still fits."""
        self.window = window_for(config, self._monotonic(), self.window)
        self.config = config
        self._settle()
        self._open_for_s = open_time_s(config, self._openings, self._draw)
        self.quiet = self.mode is BreakerMode.DISABLED
        if self.state is _HALF_OPEN and self._successes >= config.half_open_permits:
            self._close("configured")

    def adopt(
        self,
        shared: AdoptedState,
        causes: Iterable[tuple[BreakerState, str]],
        error: Exception | None,
        *,
        new_era: bool,
        first: bool,
    ) -> None:
        """Stand where a shared circuit stands.

        Args:
            shared: Where it stands.
            causes: The transitions it has just made, with their causes.
            error: The error that may have decided.
            new_era: Whether its era is another than before.
            first: Whether nothing was known of it.
        """
        era, before = self.era, self._since
        for state, cause in causes:
            # Time may have had its way here before it had there.
            if cause != "open_time_over" or self.state is not _HALF_OPEN:
                self._move(state, cause, error, always=True)
        if self.state is not shared.state:
            self._move(shared.state, "shared")
        elif new_era and self.era == era:
            self.era += 1
        now = self._monotonic()
        since = now - shared.since_s
        if first:
            self._since = min(before, since)
        elif self.era != era and not (self.state is _HALF_OPEN and self._since == before):
            self._since = since
        self._openings = shared.openings
        self._draw = shared.draw
        self._open_for_s = open_time_s(self.config, self._openings, self._draw)
        self.window = window_of(
            self.config, now, shared.outcomes, (shared.calls, shared.failures, shared.slow)
        )
        self.quiet = False

    def note(self, cause: str, error_type: str = "") -> None:
        """Tell of something that is no transition."""
        lasted = self._monotonic() - self._since
        self.changes.append(Change(self.state, self.state, cause, self.era, lasted, error_type))

    def snapshot(self) -> BreakerSnapshot:
        """Return the numbers now, time having passed."""
        wait_s = self.wait_s()
        window = self.window
        # While it is not closed the window is the one that opened it, and stays so.
        if self.closed and window.needs_time:
            window.roll(self._monotonic())
        return BreakerSnapshot(
            state=self.state,
            era=self.era,
            calls=window.calls,
            failures=window.failures,
            refused=self.refused,
            retry_after_s=wait_s,
            slow=window.slow,
            mode=self.mode,
        )

    def _leave_mode(self) -> None:
        self.mode = BreakerMode.AUTOMATIC
        self._settle()

    def _settle(self) -> None:
        """Take from settings and mode what every count asks for."""
        config = self.config
        automatic = self.mode is BreakerMode.AUTOMATIC
        in_a_row = config.consecutive_failures is not None
        self._rate = math.inf if in_a_row else config.failure_rate
        self._watchful = in_a_row or config.slow_call_s is not None or not automatic

    def _check(self, error: Exception | None) -> None:
        """Open when there is a reason, or tell of it where only metrics are wanted."""
        cause = self._reason()
        if self.mode is BreakerMode.AUTOMATIC:
            if cause:
                self._open(cause, error)
            return
        if cause and not self._would_open:
            self._note(_CLOSED, "would_open", self._monotonic(), error)
        self._would_open = bool(cause)

    def _reason(self) -> str:
        """Return why the circuit should open, `""` when it should not."""
        config = self.config
        in_a_row = config.consecutive_failures
        if in_a_row is not None and self._streak >= in_a_row:
            return "consecutive_failures"
        window = self.window
        calls = window.calls
        if calls < config.minimum_calls:
            return ""
        if in_a_row is None and window.failures / calls >= config.failure_rate:
            return "failure_rate"
        if config.slow_call_s is not None and window.slow / calls >= config.slow_call_rate:
            return "slow_call_rate"
        return ""

    def _until_hung(self) -> float:
        """Return the seconds the oldest trial has left, beginning a new round if none."""
        if not self._trials:
            return 0.0
        oldest = next(iter(self._trials.values()))
        left = oldest + self.config.half_open_max_wait_s - self._monotonic()
        if left > _GRAIN_S:
            return left
        self._move(_HALF_OPEN, "trial_hung", always=True)
        return 0.0

    def _open(self, cause: str, error: Exception | None) -> None:
        config = self.config
        if self.closed and self._monotonic() - self._since >= config.stable_s:
            self._openings = 0
        self._draw = self._random.uniform(0.0, 1.0) if config.open_jitter else 0.0
        self._openings += 1
        self._open_for_s = open_time_s(config, self._openings, self._draw)
        self._move(_OPEN, cause, error)

    def _close(self, cause: str) -> None:
        self._move(_CLOSED, cause)
        self.window.clear(self._since)
        self.quiet = False

    def _move(
        self,
        state: BreakerState,
        cause: str,
        error: Exception | None = None,
        *,
        always: bool = False,
    ) -> None:
        now = self._monotonic()
        self.era += 1
        if always or state is not self.state:
            self._note(state, cause, now, error)
        self.state = state
        self.closed = state is _CLOSED
        self._since = now
        self._trials = {}
        self._successes = self._streak = 0
        self._would_open = False

    def _note(
        self, state: BreakerState, cause: str, now: float, error: Exception | None = None
    ) -> None:
        error_type = "" if error is None else type(error).__name__
        lasted = now - self._since
        self.changes.append(Change(self.state, state, cause, self.era, lasted, error_type))
