"""TaskSupervisor: what its kit does not ask."""

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings, strategies as st

from localmcp_harden.core.errors import RestartsExhaustedError
from localmcp_harden.core.events import Escalated, ServiceRestarted
from localmcp_harden.protocols.supervision import (
    RestartConfig,
    RestartPolicy,
    RestartStrategy,
    Service,
    ServiceState,
)
from localmcp_harden.resilience.supervisor import SupervisorConfig, TaskSupervisor
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


async def settle():
    """Let every task go on until it waits; a fraction of the time of anyio's own function."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


def supervised(*services, strategy=RestartStrategy.ONE_FOR_ONE, **restart):
    clock, sink = FakeClock(), RecordingSink()
    config = SupervisorConfig(
        strategy=strategy, restart=RestartConfig(**({"initial_wait_s": 0.0} | restart))
    )
    made = TaskSupervisor(config, clock=clock, random=FakeRandom(0.0), sink=sink)
    for service in services:
        made.add_service(service)
    return made, clock, sink


async def forever():
    await anyio.sleep_forever()


async def falls():
    raise OSError


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_restarts", -1), ("window_s", 0), ("factor", 0.5), ("jitter", 2), ("reset_after_s", 0),
     ("max_wait_s", 0.01), ("initial_wait_s", float("nan"))],
)  # fmt: skip
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        RestartConfig(**{field: value})


@pytest.mark.parametrize("changes", [{"name": ""}, {"name": "x" * 129}, {"shutdown_s": 0}])
def test_services_are_checked(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Service(**({"name": "a", "run": forever} | changes))


def test_services_are_bounded():
    made = TaskSupervisor(SupervisorConfig(max_services=1))
    made.add_service(Service(name="a", run=forever))
    with pytest.raises(ValueError, match="max_services"):
        made.add_service(Service(name="b", run=forever))


async def test_it_ends_when_nothing_may_run_again():
    async def once():
        pass

    made, _, _ = supervised(Service(name="a", run=once, policy=RestartPolicy.TRANSIENT))
    await made.run()
    (snapshot,) = made.get_services()
    assert (snapshot.state, snapshot.restarts) == (ServiceState.DONE, 0)
    await supervised()[0].run()


async def test_it_runs_once_at_a_time_and_again_afterwards():
    made, _, _ = supervised(Service(name="a", run=forever))
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run)
            await settle()
            assert made.get_services()[0].state is ServiceState.RUNNING
            with pytest.raises(RuntimeError, match="already"):
                await made.run()
            tasks.cancel_scope.cancel()
        assert made.get_services()[0].state is ServiceState.STOPPED


async def test_a_supervisor_may_be_a_service_of_another():
    inner, _, _ = supervised(Service(name="x", run=falls), max_restarts=1)
    outer, _, sink = supervised(Service(name="inner", run=inner.run), max_restarts=0)
    with pytest.raises(RestartsExhaustedError, match="'inner'") as caught:
        await outer.run()
    assert isinstance(caught.value.__cause__, RestartsExhaustedError)
    assert isinstance(caught.value.__cause__.__cause__, OSError)
    (told,) = sink.of(Escalated)
    assert (told.subject, told.cause) == ("inner", "intensity")
    assert told.error_type == "RestartsExhaustedError"


async def test_a_service_that_will_not_end_is_told_of_and_waited_for():
    release = anyio.Event()

    async def stubborn():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    made, clock, sink = supervised(Service(name="s", run=stubborn, shutdown_s=2.0))
    answers = []

    async def stop():
        answers.append(await made.stop_service("s"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        tasks.start_soon(stop)
        await settle()
        clock.advance(2.0)
        await settle()
        assert answers == [False]
        assert made.get_services()[0].state is ServiceState.STOPPING
        assert [event.cause for event in sink.of(Escalated)] == ["will_not_stop"]
        release.set()
        await settle()
        assert made.get_services()[0].state is ServiceState.STOPPED
        tasks.cancel_scope.cancel()


async def test_a_service_may_restart_itself():
    made, _, sink = supervised()
    starts = []

    async def renews_itself():
        starts.append(1)
        if len(starts) < 3:
            await made.restart_service("a")
        await anyio.sleep_forever()

    made.add_service(Service(name="a", run=renews_itself))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        assert len(starts) == 3
        tasks.cancel_scope.cancel()
    assert sink.of(ServiceRestarted) == []


async def test_a_service_added_while_it_runs_is_started():
    made, _, _ = supervised(Service(name="a", run=forever))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        made.add_service(Service(name="b", run=forever))
        await settle()
        assert [each.state for each in made.get_services()] == [ServiceState.RUNNING] * 2
        tasks.cancel_scope.cancel()


async def test_stopped_while_it_waits_it_is_not_started():
    made, clock, _ = supervised(Service(name="a", run=falls), initial_wait_s=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        assert made.get_services()[0].state is ServiceState.WAITING
        assert await made.stop_service("a")
        clock.advance(100.0)
        await settle()
        snapshot = made.get_services()[0]
        assert (snapshot.state, snapshot.restarts) == (ServiceState.STOPPED, 0)
        tasks.cancel_scope.cancel()


async def test_stopped_before_its_fall_was_seen_it_is_not_started():
    fall = anyio.Event()

    async def worker():
        await fall.wait()
        raise OSError

    made, _, _ = supervised(Service(name="a", run=worker))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        async with made._lock:
            tasks.start_soon(made.stop_service, "a")
            await settle()
            fall.set()
            await settle()
        await settle()
        assert made.get_services()[0].state is ServiceState.STOPPED
        tasks.cancel_scope.cancel()


async def test_two_that_fall_at_once_are_both_started_again():
    fall = anyio.Event()
    starts = []

    async def worker():
        starts.append(1)
        if len(starts) <= 2:
            await fall.wait()
            raise OSError
        await anyio.sleep_forever()

    made, _, _ = supervised(
        Service(name="a", run=worker),
        Service(name="b", run=worker),
        strategy=RestartStrategy.ONE_FOR_ALL,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        fall.set()
        await settle()
        assert len(starts) == 4
        assert [each.state for each in made.get_services()] == [ServiceState.RUNNING] * 2
        tasks.cancel_scope.cancel()


async def test_what_is_stopped_is_not_started_with_the_others():
    fall = anyio.Event()

    async def once_falling():
        if not fall.is_set():
            await fall.wait()
            raise OSError
        await anyio.sleep_forever()

    made, _, _ = supervised(
        Service(name="a", run=forever),
        Service(name="b", run=once_falling),
        strategy=RestartStrategy.ONE_FOR_ALL,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await settle()
        await made.stop_service("a")
        fall.set()
        await settle()
        states = [each.state for each in made.get_services()]
        assert states == [ServiceState.STOPPED, ServiceState.RUNNING]
        tasks.cancel_scope.cancel()


async def test_cancelled_at_every_turn_every_service_ends():
    for turns in range(15):
        alive = []

        async def worker(alive=alive):
            alive.append(1)
            try:
                await anyio.lowlevel.checkpoint()
                raise OSError
            finally:
                alive.pop()

        made, _, _ = supervised(
            *(Service(name=name, run=worker) for name in "abc"),
            strategy=RestartStrategy.REST_FOR_ONE,
            max_restarts=1_000,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert alive == []
        assert {each.state for each in made.get_services()} == {ServiceState.STOPPED}


@settings(deadline=None, max_examples=40)
@given(
    most=st.integers(0, 4),
    window_s=st.floats(1, 50),
    gaps=st.lists(st.floats(0, 30), min_size=1, max_size=12),
)
def test_a_service_is_never_started_more_often_than_its_intensity_says(most, window_s, gaps):
    starts = []

    async def check():
        made, clock, _ = supervised(max_restarts=most, window_s=window_s)
        end = []

        async def worker():
            starts.append(clock.monotonic())
            end[:] = [anyio.Event()]
            await end[0].wait()
            raise OSError

        made.add_service(Service(name="a", run=worker))
        async with anyio.create_task_group() as tasks:

            async def run():
                try:
                    await made.run()
                except RestartsExhaustedError:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(run)
            await settle()
            for gap in gaps:
                clock.advance(gap)
                end[0].set()
                await settle()
            tasks.cancel_scope.cancel()

    starts.clear()
    anyio.run(check)
    again = starts[1:]
    for first in again:
        assert sum(first <= at < first + window_s for at in again) <= most
