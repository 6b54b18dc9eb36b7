"""Knows how a server is: runs checks when their results are too old, and makes one status of them.

All times are seconds. What depends on what, and how much each counts, is
`mechanisms.dependency_graph`; when a status settles, `mechanisms.hysteresis`.
"""

from collections.abc import Iterable, Mapping
from typing import final

import anyio
from anyio.abc import TaskGroup
from attrs import field, frozen
from attrs.validators import and_, ge, in_, instance_of, le

from ..core.events import EventSink, HealthChanged, discard
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.dependency_graph import Verdict
from ..mechanisms.reporter import Reporter
from ..protocols.health import (
    HealAction,
    HealConfig,
    HealthCheck,
    HealthCheckConfig,
    HealthKind,
    HealthReport,
    HealthStatus,
    OnEscalate,
)
from ..protocols.resilience import CircuitBreaker
from .healing import Healing
from .health_probe import HealthProbe
from .health_rules import Plan, graph_of

__all__ = ("CachedHealthRegistry", "HealthConfig")

_LONGEST_WAIT_S = 3_600.0
_MAX_NAME_CHARS = 128
_MAX_PLANS = 64
_NO_TAGS: frozenset[str] = frozenset()
_READINESS = HealthKind.READINESS
_STARTUP_ONLY = frozenset({HealthKind.STARTUP})


@final
@frozen(kw_only=True)
class HealthConfig:
    """The bounds of a registry.

    Args:
        max_checks: How many checks there may be (1 to 10,000; 1,000).
        max_concurrent: How many run at once for one asking (1 to 1,000; 16).
        empty_status: The status where no check was asked for (HEALTHY: a server without
            checks is taken for well).
    """

    max_checks: int = field(default=1_000, validator=[instance_of(int), and_(ge(1), le(10_000))])
    max_concurrent: int = field(default=16, validator=[instance_of(int), and_(ge(1), le(1_000))])
    empty_status: HealthStatus = field(
        default=HealthStatus.HEALTHY, validator=in_(tuple(HealthStatus))
    )


