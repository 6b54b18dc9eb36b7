"""The contract kits of bulkheads, throttles, budgets, hedges, fallbacks and levels."""

import pytest

from localmcp_harden.protocols.degradation import Answer, DegradationSnapshot
from localmcp_harden.protocols.load import BulkheadSnapshot, BulkheadState, ThrottleSnapshot
from localmcp_harden.protocols.repeats import BudgetSnapshot, HedgeSnapshot
from localmcp_harden.resilience.budget import (
    QuotaBudgetConfig,
    QuotaRetryBudget,
    WindowBudgetConfig,
    WindowRetryBudget,
)
from localmcp_harden.resilience.bulkhead import QueueBulkhead
from localmcp_harden.resilience.degradation import DegradationLevels
from localmcp_harden.resilience.fallback import OrderedFallback
from localmcp_harden.resilience.hedge import PercentileHedge
from localmcp_harden.resilience.throttle import AdaptiveThrottle
from localmcp_harden.testing import (
    FakeBulkhead,
    FakeDegradation,
    FakeFallback,
    FakeHedge,
    FakeRetryBudget,
    FakeThrottle,
    contracts,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rule", contracts.bulkhead.rules, ids=str)
@pytest.mark.parametrize("make", [QueueBulkhead, FakeBulkhead], ids=["queue", "fake"])
async def test_bulkhead(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", contracts.throttle.rules, ids=str)
@pytest.mark.parametrize("make", [AdaptiveThrottle, FakeThrottle], ids=["adaptive", "fake"])
async def test_throttle(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", contracts.retry_budget.rules, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        WindowRetryBudget,
        QuotaRetryBudget,
        FakeRetryBudget,
        lambda *, clock: WindowRetryBudget(
            WindowBudgetConfig(ratio=0.1, min_per_s=0.1), clock=clock
        ),
        lambda *, clock: QuotaRetryBudget(QuotaBudgetConfig(capacity=10.0), clock=clock),
    ],
    ids=["window", "quota", "fake", "small window", "small quota"],
)
async def test_retry_budget(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", contracts.hedge.rules, ids=str)
@pytest.mark.parametrize("make", [PercentileHedge, FakeHedge], ids=["percentile", "fake"])
async def test_hedge(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", contracts.fallback.rules, ids=str)
@pytest.mark.parametrize("make", [OrderedFallback, FakeFallback], ids=["ordered", "fake"])
async def test_fallback(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", contracts.degradation.rules, ids=str)
@pytest.mark.parametrize("make", [DegradationLevels, FakeDegradation], ids=["levels", "fake"])
async def test_degradation(make, rule):
    await rule.check(make)


class Nothing:
    """Runs the operation, and does nothing else that any of the protocols promises."""

    def __init__(self, config=None, /, **_settings):
        pass

    async def execute(self, operation, /, **_settings):
        return await operation()

    def configure(self, config, /):
        pass


class NoBulkhead(Nothing):
    def get_state(self):
        return BulkheadState.FREE

    def snapshot(self):
        return BulkheadSnapshot(
            state=BulkheadState.FREE,
            limit=1,
            running=0,
            waiting=(0, 0, 0, 0),
            refused_full=0,
            refused_waited=0,
            displaced=0,
            shed=0,
        )


class NoThrottle(Nothing):
    def snapshot(self):
        return ThrottleSnapshot(requests=0, accepts=0, rejection=0.0, refused=0)


class NoBudget(Nothing):
    def begin(self):
        pass

    def take(self, *, timed_out=False):
        return 1.0

    def succeed(self, taken=0.0, /):
        pass

    def snapshot(self):
        return BudgetSnapshot(available=1, taken=0, refused=0)


class NoHedge(Nothing):
    def snapshot(self):
        return HedgeSnapshot(delay_s=0.0, calls=0, hedges=0, won=0, unaffordable=0)


class NoFallback(Nothing):
    async def answer(self, operation, /, *, key=None):
        return Answer(value=await operation())

    def set_function(self, function, /):
        pass


class NoDegradation(Nothing):
    def get_state(self):
        return "full"

    def is_on(self, feature, /):
        return True

    def observe(self, status, /):
        pass

    def set_level(self, name, /):
        pass

    def snapshot(self):
        return DegradationSnapshot(level="full", off=frozenset(), pinned=False, since_s=0.0)


@pytest.mark.parametrize(
    ("kit", "make", "kept"),
    [
        # What is kept by doing nothing: a rule more here is a rule that tests nothing.
        (contracts.bulkhead, NoBulkhead, {"BH1"}),
        (contracts.throttle, NoThrottle, set()),
        (contracts.retry_budget, NoBudget, {"RB6", "RB7"}),
        (contracts.hedge, NoHedge, {"HD4"}),
        (contracts.fallback, NoFallback, {"FB1", "FB2", "FB7", "FB12"}),
        (contracts.degradation, NoDegradation, {"DG1"}),
    ],
    ids=["bulkhead", "throttle", "retry_budget", "hedge", "fallback", "degradation"],
)
async def test_kits_say_which_rules_are_broken(kit, make, kept):
    with pytest.raises(ExceptionGroup) as caught:
        await contracts.run(kit, make)
    broken = {violation.rule_id for violation in caught.value.exceptions}
    assert {rule.id for rule in kit.rules} - broken == kept
