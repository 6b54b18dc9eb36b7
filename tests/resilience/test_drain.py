"""CallDrain: readiness first, then the calls, for a bounded time."""

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.events import GuardFailed
from localmcp_harden.protocols.draining import DrainReport
from localmcp_harden.protocols.health import HealthStatus
from localmcp_harden.resilience.drain import CallDrain, DrainConfig
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.health_registry import FakeHealthRegistry
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


async def settle():
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("field", "value"), [("announce_s", -1), ("grace_s", float("nan")), ("grace_s", 1e9)]
)
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        DrainConfig(**{field: value})


async def test_readiness_goes_first_and_then_calls_are_waited_for():
    clock, health, told = FakeClock(), FakeHealthRegistry(), []
    config = DrainConfig(announce_s=5.0, grace_s=30.0)
    drain = CallDrain(config, health=health, notify=told.append, clock=clock)
    reports, release = [], anyio.Event()

    async def call():
        with drain:
            await release.wait()

    async def ends():
        reports.append(await drain.drain())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await settle()
        tasks.start_soon(ends)
        await settle()
        assert (drain.is_draining, drain.running, told) == (True, 1, ["STOPPING=1"])
        assert await health.get_health_status() is HealthStatus.UNHEALTHY
        tasks.start_soon(call)
        clock.advance(5.0)
        await settle()
        assert drain.running == 2
        release.set()
        await settle()
    assert reports == [DrainReport(finished=2, left=0, waited_s=5.0)]


async def test_calls_that_do_not_end_are_left_after_the_grace():
    clock = FakeClock()
    drain = CallDrain(DrainConfig(grace_s=10.0), clock=clock)
    reports = []

    async def ends():
        reports.append(await drain.drain())

    async with anyio.create_task_group() as tasks:
        with drain, drain:
            tasks.start_soon(ends)
            tasks.start_soon(ends)
            await settle()
            with drain:
                pass
            await settle()
            assert reports == []
            clock.advance(10.0)
            await settle()
    assert reports == [DrainReport(finished=1, left=2, waited_s=10.0)] * 2


async def test_nothing_to_wait_for():
    assert await CallDrain(clock=FakeClock()).drain() == DrainReport(
        finished=0, left=0, waited_s=0.0
    )


async def test_a_notify_that_raises_is_reported_and_a_cancelled_call_has_ended():
    sink = RecordingSink()
    drain = CallDrain(notify=lambda _words: 1 / 0, clock=FakeClock(), sink=sink)
    with anyio.CancelScope() as scope, drain:
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert drain.running == 0
    await drain.drain()
    await drain.drain()
    assert [event.guard for event in sink.of(GuardFailed)] == ["drain.notify"]
