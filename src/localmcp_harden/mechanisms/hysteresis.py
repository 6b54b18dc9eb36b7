"""Settles a series of observations: one that differs changes nothing, several in a row do.

The settled value falls to the best of the last `fail_after` observations, and rises to
the worst of the last `pass_after`. Between a change and the next one in the opposite
direction there are therefore at least that many observations.
"""

from collections import deque
from itertools import islice
from typing import Generic, TypeVar, final

__all__ = ("Hysteresis",)

V = TypeVar("V", bound=int)


@final
class Hysteresis(Generic[V]):
    """The settled value of one series.

    Args:
        fail_after: How many observations in a row must be lower before it falls (1 or more).
        pass_after: How many in a row must be higher before it rises (1 or more).
    """

    __slots__ = ("_fail_after", "_pass_after", "_seen", "settled")

    def __init__(self, fail_after: int, pass_after: int) -> None:
        self._fail_after = fail_after
        self._pass_after = pass_after
        self._seen: deque[V] = deque(maxlen=max(fail_after, pass_after))
        self.settled: V | None = None
        """The settled value, None before the first observation, which settles at once."""

    def observe(self, value: V) -> bool:
        """Take one observation; return whether the settled value changed."""
        seen = self._seen
        settled = self.settled
        seen.appendleft(value)
        if settled is None:
            self.settled = value
            return True
        if value == settled:
            return False
        lower = value < settled
        needed = self._fail_after if lower else self._pass_after
        # While there are fewer, the one that settled the value is among them.
        recent = islice(seen, needed)
        reached = max(recent) if lower else min(recent)
        if (reached < settled) is not lower or reached == settled:
            return False
        self.settled = reached
        return True
