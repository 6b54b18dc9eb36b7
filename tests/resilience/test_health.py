"""CachedHealthRegistry: what its kit does not ask."""

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from localmcp_harden.core.events import GuardFailed, HealthChanged
from localmcp_harden.protocols.health import (
    CheckResult,
    HealthCheckConfig,
    HealthKind,
    HealthStatus,
)
from localmcp_harden.resilience.health import CachedHealthRegistry, HealthConfig
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio
ILL, SO_SO, WELL = HealthStatus


async def settle():
    """Let every task go on until it waits; a fraction of the time of anyio's own function."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


class Part:
    def __init__(self, status=WELL, **result):
        self.status, self.result, self.runs = status, result, 0
        self.error = None

    async def __call__(self):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return CheckResult(status=self.status, **self.result)


def registry(config=None, **ports):
    settings = {"clock": FakeClock(), "random": FakeRandom(), "sink": RecordingSink()}
    return CachedHealthRegistry(config, **(settings | ports))


def settings(**changes):
    return HealthCheckConfig(**({"fail_after": 1, "jitter": 0.0} | changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout_s", 0.0), ("timeout_s", float("nan")), ("timeout_s", float("inf")),
        ("ttl_s", 0.0), ("jitter", 0.6), ("fail_after", 0), ("pass_after", 1_001),
        ("failure_status", WELL), ("kinds", frozenset({"readyness"})), ("depends_on", "db"),
        ("tags", "db"), ("critical", 1),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        HealthCheckConfig(**{field: value})


@pytest.mark.parametrize("field", ["max_checks", "max_concurrent"])
def test_bounds_are_checked(field):
    with pytest.raises(ValueError, match=field):
        HealthConfig(**{field: 0})


def test_names_and_numbers_are_bounded():
    made = registry(HealthConfig(max_checks=1))
    for name in ("", "x" * 129):
        with pytest.raises(ValueError, match="name"):
            made.register_health_check(name, Part())
    made.register_health_check("a", Part())
    made.register_health_check("a", Part())
    with pytest.raises(ValueError, match="max_checks"):
        made.register_health_check("b", Part())
    assert made.remove_health_check("a")
    assert not made.remove_health_check("a")
    made.register_health_check("b", Part())


async def test_without_checks_the_stated_status_holds():
    assert await registry().get_health_status() is WELL
    strict = registry(HealthConfig(empty_status=ILL))
    for kind in HealthKind:
        assert await strict.get_health_status(kind) is ILL


async def test_tags_select_and_kind_none_is_everything():
    made = registry()
    made.register_health_check("a", Part(ILL), settings(tags=frozenset({"disk", "x"})))
    made.register_health_check("b", Part(), settings(tags=frozenset({"net"})))
    made.register_health_check("c", Part(SO_SO), settings(kinds=frozenset()))
    assert await made.get_health_status(tags=frozenset({"net"})) is WELL
    assert await made.get_health_status(tags=frozenset({"disk", "net"})) is ILL
    report = await made.get_detailed_health()
    assert [(check.name, check.status) for check in report.checks] == [
        ("a", ILL), ("b", WELL), ("c", SO_SO),
    ]  # fmt: skip


async def test_a_check_registered_anew_or_meanwhile_is_asked():
    made = registry()
    made.register_health_check("a", Part())
    assert await made.get_health_status() is WELL
    made.register_health_check("a", Part(ILL), settings())
    assert await made.get_health_status() is ILL

    late = Part()

    async def registers_another():
        made.register_health_check("late", late, settings())
        return CheckResult(status=WELL)

    made.register_health_check("a", registers_another, settings())
    assert await made.get_health_status() is WELL
    assert late.runs == 1


async def test_a_check_taken_away_while_it_runs_does_no_harm():
    sink = RecordingSink()
    made = registry(sink=sink)

    async def goes():
        made.remove_health_check("b")
        return CheckResult(status=WELL)

    made.register_health_check("b", goes, settings())
    assert await made.get_health_status() is WELL
    assert sink.of(HealthChanged) == []
    made.register_health_check("b", goes, settings())
    assert (await made.get_detailed_health()).checks == ()


async def test_what_a_check_depends_on_may_come_later():
    made = registry()
    made.register_health_check("app", Part(), settings(depends_on=("db",)))
    assert await made.get_health_status() is ILL
    (check,) = (await made.get_detailed_health()).checks
    assert "not registered" in check.reason
    made.register_health_check("db", Part(), settings())
    assert await made.get_health_status() is WELL


def test_liveness_may_not_come_to_depend_on_readiness():
    made = registry()
    live = frozenset({HealthKind.LIVENESS})
    made.register_health_check("loop", Part(), settings(kinds=live, depends_on=("x",)))
    with pytest.raises(ValueError, match="restart would not mend"):
        made.register_health_check("x", Part())
    made.register_health_check("x", Part(), settings(kinds=live))


async def test_a_broken_check_is_reported_once_a_row():
    clock, sink = FakeClock(), RecordingSink()
    made = registry(clock=clock, sink=sink)
    part = Part()
    made.register_health_check("a", part, settings(failure_status=SO_SO))
    for error in (KeyError(), KeyError(), OSError(), None, OSError()):
        part.error = error
        await made.get_health_status()
        clock.advance(20.0)
    told = [(event.guard, event.error_type) for event in sink.of(GuardFailed)]
    assert told == [("health.check:a", kind) for kind in ("KeyError", "OSError", "OSError")]


async def test_an_answer_of_the_wrong_kind_is_a_failure():
    made = registry()

    async def yes():
        return True

    made.register_health_check("a", yes, settings())
    assert await made.get_health_status() is ILL
    (check,) = made.last_known().checks
    assert check.reason == "TypeError was raised"


async def test_results_are_bounded():
    made = registry()
    data = {f"{'k' * 100}{number}": object() for number in range(100)} | {"x": "y" * 1_000}
    made.register_health_check("a", Part(reason="r" * 1_000, data=data), settings())
    (check,) = (await made.get_detailed_health()).checks
    assert len(check.reason) == 200
    assert len(check.data) <= 16
    assert all(len(key) <= 64 and len(str(value)) <= 200 for key, value in check.data.items())


async def test_a_sink_that_raises_changes_nothing():
    def broken(_event):
        raise RuntimeError

    made = registry(sink=broken)
    made.register_health_check("a", Part(ILL), settings())
    assert await made.get_health_status() is ILL


async def test_jitter_spreads_the_runs():
    for position, early in ((0.0, 9.0), (1.0, 11.0)):
        clock, part = FakeClock(), Part()
        made = registry(clock=clock, random=FakeRandom(position))
        made.register_health_check("a", part, HealthCheckConfig(ttl_s=10.0, jitter=0.1))
        await made.get_health_status()
        clock.advance(early - 0.01)
        await made.get_health_status()
        assert part.runs == 1
        clock.advance(0.01)
        await made.get_health_status()
        assert part.runs == 2


class JumpingClock(FakeClock):
    offset = 0.0

    def monotonic(self):
        return super().monotonic() + self.offset


async def test_a_clock_that_goes_back_makes_results_old():
    clock, part = JumpingClock(), Part()
    made = registry(clock=clock)
    made.register_health_check("a", part, settings())
    await made.get_health_status()
    clock.offset = -500.0
    part.status = ILL
    assert await made.get_health_status() is ILL
    clock.offset = 1e9
    part.status = WELL
    assert await made.get_health_status() is WELL
    assert part.runs == 3


async def test_a_clock_that_stands_still_runs_a_check_once():
    made, part = registry(), Part()
    made.register_health_check("a", part, settings())
    for _ in range(100):
        await made.get_health_status()
    assert part.runs == 1


async def test_readers_of_many_checks_share_bounded_runs():
    running, most = [], []
    gate = anyio.Event()

    async def slow():
        running.append(1)
        most.append(len(running))
        await gate.wait()
        running.pop()
        return CheckResult(status=WELL)

    made = registry(HealthConfig(max_concurrent=3))
    for number in range(10):
        made.register_health_check(str(number), slow, settings())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.get_health_status)
        await settle()
        assert len(most) == 3
        gate.set()
    assert len(most) == 10
    assert max(most) == 3


async def test_who_waited_for_a_run_takes_its_result_however_old_it_is_by_then():
    clock, gate, runs = FakeClock(), anyio.Event(), []
    made = registry(clock=clock, sink=lambda _event: clock.advance(1_000.0))

    async def slow():
        runs.append(1)
        await gate.wait()
        return CheckResult(status=WELL)

    made.register_health_check("a", slow, settings())
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(made.get_health_status)
        await settle()
        gate.set()
    assert len(runs) == 1


async def test_a_report_is_of_the_last_run_though_no_status_changed():
    clock, part = FakeClock(), Part(ILL, reason="first")
    made = registry(clock=clock)
    made.register_health_check("a", part, settings())
    (first,) = (await made.get_detailed_health()).checks
    assert (await made.get_detailed_health()).checks[0] is first
    part.result = {"reason": "second"}
    clock.advance(20.0)
    (second,) = (await made.get_detailed_health()).checks
    assert (first.reason, second.reason) == ("first", "second")
    assert second.checked_at == first.checked_at + 20.0


async def test_running_starts_no_more_than_it_may():
    started, gate = [], anyio.Event()

    async def slow():
        started.append(1)
        await gate.wait()
        return CheckResult(status=WELL)

    made = registry(HealthConfig(max_concurrent=2))
    for number in range(5):
        made.register_health_check(str(number), slow, settings())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        assert len(started) == 2
        made.register_health_check("late", slow, settings())
        await settle()
        assert len(started) == 2
        gate.set()
        await settle()
        assert len(started) == 6
        tasks.cancel_scope.cancel()


async def test_cancelled_at_every_await_nothing_is_left_behind():
    for turns in range(12):
        made = registry()

        async def slow():
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            return CheckResult(status=WELL)

        for name in "abc":
            made.register_health_check(name, slow, settings())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.get_detailed_health)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert await made.get_health_status() is WELL


async def test_running_keeps_results_fresh_before_anyone_asks():
    clock, sink, part = FakeClock(), RecordingSink(), Part()
    made = registry(clock=clock, sink=sink)
    made.register_health_check("a", part, settings(ttl_s=10.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        assert part.runs == 1
        part.status = ILL
        clock.advance(10.0)
        await settle()
        assert part.runs == 2
        assert made.last_known().status is ILL
        late = Part()
        made.register_health_check("b", late, settings())
        await settle()
        assert late.runs == 1
        tasks.cancel_scope.cancel()


async def test_running_does_not_ask_again_what_has_started():
    clock, part = FakeClock(), Part()
    made = registry(clock=clock)
    made.register_health_check("warm", part, settings(kinds=frozenset({HealthKind.STARTUP})))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        for _ in range(5):
            await settle()
            clock.advance(20.0)
        tasks.cancel_scope.cancel()
    assert part.runs == 1
    assert await made.get_health_status(HealthKind.STARTUP) is WELL


async def test_a_hanging_check_holds_no_other_up():
    clock, quick = FakeClock(), Part()
    made = registry(HealthConfig(max_concurrent=2), clock=clock)

    async def hangs():
        await anyio.sleep_forever()

    made.register_health_check("slow", hangs, settings(timeout_s=300.0))
    made.register_health_check("quick", quick, settings(ttl_s=1.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        for _ in range(5):
            await settle()
            clock.advance(1.0)
        await settle()
        assert quick.runs == 6
        tasks.cancel_scope.cancel()


async def test_changes_can_be_waited_for():
    made, part = registry(), Part()
    made.register_health_check("a", part, settings())
    seen = []

    async def wait():
        seen.append(await made.wait_changed(0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        assert seen == []
        await made.get_health_status()
    assert seen == [1]
    assert await made.wait_changed(0) == made.version == 1


async def test_draining_withdraws_readiness_and_nothing_else():
    made = registry()
    live = frozenset({HealthKind.LIVENESS, HealthKind.READINESS})
    made.register_health_check("a", Part(), settings(kinds=live))
    assert await made.get_health_status() is WELL
    made.begin_drain()
    made.begin_drain()
    assert made.version == 2
    assert await made.get_health_status() is ILL
    assert await made.get_health_status(HealthKind.LIVENESS) is WELL
    assert (await made.get_detailed_health(HealthKind.READINESS)).draining


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(HealthStatus), min_size=1, max_size=12), st.data())
def test_the_whole_is_as_the_worst_that_counts(statuses, data):
    critical = [data.draw(st.booleans()) for _ in statuses]

    async def ask():
        made = registry()
        for number, (status, counts) in enumerate(zip(statuses, critical, strict=True)):
            made.register_health_check(str(number), Part(status), settings(critical=counts))
        return await made.get_health_status()

    wanted = min(
        status if counts or status is WELL else SO_SO
        for status, counts in zip(statuses, critical, strict=True)
    )
    assert anyio.run(ask) is wanted
