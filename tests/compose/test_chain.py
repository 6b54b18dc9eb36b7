"""The chain: order, refusals, reservations, records, probes, cancellation."""

import anyio
import pytest
from attrs import fields

from localmcp_harden.compose.chain import Chain, Mode
from localmcp_harden.compose.record import Recorder
from localmcp_harden.compose.stages import freeze
from localmcp_harden.core.errors import AuditUnavailableError, CircuitOpenError
from localmcp_harden.core.events import CallRecord, GuardFailed, OutcomeKind
from localmcp_harden.core.model import (
    ALLOW,
    Call,
    CallKind,
    Decision,
    Effect,
    Outcome,
    Principal,
    SecurityContext,
    deny,
)
from localmcp_harden.mechanisms.redact import KeyRedactor
from localmcp_harden.protocols.chain import Slot, Stage
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio

DENIED = deny("policy_denied", "no", rules=("r1",))


class Reservation:
    def __init__(self):
        self.seen = []

    def commit(self):
        self.seen.append("commit")

    def release(self):
        self.seen.append("release")


class World:
    """A chain over given stages, with everything observable."""

    def __init__(self, *stages, audit=None, **options):
        self.clock = FakeClock()
        self.sink = RecordingSink()
        enforced = options.get("mode", Mode.ENFORCE) is Mode.ENFORCE
        recorder = Recorder(
            sink=self.sink,
            clock=self.clock,
            redactor=KeyRedactor(),
            audit=audit,
            enforced=enforced,
        )
        self.chain = Chain(stages, recorder=recorder, clock=self.clock, **options)
        self.handled = 0

    async def handler(self, call):
        self.handled += 1
        self.clock.advance(2.0)
        return Outcome(value={"ok": True})

    async def run(self, handler=None, **changes):
        call = Call(id="c1", kind=CallKind.TOOL, method="tools/call", name="t", **changes)
        return await self.chain.run(call, handler or self.handler)

    @property
    def record(self) -> CallRecord:
        (record,) = self.sink.records
        return record


def check(name, decision=None, slot=Slot.CONTENT, work_s=0.0, world=None):
    def body(state):
        if world:
            world[0].clock.advance(work_s)
        return decision

    return Stage(name=name, slot=slot, check=body)


async def test_a_call_passes_and_leaves_one_record():
    world = World(check("a"), check("b", ALLOW))

    outcome = await world.run(arguments={"text": "hello", "api_key": "s3cret"})

    assert outcome.value == {"ok": True}
    assert world.record.outcome is OutcomeKind.OK
    assert world.record.attempts == 1
    assert world.record.duration_s == 2.0
    assert "s3cret" not in repr(world.record)
    assert world.record.decisions == ()


async def test_stages_run_in_order_and_the_first_denial_ends_it():
    seen = []

    def note(name, decision=None):
        def body(state):
            seen.append(name)
            return decision

        return Stage(name=name, slot=Slot.CONTENT, check=body)

    async def around(state, call_next):
        seen.append("in")
        outcome = await call_next(state)
        seen.append("out")
        return outcome

    world = World(
        note("a"),
        Stage(name="around", slot=Slot.CONTENT, around=around),
        note("b", DENIED),
        note("c"),
    )
    outcome = await world.run()

    assert seen == ["a", "in", "b", "out"]
    assert outcome.refusal is DENIED
    assert world.handled == 0
    assert (world.record.outcome, world.record.code) == (OutcomeKind.REFUSED, "policy_denied")
    assert world.record.rules == ("r1",)


async def test_observing_runs_everything_and_refuses_nothing():
    world = World(check("a", DENIED), check("b", deny("rate_limited", "no")), mode=Mode.OBSERVE)

    outcome = await world.run()

    assert outcome.is_success
    assert world.record.would_refuse == ("policy_denied", "rate_limited")
    assert not world.record.enforced


@pytest.mark.parametrize("mode", Mode)
async def test_a_check_that_breaks_refuses(mode):
    def broken(state):
        raise KeyError("s3cret")

    world = World(Stage(name="broken", slot=Slot.CONTENT, check=broken), mode=mode)
    outcome = await world.run()

    assert [(e.guard, e.error_type) for e in world.sink.of(GuardFailed)] == [("broken", "KeyError")]
    assert "s3cret" not in repr(world.sink.events)
    if mode is Mode.ENFORCE:
        assert outcome.refusal.code == "gate_failed"
        assert world.handled == 0
    else:
        assert outcome.is_success
        assert world.record.would_refuse == ("gate_failed",)


