"""Deadlines: ours beside anyio.fail_after and asyncio.timeout."""

import asyncio

import anyio

from benchmarks.harness import OURS, Bench
from localmcp_harden.resilience.deadline import DeadlineConfig, ScopeDeadline


async def work() -> int:
    return 1


def run(bench: Bench) -> None:
    ours = ScopeDeadline(DeadlineConfig(timeout_s=60.0))
    without = ScopeDeadline(DeadlineConfig(timeout_s=None))

    async def with_anyio() -> int:
        with anyio.fail_after(60.0):
            return await work()

    async def with_asyncio() -> int:
        async with asyncio.timeout(60.0):
            return await work()

    medians = bench.compare_async(
        "in time",
        {
            "anyio.fail_after": with_anyio,
            OURS: lambda: ours.execute(work),
            "asyncio.timeout": with_asyncio,
        },
        base="anyio.fail_after",
    )
    ratio = medians[OURS] / medians["anyio.fail_after"]
    bench.target("in time", "at most 1.6 of anyio.fail_after", ratio, met=ratio <= 1.6)

    bench.compare_async(
        "no timeout",
        {"bare await": work, OURS: lambda: without.execute(work)},
        base="bare await",
    )
