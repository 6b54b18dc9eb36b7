"""RestartSchedule: waits that grow, and an intensity that holds."""

from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.restarts import RestartSchedule
from localmcp_harden.testing.chance import FakeRandom


def schedule(**changes):
    settings = {
        "max_restarts": 100, "window_s": 60.0, "initial_wait_s": 1.0, "factor": 2.0,
        "max_wait_s": 10.0, "jitter": 0.0, "random": FakeRandom(1.0),
    }  # fmt: skip
    return RestartSchedule(**(settings | changes))


def test_waits_grow_up_to_their_bound_and_begin_anew():
    made = schedule()
    assert [made.next_wait_s(0.0) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    made.reset_waits()
    assert made.next_wait_s(0.0) == 1.0


def test_waits_are_shortened_at_random():
    assert schedule(jitter=0.5).next_wait_s(0.0) == 0.5
    assert schedule(jitter=0.5, random=FakeRandom(0.0)).next_wait_s(0.0) == 1.0


def test_waits_of_nothing_and_waits_that_do_not_grow():
    assert [schedule(initial_wait_s=0.0).next_wait_s(0.0) for _ in range(3)] == [0.0] * 3
    constant = schedule(factor=1.0)
    assert [constant.next_wait_s(0.0) for _ in range(3)] == [1.0] * 3


def test_a_clock_that_stands_still_spends_the_intensity():
    made = schedule(max_restarts=3)
    assert [made.next_wait_s(5.0) is None for _ in range(4)] == [False, False, False, True]


def test_a_clock_that_goes_back_forgets_the_future():
    made = schedule(max_restarts=1)
    assert made.next_wait_s(1_000.0) is not None
    assert made.next_wait_s(0.0) is not None
    assert made.next_wait_s(0.0) is None


@given(
    most=st.integers(0, 5),
    window_s=st.floats(0.1, 100),
    gaps=st.lists(st.floats(0, 50), max_size=60),
)
def test_no_window_holds_more_restarts_than_promised(most, window_s, gaps):
    made = schedule(max_restarts=most, window_s=window_s)
    now, granted = 0.0, []
    for gap in gaps:
        now += gap
        if made.next_wait_s(now) is not None:
            granted.append(now)
    for first in granted:
        assert sum(first <= at < first + window_s for at in granted) <= most
