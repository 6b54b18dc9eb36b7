"""Hedging: what it costs when no hedge fires, beside a task group with one sleeping task."""

import anyio

from benchmarks.harness import OURS, Bench
from localmcp_harden.resilience.budget import QuotaRetryBudget, WindowRetryBudget
from localmcp_harden.resilience.hedge import PercentileHedge


async def work() -> int:
    return 1


async def remote() -> int:
    await anyio.sleep(0.001)
    return 1


def run(bench: Bench) -> None:
    ours = PercentileHedge()

    def floor(operation):
        async def run_one() -> int:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 1.0)
                result = await operation()
                tasks.cancel_scope.cancel()
            return result

        return run_one

    medians = bench.compare_async(
        "no hedge fires",
        {
            "bare await": work,
            "a task group that sleeps": floor(work),
            OURS: lambda: ours.execute(work, read_only=True),
            f"{OURS}, not read-only": lambda: ours.execute(work, read_only=False),
        },
        base="bare await",
    )
    ratio = medians[OURS] / medians["a task group that sleeps"]
    bench.target("no hedge fires", "at most 2 of a task group that sleeps", ratio, met=ratio <= 2.0)

    medians = bench.compare_async(
        "a call of 1 ms",
        {
            "bare await": remote,
            "a task group that sleeps": floor(remote),
            OURS: lambda: ours.execute(remote, read_only=True),
        },
        base="bare await",
    )
    ratio = medians[OURS] / medians["bare await"]
    bench.target("a call of 1 ms", "at most 1.2 of the bare call", ratio, met=ratio <= 1.2)

    window, quota = WindowRetryBudget(), QuotaRetryBudget()

    def through(budget) -> None:
        budget.begin()
        budget.succeed(budget.take())

    bench.compare(
        "a budget's begin, take, succeed",
        {"quota": lambda: through(quota), "window": lambda: through(window)},
        base="quota",
    )