@final
class CachedHealthRegistry:
    """The default `HealthRegistry`, a `HealthWatch` and a `DrainableHealth`.

    Belongs to one event loop. Asking runs what is due; `run` keeps every result fresh
    beforehand, and heals. Without `run`, nothing is healed.

    Args:
        config: The bounds.
        clock: Time.
        random: Chance, for jitter.
        sink: Told of every change, of heal actions, and of checks that raise.
    """

    def __init__(
        self,
        config: HealthConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.config: HealthConfig = config or HealthConfig()
        self._clock: Clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, self._clock, "health")
        self._probes: dict[str, HealthProbe] = {}
        self._healings: dict[str, Healing] = {}
        self._graph = graph_of({})
        self._plans: dict[tuple[HealthKind | None, frozenset[str]], Plan] = {}
        self._ready_plan: Plan | None = None
        self._version = 0
        self._changed = anyio.Event()
        self._wake = anyio.Event()
        self._draining = False
        self._started = True

    def register_health_check(
        self, name: str, check: HealthCheck, config: HealthCheckConfig | None = None, /
    ) -> None:
        """Add a check, or put it in the place of the one of that name.

        What it depends on may be registered later; until then it is unhealthy.

        Raises:
            ValueError: The name is empty or longer than 128 characters, there are too
                many checks, the dependencies form a circle, or a liveness check would
                depend on one that is not.
        """
        config = config or HealthCheckConfig()
        if not 0 < len(name) <= _MAX_NAME_CHARS:
            raise ValueError(f"name must be of 1 to {_MAX_NAME_CHARS} characters")
        if name not in self._probes and len(self._probes) >= self.config.max_checks:
            raise ValueError(f"there are max_checks ({self.config.max_checks}) checks already")
        self._graph = graph_of({**self._configs(), name: config}, name)
        self._probes[name] = HealthProbe(
            name,
            check,
            config,
            clock=self._clock,
            random=self._random,
            on_run=self._on_run,
            on_failure=lambda which, error: self._reporter.guard_failed(f"check:{which}", error),
        )
        if HealthKind.STARTUP in config.kinds:
            self._started = False
        self._forget_plans()

    def remove_health_check(self, name: str, /) -> bool:
        """Take a check and its healing away; return whether there was one."""
        if self._probes.pop(name, None) is None:
            return False
        self._healings.pop(name, None)
        self._graph = graph_of(self._configs())
        self._forget_plans()
        return True

    async def get_health_status(
        self, kind: HealthKind | None = _READINESS, *, tags: frozenset[str] = _NO_TAGS
    ) -> HealthStatus:
        """Return the status of the checks of a kind, of those with one of `tags` if given.

        It is kept until the first result that it stands on is too old.
        """
        plan = self._plan(kind, tags)
        if not plan.since <= self._monotonic() < plan.until:
            plan = await self._fresh_plan(kind, tags)
        return plan.status

    async def get_detailed_health(
        self, kind: HealthKind | None = None, *, tags: frozenset[str] = _NO_TAGS
    ) -> HealthReport:
        """Return the status with every check that it is made of."""
        plan = self._plan(kind, tags)
        if not plan.since <= self._monotonic() < plan.until:
            await self._fresh_plan(kind, tags)
        return self.last_known(kind, tags=tags)

    def last_known(
        self, kind: HealthKind | None = None, *, tags: frozenset[str] = _NO_TAGS
    ) -> HealthReport:
        """Return the report of what is known, running nothing."""
        plan = self._plan(kind, tags)
        probes, healings = self._probes, self._healings
        checks = [
            probes[name].report(verdict, healings[name].state if name in healings else None)
            for name, verdict in plan.verdicts.items()
        ]
        return HealthReport(
            status=plan.status,
            kind=kind,
            at=self._clock.wall(),
            draining=self._draining,
            checks=tuple(checks),
        )

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
        """Heal the check `name` with `action` when it is not well, while `run` runs.

        Enabled anew, what was given up is tried again.

        Raises:
            ValueError: There is no such check.
        """
        if name not in self._probes:
            raise ValueError("there is no check of that name: register it first")
        self._healings[name] = Healing(
            name,
            action,
            config or HealConfig(),
            breaker=breaker,
            on_escalate=on_escalate,
            clock=self._clock,
            random=self._random,
            reporter=self._reporter,
        )
        self._wake.set()

    def disable_self_healing(self, name: str, /) -> bool:
        """Heal the check no more; an action that runs may end. Return whether it was healed."""
        return self._healings.pop(name, None) is not None

    @property
    def version(self) -> int:
        """How many changes of a settled status there have been, beginning to drain included."""
        return self._version

    async def wait_changed(self, since: int, /) -> int:
        """Wait until `version` is not `since`, and return it."""
        while self._version == since:
            await self._changed.wait()
        return self._version

    @property
    def is_draining(self) -> bool:
        """Whether readiness has been withdrawn."""
        return self._draining

    def begin_drain(self) -> None:
        """Make readiness unhealthy from now on; liveness stays as it is."""
        if not self._draining:
            self._draining = True
            self._note_change()

    async def run(self) -> None:
        """Run checks before their results are too old, and heal; until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                wake = self._wake = anyio.Event()
                wait_s = self._start_due(tasks)
                with self._clock.cut_after(wait_s):
                    await wake.wait()

    def _start_due(self, tasks: TaskGroup) -> float:
        """Start what is due and return the seconds until something else may be."""
        now = self._monotonic()
        times = [now + _LONGEST_WAIT_S]
        room = self.config.max_concurrent
        room -= sum(probe.in_flight for probe in self._probes.values())
        for name, probe in list(self._probes.items()):
            if probe.in_flight or self._is_over(probe):
                continue
            if probe.is_due(now):
                # Without room it waits for a run to end, which wakes this.
                if room > 0:
                    room -= 1
                    tasks.start_soon(probe.refresh)
                continue
            times.append(probe.due)
            healing = self._healings.get(name)
            if healing is None or not healing.is_wanted(probe.settled, probe.raw):
                continue
            if now < healing.not_before:
                times.append(healing.not_before)
            elif self._stands_alone(probe):
                tasks.start_soon(self._heal, healing, probe)
        return max(0.0, min(times) - now)

    async def _heal(self, healing: Healing, probe: HealthProbe) -> None:
        # Asked again: another one may have healed since this was begun.
        wanted = healing.is_wanted(probe.settled, probe.raw)
        if wanted and self._monotonic() >= healing.not_before:
            await healing.heal(probe.run_anew)
            self._wake.set()

    def _stands_alone(self, probe: HealthProbe) -> bool:
        """Return whether all that a check depends on is well, so that healing it may help."""
        reached = self._graph.reach(probe.config.depends_on)
        return all(self._probes[name].own_status is not HealthStatus.UNHEALTHY for name in reached)

    def _is_over(self, probe: HealthProbe) -> bool:
        return self._started and probe.config.kinds == _STARTUP_ONLY

    def _asked(self, kind: HealthKind | None, tags: frozenset[str]) -> tuple[str, ...]:
        """Return the names of the checks in question; readiness waits for startup too."""
        kinds = {kind}
        if kind is _READINESS and not self._started:
            kinds.add(HealthKind.STARTUP)
        return tuple(
            name
            for name, probe in self._probes.items()
            if (kind is None or not kinds.isdisjoint(probe.config.kinds))
            and (not tags or not tags.isdisjoint(probe.config.tags))
        )

    def _plan(self, kind: HealthKind | None, tags: frozenset[str]) -> Plan:
        # Hashing an enum's member costs more than all the rest; this is the usual question.
        usual = kind is _READINESS and not tags
        plan = self._ready_plan if usual else self._plans.get((kind, tags))
        if plan is None:
            names = self._asked(kind, tags)
            reached = self._graph.reach(names)
            verdicts = self._graph.judge({name: self._probes[name].own_status for name in reached})
            status = self._status(kind, names, verdicts)
            plan = Plan(names, reached, dict(sorted(verdicts.items())), status)
            if usual:
                self._ready_plan = plan
            else:
                if len(self._plans) >= _MAX_PLANS:
                    self._plans.clear()
                self._plans[kind, tags] = plan
        return plan

    async def _fresh_plan(self, kind: HealthKind | None, tags: frozenset[str]) -> Plan:
        """Run what is due and return the plan that holds afterwards."""
        await self._refresh(self._plan(kind, tags).reached)
        plan = self._plan(kind, tags)
        if any(self._probes[name].settled is None for name in plan.reached):
            await self._refresh(plan.reached)  # registered while others ran
            plan = self._plan(kind, tags)
        probes = [self._probes[name] for name in plan.reached]
        plan.since = now = self._monotonic()
        plan.until = min(
            (probe.due for probe in probes if not self._is_over(probe)),
            default=now + _LONGEST_WAIT_S,
        )
        return plan

    async def _refresh(self, names: Iterable[str]) -> None:
        now = self._monotonic()
        probes = (self._probes[name] for name in names)
        due = [probe for probe in probes if probe.is_due(now) and not self._is_over(probe)]
        if len(due) <= 1:
            for probe in due:
                await probe.refresh()
            return

        async def work() -> None:
            while due:
                await due.pop().refresh()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(len(due), self.config.max_concurrent)):
                tasks.start_soon(work)

    def _status(
        self, kind: HealthKind | None, names: tuple[str, ...], verdicts: Mapping[str, Verdict]
    ) -> HealthStatus:
        if kind is HealthKind.STARTUP and self._started and names:
            return HealthStatus.HEALTHY
        if kind is _READINESS and self._draining:
            return HealthStatus.UNHEALTHY
        return self._graph.combine(names, verdicts, self.config.empty_status)

    def _see_started(self) -> None:
        """Take note that starting is over, when it is: for good, until a check is added."""
        if self._plan(HealthKind.STARTUP, _NO_TAGS).status is not HealthStatus.UNHEALTHY:
            self._started = True
            self._forget_plans()

    def _configs(self) -> dict[str, HealthCheckConfig]:
        return {name: probe.config for name, probe in self._probes.items()}

    def _on_run(self, probe: HealthProbe, previous: HealthStatus | None) -> None:
        settled = probe.settled
        if self._probes.get(probe.name) is probe and settled is not None and settled != previous:
            self._note_change()
            self._reporter.report(
                HealthChanged(
                    at=self._clock.wall(),
                    check=probe.name,
                    previous="" if previous is None else previous.label,
                    current=settled.label,
                    reason=probe.reason,
                )
            )
        if not self._started:
            self._see_started()
        self._wake.set()

    def _note_change(self) -> None:
        self._version += 1
        self._forget_plans()
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _forget_plans(self) -> None:
        self._ready_plan = None
        self._plans.clear()
        self._wake.set()
