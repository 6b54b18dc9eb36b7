"""Circuit breakers: ours beside aiobreaker, purgatory, circuitbreaker, pybreaker and interlock.

Of these only interlock obeys our rules but one (a hung trial blocks it); it is measured
where it is installed.
"""

import contextlib
import itertools
import math
import time
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
    modes(bench)
    facade(bench)
    crowd(bench)
    by_name(bench)


def interlock_breaker():
    """Return interlock's breaker with the window of ours, None where it is not installed."""
    try:
        import interlock
    except ImportError:
        return None
    return interlock.CircuitBreaker(name="bench", config=interlock.Config())


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

    correct = interlock_breaker()
    subjects = {} if correct is None else {"interlock-cb": lambda: correct.call_async(work)}
    medians = bench.compare_async(
        "success",
        subjects
        | {
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
    if correct is not None:
        ratio = medians[OURS] / medians["interlock-cb"]
        bench.target("success", "below every correct peer", ratio, met=ratio < 1.0)


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


def modes(bench: Bench) -> None:
    """What a clock costs: a window of time and slow calls read it at every call."""
    import aiobreaker

    aio = aiobreaker.CircuitBreaker()
    timed = SlidingWindowBreaker(BreakerConfig(window_s=60.0))
    slow = SlidingWindowBreaker(BreakerConfig(window_s=60.0, slow_call_s=1.0))
    row = SlidingWindowBreaker(BreakerConfig(consecutive_failures=5))
    medians = bench.compare_async(
        "windows",
        {
            "bare await": work,
            "failures in a row": lambda: row.execute(work),
            "time window": lambda: timed.execute(work),
            "time window, slow calls": lambda: slow.execute(work),
            "aiobreaker": lambda: aio.call_async(work),
        },
        base="bare await",
    )
    ratio = medians["time window, slow calls"] / medians["aiobreaker"]
    bench.target("windows", "time and slow calls below aiobreaker", ratio, met=ratio < 1.0)


def facade(bench: Bench) -> None:
    import aiobreaker

    from localmcp_harden.resilience.breaker_aiobreaker import AiobreakerCircuitBreaker

    ours = AiobreakerCircuitBreaker()
    aio = aiobreaker.CircuitBreaker()
    medians = bench.compare_async(
        "facade",
        {"aiobreaker": lambda: aio.call_async(work), OURS: lambda: ours.call_async(work)},
        base="aiobreaker",
    )
    ratio = medians[OURS] / medians["aiobreaker"]
    bench.target("facade", "at most aiobreaker itself", ratio, met=ratio <= 1.0)


async def _swallow(breaker, operation) -> None:
    with contextlib.suppress(Exception):
        await breaker.execute(operation)


async def _cost_among(kind: str, callers: int) -> float:
    """Return the seconds of one call while as many others are on their way."""
    half_open = kind == "half-open"
    settings = {"minimum_calls": 1, "window_calls": 1 if half_open else WINDOW}
    breaker = SlidingWindowBreaker(BreakerConfig(open_s=1e-9, **settings))
    async with anyio.create_task_group() as tasks:
        if half_open:
            await _swallow(breaker, fail)
        for _ in range(callers):
            tasks.start_soon(_swallow, breaker, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        started = time.perf_counter()
        for _ in range(2_000):
            await _swallow(breaker, work)
        cost = (time.perf_counter() - started) / 2_000
        tasks.cancel_scope.cancel()
    return cost


def crowd(bench: Bench) -> None:
    """What one call costs while 10 or 1,000 others are on their way, closed and half-open."""
    cases = [(kind, callers) for kind in ("closed", "half-open") for callers in (10, 1_000)]
    costs: dict[tuple[str, int], float] = {}
    for _ in range(bench.rounds):
        for case in cases:
            costs[case] = min(anyio.run(_cost_among, *case), costs.get(case, math.inf))
    for kind, callers in cases:
        few, cost = costs[kind, 10], costs[kind, callers]
        bench.row(f"{kind}, others waiting", str(callers), "us", cost * 1e6, cost / few)
        if callers > 10:
            bench.target(
                f"{kind}, others waiting",
                "1,000 callers at most 1.2 of 10",
                cost / few,
                met=cost <= 1.2 * few,
            )


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
