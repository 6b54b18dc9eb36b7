"""The rules of a `Hedge`.

`make(config, /, *, clock, budget)` returns a hedge with these settings and this budget.
"""

from collections.abc import Callable
from typing import Any, Protocol

import anyio

from ...core.ports import Clock
from ...protocols.repeats import Hedge, HedgeConfig, RetryBudget
from ...protocols.resilience import never_fails
from ..clock import FakeClock
from ..doubles.retry_budget import FakeRetryBudget
from .circuit import BoomError
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeHedge", "hedge")


class MakeHedge(Protocol):
    """Makes the hedge that is to be checked."""

    def __call__(self, config: HedgeConfig, /, *, clock: Clock, budget: RetryBudget) -> Hedge:
        """Return a hedge that knows no durations yet."""
        ...


hedge: ContractKit[MakeHedge] = ContractKit("Hedge")


class _Bench:
    """A hedge, and attempts at one operation that a rule ends one by one."""

    def __init__(self, make: MakeHedge, **settings: Any) -> None:
        chosen: dict[str, Any] = {
            "percentile": None,
            "delay_s": 1.0,
            "min_delay_s": 0.0,
            **settings,
        }
        self.clock = FakeClock()
        self.budget = FakeRetryBudget(repeats=100)
        self.config = HedgeConfig(**chosen)
        self.hedge = make(self.config, clock=self.clock, budget=self.budget)
        self.begun = 0
        self.cancelled: list[int] = []
        self.outcome: object = None
        self._answers: dict[int, object] = {}
        self._ends: list[anyio.Event] = []

    async def operation(self) -> object:
        """Wait until the rule ends this attempt."""
        attempt = self.begun
        self.begun += 1
        end = anyio.Event()
        self._ends.append(end)
        try:
            await end.wait()
        except BaseException:
            self.cancelled.append(attempt)
            raise
        answer = self._answers[attempt]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def end(self, attempt: int, answer: object) -> None:
        """End an attempt with a result, or by raising an error."""
        self._answers[attempt] = answer
        self._ends[attempt].set()
        await anyio.wait_all_tasks_blocked()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()

    async def run(
        self,
        body: Callable[[], Any],
        *,
        read_only: bool = True,
        is_failure: Callable[[object], bool] = never_fails,
    ) -> object:
        """Run the body while the operation goes through the hedge; return how that ended."""
        self.outcome = None

        async def through() -> None:
            try:
                self.outcome = await self.hedge.execute(
                    self.operation, read_only=read_only, is_failure=is_failure
                )
            except Exception as error:  # noqa: BLE001 - the rule looks at it
                self.outcome = error

        async with open_tasks() as tasks:
            tasks.start_soon(through)
            await anyio.wait_all_tasks_blocked()
            await body()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        return self.outcome


@hedge.rule("HD1")
async def what_is_quick_runs_once(make: MakeHedge) -> None:
    """An operation that ends before the delay runs once; its result and error are its own."""
    for answer in (object(), BoomError("mine")):
        bench = _Bench(make)

        async def body(bench: _Bench = bench, answer: object = answer) -> None:
            await bench.advance(0.9)
            await bench.end(0, answer)
            await bench.advance(10.0)

        expect(await bench.run(body) is answer, f"saw {bench.outcome!r}")
        expect(bench.begun == 1, f"it ran {bench.begun} times")
        expect(bench.budget.begun == 1, "the budget does not know of the call")
        expect(bench.budget.snapshot().taken == 0, "it cost something")


@hedge.rule("HD2")
async def a_slow_one_is_begun_again_on_time(make: MakeHedge) -> None:
    """After the delay, and not before, the operation is begun once more."""
    bench = _Bench(make)

    async def body() -> None:
        await bench.advance(0.9)
        expect(bench.begun == 1, "it was hedged before its time")
        await bench.advance(0.1)
        expect(bench.begun == 2, "it was not hedged")
        await bench.advance(100.0)
        expect(bench.begun == 2, "it was hedged more often than once")

    await bench.run(body)
    expect(bench.hedge.snapshot().hedges == 1, f"saw {bench.hedge.snapshot()}")


