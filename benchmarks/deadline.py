"""Deadlines: ours beside anyio.fail_after and asyncio.timeout."""

import asyncio

import anyio

from benchmarks.harness import OURS, Bench
from localmcp_harden.resilience.deadline import DeadlineConfig, ScopeDeadline
from localmcp_harden.resilience.deadline_travel import DeadlineTravel


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

    async def as_context() -> int:
        with ours.limit():
            return await work()

    bench.compare_async(
        "as a context",
        {"anyio.fail_after": with_anyio, OURS: as_context},
        base="anyio.fail_after",
    )
    travelling(bench)


def travelling(bench: Bench) -> None:
    """Time writing the time left into a request and reading it back."""
    travel = DeadlineTravel(lambda: 12.5)
    field = travel.headers()
    bench.compare(
        "time left, on its way",
        {
            "a dict with a number": lambda: {"timeout": str(12.5)},
            f"{OURS}, write a header": travel.headers,
            f"{OURS}, read a header": lambda: travel.from_headers(field, trusted=True),
            f"{OURS}, write _meta": travel.meta,
        },
        base="a dict with a number",
    )
