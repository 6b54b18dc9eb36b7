"""RuleChaos and SteppedClock: what is their own; and the contract kit over default and fake."""

import anyio
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.events import ChaosInjected, GuardFailed
from localmcp_harden.protocols.chaos import ChaosConfig, ChaosKind, ChaosRule
from localmcp_harden.resilience.chaos import RuleChaos
from localmcp_harden.resilience.stepped_clock import SteppedClock
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.chaos import chaos
from localmcp_harden.testing.doubles.chaos import FakeChaos
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


async def good():
    return "good"


def make(*rules, sink=None, stepped=None, position=0.0, clock=None, **bounds):
    clock = clock or FakeClock(autojump=True)
    config = ChaosConfig(rules=rules, **bounds)
    made = RuleChaos(
        config,
        name="api",
        stepped=stepped,
        clock=clock,
        random=FakeRandom(position),
        sink=sink or RecordingSink(),
    )
    return made, clock


@pytest.mark.parametrize("rule", chaos.rules, ids=str)
@pytest.mark.parametrize("kind", [RuleChaos, FakeChaos], ids=["rules", "fake"])
async def test_chaos(kind, rule):
    await rule.check(kind)


async def test_every_disturbance_is_an_event():
    sink = RecordingSink()
    latency = ChaosRule(kind=ChaosKind.LATENCY, rate=1.0, delay_s=2.0)
    fault = ChaosRule(kind=ChaosKind.FAULT, rate=1.0)
    made, _ = make(latency, fault, sink=sink)
    made.begin(60.0)
    with pytest.raises(ConnectionError):
        await made.execute(good, name="search")
    told = [(e.operation, e.kind, e.delay_s) for e in sink.of(ChaosInjected)]
    assert told == [("search", "latency", 2.0), ("search", "fault", 0.0)]


async def test_a_clock_step_moves_wall_time_only_and_ends_with_the_exercise():
    clock = FakeClock()
    stepped = SteppedClock(clock)
    rule = ChaosRule(kind=ChaosKind.CLOCK_STEP, rate=1.0, step_s=-3_600.0)
    made, _ = make(rule, stepped=stepped, clock=clock)
    before = stepped.monotonic(), stepped.wall()
    made.begin(60.0)
    assert await made.execute(good) == "good"
    assert (stepped.monotonic(), stepped.wall()) == (before[0], before[1] - 3_600.0)
    made.end()
    assert stepped.wall() == before[1]


async def test_a_clock_step_without_a_clock_to_step_does_nothing():
    sink = RecordingSink()
    made, _ = make(ChaosRule(kind=ChaosKind.CLOCK_STEP, rate=1.0, step_s=5.0), sink=sink)
    made.begin(60.0)
    assert await made.execute(good) == "good"
    assert sink.events == []


async def test_an_expired_exercise_sets_the_clock_right_at_the_next_call():
    clock = FakeClock()
    stepped = SteppedClock(clock)
    rule = ChaosRule(kind=ChaosKind.CLOCK_STEP, rate=1.0, step_s=50.0)
    made, _ = make(rule, stepped=stepped, clock=clock)
    made.begin(10.0)
    await made.execute(good)
    clock.advance(10.0)
    await made.execute(good)
    assert stepped.wall() == clock.wall()


async def test_a_broken_rule_is_reported_without_its_message():
    def broken():
        raise LookupError("secret")

    sink = RecordingSink()
    made, _ = make(ChaosRule(kind=ChaosKind.OUTCOME, rate=1.0, outcome=broken), sink=sink)
    made.begin(60.0)
    assert await made.execute(good) == "good"
    (failed,) = sink.of(GuardFailed)
    assert (failed.guard, failed.error_type) == ("api.chaos", "LookupError")
    assert "secret" not in repr(sink.events)


async def test_a_sink_that_raises_disturbs_nothing_more():
    def sink(_event):
        raise RuntimeError

    made, _ = make(ChaosRule(kind=ChaosKind.LATENCY, rate=1.0, delay_s=1.0), sink=sink)
    made.begin(60.0)
    assert await made.execute(good) == "good"


async def test_a_cancellation_from_outside_is_not_taken_for_one_of_ours():
    made, _ = make(ChaosRule(kind=ChaosKind.CANCELLATION, rate=1.0, delay_s=50.0))
    made.begin(60.0)
    ended = []

    async def through():
        try:
            await made.execute(anyio.sleep_forever)
        except ConnectionError:
            ended.append("made")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(through)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == []


async def test_cancelled_while_latency_is_added_the_operation_does_not_run():
    clock = FakeClock()
    made, _ = make(ChaosRule(kind=ChaosKind.LATENCY, rate=1.0, delay_s=5.0), clock=clock)
    made.begin(60.0)
    ran = []

    async def operation():
        ran.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.execute, operation)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ran == []


async def test_an_exercise_of_one_chaos_arms_no_other():
    rule = ChaosRule(kind=ChaosKind.FAULT, rate=1.0)
    one, other = make(rule)[0], make(rule)[0]
    with one.exercise(10.0):
        assert await other.execute(good) == "good"


async def test_an_exercise_that_replaces_another_is_not_ended_by_it():
    made, _ = make(ChaosRule(kind=ChaosKind.FAULT, rate=1.0))
    with made.exercise(10.0):
        made.begin(20.0)
    assert made.snapshot().armed


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"rate": 1.1}, {"delay_s": -1.0}, {"error": None}, {"step_s": float("nan")}],
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        ChaosRule(**({"kind": ChaosKind.FAULT, "rate": 0.5} | wrong))


@given(position=st.floats(0, 1), delay=st.floats(0, 10), spread=st.floats(0, 10))
def test_delays_stay_within_their_range(position, delay, spread):
    rule = ChaosRule(kind=ChaosKind.LATENCY, rate=1.0, delay_s=delay, spread_s=spread)
    made, clock = make(rule, position=position)
    made.begin(60.0)
    anyio.run(made.execute, good)
    assert delay <= clock.slept_s[0] <= delay + spread


async def test_the_fake_does_what_is_lined_up():
    fake = FakeChaos()
    fake.next += [None, ChaosRule(kind=ChaosKind.FAULT, rate=0.01)]
    assert await fake.execute(good) == "good"
    with pytest.raises(ConnectionError):
        await fake.execute(good)
    assert await fake.execute(good) == "good"
    assert [event.kind for event in fake.made] == ["fault"]
