"""The rules of a `Supervisor`.

`make(*, strategy, restart, clock, sink)` returns a supervisor without services, whose
waits are not shortened at random.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio

from ...core.errors import RestartsExhaustedError
from ...core.events import EventSink, ServiceRestarted
from ...core.ports import Clock
from ...protocols.supervision import (
    RestartConfig,
    RestartPolicy,
    RestartStrategy,
    Service,
    ServiceState,
    Supervisor,
)
from ..clock import FakeClock
from ..recording import RecordingSink
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeSupervisor", "supervisor")


class MakeSupervisor(Protocol):
    """Makes the supervisor that is to be checked."""

    def __call__(
        self, *, strategy: RestartStrategy, restart: RestartConfig, clock: Clock, sink: EventSink
    ) -> Supervisor:
        """Return a supervisor without services."""
        ...


supervisor: ContractKit[MakeSupervisor] = ContractKit("Supervisor")


class _BoomError(Exception):
    pass


class _Worker:
    """A service that a rule ends as it likes."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.alive = 0
        self._log = log
        self._end = anyio.Event()
        self._error: Exception | None = None

    async def __call__(self) -> None:
        self._log.append(f"+{self.name}")
        self.alive += 1
        self._end = anyio.Event()
        try:
            await self._end.wait()
            if self._error is not None:
                raise self._error
        finally:
            self.alive -= 1
            self._log.append(f"-{self.name}")

    async def end(self, error: Exception | None = None) -> None:
        self._error = error
        self._end.set()
        await anyio.wait_all_tasks_blocked()


class _Case:
    def __init__(self, make: MakeSupervisor, strategy: str = "one_for_one", **restart: Any) -> None:
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.log: list[str] = []
        chosen: dict[str, Any] = {"initial_wait_s": 1.0, "max_restarts": 3, **restart}
        self.supervisor = make(
            strategy=RestartStrategy(strategy),
            restart=RestartConfig(**chosen),
            clock=self.clock,
            sink=self.sink,
        )
        self.error: RestartsExhaustedError | None = None
        self.over = False

    def add(self, name: str, policy: RestartPolicy = RestartPolicy.PERMANENT) -> _Worker:
        worker = _Worker(name, self.log)
        self.supervisor.add_service(Service(name=name, run=worker, policy=policy))
        return worker

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Callable[[], None], None]:
        async def run() -> None:
            try:
                await self.supervisor.run()
            except RestartsExhaustedError as error:
                self.error = error
            finally:
                self.over = True

        async with open_tasks() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            yield tasks.cancel_scope.cancel
            tasks.cancel_scope.cancel()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()

    def state_of(self, name: str) -> ServiceState:
        return next(each.state for each in self.supervisor.get_services() if each.name == name)


@supervisor.rule("SV1")
async def order_holds(make: MakeSupervisor) -> None:
    """Services start in their order and end in the opposite one, when cancelled too."""
    case = _Case(make)
    for name in "abc":
        case.add(name)
    async with case.running():
        pass
    expect(case.log == ["+a", "+b", "+c", "-c", "-b", "-a"], f"saw {case.log}")


@supervisor.rule("SV2")
async def a_fallen_service_is_started_again(make: MakeSupervisor) -> None:
    """After its wait, not before; the waits grow, and begin anew after a run that held."""
    case = _Case(make, reset_after_s=100.0, window_s=1_000.0)
    worker = case.add("a")
    async with case.running():
        await worker.end(_BoomError())
        await case.advance(0.9)
        expect(worker.alive == 0, "it was started before its time")
        await case.advance(0.1)
        expect(worker.alive == 1, "it was not started")
        await worker.end(_BoomError())
        await case.advance(100.0)
        await case.advance(100.0)
        await worker.end(_BoomError())
    waits = [event.wait_s for event in case.sink.of(ServiceRestarted)]
    expect(waits == [1.0, 2.0, 1.0], f"the waits are {waits}")


@supervisor.rule("SV3")
async def intensity_is_kept(make: MakeSupervisor) -> None:
    """One restart beyond the intensity, and all are ended and the supervisor raises."""
    case = _Case(make, max_restarts=2, initial_wait_s=0.0, window_s=60.0)
    worker, other = case.add("a"), case.add("b")
    async with case.running():
        for _ in range(3):
            expect(worker.alive == 1, "it was not started again")
            await worker.end(_BoomError())
        expect(case.over, "it goes on")
    expect(isinstance(case.error, RestartsExhaustedError), "it did not raise")
    expect(isinstance(getattr(case.error, "__cause__", None), _BoomError), "the cause is lost")
    expect(other.alive == 0, "another service was left running")


