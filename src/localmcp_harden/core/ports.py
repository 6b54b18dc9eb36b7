"""What blocks ask of the world: time, chance, and the hiding of secrets.

A block takes these as arguments, so that a test can stand still in time and a
host can bring its own redaction. The real ones are in `mechanisms.clock`,
`mechanisms.chance` and `mechanisms.redact`, the fakes in `testing`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ("Clock", "Random", "Redactor", "TimeoutScope")


class TimeoutScope(Protocol):
    """A span of code that a clock cuts off."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the clock cut the code off, and not somebody outside."""
        ...


class Clock(Protocol):
    """Time, waiting, and the cutting off of what takes too long."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch; for records, never for measuring."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait for `seconds`, at least one turn of the event loop."""
        ...

    def cut_after(self, seconds: float, /) -> AbstractContextManager[TimeoutScope]:
        """Return a context that cancels its body after `seconds`."""
        ...


class Random(Protocol):
    """Chance, for jitter and for names that must not collide. Not for secrets."""

    def uniform(self, low: float, high: float, /) -> float:
        """Return a number from the closed range `low` to `high`."""
        ...

    def token(self, size: int, /) -> str:
        """Return `size` random bytes as lower-case hexadecimal."""
        ...


class Redactor(Protocol):
    """Takes secrets out of what is about to be recorded.

    The record stage calls it once a call; every reader of the record sees the
    result and nothing else. It must be total: whatever it is given, it returns.
    """

    def redact(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return a bounded copy of `arguments` with every secret replaced."""
        ...

    def redact_text(self, text: str, /) -> str:
        """Return a bounded copy of `text` with every secret replaced."""
        ...