@hedge.rule("HD3")
async def the_first_success_wins(make: MakeHedge) -> None:
    """Whichever attempt is first gives the answer, and the other is cancelled before that."""
    for winner in (0, 1):
        bench = _Bench(make)

        async def body(bench: _Bench = bench, winner: int = winner) -> None:
            await bench.advance(1.0)
            await bench.end(winner, f"from {winner}")

        expect(await bench.run(body) == f"from {winner}", f"saw {bench.outcome!r}")
        expect(bench.cancelled == [1 - winner], f"cancelled were {bench.cancelled}")
        expect(bench.hedge.snapshot().won == winner, f"saw {bench.hedge.snapshot()}")


@hedge.rule("HD4")
async def only_what_may_run_twice_is_hedged(make: MakeHedge) -> None:
    """An operation that is not read-only runs once however slow it is."""
    bench = _Bench(make)

    async def body() -> None:
        await bench.advance(100.0)
        expect(bench.begun == 1, "a call that is not read-only ran twice")
        await bench.end(0, "good")

    expect(await bench.run(body, read_only=False) == "good", f"saw {bench.outcome!r}")


@hedge.rule("HD5")
async def the_budget_bounds_it(make: MakeHedge) -> None:
    """Without budget there is no further attempt, and the first one's answer counts."""
    bench = _Bench(make)
    bench.budget.spent = True

    async def body() -> None:
        await bench.advance(100.0)
        expect(bench.begun == 1, "it was hedged without budget")
        await bench.end(0, "good")

    expect(await bench.run(body) == "good", f"saw {bench.outcome!r}")
    expect(bench.hedge.snapshot().unaffordable == 1, f"saw {bench.hedge.snapshot()}")


@hedge.rule("HD6")
async def a_failure_waits_for_the_others(make: MakeHedge) -> None:
    """An attempt that fails does not end the race while another runs."""
    for loser in (0, 1):
        bench = _Bench(make)

        async def body(bench: _Bench = bench, loser: int = loser) -> None:
            await bench.advance(1.0)
            await bench.end(loser, BoomError())
            expect(bench.outcome is None, f"saw {bench.outcome!r} while another attempt runs")
            await bench.end(1 - loser, "good")

        expect(await bench.run(body) == "good", f"saw {bench.outcome!r}")


@hedge.rule("HD7")
async def without_success_the_first_error_counts(make: MakeHedge) -> None:
    """When all attempts fail, the first one's error is raised as it is."""
    for order in ((0, 1), (1, 0)):
        bench = _Bench(make)
        mine = BoomError("mine")
        errors = {0: mine, 1: BoomError("other")}

        async def body(
            bench: _Bench = bench,
            order: tuple[int, ...] = order,
            errors: dict[int, BoomError] = errors,
        ) -> None:
            await bench.advance(1.0)
            for attempt in order:
                await bench.end(attempt, errors[attempt])

        expect(await bench.run(body) is mine, f"saw {bench.outcome!r}")


@hedge.rule("HD8")
async def bad_results_do_not_win(make: MakeHedge) -> None:
    """A result that `is_failure` does not win, and is the answer when there is no better one."""
    for second in ("good", "worse"):
        bench = _Bench(make)

        async def body(bench: _Bench = bench, second: str = second) -> None:
            await bench.advance(1.0)
            await bench.end(0, "bad")
            await bench.end(1, second)

        result = await bench.run(body, is_failure=_is_bad)
        expect(result == ("good" if second == "good" else "bad"), f"saw {result!r}")


@hedge.rule("HD9")
async def cancellation_ends_all(make: MakeHedge) -> None:
    """A cancelled call cancels every attempt, and is no success of any."""
    bench = _Bench(make)

    async def body() -> None:
        await bench.advance(1.0)

    expect(await bench.run(body) is None, f"the cancellation became {bench.outcome!r}")
    expect(sorted(bench.cancelled) == [0, 1], f"cancelled were {bench.cancelled}")
    expect(not bench.budget.succeeded, "the budget was told of a success")


