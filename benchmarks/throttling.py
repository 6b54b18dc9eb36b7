"""Adaptive throttling: ours beside the bare call and aiobreaker, whose job is nearest."""

import datetime as dt

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.errors import ThrottledError
from localmcp_harden.protocols.load import ThrottleConfig
from localmcp_harden.resilience.throttle import AdaptiveThrottle
from localmcp_harden.testing.chance import FakeRandom


async def work() -> int:
    return 1


async def fail() -> int:
    raise ConnectionError


def run(bench: Bench) -> None:
    import aiobreaker
    import anyio

    ours = AdaptiveThrottle()
    breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=dt.timedelta(seconds=1_000))
    opened = aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=dt.timedelta(seconds=1_000))
    throttling = AdaptiveThrottle(
        ThrottleConfig(minimum_calls=1, window_s=86_400.0), random=FakeRandom(0.0)
    )

    async def prepare() -> None:
        for target, call in ((opened.call_async, fail), (throttling.execute, fail)):
            try:
                await target(call)
            except (ConnectionError, aiobreaker.CircuitBreakerError):
                continue

    anyio.run(prepare)

    medians = bench.compare_async(
        "let through",
        {
            "bare await": work,
            OURS: lambda: ours.execute(work),
            "aiobreaker, closed": lambda: breaker.call_async(work),
        },
        base="bare await",
    )
    ratio = medians[OURS] / medians["aiobreaker, closed"]
    bench.target("let through", "at most 1.5 of aiobreaker", ratio, met=ratio <= 1.5)

    async def refused_here() -> None:
        try:
            await throttling.execute(work)
        except ThrottledError:
            return

    async def refused_there() -> None:
        try:
            await opened.call_async(work)
        except aiobreaker.CircuitBreakerError:
            return

    medians = bench.compare_async(
        "turned away",
        {"aiobreaker, open": refused_there, OURS: refused_here},
        base="aiobreaker, open",
    )
    ratio = medians[OURS] / medians["aiobreaker, open"]
    bench.target("turned away", "at most 1 of aiobreaker, open", ratio, met=ratio <= 1.0)