@pytest.mark.parametrize("mode", Mode)
async def test_an_around_that_breaks_refuses(mode):
    async def broken(state, call_next):
        raise RuntimeError

    world = World(Stage(name="broken", slot=Slot.CONTENT, around=broken), mode=mode)
    outcome = await world.run()

    if mode is Mode.ENFORCE:
        assert outcome.refusal.code == "gate_failed"
    else:
        assert outcome.is_success


async def test_observing_never_repeats_a_call_whose_guard_broke_afterwards():
    async def broken(state, call_next):
        await call_next(state)
        raise RuntimeError

    world = World(Stage(name="broken", slot=Slot.CONTENT, around=broken), mode=Mode.OBSERVE)
    outcome = await world.run()

    assert world.handled == 1
    assert isinstance(outcome.failure, RuntimeError)


async def test_what_the_target_raises_is_its_outcome():
    async def handler(call):
        raise ValueError("s3cret")

    world = World()
    outcome = await world.run(handler)

    assert isinstance(outcome.failure, ValueError)
    assert (world.record.outcome, world.record.code) == (OutcomeKind.ERROR, "ValueError")
    assert "s3cret" not in repr(world.record)


async def test_the_protocols_own_error_is_an_error():
    async def handler(call):
        return Outcome(value={}, is_error=True)

    world = World()
    await world.run(handler)

    assert (world.record.outcome, world.record.code) == (OutcomeKind.ERROR, "tool_error")


async def test_time_is_charged_to_the_stage_that_took_it():
    box = []

    async def slow(state, call_next):
        box[0].clock.advance(1.0)
        outcome = await call_next(state)
        box[0].clock.advance(4.0)
        return outcome

    world = World(
        check("quick", work_s=0.5, world=box), Stage(name="slow", slot=Slot.CONTENT, around=slow)
    )
    box.append(world)
    await world.run()

    assert world.record.timings == {"quick": 0.5, "record": 0.0, "slow": 5.0, "handler": 2.0}


@pytest.mark.parametrize("applies", [True, False])
async def test_an_around_that_does_not_apply_is_passed_by_and_costs_no_time(applies):
    ran = []

    def stage(name, slot, applies=None):
        async def around(state, call_next):
            ran.append(name)
            world.clock.advance(1.0)
            return await call_next(state)

        return Stage(name=name, slot=slot, around=around, applies=applies)

    world = World(
        stage("outer", Slot.CONTENT),
        stage("perhaps", Slot.DEADLINE, lambda _: applies),
        stage("inner", Slot.BREAKER),
    )
    assert (await world.run()).value == {"ok": True}

    between = {"perhaps": 1.0} if applies else {}
    assert ran == ["outer", *between, "inner"]
    assert world.record.timings == {
        "record": 0.0, "outer": 1.0, **between, "inner": 1.0, "handler": 2.0
    }  # fmt: skip


async def test_what_an_around_does_before_a_check_further_in_is_its_own_time():
    async def around(state, call_next):
        world.clock.advance(3.0)
        return await call_next(state)

    def quick(state):
        world.clock.advance(0.5)

    world = World(
        Stage(name="slow", slot=Slot.CORRELATE, around=around),
        Stage(name="quick", slot=Slot.AUTHENTICATE, check=quick),
    )
    await world.run()

    assert world.record.timings == {"record": 0.0, "slow": 3.0, "quick": 0.5, "handler": 2.0}


async def test_an_applies_that_raises_refuses():
    def applies(state):
        raise KeyError

    async def around(state, call_next):
        return await call_next(state)

    world = World(Stage(name="perhaps", slot=Slot.CONTENT, around=around, applies=applies))
    assert (await world.run()).refusal.code == "gate_failed"
    assert world.handled == 0


