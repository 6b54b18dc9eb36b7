"""StandingQueue, LimitFinder and SlidingCounts on their own."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.codel import StandingQueue
from localmcp_harden.mechanisms.concurrency_limits import LimitFinder
from localmcp_harden.mechanisms.sliding_counts import SlidingCounts
from localmcp_harden.protocols.load import AdaptiveLimitConfig, LimitAlgorithm


def seen(*waits):
    """Return whether a queue stands after each of (time, wait), with 10 ms and 100 ms."""
    queue = StandingQueue(0.010, 0.100)
    return [queue.see(wait, now) for now, wait in waits]


def test_a_queue_stands_after_an_interval_above_its_target():
    assert seen((0.0, 0.02), (0.09, 0.02), (0.1, 0.02), (0.2, 0.02)) == [False, False, True, True]


def test_one_good_wait_begins_the_interval_anew():
    waits = (0.0, 0.02), (0.1, 0.02), (0.15, 0.01), (0.2, 0.02), (0.25, 0.02), (0.31, 0.02)
    assert seen(*waits) == [False, True, False, False, False, True]


def test_an_empty_queue_does_not_stand():
    queue = StandingQueue(0.010, 0.100)
    queue.see(0.02, 0.0)
    queue.see(0.02, 0.2)
    queue.empty()
    assert not queue.stands
    assert not queue.see(0.02, 0.3)


def test_only_twice_the_target_in_a_standing_queue_is_late():
    queue = StandingQueue(0.010, 0.100)
    assert not queue.is_late(9.0)
    queue.see(0.02, 0.0)
    queue.see(0.02, 0.1)
    assert not queue.is_late(0.020)
    assert queue.is_late(0.021)


def finder(limit=10, **settings):
    chosen = {"min_limit": 1, "max_limit": 100, "sample_calls": 1, "sample_s": 0.0, **settings}
    return LimitFinder(AdaptiveLimitConfig(**chosen), limit, 0.0)


def feed(found, took_s, *, running=None, times=1, overloaded=False):
    for _ in range(times):
        found.see(took_s, running or found.limit, 1.0, overloaded=overloaded)
    return found.limit


@pytest.mark.parametrize("algorithm", LimitAlgorithm)
def test_what_is_not_used_does_not_grow(algorithm):
    assert feed(finder(10, algorithm=algorithm), 0.1, running=4, times=100) == 10
    assert feed(finder(10, algorithm=algorithm), 0.1, running=6, times=3) > 10


def test_gradient2_moves_by_its_formula():
    found = finder(10)
    assert feed(found, 0.1) == 10
    # 10 * 0.8 + (10 + 4) * 0.2 = 10.8, then 11.6.
    assert feed(found, 0.1) == 11
    slow = finder(100)
    # The gradient is never below a half: 100 * 0.8 + (50 + 4) * 0.2 = 90.8.
    feed(slow, 0.1, running=1, times=50)
    assert feed(slow, 60.0) == 90


def test_gradient2_bears_what_its_tolerance_allows():
    found = finder(50)
    feed(found, 0.1, running=1, times=50)
    assert feed(found, 0.149) >= 50
    assert feed(found, 0.3) < 50


def test_gradient2_forgets_that_calls_were_slow():
    found = finder(50, max_limit=50)
    feed(found, 10.0, running=1, times=50)
    feed(found, 0.1, running=1, times=120)
    # A long run of quick calls is usual again; the same calls ten times slower are not.
    assert feed(found, 1.0, times=3) < 45


def test_a_clock_that_stands_still_is_no_error():
    assert feed(finder(10), 0.0, times=5) > 10


def test_aimd_moves_by_its_formula():
    found = finder(10, algorithm=LimitAlgorithm.AIMD, slow_s=1.0, backoff=0.5)
    assert feed(found, 1.0) == 11
    assert feed(found, 1.1) == 5
    assert feed(found, 0.1, overloaded=True) == 2
    assert feed(found, 0.1, overloaded=True, times=10) == 1


def test_the_limit_moves_after_enough_calls_and_enough_time():
    found = finder(10, algorithm=LimitAlgorithm.AIMD, sample_calls=3, sample_s=5.0)
    moved = [found.see(0.1, 10, now, overloaded=False) for now in (1.0, 6.0, 6.0, 6.0, 6.0, 6.0)]
    assert moved == [False, False, True, False, False, False]
    assert found.see(0.1, 10, 11.0, overloaded=False)


def test_one_refusal_among_many_counts():
    found = finder(10, algorithm=LimitAlgorithm.AIMD, sample_calls=3)
    for overloaded in (True, False, False):
        found.see(0.1, 10, 1.0, overloaded=overloaded)
    assert found.limit == 9


def test_another_algorithm_begins_where_the_limit_is():
    found = finder(10)
    feed(found, 0.1, times=5)
    before = found.limit
    found.configure(AdaptiveLimitConfig(algorithm=LimitAlgorithm.AIMD, max_limit=100))
    assert found.limit == before


@given(
    algorithm=st.sampled_from(LimitAlgorithm),
    calls=st.lists(
        st.tuples(st.floats(0, 1e6), st.integers(1, 1_000), st.booleans()), max_size=200
    ),
)
def test_the_limit_stays_within_its_bounds(algorithm, calls):
    found = finder(7, algorithm=algorithm, min_limit=3, max_limit=40)
    for took_s, running, overloaded in calls:
        found.see(took_s, running, 1.0, overloaded=overloaded)
        assert 3 <= found.limit <= 40


@given(
    steps=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 1), st.integers(1, 5)), max_size=60)
)
def test_counts_are_those_of_the_last_slices(steps):
    counts = SlidingCounts(10.0, slices=10, kinds=2, now=100.0)
    added, now = [], 100.5
    for gap, kind, count in steps:
        now += gap
        counts.roll(now)
        counts.add(kind, count)
        added.append((now, kind, count))
        for each in (0, 1):
            live = sum(c for at, k, c in added if k == each and now - at < 10)
            assert counts.totals[each] == live


def test_what_has_left_the_window_is_not_counted_any_more():
    counts = SlidingCounts(10.0, slices=10, kinds=1, now=0.0)
    epoch = counts.epoch
    counts.add(0)
    counts.roll(9.0)
    counts.add_at(epoch, 0, 1)
    assert (counts.totals, counts.of(epoch, 0), counts.of(-1, 0)) == ([2], 2, 0)
    counts.roll(10.0)
    counts.add_at(epoch, 0, 1)
    assert (counts.totals, counts.of(epoch, 0)) == ([0], 0)


def test_time_that_goes_back_changes_nothing():
    counts = SlidingCounts(10.0, slices=10, kinds=1, now=100.0)
    counts.roll(105.0)
    counts.add(0)
    counts.roll(101.0)
    assert counts.totals == [1]
