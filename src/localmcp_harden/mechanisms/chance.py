"""The system's randomness, behind the `Random` port."""

import random
import secrets

__all__ = ("SystemRandom",)


class SystemRandom:
    """Jitter from a fast generator, names from the operating system's."""

    def __init__(self) -> None:
        # Jitter guards nothing, so it need not come from the operating system.
        self._jitter = random.Random()  # noqa: S311  # nosec B311

    def uniform(self, low: float, high: float, /) -> float:
        """Return a number from the closed range `low` to `high`."""
        return self._jitter.uniform(low, high)

    def token(self, size: int, /) -> str:
        """Return `size` random bytes as lower-case hexadecimal."""
        return secrets.token_hex(size)