@hedge.rule("HD10")
async def hedges_are_counted_out(make: MakeHedge) -> None:
    """There are `max_hedges` further attempts at most, each a delay after the last."""
    bench = _Bench(make, max_hedges=3)

    async def body() -> None:
        for begun in (1, 2, 3, 4, 4):
            expect(bench.begun == begun, f"{bench.begun} attempts instead of {begun}")
            await bench.advance(1.0)
        await bench.end(2, "third")

    expect(await bench.run(body) == "third", f"saw {bench.outcome!r}")
    expect(sorted(bench.cancelled) == [0, 1, 3], f"cancelled were {bench.cancelled}")


@hedge.rule("HD11")
async def the_delay_follows_the_durations(make: MakeHedge) -> None:
    """With enough durations known, the percentile of them is waited for."""
    bench = _Bench(
        make, percentile=0.5, delay_s=50.0, min_delay_s=2.0, minimum_calls=4, window_calls=10
    )

    async def took(seconds: float) -> None:
        attempt = bench.begun

        async def body() -> None:
            await bench.advance(seconds)
            await bench.end(attempt, "good")

        await bench.run(body)

    for seconds in (1.0, 2.0, 3.0):
        await took(seconds)
    expect(bench.hedge.snapshot().delay_s == 50.0, "it used a percentile of too few durations")
    await took(4.0)
    expect(bench.hedge.snapshot().delay_s == 3.0, f"saw {bench.hedge.snapshot()}")
    for _ in range(5):
        await took(0.5)
    expect(bench.hedge.snapshot().delay_s == 2.0, "it went below min_delay_s")


@hedge.rule("HD12")
async def hedges_do_not_breed_hedges(make: MakeHedge) -> None:
    """An attempt that was overtaken counts as slow: the delay does not sink by hedging."""
    bench = _Bench(make, percentile=0.5, delay_s=9.0, minimum_calls=4, window_calls=10)

    async def took(seconds: float) -> None:
        attempt = bench.begun

        async def body() -> None:
            await bench.advance(seconds)
            await bench.end(attempt, "good")

        await bench.run(body)

    async def overtaken() -> None:
        attempt = bench.begun

        async def body() -> None:
            await bench.advance(bench.hedge.snapshot().delay_s)
            await bench.end(attempt + 1, "good")

        await bench.run(body)

    for seconds in (1.0, 5.0) * 2:
        await took(seconds)
    for _ in range(4):
        await overtaken()
        await took(1.0)
    seen = bench.hedge.snapshot()
    expect(seen.won == 4, f"the rule needs hedges that win; saw {seen}")
    expect(seen.delay_s >= 5.0, f"the delay sank to {seen.delay_s}")


@hedge.rule("HD13")
async def the_budget_is_told(make: MakeHedge) -> None:
    """The budget is told of one success for each operation, with what the winner had cost."""
    for winner in (0, 1):
        bench = _Bench(make)

        async def body(bench: _Bench = bench, winner: int = winner) -> None:
            await bench.advance(1.0)
            await bench.end(winner, "good")

        await bench.run(body)
        seen = bench.budget.succeeded
        expect(seen == [float(winner)], f"the budget was told {seen}")


@hedge.rule("HD14")
async def settings_change_live(make: MakeHedge) -> None:
    """`configure` takes other settings for the calls that begin after it."""
    bench = _Bench(make)
    bench.hedge.configure(HedgeConfig(percentile=None, delay_s=7.0))
    expect(bench.hedge.snapshot().delay_s == 7.0, f"saw {bench.hedge.snapshot()}")

    async def body() -> None:
        await bench.advance(6.9)
        expect(bench.begun == 1, "the old delay was waited for")
        await bench.advance(0.1)
        expect(bench.begun == 2, "the new delay was not waited for")

    await bench.run(body)


def _is_bad(result: object) -> bool:
    return result != "good"
