"""Chance that a test decides."""

import itertools

__all__ = ("FakeRandom",)


class FakeRandom:
    """Randomness without surprise.

    Args:
        position: Where in each range `uniform` lands, from 0 (low) to 1 (high).
    """

    def __init__(self, position: float = 0.5) -> None:
        self.position = position
        self._tokens = itertools.count(1)

    def uniform(self, low: float, high: float, /) -> float:
        """Return the number at `position` between `low` and `high`."""
        return low + (high - low) * self.position

    def token(self, size: int, /) -> str:
        """Return the next token: 1, 2, 3, in hexadecimal, `size` bytes long."""
        return f"{next(self._tokens):0{2 * size}x}"
