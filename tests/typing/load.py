"""Read by type checkers, never run: what bounds load and repeats is what its protocol asks for."""

from typing import assert_type

from localmcp_harden.protocols.degradation import Degradation, Fallback
from localmcp_harden.protocols.load import Bulkhead, Throttle
from localmcp_harden.protocols.repeats import Hedge, RetryBudget
from localmcp_harden.resilience.budget import QuotaRetryBudget, WindowRetryBudget
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

bulkheads: tuple[Bulkhead, Bulkhead] = (QueueBulkhead(), FakeBulkhead())
throttles: tuple[Throttle, Throttle] = (AdaptiveThrottle(), FakeThrottle())
hedges: tuple[Hedge, Hedge] = (PercentileHedge(), FakeHedge())
budgets: tuple[RetryBudget, ...] = (WindowRetryBudget(), QuotaRetryBudget(), FakeRetryBudget())
fallbacks: tuple[Fallback, Fallback] = (OrderedFallback(), FakeFallback())
levels: tuple[Degradation, Degradation] = (DegradationLevels(), FakeDegradation())


async def operation() -> int:
    return 1


async def results_keep_their_type() -> None:
    assert_type(await bulkheads[0].execute(operation), int)
    assert_type(await throttles[0].execute(operation), int)
    assert_type(await hedges[0].execute(operation, read_only=True), int)
    assert_type(await fallbacks[0].execute(operation), int)
    assert_type((await fallbacks[0].answer(operation)).value, int)


async def defaults_fit_their_kits() -> None:
    await contracts.run(contracts.bulkhead, QueueBulkhead)
    await contracts.run(contracts.throttle, AdaptiveThrottle)
    await contracts.run(contracts.hedge, PercentileHedge)
    await contracts.run(contracts.retry_budget, WindowRetryBudget)
    await contracts.run(contracts.fallback, OrderedFallback)
    await contracts.run(contracts.degradation, DegradationLevels)
