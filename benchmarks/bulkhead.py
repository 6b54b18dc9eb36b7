"""Bulkheads: ours beside anyio's limiter, hyx and pyresilience; free, and with a queue."""

import asyncio
import gc
import time

import anyio
import anyio.lowlevel

from benchmarks.harness import OURS, Bench
from localmcp_harden.protocols.load import AdaptiveLimitConfig, BulkheadConfig
from localmcp_harden.resilience.bulkhead import QueueBulkhead

CROWDS = (100, 1_000, 10_000)


async def work() -> int:
    return 1


def run(bench: Bench) -> None:
    import aiolimiter
    import hyx.bulkhead.manager
    import pyresilience

    ours = QueueBulkhead(BulkheadConfig(max_concurrent=100))
    adaptive = QueueBulkhead(BulkheadConfig(adaptive=AdaptiveLimitConfig()))
    hyx_bulkhead = hyx.bulkhead.manager.BulkheadManager(100, 200)
    limiter = anyio.CapacityLimiter(100)
    semaphore = asyncio.Semaphore(100)
    bucket = aiolimiter.AsyncLimiter(1e9, 1)
    pyresilient = pyresilience.resilient(bulkhead=pyresilience.BulkheadConfig(max_concurrent=100))(
        work
    )
    borrower = object()

    async def with_limiter_nowait() -> int:
        limiter.acquire_on_behalf_of_nowait(borrower)
        try:
            return await work()
        finally:
            limiter.release_on_behalf_of(borrower)

    async def with_limiter_of_task() -> int:
        limiter.acquire_nowait()
        try:
            return await work()
        finally:
            limiter.release()

    async def with_semaphore() -> int:
        async with semaphore:
            return await work()

    async def with_bucket() -> int:
        async with bucket:
            return await work()

    medians = bench.compare_async(
        "a permit is free",
        {
            "bare await": work,
            "anyio limiter, nowait": with_limiter_of_task,
            "anyio limiter, on behalf of": with_limiter_nowait,
            OURS: lambda: ours.execute(work),
            f"{OURS}, adaptive": lambda: adaptive.execute(work),
            "asyncio.Semaphore": with_semaphore,
            "hyx": lambda: hyx_bulkhead(work),
            "pyresilience": pyresilient,
            "aiolimiter (a rate)": with_bucket,
        },
        base="anyio limiter, nowait",
    )
    ratio = medians[OURS] / medians["anyio limiter, nowait"]
    bench.target(
        "a permit is free", "at most 1.6 of anyio's limiter, nowait", ratio, met=ratio <= 1.6
    )

    crowd(bench)


async def through_ours(callers: int) -> None:
    bulkhead = QueueBulkhead(
        BulkheadConfig(max_concurrent=10, max_queue=1_000_000, max_wait_s=3_600.0)
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(bulkhead.execute, turn)


async def through_limiter(callers: int) -> None:
    limiter = anyio.CapacityLimiter(10)

    async def one() -> None:
        async with limiter:
            await turn()

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(one)


async def turn() -> None:
    await anyio.lowlevel.checkpoint()


def crowd(bench: Bench) -> None:
    """Time one caller of a crowd that comes at once and waits for ten permits."""
    took: dict[tuple[str, int], float] = {}
    for callers in CROWDS:
        for subject, through in (("anyio limiter", through_limiter), (OURS, through_ours)):
            best = float("inf")
            for _ in range(max(3, 5_000 // callers)):
                # The collector's own work grows with what lives, whoever made it.
                gc.collect()
                gc.disable()
                began = time.process_time()
                anyio.run(through, callers)
                best = min(best, (time.process_time() - began) / callers)
                gc.enable()
            took[subject, callers] = best
            base = took["anyio limiter", callers]
            bench.row(
                f"a crowd of {callers}", subject, "us", round(best * 1e6, 3), round(best / base, 4)
            )
    growth = took[OURS, CROWDS[-1]] / took[OURS, CROWDS[0]]
    bench.target(
        "a crowd", "one caller of 10,000 at most 1.5 of one of 100", growth, met=growth <= 1.5
    )
