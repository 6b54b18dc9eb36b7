"""Circuit breakers: ours beside aiobreaker, purgatory, circuitbreaker and pybreaker."""

import itertools
from datetime import timedelta

import anyio

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.breakers import BreakerRegistry

WINDOW = 100


async def work() -> int:
    return 1


async def fail() -> int:
    raise ConnectionError


def run(bench: Bench) -> None:
    success(bench)
    failing(bench)
    rejection(bench)
    by_name(bench)


def success(bench: Bench) -> None:
    import aiobreaker
    import circuitbreaker
    import purgatory
    import pybreaker

    ours = SlidingWindowBreaker(BreakerConfig(window_calls=WINDOW))
    aio = aiobreaker.CircuitBreaker()
    guarded = circuitbreaker.CircuitBreaker()(work)
    purgatories = purgatory.AsyncCircuitBreakerFactory()
    breaker = anyio.run(purgatories.get_breaker, "bench")
    sync = pybreaker.CircuitBreaker()

    async def through_purgatory() -> int:
        async with breaker:
            return await work()

    async def through_pybreaker() -> int:
        return sync.call(lambda: 1)

    medians = bench.compare_async(
        "success",
        {
            "bare await": work,
            OURS: lambda: ours.execute(work),
            "aiobreaker": lambda: aio.call_async(work),
            "purgatory": through_purgatory,
            "circuitbreaker": guarded,
            "pybreaker (sync)": through_pybreaker,
        },
        base="bare await",
    )
    ratio = medians[OURS] / medians["aiobreaker"]
    bench.target("success", "at most 0.5 of aiobreaker", ratio, met=ratio <= 0.5)


def failing(bench: Bench) -> None:
    """One call in twenty fails: the window is never full of successes."""
    import aiobreaker

    ours = SlidingWindowBreaker(BreakerConfig(window_calls=WINDOW))
    aio = aiobreaker.CircuitBreaker(fail_max=1_000_000)

    def twentieth(execute):  # type: ignore[no-untyped-def]
        operations = itertools.cycle([fail] + 19 * [work])

        async def call() -> int:
            try:
                return await execute(next(operations))
            except ConnectionError:
                return 0

        return call

    async def bare(operation):  # type: ignore[no-untyped-def]
        return await operation()

    medians = bench.compare_async(
        "one call in 20 fails",
        {
            "bare await": twentieth(bare),
            OURS: twentieth(ours.execute),
            "aiobreaker": twentieth(aio.call_async),
        },
        base="bare await",
    )
    ratio = medians[OURS] / medians["aiobreaker"]
    bench.target("one call in 20 fails", "at most 0.5 of aiobreaker", ratio, met=ratio <= 0.5)


def rejection(bench: Bench) -> None:
    import aiobreaker

    ours = SlidingWindowBreaker(BreakerConfig(minimum_calls=1, window_calls=1, open_s=1e6))
    aio = aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=timedelta(days=30))

    async def bare(_operation) -> int:  # type: ignore[no-untyped-def]
        raise CircuitOpenError("the target failed too often", 1.0)

    def caught(execute, operation=work):  # type: ignore[no-untyped-def]
        async def call() -> int:
            try:
                return await execute(operation)
            except Exception:
                return 0

        return call

    anyio.run(caught(ours.execute, fail))
    anyio.run(caught(aio.call_async, fail))
    medians = bench.compare_async(
        "rejection",
        {
            "raise and catch": caught(bare),
            OURS: caught(ours.execute),
            "aiobreaker": caught(aio.call_async),
        },
        base="raise and catch",
    )
    ratio = medians[OURS] / medians["raise and catch"]
    bench.target("rejection", "at most 2 of a bare raise and catch", ratio, met=ratio <= 2.0)


def by_name(bench: Bench) -> None:
    registry = BreakerRegistry()
    names = {f"tool{number}": SlidingWindowBreaker() for number in range(100)}
    for name in names:
        registry.get(name)
    bench.compare(
        "breaker by name",
        {"dict": lambda: names["tool7"], OURS: lambda: registry.get("tool7")},
        base="dict",
    )
