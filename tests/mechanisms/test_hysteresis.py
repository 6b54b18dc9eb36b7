"""Hysteresis: several observations in a row change the settled value, one does not."""

import itertools

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.hysteresis import Hysteresis

SERIES = st.lists(st.integers(0, 2), min_size=1, max_size=60)
COUNT = st.integers(1, 5)


def settle(series, fail_after, pass_after):
    hysteresis = Hysteresis(fail_after, pass_after)
    settled = []
    for value in series:
        before = hysteresis.settled
        changed = hysteresis.observe(value)
        assert changed is (hysteresis.settled != before)
        settled.append(hysteresis.settled)
    return settled


@pytest.mark.parametrize(
    ("series", "settled"),
    [
        ([2, 0, 0, 0, 2, 2], [2, 2, 2, 0, 0, 2]),
        ([2, 0, 0, 2, 0, 0], [2, 2, 2, 2, 2, 2]),
        ([2, 1, 0, 0, 0], [2, 2, 2, 1, 0]),
        ([0, 1, 2, 2], [0, 0, 1, 2]),
        ([1], [1]),
    ],
)
def test_three_to_fall_and_two_to_rise(series, settled):
    assert settle(series, 3, 2) == settled


@given(series=SERIES, fail_after=COUNT, pass_after=COUNT)
def test_it_never_flaps_faster_than_configured(series, fail_after, pass_after):
    settled = settle(series, fail_after, pass_after)
    turns = [
        (at, settled[at] > settled[at - 1])
        for at in range(1, len(settled))
        if settled[at] != settled[at - 1]
    ]
    for (earlier, rose), (later, rises) in itertools.pairwise(turns):
        if rises is not rose:
            assert later - earlier >= (pass_after if rises else fail_after)


@given(series=SERIES, fail_after=COUNT, pass_after=COUNT)
def test_every_change_is_backed_by_as_many_observations(series, fail_after, pass_after):
    settled = settle(series, fail_after, pass_after)
    for at in range(1, len(settled)):
        before, after = settled[at - 1], settled[at]
        recent_low, recent_high = series[: at + 1][-fail_after:], series[: at + 1][-pass_after:]
        if after < before:
            assert len(recent_low) == fail_after
            assert max(recent_low) == after
        elif after > before:
            assert len(recent_high) == pass_after
            assert min(recent_high) == after
        else:
            assert max(recent_low) >= before or len(recent_low) < fail_after
            assert min(recent_high) <= before or len(recent_high) < pass_after
