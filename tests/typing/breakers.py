"""Read by type checkers, never run: breakers, chaos and pipelines keep what passes through them."""

from typing import assert_type

from localmcp_harden.compose.resilient import resilient
from localmcp_harden.protocols.chaos import Chaos
from localmcp_harden.protocols.resilience import (
    BreakerConfig,
    BreakerControls,
    CircuitBreaker,
    DeadlineScopes,
)
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.breaker_redis import RedisCircuitBreaker
from localmcp_harden.resilience.chaos import RuleChaos
from localmcp_harden.resilience.deadline import ScopeDeadline
from localmcp_harden.testing import FakeChaos


def breakers(shared: RedisCircuitBreaker) -> tuple[CircuitBreaker, ...]:
    return (SlidingWindowBreaker(), shared)


controls: tuple[BreakerControls, ...] = (SlidingWindowBreaker(),)
disturbances: tuple[Chaos, Chaos] = (RuleChaos(), FakeChaos())
scopes: tuple[DeadlineScopes, ...] = (ScopeDeadline(),)


@resilient(breaker=BreakerConfig())
async def forecast(city: str, *, days: int = 1) -> list[str]:
    return [city] * days


async def a_pipeline_keeps_the_signature() -> None:
    assert_type(await forecast("Lyon", days=2), list[str])
    await forecast(1)  # type: ignore[arg-type]
