"""Retry budgets: what is their own."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.resilience.budget import (
    QuotaBudgetConfig,
    QuotaRetryBudget,
    WindowBudgetConfig,
    WindowRetryBudget,
)
from localmcp_harden.testing import FakeClock, FakeRetryBudget


def spend(budget, **how):
    count = 0
    while budget.take(**how):
        count += 1
    return count


def test_the_defaults_are_finagles():
    budget = WindowRetryBudget(clock=FakeClock())
    for _ in range(1_000):
        budget.begin()
    assert spend(budget) == 100 + 200


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.29, 0.57, 0.7])
def test_a_share_is_not_cut_by_rounding(ratio):
    # 0.29 * 100 is a little less than 29.
    budget = WindowRetryBudget(WindowBudgetConfig(ratio=ratio, min_per_s=0.0), clock=FakeClock())
    for _ in range(100):
        budget.begin()
    assert budget.snapshot().available == spend(budget) == round(100 * ratio)


def test_repeats_are_given_back_when_the_window_has_passed():
    clock = FakeClock()
    budget = WindowRetryBudget(WindowBudgetConfig(ratio=0.0, min_per_s=1.0), clock=clock)
    assert spend(budget) == 10
    clock.advance(8.9)
    assert spend(budget) == 0
    clock.advance(1.2)
    assert spend(budget) == 10


def test_another_window_begins_empty_and_another_share_does_not():
    budget = WindowRetryBudget(WindowBudgetConfig(ratio=0.0, min_per_s=1.0), clock=FakeClock())
    assert spend(budget) == 10
    budget.configure(WindowBudgetConfig(ratio=0.0, min_per_s=1.5))
    assert spend(budget) == 5
    budget.configure(WindowBudgetConfig(ratio=0.0, min_per_s=1.0, window_s=5.0))
    assert spend(budget) == 5


@pytest.mark.parametrize(("timed_out", "repeats"), [(False, 100), (True, 50)])
def test_the_quota_is_that_of_aws(timed_out, repeats):
    assert spend(QuotaRetryBudget(), timed_out=timed_out) == repeats


def test_a_repeat_that_helped_is_free():
    budget = QuotaRetryBudget(QuotaBudgetConfig(capacity=10.0))
    for _ in range(100):
        taken = budget.take(timed_out=True)
        assert taken == 10.0
        budget.succeed(taken)
    assert budget.take(timed_out=True)
    for _ in range(4):
        budget.succeed()
    assert not budget.take()
    budget.succeed()
    assert budget.take() == 5.0


def test_a_smaller_store_spills():
    budget = QuotaRetryBudget()
    budget.configure(QuotaBudgetConfig(capacity=20.0))
    assert spend(budget) == 4


def test_the_fake_is_spent_on_command():
    budget = FakeRetryBudget(repeats=3)
    assert spend(budget) == 3
    budget = FakeRetryBudget()
    budget.spent = True
    assert budget.take() == 0.0
    budget.begin()
    budget.succeed(2.0)
    assert (budget.begun, budget.succeeded) == (1, [2.0])


@pytest.mark.parametrize("wrong", [{"ratio": -0.1}, {"min_per_s": -1}, {"window_s": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WindowBudgetConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"capacity": 0}, {"retry_cost": 0}, {"timeout_cost": 0}, {"success_gain": -1}],
    ids=str,
)
def test_nonsense_in_a_quota_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QuotaBudgetConfig(**wrong)


@given(
    ratio=st.floats(0, 2),
    per_s=st.floats(0, 5),
    steps=st.lists(st.tuples(st.integers(0, 20), st.floats(0, 4)), max_size=60),
)
def test_no_span_holds_more_repeats_than_promised(ratio, per_s, steps):
    """In any 9 of the window's 10 slices, repeats stay within what 10 slices of calls allow."""
    clock = FakeClock()
    budget = WindowRetryBudget(WindowBudgetConfig(ratio=ratio, min_per_s=per_s), clock=clock)
    begun, taken = [], []
    for calls, gap in steps:
        for _ in range(calls):
            budget.begin()
            begun.append(clock.monotonic())
            if budget.take():
                taken.append(clock.monotonic())
        clock.advance(gap)
    for last, at in enumerate(taken):
        span = sum(1 for other in taken[: last + 1] if at - other < 9.0)
        calls = sum(1 for other in begun if other <= at and at - other <= 10.0)
        assert span <= ratio * calls + per_s * 10.0 + 1e-6
