"""Self-healing: guarded by breaker, deadline and intensity, verified, and given up in time."""

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.events import Escalated, GuardFailed, HealAttempted
from localmcp_harden.protocols.health import (
    CheckResult,
    HealConfig,
    HealOutcome,
    HealState,
    HealthCheckConfig,
    HealthStatus,
)
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.health import CachedHealthRegistry
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.circuit_breaker import FakeCircuitBreaker
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio
ILL, SO_SO, WELL = HealthStatus


async def settle():
    """Let every task go on until it waits; a fraction of the time of anyio's own function."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


class Case:
    """A registry that runs, one check, and its heal action."""

    def __init__(self, *, heals_at=None, status=ILL, error=None, breaker=None, **config):
        self.clock, self.sink = FakeClock(), RecordingSink()
        self.registry = CachedHealthRegistry(
            clock=self.clock, random=FakeRandom(0.0), sink=self.sink
        )
        self.status, self.heals_at, self.error = status, heals_at, error
        self.breaker = breaker(self.clock) if breaker else None
        self.actions = 0
        self.escalated = []
        self.gate = None
        self.add("a", self.check)
        self.config = HealConfig(**({"initial_wait_s": 1.0, "max_heals": 100} | config))
        self.enable()

    def add(self, name, check, **changes):
        config = {"fail_after": 1, "ttl_s": 10.0, "jitter": 0.0} | changes
        self.registry.register_health_check(name, check, HealthCheckConfig(**config))

    def enable(self):
        self.registry.enable_self_healing(
            "a", self.heal, self.config, breaker=self.breaker, on_escalate=self.escalate
        )

    async def check(self):
        return CheckResult(status=self.status)

    async def heal(self):
        self.actions += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.heals_at is not None and self.actions >= self.heals_at:
            self.status = WELL

    def escalate(self, name, state):
        self.escalated.append((name, state))

    async def passes(self, *waits):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.registry.run)
            await settle()
            for wait_s in waits:
                self.clock.advance(wait_s)
                await settle()
            tasks.cancel_scope.cancel()

    @property
    def outcomes(self):
        return [event.outcome for event in self.sink.of(HealAttempted)]

    @property
    def state(self):
        return next(c.heal for c in self.registry.last_known().checks if c.name == "a")


@pytest.mark.parametrize(
    ("field", "value"),
    [("timeout_s", 0), ("max_heals", 0), ("max_failures", 0), ("window_s", -1), ("heal_at", WELL),
     ("max_wait_s", 1.0), ("max_wait_s", float("nan")), ("initial_wait_s", 0.0)],
)  # fmt: skip
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        HealConfig(**{field: value})


async def test_waits_grow_between_attempts():
    case = Case(max_failures=10)
    await case.passes(0.9, 0.1, 1.9, 0.1, 4.0)
    assert case.actions == 4
    assert case.outcomes == ["not_verified"] * 4
    assert [event.attempt for event in case.sink.of(HealAttempted)] == [1, 2, 3, 4]


async def test_what_was_healed_is_left_alone_while_its_status_settles():
    case = Case(heals_at=1)
    case.add("a", case.check, fail_after=1, pass_after=3)
    await case.passes(5.0, 5.0)
    assert (case.actions, case.outcomes) == (1, ["healed"])
    assert case.registry.last_known().status is ILL
    await case.passes(10.0, 10.0)
    assert case.registry.last_known().status is WELL
    assert case.state == HealState(last=HealOutcome.HEALED)


async def test_an_action_that_hangs_is_cut_off_and_holds_nothing_up():
    case = Case(timeout_s=7.0, max_failures=2)
    case.gate = anyio.Event()
    runs = []

    async def other():
        runs.append(1)
        return CheckResult(status=WELL)

    case.add("other", other, ttl_s=1.0)
    await case.passes(1.0, 1.0, 1.0, 4.0)
    assert case.outcomes == ["timed_out"]
    assert len(runs) == 5


async def test_an_action_that_raises_has_failed_and_its_message_stays_here():
    case = Case(error=OSError("the-secret"), max_failures=1)
    await case.passes(100.0)
    (event,) = case.sink.of(HealAttempted)
    assert (event.outcome, event.error_type) == ("failed", "OSError")
    (gave_up,) = case.sink.of(Escalated)
    assert (gave_up.subject, gave_up.cause, gave_up.error_type) == ("a", "heals_failed", "OSError")
    assert "the-secret" not in repr(case.sink.events)
    assert case.state.gave_up
    assert case.escalated == [("a", case.state)]


async def test_giving_up_ends_when_it_is_well_or_enabled_anew():
    case = Case(max_failures=1)
    await case.passes(100.0)
    assert case.actions == 1
    case.enable()
    await case.passes(0.0)
    assert case.actions == 2
    case.status = WELL
    await case.passes(10.0)
    assert case.state == HealState(last=HealOutcome.NOT_VERIFIED)
    case.status = ILL
    await case.passes(10.0)
    assert case.actions == 3


async def test_what_must_be_healed_all_the_time_is_given_up():
    case = Case(heals_at=1, max_heals=3, window_s=3_600.0)
    for _ in range(6):
        case.status = ILL
        await case.passes(10.0, 10.0)
    assert case.actions == 3
    assert {event.cause for event in case.sink.of(Escalated)} == {"intensity"}


async def test_a_healing_that_is_not_verified_opens_the_breaker():
    def breaker(clock):
        config = BreakerConfig(window_calls=2, minimum_calls=2, open_s=50.0)
        return FakeCircuitBreaker(config, clock=clock)

    case = Case(breaker=breaker, max_failures=10)
    await case.passes(1.0, 2.0, 4.0)
    assert case.breaker.get_state() is BreakerState.OPEN
    assert case.outcomes == ["not_verified", "not_verified", "refused"]
    await case.passes(20.0)
    assert case.actions == 2
    await case.passes(30.0)
    assert case.actions == 3


async def test_a_breaker_that_answers_itself_has_healed_nothing():
    def breaker(clock):
        made = FakeCircuitBreaker(clock=clock)

        async def fallback():
            return "fine"

        made.forced = BreakerState.OPEN
        made.set_fallback(fallback)
        return made

    case = Case(breaker=breaker)
    await case.passes(0.0)
    assert (case.actions, case.outcomes) == (0, ["refused"])


async def test_a_breaker_that_breaks_is_reported():
    class Broken:
        async def execute(self, _operation, /):
            raise RuntimeError

    case = Case(breaker=lambda _clock: Broken())
    await case.passes(0.0)
    assert case.outcomes == ["failed"]
    assert [event.guard for event in case.sink.of(GuardFailed)] == ["health.breaker"]


async def test_a_listener_that_raises_is_reported():
    case = Case(max_failures=1)
    case.registry.enable_self_healing("a", case.heal, case.config, on_escalate=lambda *_: 1 / 0)
    await case.passes(0.0)
    (told,) = case.sink.of(GuardFailed)
    assert (told.guard, told.error_type) == ("health.on_escalate", "ZeroDivisionError")


async def test_nothing_is_healed_that_only_waits_for_something_else():
    case = Case()

    async def database():
        return CheckResult(status=ILL)

    case.add("a", case.check, depends_on=("db",))
    case.add("db", database)
    await case.passes(10.0, 10.0)
    assert case.actions == 0


@pytest.mark.parametrize(("heal_at", "actions"), [(ILL, 0), (SO_SO, 1)])
async def test_degraded_is_healed_only_where_that_is_said(heal_at, actions):
    case = Case(status=SO_SO, heal_at=heal_at, max_failures=1)
    await case.passes(10.0)
    assert case.actions == actions


async def test_asking_heals_nothing():
    case = Case()
    assert await case.registry.get_health_status() is ILL
    assert case.actions == 0


async def test_cancelled_while_it_heals_it_can_heal_again():
    case = Case(heals_at=2)
    case.gate = anyio.Event()
    await case.passes(1.0)
    assert (case.actions, case.outcomes) == (1, [])
    case.gate.set()
    await case.passes(1.0)
    assert (case.actions, case.outcomes) == (2, ["healed"])


async def test_a_healing_that_helped_ends_the_row_of_failures():
    case = Case(heals_at=2, max_failures=2)
    case.add("a", case.check, fail_after=1, pass_after=9)
    await case.passes(1.0)
    assert case.outcomes == ["not_verified", "healed"]
    case.status, case.heals_at = ILL, None
    await case.passes(10.0)
    assert case.outcomes == ["not_verified", "healed", "not_verified"]
    assert not case.state.gave_up