class TestReservations:
    def stages(self, reservation, *more):
        decision = Decision(effect=Effect.ALLOW, reservation=reservation)
        return (check("cap", decision), *more)

    async def test_kept_on_success(self):
        reservation = Reservation()
        await World(*self.stages(reservation)).run()
        assert reservation.seen == ["commit"]

    async def test_given_back_when_a_later_stage_denies(self):
        reservation = Reservation()
        await World(*self.stages(reservation, check("no", DENIED))).run()
        assert reservation.seen == ["release"]

    async def test_given_back_on_failure(self):
        async def handler(call):
            raise ValueError

        reservation = Reservation()
        await World(*self.stages(reservation)).run(handler)
        assert reservation.seen == ["release"]

    async def test_given_back_when_cancelled(self):
        async def handler(call):
            await anyio.sleep_forever()

        reservation = Reservation()
        world = World(*self.stages(reservation))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await world.run(handler)

        assert reservation.seen == ["release"]
        assert world.record.outcome is OutcomeKind.CANCELLED

    async def test_kept_when_a_stage_answers_in_the_handlers_place(self):
        async def cache(state, call_next):
            return Outcome(value="cached")

        reservation = Reservation()
        stage = Stage(name="cache", slot=Slot.CACHE, around=cache, answers=True)
        world = World(*self.stages(reservation, stage))
        assert (await world.run()).value == "cached"
        assert reservation.seen == ["commit"]
        assert world.record.attempts == 0

    async def test_one_that_breaks_does_not_keep_the_others(self):
        class Broken(Reservation):
            def commit(self):
                raise OSError

        good = Reservation()
        world = World(*self.stages(Broken(), check("b", self.stages(good)[0].check(None))))
        await world.run()
        assert good.seen == ["commit"]
        assert [e.guard for e in world.sink.of(GuardFailed)] == ["reservation"]


@pytest.mark.parametrize("position", range(4))
async def test_cancelled_at_every_stage_it_is_recorded_once(position):
    async def wait(state, call_next):
        await anyio.sleep_forever()

    async def through(state, call_next):
        return await call_next(state)

    stages = [
        Stage(name=f"s{i}", slot=Slot.CONTENT, around=wait if i == position else through)
        for i in range(4)
    ]
    world = World(*stages)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert world.record.outcome is OutcomeKind.CANCELLED


class TestFreeze:
    FREEZE = Stage(name="freeze", slot=Slot.FREEZE, check=freeze(keep_copy=True))

    async def test_a_replaced_call_is_refused(self):
        async def swap(state, call_next):
            state.call = Call(id="x", kind=CallKind.TOOL, method="tools/call", name="other")
            return await call_next(state)

        world = World(self.FREEZE, Stage(name="swap", slot=Slot.CACHE, around=swap))
        outcome = await world.run()
        assert outcome.refusal.code == "gate_failed"
        assert world.handled == 0

    async def test_arguments_changed_in_place_are_refused(self):
        async def meddle(state, call_next):
            state.call.arguments["list"].append("more")
            return await call_next(state)

        world = World(
            self.FREEZE,
            Stage(name="meddle", slot=Slot.CACHE, around=meddle),
            custom=frozenset({"meddle"}),
        )
        outcome = await world.run(arguments={"list": []})
        assert outcome.refusal.code == "gate_failed"
        assert world.handled == 0

    async def test_unchanged_arguments_pass(self):
        async def look(state, call_next):
            return await call_next(state)

        world = World(
            self.FREEZE,
            Stage(name="look", slot=Slot.CACHE, around=look),
            custom=frozenset({"look"}),
        )
        assert (await world.run(arguments={"list": []})).is_success


async def test_probes_see_every_stage_and_can_pause_one_call_while_others_flow():
    seen = []
    gate = anyio.Event()

    async def probe(point, state):
        seen.append((state.call.security.user.subject, point))
        if state.call.security.user.subject == "paused" and point == "before:b":
            await gate.wait()

    async def through(state, call_next):
        return await call_next(state)

    world = World(
        check("a"), Stage(name="b", slot=Slot.CONTENT, around=through), check("c"), probe=probe
    )
    ended = []

    async def one(subject):
        await world.run(security=SecurityContext(user=Principal(subject=subject)))
        ended.append(subject)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "paused")
        await anyio.wait_all_tasks_blocked()
        await one("flowing")
        gate.set()

    assert ended == ["flowing", "paused"]
    assert [point for subject, point in seen if subject == "flowing"] == [
        "before:a",
        "before:b",
        "before:c",
        "after:c",
        "after:b",
        "after:a",
    ]


