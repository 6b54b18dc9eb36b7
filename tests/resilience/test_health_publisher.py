"""QueueHealthPublisher: on change and from time to time; slow readers are dropped."""

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.events import GuardFailed
from localmcp_harden.protocols.health import CheckResult, HealthCheckConfig, HealthStatus
from localmcp_harden.resilience.health import CachedHealthRegistry
from localmcp_harden.resilience.health_publisher import PublisherConfig, QueueHealthPublisher
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio
ILL, SO_SO, WELL = HealthStatus


async def settle():
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


class Case:
    def __init__(self, **config):
        self.clock, self.sink, self.status = FakeClock(), RecordingSink(), WELL
        self.registry = CachedHealthRegistry(clock=self.clock, random=FakeRandom())
        self.registry.register_health_check(
            "a", self.check, HealthCheckConfig(fail_after=1, ttl_s=5.0, jitter=0.0)
        )
        self.publisher = QueueHealthPublisher(
            self.registry, PublisherConfig(**config), clock=self.clock, sink=self.sink
        )

    async def check(self):
        return CheckResult(status=self.status)

    async def read(self, into):
        subscription = self.publisher.subscribe()
        while (report := await subscription.receive()) is not None:
            into.append(report.status)
        into.append(None)


@pytest.mark.parametrize("field", ["period_s", "max_queue", "max_subscribers"])
def test_nonsense_is_refused_by_name(field):
    with pytest.raises(ValueError, match=field):
        PublisherConfig(**{field: 0})


async def test_every_change_and_every_period_is_published():
    case, seen = Case(period_s=30.0), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(case.read, seen)
        await settle()
        with anyio.CancelScope() as running:
            async with anyio.create_task_group() as inner:
                inner.start_soon(case.publisher.run)
                inner.start_soon(case.registry.run)
                await settle()
                assert seen == [WELL]
                case.status = ILL
                case.clock.advance(5.0)
                await settle()
                assert seen == [WELL, ILL]
                for _ in range(6):
                    case.clock.advance(5.0)
                    await settle()
                assert seen == [WELL, ILL, ILL]
                running.cancel()
        await settle()
        assert seen[-1] is None


async def test_who_reads_too_slowly_is_dropped_and_counted():
    case, quick = Case(period_s=1.0, max_queue=2, max_subscribers=2), []
    slow = case.publisher.subscribe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(case.read, quick)
        await settle()
        tasks.start_soon(case.publisher.run)
        for _ in range(5):
            await settle()
            case.clock.advance(1.0)
        await settle()
        assert case.publisher.dropped == 1
        assert len(quick) == 6
        tasks.cancel_scope.cancel()
    assert [(await slow.receive()).status for _ in range(2)] == [WELL, WELL]
    assert await slow.receive() is None


async def test_subscribers_are_bounded_and_may_leave():
    case = Case(max_subscribers=1)
    subscription = case.publisher.subscribe()
    with pytest.raises(ValueError, match="max_subscribers"):
        case.publisher.subscribe()
    subscription.close()
    subscription.close()
    assert await subscription.receive() is None
    case.publisher.subscribe()


async def test_a_registry_that_raises_is_reported_and_asked_again():
    case, seen = Case(period_s=1.0), []

    class Broken:
        version = 0
        asked = 0

        async def get_detailed_health(self):
            self.asked += 1
            raise RuntimeError

    broken = Broken()
    case.publisher._health = broken
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(case.read, seen)
        await settle()
        tasks.start_soon(case.publisher.run)
        await settle()
        case.clock.advance(1.0)
        await settle()
        tasks.cancel_scope.cancel()
    assert broken.asked == 2
    assert [event.guard for event in case.sink.of(GuardFailed)] == ["health_publisher.registry"] * 2
