"""QueueBulkhead: what is its own, and that no permit is ever lost."""

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from localmcp_harden.core.errors import BulkheadFullError, OverloadedError
from localmcp_harden.core.events import GuardFailed
from localmcp_harden.protocols.load import (
    AdaptiveLimitConfig,
    BulkheadConfig,
    BulkheadState,
    LimitAlgorithm,
    Priority,
    QueueOrder,
)
from localmcp_harden.resilience.bulkhead import QueueBulkhead
from localmcp_harden.testing import FakeBulkhead, FakeClock, RecordingSink

pytestmark = pytest.mark.anyio

ADAPTIVE = AdaptiveLimitConfig(min_limit=1, max_limit=50, sample_calls=1, sample_s=0.0)


class NoTime(FakeClock):
    def monotonic(self):
        raise AssertionError("the clock was read")

    def cut_after(self, seconds, /):
        raise AssertionError("a scope was opened")


async def good():
    return "good"


def run_without_a_turn(coroutine):
    """Return the result of a coroutine that must not wait for anything."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


async def test_a_free_permit_costs_neither_a_turn_nor_the_clock():
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1), clock=NoTime())
    for _ in range(3):
        assert run_without_a_turn(bulkhead.execute(good)) == "good"


async def test_a_refusal_costs_no_turn():
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_queue=0), clock=FakeClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bulkhead.execute, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            run_without_a_turn(bulkhead.execute(good))
        tasks.cancel_scope.cancel()


async def test_one_permit_wakes_one_waiter():
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_queue=1_000), clock=FakeClock())
    woken = []
    wake = anyio.Event()

    async def caller(number):
        async def operation():
            woken.append(number)
            await (wake.wait() if len(woken) == 1 else anyio.sleep_forever())

        await bulkhead.execute(operation)

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(caller, number)
        await anyio.wait_all_tasks_blocked()
        wake.set()
        await anyio.wait_all_tasks_blocked()
        assert len(woken) == 2
        assert sum(bulkhead.snapshot().waiting) == 498
        tasks.cancel_scope.cancel()


async def test_a_native_cancellation_returns_the_permit(anyio_backend):
    if anyio_backend != "asyncio":
        pytest.skip("trio has no other cancellation than that of scopes")
    import asyncio

    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1), clock=FakeClock())
    first = asyncio.create_task(bulkhead.execute(anyio.sleep_forever))
    await anyio.wait_all_tasks_blocked()
    second = asyncio.create_task(bulkhead.execute(good))
    third = asyncio.create_task(bulkhead.execute(good))
    await anyio.wait_all_tasks_blocked()
    # A permit is handed over, and its new owner is cancelled before it runs.
    bulkhead.configure(BulkheadConfig(max_concurrent=2))
    assert bulkhead.snapshot().running == 2
    second.cancel()
    assert await third == "good"
    first.cancel()
    for task in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert bulkhead.snapshot().running == 0


async def test_a_permit_in_the_moment_of_the_timeout_is_a_permit():
    clock = FakeClock()
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_wait_s=5.0), clock=clock)
    end = anyio.Event()
    results = []

    async def waiting():
        results.append(await bulkhead.execute(good))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bulkhead.execute, end.wait)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(waiting)
        await anyio.wait_all_tasks_blocked()
        bulkhead.configure(evolve(bulkhead.config, max_concurrent=2))
        clock.advance(5.0)
        await anyio.wait_all_tasks_blocked()
        end.set()
    assert results == ["good"]
    assert bulkhead.snapshot().refused_waited == 0


async def test_an_operation_inside_itself_is_refused_in_time():
    clock = FakeClock()
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_wait_s=5.0), clock=clock)
    refused = []

    async def inner():
        with pytest.raises(OverloadedError):
            await bulkhead.execute(good)
        refused.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bulkhead.execute, inner)
        await anyio.wait_all_tasks_blocked()
        clock.advance(5.0)
    assert refused == [True]
    assert bulkhead.snapshot().running == 0


async def test_standing_is_told_apart_by_priority():
    clock = FakeClock()
    config = BulkheadConfig(max_concurrent=1, order=QueueOrder.ADAPTIVE_LIFO, interval_s=0.1)
    bulkhead = QueueBulkhead(config, clock=clock)
    begun = []

    async def caller(name, priority):
        async def operation():
            begun.append(name)
            await clock.sleep(0.06)

        await bulkhead.execute(operation, priority=priority)

    async with anyio.create_task_group() as tasks:
        for name in ("run", "l1", "l2", "l3", "l4", "l5", "l6"):
            tasks.start_soon(caller, name, Priority.LOW)
            await anyio.wait_all_tasks_blocked()
        for name in ("h1", "h2"):
            tasks.start_soon(caller, name, Priority.HIGH)
            await anyio.wait_all_tasks_blocked()
        for _ in range(9):
            clock.advance(0.06)
            await anyio.wait_all_tasks_blocked()
    # The high lane drains before it stands; the low one is first seen above its target
    # when it is its turn, and is turned round an interval later.
    assert begun == ["run", "h1", "h2", "l1", "l2", "l6", "l5", "l4", "l3"]


@pytest.mark.parametrize("error", [LookupError(), None], ids=["error", "cancelled"])
async def test_what_says_nothing_does_not_move_the_limit(error):
    clock = FakeClock()
    adaptive = evolve(ADAPTIVE, algorithm=LimitAlgorithm.AIMD, slow_s=0.5)
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=10, adaptive=adaptive), clock=clock)

    async def operation():
        clock.advance(60.0)
        if error is None:
            await anyio.sleep_forever()
        raise error

    for _ in range(20):
        with anyio.move_on_after(0):
            with pytest.raises(LookupError):
                await bulkhead.execute(operation)
    assert bulkhead.snapshot().limit == 10


async def test_a_result_may_say_overload():
    adaptive = evolve(ADAPTIVE, is_overload=lambda result: result == "good")
    bulkhead = QueueBulkhead(
        BulkheadConfig(max_concurrent=10, adaptive=adaptive), clock=FakeClock()
    )
    for _ in range(100):
        assert await bulkhead.execute(good) == "good"
    assert bulkhead.snapshot().limit == 1


class _Meta(type):
    def __instancecheck__(cls, instance):
        raise LookupError("broken")


class BrokenKindError(Exception, metaclass=_Meta):
    pass


@pytest.mark.parametrize("part", ["is_overload", "overload_on"])
async def test_a_broken_predicate_changes_nothing(part):
    sink = RecordingSink()
    mine = ValueError("mine")

    def is_overload(result):
        raise LookupError("secret")

    async def bad():
        raise mine

    adaptive = evolve(ADAPTIVE, is_overload=is_overload, overload_on=(BrokenKindError,))
    bulkhead = QueueBulkhead(
        BulkheadConfig(max_concurrent=10, adaptive=adaptive), clock=FakeClock(), sink=sink
    )
    if part == "is_overload":
        assert await bulkhead.execute(good) == "good"
    else:
        with pytest.raises(ValueError) as caught:
            await bulkhead.execute(bad)
        assert caught.value is mine
    assert [event.guard for event in sink.of(GuardFailed)] == [f"bulkhead.{part}"]
    assert "secret" not in repr(sink.events)
    assert bulkhead.snapshot().limit == 10
    assert bulkhead.snapshot().running == 0


async def test_other_settings_for_a_limit_that_moves():
    bulkhead = QueueBulkhead(
        BulkheadConfig(max_concurrent=10, adaptive=ADAPTIVE), clock=FakeClock()
    )
    bulkhead.configure(BulkheadConfig(max_concurrent=10, adaptive=evolve(ADAPTIVE, max_limit=5)))
    assert bulkhead.snapshot().limit == 5
    bulkhead.configure(BulkheadConfig(max_concurrent=30, adaptive=ADAPTIVE))
    assert bulkhead.snapshot().limit == 5
    bulkhead.configure(BulkheadConfig(max_concurrent=30))
    assert bulkhead.snapshot().limit == 30
    bulkhead.configure(BulkheadConfig(max_concurrent=30, adaptive=ADAPTIVE))
    assert bulkhead.snapshot().limit == 30


async def test_a_call_that_outlives_its_finder_moves_no_limit():
    bulkhead = QueueBulkhead(
        BulkheadConfig(max_concurrent=10, adaptive=ADAPTIVE), clock=FakeClock()
    )

    async def operation():
        bulkhead.configure(BulkheadConfig(max_concurrent=7))
        raise OverloadedError("no")

    with pytest.raises(OverloadedError):
        await bulkhead.execute(operation)
    assert bulkhead.snapshot().limit == 7


async def test_who_waits_beyond_a_smaller_queue_keeps_its_place():
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_queue=5), clock=FakeClock())
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(bulkhead.execute, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        bulkhead.configure(BulkheadConfig(max_concurrent=1, max_queue=1))
        assert bulkhead.snapshot().waiting == (0, 0, 3, 0)
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(good)
        tasks.cancel_scope.cancel()


async def test_refusals_do_not_say_what_was_called():
    bulkhead = QueueBulkhead(BulkheadConfig(max_concurrent=1, max_queue=0), clock=FakeClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bulkhead.execute, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(OverloadedError) as caught:
            await bulkhead.execute(good)
        tasks.cancel_scope.cancel()
    assert caught.value.code == "bulkhead_full"
    assert caught.value.retry_after_s is None


async def test_the_fake_fills_up_on_command():
    bulkhead = FakeBulkhead()
    assert await bulkhead.execute(good, priority=Priority.HIGH) == "good"
    assert bulkhead.get_state() is BulkheadState.FREE
    bulkhead.full = True
    assert bulkhead.get_state() is BulkheadState.OVERLOADED
    with pytest.raises(BulkheadFullError):
        await bulkhead.execute(good)
    assert bulkhead.priorities == [Priority.HIGH, Priority.NORMAL]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_concurrent": 0},
        {"max_queue": -1},
        {"max_wait_s": 0.0},
        {"max_wait_s": float("nan")},
        {"interval_s": 0.0},
        {"target_wait_s": 0.0},
    ],
    ids=str,
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BulkheadConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"backoff": 1.0}, {"tolerance": 0.9}, {"smoothing": 0.0}, {"min_limit": 300}, {"slow_s": 0}],
    ids=str,
)
def test_nonsense_in_adaptive_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdaptiveLimitConfig(**wrong)


@pytest.mark.parametrize("kinds", [(BaseException,), ValueError, ("ValueError",)])
def test_only_exceptions_say_overload(kinds):
    with pytest.raises(TypeError, match="overload_on"):
        AdaptiveLimitConfig(overload_on=kinds)


# What happens in one moment: callers come, end, are cancelled; time passes; limits change.
STEPS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from(Priority)),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("advance"), st.sampled_from([0.001, 0.02, 0.15, 3.0])),
    st.tuples(st.just("limit"), st.integers(1, 4)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("settle"), st.just(0)),
)


class Model:
    """Random callers of one bulkhead; every step may be in the same moment as the last."""

    def __init__(self, tasks, bulkhead, clock, config):
        self.tasks = tasks
        self.bulkhead = bulkhead
        self.clock = clock
        self.config = config
        self.most = config.max_concurrent
        self.running = set()
        self.ends = []
        self.scopes = []

    async def caller(self, number, priority, scope, end):
        async def operation():
            self.running.add(number)
            try:
                await end.wait()
            finally:
                self.running.discard(number)

        with scope, suppress(OverloadedError):
            await self.bulkhead.execute(operation, priority=priority)

    async def step(self, kind, what):
        if kind == "come":
            scope, end = anyio.CancelScope(), anyio.Event()
            self.scopes.append(scope)
            self.ends.append(end)
            self.tasks.start_soon(self.caller, len(self.ends), what, scope, end)
        elif kind == "end" and what < len(self.ends):
            self.ends[what].set()
        elif kind == "cancel" and what < len(self.scopes):
            self.scopes[what].cancel()
        elif kind == "advance":
            self.clock.advance(what)
        elif kind == "limit":
            self.config = evolve(self.config, max_concurrent=what)
            self.bulkhead.configure(self.config)
            self.most = max(self.most, what)
        elif kind == "turn":
            await anyio.lowlevel.checkpoint()
        elif kind == "settle":
            await anyio.wait_all_tasks_blocked()
            self.check()

    def check(self):
        seen = self.bulkhead.snapshot()
        assert seen.running == len(self.running)
        assert seen.running <= self.most
        assert sum(seen.waiting) <= self.config.max_queue
        # A permit is free only when nobody wants one.
        assert seen.running >= seen.limit or not sum(seen.waiting)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=5, max_size=60),
    order=st.sampled_from(QueueOrder),
    codel=st.booleans(),
)
def test_no_permit_is_ever_lost(backend, steps, order, codel):
    config = BulkheadConfig(
        max_concurrent=2, max_queue=4, max_wait_s=2.0, order=order, codel=codel, target_wait_s=0.01
    )
    clock = FakeClock()
    bulkhead = QueueBulkhead(config, clock=clock)

    async def main():
        async with anyio.create_task_group() as tasks:
            model = Model(tasks, bulkhead, clock, config)
            for kind, what in steps:
                await model.step(kind, what)
            await model.step("settle", 0)
            for end in model.ends:
                end.set()
            await anyio.wait_all_tasks_blocked()
            model.check()
            # Nobody is left behind: whoever was not refused had its turn.
            assert not model.running
        seen = bulkhead.snapshot()
        assert (seen.running, sum(seen.waiting)) == (0, 0)
        assert bulkhead.get_state() is BulkheadState.FREE

    anyio.run(main, backend=backend)