class FullAudit:
    def reserve(self):
        raise AuditUnavailableError("the audit queue is full")


@pytest.mark.parametrize("mode", Mode)
async def test_without_room_in_the_audit_log_nothing_begins(mode):
    world = World(audit=FullAudit(), mode=mode)
    outcome = await world.run()
    if mode is Mode.ENFORCE:
        assert outcome.refusal.code == "audit_unavailable"
        assert world.handled == 0
    else:
        assert outcome.is_success
        assert world.record.would_refuse == ("audit_unavailable",)


def undoing(name, ends):
    def body(state):
        state.undo += ((name, ends),)

    return Stage(name=name, slot=Slot.CORRELATE, check=body)


async def test_what_a_check_leaves_to_undo_is_undone_last_first_before_the_record():
    seen = []
    world = World(
        undoing("a", lambda: seen.append(("a", len(world.sink.records)))),
        undoing("b", lambda: (seen.append(("b", world.handled)), world.clock.advance(1.5))),
    )
    await world.run()

    assert seen == [("b", 1), ("a", 0)]
    # Its time is its stage's own.
    assert world.record.timings == {"record": 0.0, "a": 0.0, "b": 1.5, "handler": 2.0}
    assert world.record.duration_s == 3.5


async def test_an_undo_that_raises_hurts_neither_the_others_nor_the_record():
    seen = []

    def broken():
        raise ValueError("s3cret")

    world = World(undoing("a", lambda: seen.append("a")), undoing("b", broken))

    assert (await world.run()).is_success
    assert seen == ["a"]
    assert world.record.outcome is OutcomeKind.OK
    (failure,) = [event for event in world.sink.events if isinstance(event, GuardFailed)]
    assert (failure.guard, failure.error_type) == ("b", "ValueError")


async def test_a_cancelled_call_is_undone():
    seen = []

    async def forever(call):
        await anyio.sleep_forever()

    world = World(undoing("a", lambda: seen.append("a")))
    with anyio.move_on_after(0.01):
        await world.run(forever)

    assert seen == ["a"]
    assert world.record.outcome is OutcomeKind.CANCELLED


def refusing(error, *, refuses):
    async def around(state, call_next):
        raise error

    return Stage(name="busy", slot=Slot.BULKHEAD, around=around, refuses=refuses)


async def test_an_around_refuses_by_the_error_that_it_names():
    world = World(refusing(CircuitOpenError("not now", 3.0), refuses=CircuitOpenError))

    refusal = (await world.run()).refusal

    assert (refusal.code, refusal.retry_after_s, world.handled) == ("circuit_open", 3.0, 0)
    assert [made.stage for made in world.record.decisions] == ["busy"]


async def test_where_the_chain_observes_a_call_goes_on_without_the_around_that_refuses():
    stage = refusing(CircuitOpenError("not now"), refuses=CircuitOpenError)
    world = World(stage, mode=Mode.OBSERVE)

    assert (await world.run()).value == {"ok": True}
    assert (world.handled, world.record.would_refuse) == (1, ("circuit_open",))


@pytest.mark.parametrize("refuses", [None, CircuitOpenError])
async def test_an_error_that_an_around_does_not_name_is_a_broken_guard(refuses):
    world = World(refusing(AuditUnavailableError("no"), refuses=refuses))

    assert (await world.run()).refusal.code == "gate_failed"
    assert world.handled == 0


async def test_a_record_has_every_field():
    world = World()
    await world.run()

    # It is made of a dict, past the constructor.
    made = world.record
    assert list(vars(made)) == [each.name for each in fields(CallRecord)]
    assert made == CallRecord(**vars(made))


async def test_an_error_that_counts_for_nothing_is_an_error_all_the_same():
    class EmptyError(Exception):
        def __len__(self):
            return 0

    async def failing(call):
        raise EmptyError

    world = World()
    await world.run(failing)
    assert (world.record.outcome, world.record.code) == (OutcomeKind.ERROR, "EmptyError")
