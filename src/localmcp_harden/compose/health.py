"""What is asked of a hardened server's own health: its stores, its circuits, its load."""

from typing import Protocol

from ..core.errors import AuditUnavailableError
from ..protocols.health import (
    CheckResult,
    HealthCheckConfig,
    HealthKind,
    HealthStatus,
)
from ..resilience.bulkheads import BulkheadSet
from ..resilience.health import CachedHealthRegistry, HealthConfig
from ..resilience.health_checks import breaker_check
from .blocks import Blocks, Ports

__all__ = ("HasBlocks", "standard_health")

_READY = frozenset({HealthKind.READINESS})


class HasBlocks(Protocol):
    """Whoever holds the blocks in force; a reload may put others in their place."""

    @property
    def blocks(self) -> Blocks:
        """The blocks."""
        ...


def standard_health(holder: HasBlocks, config: HealthConfig, ports: Ports) -> CachedHealthRegistry:
    """Return a registry that knows the guards; a host adds what it depends on itself.

    `audit` is critical: without a place in the audit log calls are refused. Open circuits
    and full bulkheads make the server degraded, since other calls go on.
    """
    registry = CachedHealthRegistry(config, clock=ports.clock, random=ports.random, sink=ports.sink)
    registry.register_health_check(
        "audit", lambda: _audit(holder), HealthCheckConfig(kinds=_READY, ttl_s=1.0, fail_after=1)
    )
    # These look at memory and not at a network: one answer is enough to believe.
    lenient = HealthCheckConfig(kinds=_READY, critical=False, ttl_s=1.0, fail_after=1)
    registry.register_health_check("circuits", lambda: _circuits(holder), lenient)
    registry.register_health_check("bulkheads", lambda: _bulkheads(holder), lenient)
    return registry


async def _audit(holder: HasBlocks) -> CheckResult:
    try:
        holder.blocks.audit.reserve().discard()
    except AuditUnavailableError as error:
        return CheckResult(status=HealthStatus.UNHEALTHY, reason=error.reason)
    return CheckResult(status=HealthStatus.HEALTHY)


async def _circuits(holder: HasBlocks) -> CheckResult:
    # A host's own circuits may have no list of themselves.
    snapshots = getattr(holder.blocks.breakers, "snapshots", dict)
    return await breaker_check(snapshots)()


async def _bulkheads(holder: HasBlocks) -> CheckResult:
    bulkheads: BulkheadSet = holder.blocks.bulkheads
    full = [
        name for name, each in bulkheads.snapshots().items() if each.state.value == "overloaded"
    ]
    if not full:
        return CheckResult(status=HealthStatus.HEALTHY)
    return CheckResult(status=HealthStatus.DEGRADED, reason=f"overloaded: {', '.join(full[:10])}")
