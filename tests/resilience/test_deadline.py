"""ScopeDeadline: what is its own."""

import math

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import DeadlineExceededError
from localmcp_harden.resilience.deadline import DeadlineConfig, ScopeDeadline, _limit
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.deadline import FakeDeadline

pytestmark = pytest.mark.anyio


async def good():
    return "good"


class NoScopes(FakeClock):
    def cut_after(self, seconds, /):
        raise AssertionError(f"a scope of {seconds} s was opened")


def make(timeout_s=10.0, *, clock=None):
    clock = clock or FakeClock()
    return ScopeDeadline(DeadlineConfig(timeout_s=timeout_s), clock=clock), clock


@pytest.mark.parametrize("timeout_s", [None, math.inf])
async def test_without_a_timeout_there_is_no_scope(timeout_s):
    deadline, _ = make(None, clock=NoScopes())
    assert await deadline.execute(good, timeout_s=timeout_s) == "good"


async def test_infinity_lifts_the_default_but_not_an_outer_deadline():
    deadline, clock = make(10.0)

    async def inner():
        return await deadline.execute(remaining, timeout_s=math.inf)

    async def remaining():
        return deadline.remaining_s()

    assert await deadline.execute(remaining, timeout_s=math.inf) is None
    assert await deadline.execute(inner) == 10.0
    assert clock.slept_s == []


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, -math.inf, math.nan])
async def test_with_nothing_left_no_scope_is_opened(timeout_s):
    deadline, _ = make(clock=NoScopes())
    with pytest.raises(DeadlineExceededError):
        await deadline.execute(good, timeout_s=timeout_s)


async def test_within_a_deadline_that_is_over_nothing_is_begun():
    deadline, clock = make(10.0)
    ran = []

    async def inner():
        ran.append(1)

    async def operation():
        with anyio.CancelScope(shield=True):
            clock.advance(12.0)
            assert deadline.remaining_s() == 0.0
            await deadline.execute(inner, timeout_s=5.0)

    with pytest.raises(DeadlineExceededError):
        await deadline.execute(operation)
    assert ran == []


async def test_a_result_in_spite_of_the_cut_is_a_result():
    deadline, clock = make(10.0)

    async def late():
        clock.advance(10.0)
        return "late"

    assert await deadline.execute(late) == "late"


async def test_an_error_while_being_cut_is_the_callers():
    deadline, clock = make(10.0)

    async def operation():
        clock.advance(10.0)
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError

    with pytest.raises(LookupError):
        await deadline.execute(operation)


async def test_two_deadlines_that_fall_together_are_one_refusal():
    deadline, clock = make(10.0)

    async def operation():
        clock.advance(10.0)
        await anyio.sleep_forever()

    with pytest.raises(DeadlineExceededError):
        await deadline.execute(lambda: deadline.execute(operation))
    assert deadline.remaining_s() is None


async def test_a_task_that_outlives_its_deadline_is_free_of_it():
    deadline, clock = make(10.0)
    release = anyio.Event()
    seen = []

    async def background():
        await release.wait()
        seen.append(deadline.remaining_s())
        seen.append(await deadline.execute(good, timeout_s=1.0))

    async with anyio.create_task_group() as tasks:

        async def operation():
            tasks.start_soon(background)

        await deadline.execute(operation)
        clock.advance(60.0)
        release.set()
    assert seen == [None, "good"]


async def test_a_task_elsewhere_is_cut_by_its_own_deadline_though_an_outer_one_is_earlier():
    outer, clock = make(10.0)
    ended = []

    async def elsewhere():
        # Started within the outer deadline, but outside its scope: nothing else cuts it.
        try:
            await outer.execute(anyio.sleep_forever, timeout_s=30.0)
        except DeadlineExceededError:
            ended.append("cut")

    async with anyio.create_task_group() as tasks:

        async def operation():
            tasks.start_soon(elsewhere)
            await anyio.wait_all_tasks_blocked()

        await outer.execute(operation)
        clock.advance(29.0)
        await anyio.wait_all_tasks_blocked()
        assert ended == []
        clock.advance(1.0)
    assert ended == ["cut"]


async def test_deadlines_on_different_clocks_agree_on_what_is_left():
    clock, other = FakeClock(), FakeClock()
    other.advance(12_345.0)
    outer, inner = make(10.0, clock=clock)[0], make(50.0, clock=other)[0]
    seen = []

    async def innermost():
        seen.append(inner.remaining_s())
        seen.append(outer.remaining_s())

    async def operation():
        clock.advance(4.0)
        await inner.execute(innermost)

    await outer.execute(operation)
    assert seen == [6.0, 6.0]


async def test_deadlines_that_are_over_leave_no_chain():
    deadline, _ = make(10.0)
    for _ in range(100):
        await deadline.execute(good)
    assert deadline.remaining_s() is None
    assert _limit.get().outer is None


async def test_an_async_generator_may_end_in_another_context():
    deadline, _ = make(10.0)

    async def stream():
        async def step():
            return deadline.remaining_s()

        yield await deadline.execute(step)

    async for remaining in stream():
        assert remaining == 10.0
    assert deadline.remaining_s() is None


@pytest.mark.parametrize("ending", [GeneratorExit, KeyboardInterrupt])
def test_however_it_ends_nothing_of_it_stays(ending):
    deadline, _ = make(10.0, clock=NoCut())

    class Pause:
        def __await__(self):
            yield

    async def operation():
        await Pause()

    call = deadline.execute(operation)
    call.send(None)
    assert deadline.remaining_s() == 10.0
    with pytest.raises(ending):
        call.throw(ending())
    assert deadline.remaining_s() is None


class NoCut(FakeClock):
    def cut_after(self, seconds, /):
        class Scope:
            cancelled_caught = False

            def __enter__(self):
                return self

            def __exit__(self, *exc_info):
                return None

        return Scope()


@given(budgets=st.lists(st.floats(0.001, 1e4), min_size=1, max_size=8))
def test_what_is_left_is_the_smallest_of_all(budgets):
    deadline, clock = make(None)
    seen = []

    async def nest(rest):
        if not rest:
            seen.append(deadline.remaining_s())
            return
        await deadline.execute(lambda: nest(rest[1:]), timeout_s=rest[0])

    anyio.run(nest, budgets)
    assert seen == [pytest.approx(min(budgets))]
    assert clock._due == []


async def test_the_real_clock_cuts():
    deadline = ScopeDeadline(DeadlineConfig(timeout_s=0.001))
    with pytest.raises(DeadlineExceededError, match=r"0\.001 seconds"):
        await deadline.execute(anyio.sleep_forever)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan, 86_401.0])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="timeout_s"):
        DeadlineConfig(timeout_s=wrong)


async def test_the_fake_can_be_exceeded():
    fake = FakeDeadline(timeout_s=5.0)
    assert await fake.execute(good, timeout_s=2.0) == "good"
    fake.exceeded = True
    with pytest.raises(DeadlineExceededError):
        await fake.execute(good)
    assert (fake.timeouts, fake.remaining_s()) == ([2.0, None], 0.0)
