"""The rules of a `RateLimiter`.

`make(*, rate_per_s, burst, clock)` returns a limiter with one limit for each caller.
"""

from typing import Any, Protocol

from ...core.model import Call, CallKind, Principal, SecurityContext
from ...core.ports import Clock
from ...protocols.security import RateLimiter
from ..clock import FakeClock
from .kit import ContractKit, expect

__all__ = ("MakeRateLimiter", "rate_limiter")


class MakeRateLimiter(Protocol):
    """Makes the limiter that is to be checked."""

    def __call__(self, *, rate_per_s: float, burst: int, clock: Clock) -> RateLimiter:
        """Return a limiter that lets each caller through at `rate_per_s` after `burst`."""
        ...


rate_limiter: ContractKit[MakeRateLimiter] = ContractKit("RateLimiter")


def _call(subject: str = "ann", **changes: Any) -> Call:
    security = SecurityContext(user=Principal(client="kit", subject=subject))
    return Call(
        id="1", kind=CallKind.TOOL, method="tools/call", name="t", security=security, **changes
    )


@rate_limiter.rule("RL1")
async def lets_the_burst_through(make: MakeRateLimiter) -> None:
    """A fresh caller gets its whole burst at once, and not one call more."""
    limiter = make(rate_per_s=1.0, burst=3, clock=FakeClock())
    seen = [limiter.limit(_call()).allowed for _ in range(4)]
    expect(seen == [True, True, True, False], f"saw {seen}")


@rate_limiter.rule("RL2")
async def retry_after_is_enough(make: MakeRateLimiter) -> None:
    """After waiting `retry_after_s` the same call is let through."""
    clock = FakeClock()
    limiter = make(rate_per_s=3.0, burst=2, clock=clock)
    while (decision := limiter.limit(_call())).allowed:
        pass
    expect(decision.retry_after_s is not None, "a refusal must say how long to wait")
    clock.advance(decision.retry_after_s or 0.0)
    expect(limiter.limit(_call()).allowed, "the promised call was refused")


@rate_limiter.rule("RL3")
async def retry_after_is_not_padded(make: MakeRateLimiter) -> None:
    """Half of `retry_after_s` is not enough."""
    clock = FakeClock()
    limiter = make(rate_per_s=3.0, burst=2, clock=clock)
    while (decision := limiter.limit(_call())).allowed:
        pass
    clock.advance((decision.retry_after_s or 0.0) / 2)
    expect(not limiter.limit(_call()).allowed, "a call got through before its time")


@rate_limiter.rule("RL4")
async def callers_are_apart(make: MakeRateLimiter) -> None:
    """One caller's flood takes nothing from another."""
    limiter = make(rate_per_s=1.0, burst=1, clock=FakeClock())
    for _ in range(10):
        limiter.limit(_call("flood"))
    expect(limiter.limit(_call("ann")).allowed, "a bystander was refused")


@rate_limiter.rule("RL5")
async def refusals_are_not_counted(make: MakeRateLimiter) -> None:
    """Refused calls do not put the next one off."""
    clock = FakeClock()
    limiter = make(rate_per_s=1.0, burst=1, clock=clock)
    limiter.limit(_call())
    for _ in range(100):
        limiter.limit(_call())
    clock.advance(1.0)
    expect(limiter.limit(_call()).allowed, "refused calls were counted")


@rate_limiter.rule("RL6")
async def rate_holds_in_the_long_run(make: MakeRateLimiter) -> None:
    """Over W seconds at most burst + rate * W calls get through, and no fewer under a flood."""
    clock = FakeClock()
    limiter = make(rate_per_s=10.0, burst=5, clock=clock)
    passed = 0
    for _ in range(1_000):
        passed += limiter.limit(_call()).allowed
        clock.advance(0.01)
    expect(103 <= passed <= 105, f"{passed} of the promised 104 or 105")


@rate_limiter.rule("RL7")
async def refusals_are_coded(make: MakeRateLimiter) -> None:
    """A refusal has the code `rate_limited` and a reason that can be read."""
    limiter = make(rate_per_s=1.0, burst=1, clock=FakeClock())
    limiter.limit(_call())
    decision = limiter.limit(_call())
    expect(decision.code == "rate_limited", f"code is {decision.code!r}")
    expect(decision.reason, "the reason is empty")
