"""PercentileHedge: what is its own."""

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings, strategies as st

from localmcp_harden.core.events import GuardFailed, HedgeStarted
from localmcp_harden.mechanisms.duration_window import DurationWindow
from localmcp_harden.protocols.repeats import HedgeConfig
from localmcp_harden.resilience.hedge import PercentileHedge
from localmcp_harden.testing import FakeClock, FakeHedge, FakeRetryBudget, RecordingSink

pytestmark = pytest.mark.anyio

FIXED = HedgeConfig(percentile=None, delay_s=1.0)


async def good():
    return "good"


async def hedged(hedge, clock, operation, *, after=1.0):
    """Run the operation, letting its delay pass; return the result."""
    results = []

    async def through():
        results.append(await hedge.execute(operation, read_only=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(through)
        await anyio.wait_all_tasks_blocked()
        clock.advance(after)
    return results[0]


async def test_what_may_not_run_twice_runs_in_the_callers_task_without_a_group():
    hedge = PercentileHedge(clock=FakeClock())
    coroutine = hedge.execute(good, read_only=False)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value == "good"
    assert hedge.snapshot().calls == 0


async def test_the_first_attempt_runs_in_the_callers_task():
    hedge = PercentileHedge(clock=FakeClock())

    async def operation():
        return anyio.get_current_task().id

    assert await hedge.execute(operation, read_only=True) == anyio.get_current_task().id


async def test_a_loser_has_ended_before_the_answer_is_there():
    clock = FakeClock()
    hedge = PercentileHedge(FIXED, clock=clock)
    order = []

    async def operation():
        if not order:
            order.append("begun")
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                    order.append("cleaned")
        return "hedge"

    assert await hedged(hedge, clock, operation) == "hedge"
    assert order == ["begun", "cleaned"]


async def test_a_loser_that_returns_in_spite_of_it_does_not_win():
    clock = FakeClock()
    hedge = PercentileHedge(FIXED, clock=clock)
    begun = []

    async def operation():
        begun.append(1)
        if len(begun) == 2:
            return "hedge"
        # What no operation should do.
        with suppress(BaseException):
            await anyio.sleep_forever()
        return "late"

    assert await hedged(hedge, clock, operation) == "hedge"


async def test_an_error_has_its_own_traceback_and_no_group_round_it():
    hedge = PercentileHedge(clock=FakeClock())
    mine = LookupError("mine")

    async def operation():
        raise mine

    with pytest.raises(LookupError) as caught:
        await hedge.execute(operation, read_only=True)
    assert caught.value is mine
    assert mine.__context__ is None
    assert any(entry.name == "operation" for entry in caught.traceback)


async def test_an_exit_of_the_program_is_not_wrapped():
    hedge = PercentileHedge(clock=FakeClock())

    async def operation():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await hedge.execute(operation, read_only=True)


async def test_nothing_is_left_running():
    clock = FakeClock()
    hedge = PercentileHedge(FIXED, clock=clock)
    before = len(anyio.get_running_tasks())
    for _ in range(20):
        await hedge.execute(good, read_only=True)
    await anyio.wait_all_tasks_blocked()
    clock.advance(100.0)
    await anyio.wait_all_tasks_blocked()
    assert hedge.snapshot().hedges == 0
    assert len(anyio.get_running_tasks()) == before


async def test_an_answer_in_the_moment_of_the_delay_costs_no_budget():
    clock, budget = FakeClock(), FakeRetryBudget()
    hedge = PercentileHedge(FIXED, clock=clock, budget=budget)

    async def operation():
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.0)
        return "good"

    assert await hedge.execute(operation, read_only=True) == "good"
    assert (hedge.snapshot().hedges, budget.snapshot().taken) == (0, 0)


async def test_every_hedge_is_told():
    clock, sink = FakeClock(), RecordingSink()
    hedge = PercentileHedge(FIXED, name="read", clock=clock, sink=sink)
    begun = []

    async def operation():
        begun.append(1)
        if len(begun) == 1:
            await anyio.sleep_forever()

    await hedged(hedge, clock, operation)
    (told,) = sink.of(HedgeStarted)
    assert (told.operation, told.hedge, told.delay_s) == ("read", 1, 1.0)


async def test_a_broken_predicate_lets_the_result_win():
    sink = RecordingSink()
    hedge = PercentileHedge(clock=FakeClock(), sink=sink)

    def is_failure(result):
        raise LookupError("secret")

    assert await hedge.execute(good, read_only=True, is_failure=is_failure) == "good"
    assert [event.guard for event in sink.of(GuardFailed)] == ["operation.is_failure"]
    assert "secret" not in repr(sink.events)


async def test_its_own_budget_bounds_it_to_a_tenth():
    clock = FakeClock()
    hedge = PercentileHedge(FIXED, clock=clock)
    calls = 500
    ends = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(lambda: hedge.execute(ends.wait, read_only=True))
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.0)
        await anyio.wait_all_tasks_blocked()
        assert hedge.snapshot().hedges == calls / 10 + 10
        ends.set()


