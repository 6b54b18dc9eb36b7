"""A health registry whose statuses a test scripts, and which otherwise works."""

from typing import final

from attrs import evolve

from ...core.events import EventSink, discard
from ...core.ports import Clock
from ...protocols.health import (
    HealAction,
    HealConfig,
    HealthCheck,
    HealthCheckConfig,
    HealthKind,
    HealthReport,
    HealthStatus,
    OnEscalate,
)
from ...protocols.resilience import CircuitBreaker
from ...resilience.health import CachedHealthRegistry
from ..chance import FakeRandom
from ..clock import FakeClock

__all__ = ("FakeHealthRegistry",)


@final
class FakeHealthRegistry:
    """A `HealthRegistry` on a clock that stands still.

    Args:
        clock: The clock; a fake one of its own by default.
        sink: Told of every change that is not scripted.
    """

    def __init__(self, *, clock: Clock | None = None, sink: EventSink = discard) -> None:
        self.scripted: dict[HealthKind | None, HealthStatus] = {}
        """What is answered for a kind, whatever the checks say."""
        self.asked: list[HealthKind | None] = []
        """The kinds that were asked about, in order."""
        self._real = CachedHealthRegistry(
            clock=clock or FakeClock(), random=FakeRandom(), sink=sink
        )

    def register_health_check(
        self, name: str, check: HealthCheck, config: HealthCheckConfig | None = None, /
    ) -> None:
        """Add a check; see the protocol.

        Raises:
            ValueError: As the protocol says.
        """
        self._real.register_health_check(name, check, config)

    def remove_health_check(self, name: str, /) -> bool:
        """Take a check away; return whether there was one."""
        return self._real.remove_health_check(name)

    async def get_health_status(
        self, kind: HealthKind | None = HealthKind.READINESS, *, tags: frozenset[str] = frozenset()
    ) -> HealthStatus:
        """Return the scripted status, or that of the checks."""
        self.asked.append(kind)
        scripted = self.scripted.get(kind)
        if scripted is not None:
            return scripted
        return await self._real.get_health_status(kind, tags=tags)

    async def get_detailed_health(
        self, kind: HealthKind | None = None, *, tags: frozenset[str] = frozenset()
    ) -> HealthReport:
        """Return the report of the checks, with the scripted status if there is one."""
        self.asked.append(kind)
        report = await self._real.get_detailed_health(kind, tags=tags)
        scripted = self.scripted.get(kind)
        return report if scripted is None else evolve(report, status=scripted)

    def enable_self_healing(
        self,
        name: str,
        action: HealAction,
        config: HealConfig | None = None,
        /,
        *,
        breaker: CircuitBreaker | None = None,
        on_escalate: OnEscalate | None = None,
    ) -> None:
        """Heal a check; see the protocol.

        Raises:
            ValueError: There is no such check.
        """
        self._real.enable_self_healing(
            name, action, config, breaker=breaker, on_escalate=on_escalate
        )

    def disable_self_healing(self, name: str, /) -> bool:
        """Heal the check no more; return whether it was healed."""
        return self._real.disable_self_healing(name)

    @property
    def version(self) -> int:
        """How many changes of a settled status there have been."""
        return self._real.version

    async def wait_changed(self, since: int, /) -> int:
        """Wait until `version` is not `since`, and return it."""
        return await self._real.wait_changed(since)

    @property
    def is_draining(self) -> bool:
        """Whether readiness has been withdrawn."""
        return self._real.is_draining

    def begin_drain(self) -> None:
        """Make readiness unhealthy from now on, unless it is scripted."""
        self._real.begin_drain()

    async def run(self) -> None:
        """Run checks and heal until cancelled."""
        await self._real.run()
