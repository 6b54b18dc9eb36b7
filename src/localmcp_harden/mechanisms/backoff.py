"""How long to wait before an operation is repeated: three kinds of random wait.

All times are seconds. The kinds are those of M. Brooker, "Exponential Backoff And
Jitter" (AWS Architecture Blog, 2015), with one difference: decorrelated waits are drawn
below the cap instead of being cut off at it. Cut off, two of three waits at the cap
would be equal, and callers that failed together would come back together.
"""

from enum import StrEnum
from typing import final

from ..core.ports import Random

__all__ = ("Backoff", "Jitter")


class Jitter(StrEnum):
    """From which range a wait is drawn; `top` is `min(max_wait_s, base_s * 2**n)`."""

    FULL = "full"
    """From 0 to `top`: the widest spread, and the least work for the target."""
    EQUAL = "equal"
    """From half of `top` to `top`: never a wait of nothing."""
    DECORRELATED = "decorrelated"
    """From `base_s` to three times the last wait, at most `max_wait_s`."""


@final
class Backoff:
    """The waits of one operation, one after the other.

    Args:
        jitter: The kind of range.
        base_s: The upper end of the first range; with `decorrelated`, the lower end of all.
        max_wait_s: The upper end of every range.
        random: Draws from the range.
    """

    __slots__ = ("_base_s", "_jitter", "_last_s", "_max_wait_s", "_random", "_top_s")

    def __init__(self, jitter: Jitter, base_s: float, max_wait_s: float, random: Random) -> None:
        self._jitter = jitter
        self._base_s = min(base_s, max_wait_s)
        self._max_wait_s = max_wait_s
        self._random = random
        self._top_s = self._base_s
        self._last_s = self._base_s

    def next_s(self) -> float:
        """Return the next wait."""
        if self._jitter is Jitter.DECORRELATED:
            low, top = self._base_s, min(self._max_wait_s, self._last_s * 3.0)
        else:
            top = self._top_s
            self._top_s = min(self._max_wait_s, top * 2.0)
            low = top / 2.0 if self._jitter is Jitter.EQUAL else 0.0
        self._last_s = self._random.uniform(low, top)
        return self._last_s
