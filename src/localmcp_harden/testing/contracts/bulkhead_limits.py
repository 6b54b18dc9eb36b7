"""The rules of a `Bulkhead` whose limit moves; a part of `contracts.bulkhead`."""

from functools import partial

import anyio
from attrs import evolve

from ...core.errors import OverloadedError
from ...protocols.load import AdaptiveLimitConfig, BulkheadConfig, LimitAlgorithm
from ..clock import FakeClock
from .crowd import MakeBulkhead
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("bulkhead_limits",)


bulkhead_limits: ContractKit[MakeBulkhead] = ContractKit("Bulkhead")


@bulkhead_limits.rule("BH17")
async def the_limit_follows_the_target(make: MakeBulkhead) -> None:
    """An adaptive limit rises under quick calls and falls under slow ones, within its bounds."""
    for algorithm in LimitAlgorithm:
        clock = FakeClock()
        adaptive = AdaptiveLimitConfig(
            algorithm=algorithm, min_limit=2, max_limit=20, sample_calls=1, sample_s=0.0, slow_s=1.0
        )
        block = make(BulkheadConfig(max_concurrent=8, adaptive=adaptive), clock=clock)

        async def rounds(seconds: float, count: int) -> int:
            for _ in range(count):
                async with open_tasks() as tasks:
                    for _ in range(block.snapshot().limit):  # noqa: B023
                        tasks.start_soon(block.execute, partial(clock.sleep, seconds))  # noqa: B023
                    await anyio.wait_all_tasks_blocked()
                    clock.advance(seconds)  # noqa: B023
            return block.snapshot().limit  # noqa: B023

        risen = await rounds(0.001, 40)
        expect(risen == 20, f"{algorithm}: the limit rose to {risen}, not to 20")
        fallen = await rounds(60.0, 3)
        expect(fallen < 15, f"{algorithm}: the limit fell to {fallen} only")


@bulkhead_limits.rule("BH18")
async def refusals_of_the_target_lower_the_limit(make: MakeBulkhead) -> None:
    """What the target turns away lowers an adaptive limit, to `min_limit` and no further."""
    for algorithm in LimitAlgorithm:
        adaptive = AdaptiveLimitConfig(
            algorithm=algorithm, min_limit=3, max_limit=20, sample_calls=1, sample_s=0.0
        )
        config = BulkheadConfig(max_concurrent=10, adaptive=adaptive)
        block = make(config, clock=FakeClock())

        async def refuse() -> None:
            raise OverloadedError("the target's own")

        for _ in range(100):
            try:
                await block.execute(refuse)
            except OverloadedError:
                continue
        seen = block.snapshot().limit
        expect(seen == 3, f"{algorithm}: the limit is {seen}, not 3")
        block.configure(evolve(config, adaptive=None))
        expect(block.snapshot().limit == 10, "the limit stayed after it was no longer adaptive")
