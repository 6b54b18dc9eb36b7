"""When a server may be started again: pure decisions on a clock that stands still."""

import anyio
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.integrations.upstream.child import UpstreamConfig
from localmcp_harden.integrations.upstream.supervision import Drain, RestartSchedule
from localmcp_harden.testing import FakeClock, FakeRandom


def settings(**more):
    more = {"restart_delay_s": 1.0, "restart_max_delay_s": 30.0, **more}
    return UpstreamConfig(command="server", **more)


class Highest:
    """Chance that always draws the ceiling."""

    def uniform(self, low, high, /):
        return high

    def token(self, size, /):
        return "0" * size


def test_the_first_end_is_followed_by_a_start_at_the_least_distance():
    schedule = RestartSchedule(settings(), random=FakeRandom())
    schedule.started(100.0)
    assert schedule.ended(100.25) == 101.0
    assert schedule.retry_after_s(100.25) == 0.75


def test_an_end_after_a_long_life_is_followed_by_a_start_at_once():
    schedule = RestartSchedule(settings(), random=FakeRandom())
    schedule.started(100.0)
    assert schedule.ended(500.0) == 500.0
    assert schedule.retry_after_s(500.0) is None


def test_failures_double_the_ceiling_up_to_the_greatest_delay():
    schedule = RestartSchedule(settings(restart_limit=1_000), random=Highest())
    waits = [schedule.ended(now) - now for now in (0.0, 10.0, 20.0, 30.0, 50.0, 90.0, 150.0)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_stable_life_forgets_the_failures():
    schedule = RestartSchedule(settings(restart_stable_s=60.0), random=Highest())
    for now in (0.0, 2.0, 6.0):
        schedule.ended(now)
    schedule.started(20.0)
    assert schedule.ended(79.0) == 79.0 + 8.0
    schedule.started(100.0)
    assert schedule.ended(160.0) == 160.0


def test_stable_lives_are_no_series_however_many():
    schedule = RestartSchedule(settings(restart_limit=3), random=FakeRandom())
    assert not schedule.is_down()
    for now in (0.0, 70.0, 140.0, 210.0):
        schedule.started(now)
        schedule.ended(now + 61)
    schedule.ended(280.0)
    assert not schedule.is_down()


def test_too_many_ends_in_a_window_are_down_until_it_is_started():
    schedule = RestartSchedule(
        settings(restart_limit=3, restart_window_s=60.0), random=FakeRandom()
    )
    for now in (0.0, 5.0):
        schedule.started(now)
        schedule.ended(now + 1)
        assert not schedule.is_down()
    schedule.started(10.0)
    assert schedule.ended(11.0) == 41.0
    assert schedule.is_down()
    assert str(schedule.refusal(11.5)) == (
        "the server 'server' ends again and again; it is started again in 30 seconds"
    )
    schedule.started(41.0)
    assert not schedule.is_down()
    assert schedule.ended(42.0) == 72.0
    assert schedule.is_down()


def test_ends_that_are_far_apart_are_not_down():
    schedule = RestartSchedule(
        settings(restart_limit=3, restart_window_s=60.0, restart_stable_s=1_000.0),
        random=FakeRandom(),
    )
    for now in (0.0, 40.0, 80.0, 120.0):
        schedule.ended(now)
    assert not schedule.is_down()


def test_a_refusal_says_why_and_how_long():
    schedule = RestartSchedule(settings(), random=Highest())
    schedule.ended(10.0)
    assert str(schedule.refusal(10.0)) == (
        "the server 'server' can not be reached; it is started again in 1 seconds"
    )
    assert str(schedule.refusal(99.0)) == "the server 'server' can not be reached"
    assert isinstance(schedule.refusal(99.0), UpstreamError)


def test_without_a_delay_there_is_none():
    schedule = RestartSchedule(settings(restart_delay_s=0.0), random=Highest())
    assert [schedule.ended(now) for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]


def test_a_greatest_delay_below_the_least_counts_as_the_least():
    schedule = RestartSchedule(
        settings(restart_delay_s=100.0, restart_max_delay_s=5.0), random=Highest()
    )
    assert [schedule.ended(now) for now in (0.0, 100.0)] == [100.0, 200.0]


@given(
    lives=st.lists(
        st.tuples(st.booleans(), st.floats(0, 200), st.floats(0, 50)), min_size=1, max_size=60
    ),
    delay=st.floats(0, 50),
    most=st.floats(0, 50),
    limit=st.integers(1, 8),
)
def test_a_wait_is_always_within_its_bounds(lives, delay, most, limit):
    clock = FakeClock()
    schedule = RestartSchedule(
        settings(restart_delay_s=delay, restart_max_delay_s=most, restart_limit=limit),
        random=FakeRandom(),
    )
    longest = max(delay, most)
    ends = []
    for greeted, lived, later in lives:
        started = clock.monotonic()
        if greeted:
            schedule.started(started)
        clock.advance(lived)
        now = clock.monotonic()
        not_before = schedule.ended(now)
        ends.append(now)

        assert now <= not_before <= now + longest + 1e-6
        if not greeted:
            assert not_before >= now + min(delay, longest) - 1e-6
        else:
            assert not_before >= started + delay - 1e-6
        if schedule.is_down():
            assert not_before == now + longest
            assert len([end for end in ends if now - end <= 300.0]) >= limit
        clock.advance(max(0.0, not_before - now) + later)


@pytest.mark.anyio
async def test_a_drain_waits_for_the_calls_in_flight_and_refuses_others():
    drain = Drain()
    release = anyio.Event()
    left = []

    async def work():
        with drain.call():
            await release.wait()

    async def finish():
        left.append(await drain.finish(60.0))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(finish)
            await anyio.wait_all_tasks_blocked()
            assert drain.in_flight == 1
            assert left == []
            with pytest.raises(UpstreamError, match="being stopped"), drain.call():
                pytest.fail("it was let in")
            release.set()
    assert left == [0]


@pytest.mark.anyio
async def test_a_drain_does_not_wait_for_ever_nor_without_need():
    drain = Drain()
    with anyio.fail_after(5):
        assert await Drain().finish(3_600.0) == 0
        with drain.call():
            assert await drain.finish(0.0) == 1
        assert drain.in_flight == 0


@pytest.mark.anyio
async def test_a_call_that_fails_is_no_longer_in_flight():
    drain = Drain()
    with pytest.raises(ValueError, match="mine"), drain.call():
        raise ValueError("mine")
    assert drain.in_flight == 0