@supervisor.rule("SV4")
async def old_restarts_are_forgotten(make: MakeSupervisor) -> None:
    """Restarts outside the window do not count."""
    case = _Case(make, max_restarts=1, initial_wait_s=0.0, window_s=60.0)
    worker = case.add("a")
    async with case.running():
        for _ in range(5):
            await worker.end(_BoomError())
            expect(worker.alive == 1, "it was not started again")
            await case.advance(61.0)
    expect(case.error is None, "it gave up")


@supervisor.rule("SV5")
async def policies_hold(make: MakeSupervisor) -> None:
    """Permanent: always; transient: after an error; temporary: never."""
    case = _Case(make, initial_wait_s=0.0)
    transient = case.add("t", RestartPolicy.TRANSIENT)
    temporary = case.add("x", RestartPolicy.TEMPORARY)
    permanent = case.add("p")
    async with case.running():
        await permanent.end()
        expect(permanent.alive == 1, "a permanent service that ended was not started again")
        await transient.end(_BoomError())
        expect(transient.alive == 1, "a transient service that fell was not started again")
        await transient.end()
        expect(transient.alive == 0, "a transient service that ended was started again")
        await temporary.end(_BoomError())
        expect(temporary.alive == 0, "a temporary service was started again")
        states = [case.state_of("t"), case.state_of("x")]
        expect(states == [ServiceState.DONE, ServiceState.FAILED], f"they are {states}")


@supervisor.rule("SV6")
async def rest_for_one_restarts_the_rest(make: MakeSupervisor) -> None:
    """With `rest_for_one`, those behind are ended in the opposite order and started in order."""
    case = _Case(make, "rest_for_one")
    case.add("a")
    fallen = case.add("b")
    case.add("c")
    case.add("d")
    async with case.running():
        del case.log[:]
        await fallen.end(_BoomError())
        await case.advance(1.0)
        seen = list(case.log)
    expect(seen == ["-b", "-d", "-c", "+b", "+c", "+d"], f"saw {seen}")


@supervisor.rule("SV7")
async def one_for_all_restarts_all(make: MakeSupervisor) -> None:
    """With `one_for_all`, everybody is."""
    case = _Case(make, "one_for_all")
    case.add("a")
    fallen = case.add("b")
    async with case.running():
        del case.log[:]
        await fallen.end(_BoomError())
        await case.advance(1.0)
        seen = list(case.log)
    expect(seen == ["-b", "-a", "+a", "+b"], f"saw {seen}")


@supervisor.rule("SV8")
async def commands_are_obeyed(make: MakeSupervisor) -> None:
    """What is stopped stays stopped until it is started; a restart counts against nothing."""
    case = _Case(make, max_restarts=0)
    worker = case.add("a")
    async with case.running():
        expect(await case.supervisor.stop_service("a"), "it says that it did not end")
        await case.advance(1_000.0)
        expect(worker.alive == 0, "it runs")
        expect(not case.over, "the supervisor ended")
        await case.supervisor.start_service("a")
        await anyio.wait_all_tasks_blocked()
        expect(worker.alive == 1, "it was not started")
        for _ in range(3):
            await case.supervisor.restart_service("a")
            await anyio.wait_all_tasks_blocked()
            expect(worker.alive == 1, "it was not started again")
    expect(case.error is None, "it gave up")


@supervisor.rule("SV9")
async def a_service_never_runs_twice(make: MakeSupervisor) -> None:
    """A service that does not end when told to is waited for, and not started beside itself."""
    case = _Case(make)
    running: list[int] = []
    most: list[int] = []
    release = anyio.Event()

    async def stubborn() -> None:
        running.append(1)
        most.append(len(running))
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()
            running.pop()

    case.supervisor.add_service(Service(name="s", run=stubborn, shutdown_s=1.0))
    async with case.running():
        async with open_tasks() as tasks:
            tasks.start_soon(case.supervisor.restart_service, "s")
            await anyio.wait_all_tasks_blocked()
            await case.advance(1.0)
        await case.advance(100.0)
        expect(len(most) == 1, "it was started while it ran")
        release.set()
        await anyio.wait_all_tasks_blocked()
        expect(len(most) == 2, "it was not started after it ended")
    expect(max(most) == 1, "it ran twice at once")


@supervisor.rule("SV10")
async def names_are_unique(make: MakeSupervisor) -> None:
    """A second service of the same name is refused; an unknown name is a KeyError."""
    case = _Case(make)
    case.add("a")
    try:
        case.add("a")
    except ValueError:
        pass
    else:
        expect(condition=False, message="it was taken")
    try:
        await case.supervisor.stop_service("nobody")
    except KeyError:
        return
    expect(condition=False, message="an unknown service was stopped")
