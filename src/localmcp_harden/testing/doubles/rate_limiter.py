"""A rate limiter whose decisions a test scripts, and which otherwise works."""

from typing import final

from ...core.model import Call, Decision, deny
from ...core.ports import Clock
from ...security.access.limits import GcraRateLimiter, RateLimitConfig
from ..clock import FakeClock

__all__ = ("FakeRateLimiter",)


@final
class FakeRateLimiter:
    """A `RateLimiter` on a clock that stands still.

    Args:
        rate_per_s: Calls a second.
        burst: Calls at once.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(
        self, *, rate_per_s: float = 1_000.0, burst: int = 1_000, clock: Clock | None = None
    ) -> None:
        self.calls: list[Call] = []
        """Every call that was asked about."""
        self.refuse_after_s: float | None = None
        """When set, every call is refused with this waiting time."""
        self._real = GcraRateLimiter(
            RateLimitConfig(rate_per_s=rate_per_s, burst=burst), clock=clock or FakeClock()
        )

    def limit(self, call: Call, /) -> Decision:
        """Refuse when told to; otherwise count."""
        self.calls.append(call)
        if self.refuse_after_s is not None:
            return deny("rate_limited", "scripted refusal", retry_after_s=self.refuse_after_s)
        return self._real.limit(call)
