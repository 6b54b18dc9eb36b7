"""Rate limiting: our GCRA beside limits, throttled-py and aiolimiter, over 1,000 callers."""

import itertools

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.model import Call, CallKind, Principal, SecurityContext
from localmcp_harden.security.access.limits import GcraRateLimiter, RateLimitConfig

CALLERS = 1_000


def run(bench: Bench) -> None:
    import limits
    import limits.storage
    import limits.strategies

    calls = itertools.cycle(
        [
            Call(
                id="1",
                kind=CallKind.TOOL,
                method="tools/call",
                name="t",
                security=SecurityContext(user=Principal(client="c", subject=str(number))),
            )
            for number in range(CALLERS)
        ]
    )
    ours = GcraRateLimiter(RateLimitConfig(rate_per_s=1e6, burst=1_000_000))

    rate = limits.parse("1000000/second")
    moving = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
    fixed = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    keys = itertools.cycle([str(number) for number in range(CALLERS)])

    floor: dict[str, float] = {}

    def bare() -> None:
        key = next(keys)
        floor[key] = floor.get(key, 0.0) + 1.0

    medians = bench.compare(
        "let through",
        {
            "dict increment": bare,
            OURS: lambda: ours.limit(next(calls)),
            "limits fixed window": lambda: fixed.hit(rate, next(keys)),
            "limits moving window": lambda: moving.hit(rate, next(keys)),
        },
        base="dict increment",
    )
    ratio = medians[OURS] / medians["limits fixed window"]
    bench.target("let through", "at most 0.5 of limits' fixed window", ratio, met=ratio <= 0.5)
