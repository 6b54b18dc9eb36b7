"""The rules of a `RetryBudget`.

`make(*, clock)` returns a budget that allows some repeats and not all.
"""

from typing import Protocol

from ...core.ports import Clock
from ...protocols.repeats import RetryBudget
from ..clock import FakeClock
from .kit import ContractKit, expect

__all__ = ("MakeRetryBudget", "retry_budget")

_MANY = 20_000


class MakeRetryBudget(Protocol):
    """Makes the budget that is to be checked."""

    def __call__(self, *, clock: Clock) -> RetryBudget:
        """Return a fresh budget."""
        ...


retry_budget: ContractKit[MakeRetryBudget] = ContractKit("RetryBudget")


def _empty(budget: RetryBudget) -> int:
    """Take until nothing is left; return how often that was."""
    for count in range(_MANY):
        if not budget.take():
            return count
    raise AssertionError("the budget has no end")


@retry_budget.rule("RB1")
async def a_fresh_budget_allows_a_repeat(make: MakeRetryBudget) -> None:
    """A fresh budget allows a repeat, and says what it cost."""
    budget = make(clock=FakeClock())
    budget.begin()
    cost = budget.take()
    expect(cost > 0, f"the cost is {cost}")
    expect(budget.snapshot().taken == 1, "the repeat was not counted")


@retry_budget.rule("RB2")
async def a_budget_has_an_end(make: MakeRetryBudget) -> None:
    """Without calls, repeats come to an end, and asking again changes nothing."""
    budget = make(clock=FakeClock())
    promised = budget.snapshot().available
    count = _empty(budget)
    expect(count == promised, f"{count} repeats for the {promised} that it said it had")
    expect(not any(budget.take() for _ in range(100)), "a spent budget gave something")
    seen = budget.snapshot()
    expect((seen.available, seen.taken, seen.refused) == (0, count, 101), f"saw {seen}")


@retry_budget.rule("RB3")
async def an_outage_is_not_multiplied(make: MakeRetryBudget) -> None:
    """Of many calls that all fail, fewer than half are repeated."""
    budget = make(clock=FakeClock())
    repeated = 0
    for _ in range(_MANY):
        budget.begin()
        repeated += bool(budget.take())
    expect(repeated < _MANY / 2, f"{repeated} of {_MANY} calls were repeated")


@retry_budget.rule("RB4")
async def successes_bring_repeats_back(make: MakeRetryBudget) -> None:
    """After many calls that went well, a spent budget allows repeats again."""
    budget = make(clock=FakeClock())
    _empty(budget)
    for _ in range(100):
        budget.begin()
        budget.succeed()
    expect(budget.take() > 0, "100 successes brought nothing back")


@retry_budget.rule("RB5")
async def refusals_cost_nothing(make: MakeRetryBudget) -> None:
    """A repeat that was refused takes nothing from the next."""
    asked, unasked = make(clock=FakeClock()), make(clock=FakeClock())
    for budget in (asked, unasked):
        _empty(budget)
    for _ in range(1_000):
        asked.take()
    for budget in (asked, unasked):
        for _ in range(200):
            budget.begin()
            budget.succeed()
    seen = asked.snapshot().available, unasked.snapshot().available
    expect(seen[0] == seen[1], f"{seen[0]} instead of {seen[1]} are left")


@retry_budget.rule("RB6")
async def a_budget_does_not_pile_up(make: MakeRetryBudget) -> None:
    """After a long quiet time there is no more than at the beginning."""
    clock = FakeClock()
    budget = make(clock=clock)
    before = budget.snapshot().available
    for _ in range(_MANY):
        budget.begin()
        budget.succeed()
    clock.advance(3_600.0)
    seen = budget.snapshot().available
    expect(seen == before, f"{seen} repeats instead of {before}")


@retry_budget.rule("RB7")
async def a_repeat_after_a_timeout_is_no_cheaper(make: MakeRetryBudget) -> None:
    """A repeat after a timeout costs at least as much as any other."""
    budget = make(clock=FakeClock())
    expect(budget.take(timed_out=True) >= budget.take(), "a timeout made it cheaper")
