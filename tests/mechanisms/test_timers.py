"""The shared timer: it cuts in time and in order, and keeps nothing of what has ended."""

import asyncio
import math
import threading

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.mechanisms.clock import SystemClock
from localmcp_harden.mechanisms.timers import CutScope, LoopTimers

A_LONG_TIME = 3_600.0


def timer_of(clock):
    return clock._timers.current()


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0.001, 0.0, -1.0, -math.inf])
async def test_the_body_is_cut_when_its_time_is_up(seconds):
    with SystemClock().cut_after(seconds) as cut:
        await anyio.sleep_forever()
    assert cut.cancelled_caught


@pytest.mark.anyio
async def test_of_nested_scopes_only_the_one_whose_time_is_up_has_caught():
    clock = SystemClock()
    with clock.cut_after(A_LONG_TIME) as outer:
        with clock.cut_after(0.001) as inner:
            await anyio.sleep_forever()
        assert inner.cancelled_caught
        with clock.cut_after(A_LONG_TIME) as later:
            await anyio.lowlevel.checkpoint()
    assert not outer.cancelled_caught
    assert not later.cancelled_caught


@pytest.mark.anyio
async def test_an_outer_scope_cuts_through_an_inner_one():
    clock = SystemClock()
    with clock.cut_after(0.001) as outer, clock.cut_after(A_LONG_TIME) as inner:
        await anyio.sleep_forever()
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


@pytest.mark.anyio
async def test_a_cancellation_from_outside_is_not_its_own():
    with anyio.CancelScope() as outside, SystemClock().cut_after(A_LONG_TIME) as cut:
        outside.cancel()
        await anyio.sleep_forever()
    assert outside.cancelled_caught
    assert not cut.cancelled_caught


@pytest.mark.anyio
async def test_a_body_that_swallows_the_cancellation_is_cancelled_again():
    seen = []
    with SystemClock().cut_after(0.001) as cut:
        try:
            await anyio.sleep_forever()
        except BaseException:
            seen.append("swallowed")
        await anyio.sleep_forever()
    assert cut.cancelled_caught
    assert seen == ["swallowed"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_many_calls_leave_few_entries_and_one_timer():
    clock = SystemClock()
    timer = timer_of(clock)
    with clock.cut_after(A_LONG_TIME):
        for _ in range(1_000):
            with clock.cut_after(A_LONG_TIME):
                pass
            assert len(timer) < 130
        handle = timer._handle
        with clock.cut_after(2 * A_LONG_TIME):
            assert timer._handle is handle
        assert any(entry[2].scope is not None for entry in timer._heap)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_many_that_run_are_all_kept_while_others_end():
    clock = SystemClock()
    timer = timer_of(clock)
    release = anyio.Event()

    async def run():
        with clock.cut_after(A_LONG_TIME):
            await release.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        for _ in range(500):
            with clock.cut_after(A_LONG_TIME):
                pass
        assert sum(entry[2].scope is not None for entry in timer._heap) == 100
        release.set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_scopes_are_cut_in_the_order_of_their_times_though_entered_otherwise():
    clock = SystemClock()
    ended = []

    async def run(seconds):
        with clock.cut_after(seconds):
            await anyio.sleep_forever()
        ended.append(seconds)

    async with anyio.create_task_group() as tasks:
        for seconds in (0.03, 0.01, 0.02, 0.01):
            tasks.start_soon(run, seconds)
    assert ended == [0.01, 0.01, 0.02, 0.03]
    assert len(timer_of(clock)) == 0
    assert timer_of(clock)._handle is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_timer_that_finds_only_dead_entries_clears_them_and_stops():
    clock = SystemClock()
    with clock.cut_after(0.001):
        pass
    with clock.cut_after(0.01) as cut:
        await anyio.sleep_forever()
    assert cut.cancelled_caught
    timer = timer_of(clock)
    assert (len(timer), timer.dead, timer._due) == (0, 0, math.inf)


@pytest.mark.anyio
async def test_only_asyncio_has_a_shared_timer(anyio_backend):
    timer = LoopTimers().current()
    assert (timer is not None) == (anyio_backend == "asyncio")
    assert isinstance(SystemClock().cut_after(1.0), CutScope) == (anyio_backend == "asyncio")


def test_outside_a_task_there_is_no_timer():
    assert LoopTimers().current() is None
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(timers.current()))
        await anyio.lowlevel.checkpoint()

    timers = LoopTimers()
    asyncio.run(main())
    assert seen == [None]


def test_one_clock_serves_loops_one_after_another_and_lets_them_go():
    clock = SystemClock()

    async def cut():
        with clock.cut_after(0.001) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert [asyncio.run(cut()) for _ in range(5)] == [True] * 5
    assert len(clock._timers._all) == 1


def test_one_clock_serves_loops_in_several_threads():
    clock = SystemClock()
    results = []

    async def cut():
        for _ in range(3):
            with clock.cut_after(0.001) as scope:
                await anyio.sleep_forever()
            results.append(scope.cancelled_caught)

    threads = [threading.Thread(target=asyncio.run, args=(cut(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [True] * 12
