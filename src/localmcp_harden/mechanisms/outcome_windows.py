"""Remembers how the last calls went: of so many calls, or of so many seconds.

An outcome is a number of two bits, `FAILED` and `SLOW`. Adding one takes the same
time whatever the size of the window. The window over calls is a ring, that over
seconds a ring of ten buckets, exact to one of them; both are those of resilience4j
(COUNT_BASED and TIME_BASED).
"""

from typing import Protocol, final

from ..protocols.resilience import BreakerConfig

__all__ = (
    "FAILED",
    "SLOW",
    "CountWindow",
    "OutcomeWindow",
    "TimeWindow",
    "window_for",
    "window_of",
)

FAILED = 1
"""The bit of an outcome that is a failure."""
SLOW = 2
"""The bit of an outcome that took too long."""

_SLICES = 10


class OutcomeWindow(Protocol):
    """What a breaker counts in."""

    calls: int
    """The number of calls in the window, as of the last `add` or `roll`."""
    failures: int
    """How many of them failed."""
    slow: int
    """How many of them were slow."""
    quiet: bool
    """Whether one more good outcome changes nothing."""
    needs_time: bool
    """Whether `add` and `roll` look at the time they are given."""

    def add(self, outcome: int, now: float) -> None:
        """Put in an outcome, and take out what is too old."""
        ...

    def roll(self, now: float) -> None:
        """Take out what is too old."""
        ...

    def clear(self, now: float) -> None:
        """Forget everything."""
        ...


@final
class CountWindow:
    """The outcomes of the last `size` calls. Synchronous; for one thread.

    Args:
        size: How many are looked at.
        outcomes: The first of them, oldest first; only the newest `size` count.
    """

    __slots__ = ("_next", "_ring", "calls", "failures", "needs_time", "quiet", "slow")

    def __init__(self, size: int, outcomes: bytes | bytearray = b"") -> None:
        kept = bytearray(outcomes[-size:])
        self.calls: int = len(kept)
        both = kept.count(FAILED | SLOW)
        self.failures: int = kept.count(FAILED) + both
        self.slow: int = kept.count(SLOW) + both
        self.quiet: bool = False
        self.needs_time: bool = False
        # `_next` is the place of the oldest once the ring is full.
        self._ring = kept + bytearray(size - len(kept))
        self._next = self.calls % size

    def add(self, outcome: int, now: float) -> None:  # noqa: ARG002 - an `OutcomeWindow`
        """Put in an outcome, and take out the oldest when there are too many."""
        at = self._next
        ring = self._ring
        size = len(ring)
        if self.calls < size:
            self.calls += 1
        else:
            gone = ring[at]
            if gone:
                self.failures -= gone & FAILED
                self.slow -= gone >> 1
        ring[at] = outcome
        if outcome:
            self.failures += outcome & FAILED
            self.slow += outcome >> 1
            self.quiet = False
        elif not self.failures and not self.slow:
            self.quiet = self.calls == size
        at += 1
        self._next = at if at < size else 0

    def roll(self, now: float) -> None:
        """Do nothing: calls do not grow old."""

    def clear(self, now: float) -> None:  # noqa: ARG002 - an `OutcomeWindow`
        """Forget everything; what the ring still holds is overwritten before it is read."""
        self._next = self.calls = self.failures = self.slow = 0
        self.quiet = False

    def outcomes(self) -> bytes:
        """Return what is in the window, oldest first."""
        if self.calls < len(self._ring):
            return bytes(self._ring[: self.calls])
        return bytes(self._ring[self._next :] + self._ring[: self._next])


@final
class TimeWindow:
    """The outcomes of the last `window_s` seconds. Synchronous; for one thread.

    Args:
        window_s: How far back is looked.
        now: The time, on the clock of every later call.
    """

    __slots__ = (
        "_at",
        "_ends",
        "_ring",
        "_slice",
        "_slice_s",
        "calls",
        "failures",
        "needs_time",
        "quiet",
        "slow",
        "window_s",
    )

    def __init__(self, window_s: float, now: float) -> None:
        self.window_s: float = window_s
        self.needs_time: bool = True
        # Never: a success that is counted now dilutes the failures that follow.
        self.quiet: bool = False
        self.calls: int = 0
        self.failures: int = 0
        self.slow: int = 0
        self._slice_s = window_s / _SLICES
        # The slice that time is in, its place in the ring, and when it ends.
        self._ring: list[list[int]] = []
        self._slice: list[int] = []
        self._at = 0
        self._ends = 0.0
        self.clear(now)

    def add(self, outcome: int, now: float) -> None:
        """Put in an outcome, and take out what is too old."""
        if now >= self._ends:
            self.roll(now)
        counts = self._slice
        counts[0] += 1
        self.calls += 1
        if outcome:
            failed, slow = outcome & FAILED, outcome >> 1
            counts[1] += failed
            counts[2] += slow
            self.failures += failed
            self.slow += slow

    def roll(self, now: float) -> None:
        """Take out what is too old."""
        if now < self._ends:
            return
        passed = 1 + int((now - self._ends) / self._slice_s)
        for _ in range(min(passed, _SLICES)):
            self._at = (self._at + 1) % _SLICES
            calls, failures, slow = self._ring[self._at]
            self.calls -= calls
            self.failures -= failures
            self.slow -= slow
            self._ring[self._at] = [0, 0, 0]
        self._slice = self._ring[self._at]
        self._ends += passed * self._slice_s

    def load(self, calls: int, failures: int, slow: int) -> None:
        """Put in what was counted elsewhere, as if it had just been. Only while empty."""
        self._slice[:] = [calls, failures, slow]
        self.calls, self.failures, self.slow = calls, failures, slow

    def clear(self, now: float) -> None:
        """Forget everything."""
        self._ring = [[0, 0, 0] for _ in range(_SLICES)]
        self._at = 0
        self._slice = self._ring[0]
        self._ends = now + self._slice_s
        self.calls = self.failures = self.slow = 0


def window_for(
    config: BreakerConfig, now: float, previous: OutcomeWindow | None = None
) -> OutcomeWindow:
    """Return an empty window as configured, or one with what of the previous one fits it.

    The newest outcomes fit a window over calls of another size; a window of another
    kind, or over another number of seconds, begins empty.
    """
    if config.window_s is None:
        kept = previous.outcomes() if isinstance(previous, CountWindow) else b""
        return CountWindow(config.window_calls, kept)
    if isinstance(previous, TimeWindow) and previous.window_s == config.window_s:
        return previous
    return TimeWindow(config.window_s, now)


def window_of(
    config: BreakerConfig, now: float, outcomes: bytes, counts: tuple[int, int, int]
) -> OutcomeWindow:
    """Return a window with what was counted elsewhere.

    Args:
        config: The settings.
        now: The time, on the clock of every later call.
        outcomes: The last outcomes, oldest first, for a window over calls.
        counts: Calls, failures and slow calls, for a window over time.
    """
    if config.window_s is None:
        return CountWindow(config.window_calls, outcomes)
    window = TimeWindow(config.window_s, now)
    window.load(*counts)
    return window