async def test_retries_and_hedges_share_a_budget():
    clock = FakeClock()
    budget = FakeRetryBudget(repeats=1)
    hedge = PercentileHedge(FIXED, clock=clock, budget=budget)
    end = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: hedge.execute(end.wait, read_only=True))
        await anyio.wait_all_tasks_blocked()
        assert budget.take()
        clock.advance(1.0)
        await anyio.wait_all_tasks_blocked()
        end.set()
    assert hedge.snapshot().unaffordable == 1


async def test_failures_are_not_known_durations():
    hedge = PercentileHedge(HedgeConfig(minimum_calls=1, delay_s=7.0), clock=FakeClock())

    async def bad():
        raise LookupError

    with pytest.raises(LookupError):
        await hedge.execute(bad, read_only=True)
    assert hedge.snapshot().delay_s == 7.0
    await hedge.execute(good, read_only=True)
    assert hedge.snapshot().delay_s == 0.01


async def test_a_smaller_window_keeps_the_newest():
    clock = FakeClock()
    hedge = PercentileHedge(
        HedgeConfig(percentile=0.5, minimum_calls=5, window_calls=20, delay_s=900.0), clock=clock
    )
    for seconds in range(1, 21):

        async def operation(seconds=seconds):
            clock.advance(seconds)

        await hedge.execute(operation, read_only=True)
    assert hedge.snapshot().delay_s == 11
    hedge.configure(HedgeConfig(percentile=0.5, minimum_calls=5, window_calls=10))
    assert hedge.snapshot().delay_s == 16


async def test_the_fake_is_switched_off():
    clock = FakeClock()
    hedge = FakeHedge(FIXED, clock=clock)
    begun = []

    async def operation():
        begun.append(1)
        if len(begun) == 1:
            await anyio.sleep_forever()
        return "hedge"

    assert await hedged(hedge, clock, operation) == "hedge"
    assert [event.hedge for event in hedge.started] == [1]
    hedge.active = False
    assert await hedge.execute(good, read_only=True) == "good"
    assert hedge.snapshot().calls == 1


@pytest.mark.parametrize(
    "wrong",
    [{"percentile": 1.0}, {"delay_s": 0}, {"max_hedges": 0}, {"minimum_calls": 501}],
    ids=str,
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HedgeConfig(**wrong)


@given(
    size=st.integers(1, 20),
    durations=st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, 9.0]), min_size=1, max_size=80),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_percentile_is_that_of_the_newest(size, durations, share):
    window = DurationWindow(size)
    for duration in durations:
        window.add(duration)
    newest = sorted(durations[-size:])
    assert len(window) == len(newest)
    assert window.percentile(share) == newest[int(share * len(newest))]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60, deadline=None)
@given(
    outcomes=st.lists(st.sampled_from(["good", "bad", "hang"]), min_size=3, max_size=3),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("end"), st.integers(0, 2)),
            st.tuples(st.just("advance"), st.just(0)),
            st.tuples(st.just("cancel"), st.just(0)),
            st.tuples(st.just("turn"), st.just(0)),
        ),
        max_size=8,
    ),
)
def test_a_race_has_one_outcome_and_leaves_nothing(backend, outcomes, steps):
    clock = FakeClock()
    budget = FakeRetryBudget()
    hedge = PercentileHedge(
        HedgeConfig(percentile=None, delay_s=1.0, max_hedges=2), clock=clock, budget=budget
    )
    ends = []
    running = set()
    seen = []

    async def operation():
        number = len(ends)
        end = anyio.Event()
        ends.append(end)
        running.add(number)
        try:
            await end.wait()
            if outcomes[number] == "hang":
                await anyio.sleep_forever()
            if outcomes[number] == "bad":
                raise LookupError(number)
            return number
        finally:
            running.discard(number)

    async def through(scope):
        with scope:
            try:
                seen.append(await hedge.execute(operation, read_only=True))
            except LookupError as error:
                seen.append(error)
        seen.append("over")
        assert running == set()

    async def main():
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(through, scope)
            await anyio.wait_all_tasks_blocked()
            for kind, what in steps:
                if kind == "end" and what < len(ends):
                    ends[what].set()
                elif kind == "advance":
                    clock.advance(1.0)
                elif kind == "cancel":
                    scope.cancel()
                else:
                    await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        assert seen[-1] == "over"
        assert len(seen) <= 2
        winner = seen[0]
        if isinstance(winner, int):
            assert outcomes[winner] == "good"
            assert budget.succeeded == [float(bool(winner))]
        else:
            assert budget.succeeded == []
        if isinstance(winner, LookupError):
            assert winner.args == (0,)

    anyio.run(main, backend=backend)
