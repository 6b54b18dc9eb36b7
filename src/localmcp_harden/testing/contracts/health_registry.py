"""The rules of a `HealthRegistry`.

`make(*, clock, sink)` returns an empty registry. Its `run`, where the kit needs it, is a
coroutine function that keeps results fresh and heals until cancelled.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio

from ...core.events import EventSink, HealAttempted, HealthChanged
from ...core.ports import Clock
from ...protocols.health import (
    CheckResult,
    HealConfig,
    HealthCheckConfig,
    HealthKind,
    HealthRegistry,
    HealthStatus,
)
from ..clock import FakeClock
from ..recording import RecordingSink
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeHealthRegistry", "RunningHealthRegistry", "health_registry")

_ILL, _SO_SO, _WELL = HealthStatus.UNHEALTHY, HealthStatus.DEGRADED, HealthStatus.HEALTHY


class RunningHealthRegistry(HealthRegistry, Protocol):
    """A registry that works in the background while `run` runs."""

    async def run(self) -> None:
        """Keep results fresh and heal, until cancelled."""
        ...


class MakeHealthRegistry(Protocol):
    """Makes the registry that is to be checked."""

    def __call__(self, *, clock: Clock, sink: EventSink) -> RunningHealthRegistry:
        """Return an empty registry."""
        ...


health_registry: ContractKit[MakeHealthRegistry] = ContractKit("HealthRegistry")


class _Part:
    """Something whose state a rule sets, and its check."""

    def __init__(self, status: HealthStatus = _WELL) -> None:
        self.status = status
        self.runs = 0
        self.gate: anyio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> CheckResult:
        self.runs += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return CheckResult(status=self.status)


class _Case:
    def __init__(self, make: MakeHealthRegistry) -> None:
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.registry = make(clock=self.clock, sink=self.sink)

    def add(self, name: str, part: _Part, **settings: Any) -> None:
        chosen: dict[str, Any] = {"fail_after": 1, "ttl_s": 10.0, "jitter": 0.0, **settings}
        self.registry.register_health_check(name, part, HealthCheckConfig(**chosen))

    async def expect_status(self, status: HealthStatus, **question: Any) -> None:
        seen = await self.registry.get_health_status(**question)
        expect(seen is status, f"expected {status.name}, saw {seen!r}")

    async def next_status(self) -> HealthStatus:
        self.clock.advance(10.0)
        return await self.registry.get_health_status()


@health_registry.rule("HR1")
async def the_worst_critical_check_wins(make: MakeHealthRegistry) -> None:
    """An unhealthy critical check makes the whole unhealthy, an optional one degraded."""
    case = _Case(make)
    case.add("a", _Part())
    await case.expect_status(_WELL)
    case.add("b", _Part(_ILL), critical=False)
    await case.expect_status(_SO_SO)
    case.add("c", _Part(_ILL))
    await case.expect_status(_ILL)


@health_registry.rule("HR2")
async def results_are_kept(make: MakeHealthRegistry) -> None:
    """A check runs once in its `ttl_s`, however often one asks."""
    case = _Case(make)
    part = _Part()
    case.add("a", part)
    for _ in range(5):
        await case.expect_status(_WELL)
        await case.registry.get_detailed_health()
    expect(part.runs == 1, f"it ran {part.runs} times")
    case.clock.advance(10.0)
    await case.expect_status(_WELL)
    expect(part.runs == 2, f"it ran {part.runs} times after its result was too old")


@health_registry.rule("HR3")
async def one_run_serves_all_who_ask(make: MakeHealthRegistry) -> None:
    """200 who ask at once share one run."""
    case = _Case(make)
    part = _Part()
    part.gate = anyio.Event()
    case.add("a", part)
    async with open_tasks() as tasks:
        for _ in range(200):
            tasks.start_soon(case.expect_status, _WELL)
        await anyio.wait_all_tasks_blocked()
        part.gate.set()
    expect(part.runs == 1, f"it ran {part.runs} times")


@health_registry.rule("HR4")
async def a_cancelled_asking_leaves_the_others_alone(make: MakeHealthRegistry) -> None:
    """When the one whose asking runs the check is cancelled, the others still get an answer."""
    case = _Case(make)
    part = _Part()
    part.gate = anyio.Event()
    case.add("a", part)
    scope = anyio.CancelScope()

    async def impatient() -> None:
        with scope:
            await case.registry.get_health_status()

    async with open_tasks() as tasks:
        tasks.start_soon(impatient)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(case.expect_status, _WELL)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        part.gate.set()


@health_registry.rule("HR5")
async def a_check_that_raises_is_unhealthy(make: MakeHealthRegistry) -> None:
    """A check that raises counts as failed; its message is told to nobody."""
    case = _Case(make)
    part = _Part()
    part.error = ValueError("the-secret")
    case.add("a", part)
    await case.expect_status(_ILL)
    report = await case.registry.get_detailed_health()
    expect("the-secret" not in repr((report, case.sink.events)), "the message was told")


@health_registry.rule("HR6")
async def a_check_that_hangs_is_cut_off(make: MakeHealthRegistry) -> None:
    """A check that takes longer than `timeout_s` counts as failed, and asking goes on."""
    case = _Case(make)
    part = _Part()
    part.gate = anyio.Event()
    case.add("a", part, timeout_s=3.0)
    async with open_tasks() as tasks:
        tasks.start_soon(case.expect_status, _ILL)
        await anyio.wait_all_tasks_blocked()
        case.clock.advance(3.0)


@health_registry.rule("HR7")
async def a_status_falls_after_several_failures(make: MakeHealthRegistry) -> None:
    """It takes `fail_after` worse results in a row to fall, `pass_after` better ones to rise."""
    case = _Case(make)
    part = _Part()
    case.add("a", part, fail_after=3, pass_after=2)
    await case.expect_status(_WELL)
    part.status = _ILL
    seen = [await case.next_status() for _ in range(3)]
    part.status = _WELL
    seen += [await case.next_status() for _ in range(2)]
    expect(seen == [_WELL, _WELL, _ILL, _ILL, _WELL], f"saw {seen}")


@health_registry.rule("HR8")
async def what_is_needed_pulls_down(make: MakeHealthRegistry) -> None:
    """A check can not be better than what it depends on, and the report names the root."""
    case = _Case(make)
    case.add("app", _Part(), depends_on=("db",))
    case.add("db", _Part(_ILL), kinds=frozenset())
    await case.expect_status(_ILL)
    report = await case.registry.get_detailed_health(HealthKind.READINESS)
    found = {check.name: check for check in report.checks}
    expect(found["app"].causes == ("db",), f"the causes are {found['app'].causes}")
    expect(found["app"].own_status is _WELL, "its own status is not what its check said")


@health_registry.rule("HR9")
async def circles_are_refused(make: MakeHealthRegistry) -> None:
    """A circle of dependencies is refused at registration, and nothing has changed then."""
    case = _Case(make)
    case.add("a", _Part(), depends_on=("b",))
    try:
        case.add("b", _Part(_ILL), depends_on=("a",))
    except ValueError:
        case.add("b", _Part())
        await case.expect_status(_WELL)
    else:
        expect(condition=False, message="the circle was taken")


@health_registry.rule("HR10")
async def liveness_asks_nobody_else(make: MakeHealthRegistry) -> None:
    """A readiness check says nothing about liveness, and no liveness check may depend on one."""
    case = _Case(make)
    case.add("db", _Part(_ILL))
    await case.expect_status(_WELL, kind=HealthKind.LIVENESS)
    try:
        case.add("loop", _Part(), kinds=frozenset({HealthKind.LIVENESS}), depends_on=("db",))
    except ValueError:
        return
    expect(condition=False, message="liveness may depend on readiness")


@health_registry.rule("HR11")
async def starting_is_asked_once(make: MakeHealthRegistry) -> None:
    """Readiness waits for startup; once started, startup stays healthy."""
    case = _Case(make)
    part = _Part(_ILL)
    case.add("warm", part, kinds=frozenset({HealthKind.STARTUP}))
    await case.expect_status(_ILL, kind=HealthKind.STARTUP)
    await case.expect_status(_ILL)
    part.status = _WELL
    case.clock.advance(10.0)
    await case.expect_status(_WELL, kind=HealthKind.STARTUP)
    part.status = _ILL
    case.clock.advance(10.0)
    await case.expect_status(_WELL, kind=HealthKind.STARTUP)
    await case.expect_status(_WELL)


@health_registry.rule("HR12")
async def changes_are_told_once(make: MakeHealthRegistry) -> None:
    """Each change of a settled status is one `HealthChanged`."""
    case = _Case(make)
    part = _Part()
    case.add("a", part)
    await case.expect_status(_WELL)
    part.status = _ILL
    for _ in range(3):
        await case.next_status()
    told = [(event.previous, event.current) for event in case.sink.of(HealthChanged)]
    expect(told == [("", "healthy"), ("healthy", "unhealthy")], f"told {told}")


async def _while_running(case: _Case, body: Callable[[], Awaitable[None]]) -> None:
    async with open_tasks() as tasks:
        tasks.start_soon(case.registry.run)
        await anyio.wait_all_tasks_blocked()
        await body()
        tasks.cancel_scope.cancel()


async def _pass_time(case: _Case, seconds: float) -> None:
    case.clock.advance(seconds)
    await anyio.wait_all_tasks_blocked()


@health_registry.rule("HR13")
async def healing_is_verified(make: MakeHealthRegistry) -> None:
    """What is unhealthy is healed, and healed means that the check says so."""
    case = _Case(make)
    part = _Part(_ILL)
    case.add("a", part)
    healed: list[int] = []

    async def heal() -> None:
        healed.append(1)
        if len(healed) == 2:
            part.status = _WELL

    case.registry.enable_self_healing("a", heal, HealConfig(initial_wait_s=1.0))

    async def body() -> None:
        await _pass_time(case, 2.0)
        await _pass_time(case, 100.0)

    await _while_running(case, body)
    told = [event.outcome for event in case.sink.of(HealAttempted)]
    expect(told == ["not_verified", "healed"], f"told {told}")


@health_registry.rule("HR14")
async def healing_gives_up(make: MakeHealthRegistry) -> None:
    """After `max_failures` failed actions nothing more is tried, and the host is told."""
    case = _Case(make)
    case.add("a", _Part(_ILL))
    told: list[str] = []
    runs: list[int] = []

    async def heal() -> None:
        runs.append(1)
        raise ValueError("no")

    config = HealConfig(initial_wait_s=1.0, max_failures=2)
    case.registry.enable_self_healing(
        "a", heal, config, on_escalate=lambda name, _state: told.append(name)
    )

    async def body() -> None:
        for _ in range(10):
            await _pass_time(case, 5.0)

    await _while_running(case, body)
    expect((len(runs), told) == (2, ["a"]), f"{len(runs)} actions, told {told}")


@health_registry.rule("HR15")
async def a_disabled_healing_heals_nothing(make: MakeHealthRegistry) -> None:
    """After `disable_self_healing` no action runs; an unknown check is refused."""
    case = _Case(make)
    case.add("a", _Part(_ILL))
    runs: list[int] = []

    async def heal() -> None:
        runs.append(1)

    case.registry.enable_self_healing("a", heal)
    expect(case.registry.disable_self_healing("a"), "it says that it was not enabled")
    expect(not case.registry.disable_self_healing("a"), "it says so twice")
    await _while_running(case, lambda: _pass_time(case, 50.0))
    expect(not runs, "an action ran")
    try:
        case.registry.enable_self_healing("nobody", heal)
    except ValueError:
        return
    expect(condition=False, message="an unknown check was taken")
