"""Runs services, starts those again that fall, and gives up when they fall too often.

All times are seconds. Policies, strategies and the intensity are Erlang/OTP's
(supervisor behaviour); the waits between restarts grow, as systemd's and Kubernetes' do.
"""

from collections import deque
from collections.abc import Iterable
from typing import final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from attrs import field, frozen
from attrs.validators import and_, ge, in_, instance_of, le

from ..core.errors import RestartsExhaustedError
from ..core.events import Escalated, EventSink, ServiceRestarted, discard
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..mechanisms.restarts import RestartSchedule
from ..protocols.supervision import (
    RestartConfig,
    RestartPolicy,
    RestartStrategy,
    Service,
    ServiceSnapshot,
    ServiceState,
)

__all__ = ("SupervisorConfig", "TaskSupervisor")

_LONGEST_WAIT_S = 3_600.0
_CANCELLED = "Cancelled"
_OVER = frozenset({ServiceState.DONE, ServiceState.FAILED})


@final
@frozen(kw_only=True)
class SupervisorConfig:
    """How services are started again.

    Args:
        strategy: Who is started again with a service that fell (ONE_FOR_ONE).
        restart: How fast and how often; counted for each service.
        max_services: How many services there may be (1 to 10,000; 256).
    """

    strategy: RestartStrategy = field(
        default=RestartStrategy.ONE_FOR_ONE, validator=in_(frozenset(RestartStrategy))
    )
    restart: RestartConfig = field(factory=RestartConfig, validator=instance_of(RestartConfig))
    max_services: int = field(default=256, validator=[instance_of(int), and_(ge(1), le(10_000))])


@final
class _Slot:
    """A service and where it stands."""

    def __init__(self, service: Service, schedule: RestartSchedule) -> None:
        self.service = service
        self.schedule = schedule
        self.state = ServiceState.STOPPED
        self.wanted = True
        """Whether it is to run when the supervisor does."""
        self.restarts = 0
        self.error_type = ""
        self.error: Exception | None = None
        self.scope: anyio.CancelScope | None = None
        self.ended = anyio.Event()
        self.started_at = 0.0
        self.due = 0.0
        """When it is started, while it waits."""
        self.batch: tuple[_Slot, ...] = ()
        """Those that are started with it: none before all have ended."""

    def wait_until(self, due: float, batch: "tuple[_Slot, ...]") -> None:
        self.due, self.batch = due, batch
        if self.state is not ServiceState.STOPPING and self.scope is None:
            self.state = ServiceState.WAITING

    @property
    def is_ready(self) -> bool:
        return self.state is ServiceState.WAITING and all(
            other.scope is None for other in self.batch
        )


@final
class TaskSupervisor:
    """The default `Supervisor`: each service is a task of the one event loop.

    Args:
        config: The strategy and the restarts.
        name: How events call this supervisor.
        clock: Time.
        random: Chance, for the waits.
        sink: Told of restarts, and when it gives up.
    """

    def __init__(
        self,
        config: SupervisorConfig | None = None,
        *,
        name: str = "supervisor",
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.config: SupervisorConfig = config or SupervisorConfig()
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, self._clock, name)
        self._slots: dict[str, _Slot] = {}
        self._exits: deque[_Slot] = deque()
        self._tasks: TaskGroup | None = None
        self._wake = anyio.Event()
        self._lock = anyio.Lock()

    def add_service(self, service: Service, /) -> None:
        """Add a service; it is started when the supervisor runs, or now if it does.

        Raises:
            ValueError: There is one of that name, or there are `max_services` already.
        """
        if service.name in self._slots:
            raise ValueError("there is a service of that name already")
        if len(self._slots) >= self.config.max_services:
            raise ValueError(
                f"there are max_services ({self.config.max_services}) services already"
            )
        restart = self.config.restart
        schedule = RestartSchedule(
            max_restarts=restart.max_restarts,
            window_s=restart.window_s,
            initial_wait_s=restart.initial_wait_s,
            factor=restart.factor,
            max_wait_s=restart.max_wait_s,
            jitter=restart.jitter,
            random=self._random,
        )
        slot = self._slots[service.name] = _Slot(service, schedule)
        if self._tasks is not None:
            self._start_soon(slot)

    async def run(self) -> None:
        """Run the services until cancelled, or until all are done or failed.

        However it ends, services are ended one after the other, the last one first, each
        within its `shutdown_s`.

        Raises:
            RestartsExhaustedError: One fell more often than its restarts allow; its last
                error is the cause.
            RuntimeError: It runs already.
        """
        if self._tasks is not None:
            raise RuntimeError("the supervisor runs already")
        fallen: _Slot | None = None
        self._exits.clear()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    for slot in self._slots.values():
                        if slot.wanted and slot.state not in _OVER:
                            self._start_soon(slot)
                    fallen = await self._oversee(tasks)
                finally:
                    # Nothing new from here on: not even what a service asks for as it ends.
                    self._tasks = None
                    with anyio.CancelScope(shield=True):
                        await self._end(reversed(self._slots.values()))
        finally:
            for slot in self._slots.values():
                if slot.state not in _OVER:
                    slot.state, slot.batch = ServiceState.STOPPED, ()
        if fallen is not None:
            raise RestartsExhaustedError(
                f"{self.name}: service {fallen.service.name!r} fell more than "
                f"{self.config.restart.max_restarts} times in {self.config.restart.window_s:g} s"
            ) from fallen.error

    async def stop_service(self, name: str, /) -> bool:
        """End a service until it is started by name; return whether it ended in its time.

        Raises:
            KeyError: There is no such service.
        """
        slot = self._slots[name]
        async with self._lock:
            slot.wanted, slot.batch = False, ()
            if slot.state is ServiceState.WAITING:
                slot.state = ServiceState.STOPPED
            await self._end([slot])
        self._wake.set()
        return slot.scope is None

    async def start_service(self, name: str, /) -> None:
        """Start a service that has ended; one that runs is left alone.

        Raises:
            KeyError: There is no such service.
        """
        slot = self._slots[name]
        async with self._lock:
            slot.wanted = True
            if slot.state is not ServiceState.RUNNING:
                self._start_soon(slot)

    async def restart_service(self, name: str, /) -> None:
        """End a service and start it again; counts against no intensity.

        Raises:
            KeyError: There is no such service.
        """
        slot = self._slots[name]
        async with self._lock:
            slot.wanted = True
            # First: a service may do this to itself, and is cancelled in the next line.
            self._start_soon(slot)
            await self._end([slot])

    def get_services(self) -> tuple[ServiceSnapshot, ...]:
        """Return the services in order."""
        return tuple(
            ServiceSnapshot(
                name=name, state=slot.state, restarts=slot.restarts, error_type=slot.error_type
            )
            for name, slot in self._slots.items()
        )

    async def _oversee(self, tasks: TaskGroup) -> _Slot | None:
        """Start and start again until all is over, or until one falls too often: return that."""
        while True:
            wake = self._wake = anyio.Event()
            async with self._lock:
                while self._exits:
                    slot = self._exits.popleft()
                    if not await self._follow(slot):
                        return slot
                wait_s = await self._start_waiting(tasks)
            if all(slot.state in _OVER for slot in self._slots.values()):
                return None
            with self._clock.cut_after(wait_s):
                await wake.wait()

    async def _follow(self, slot: _Slot) -> bool:
        """Draw the consequences of a service's end; return False to give up."""
        if not slot.wanted:
            slot.state = ServiceState.STOPPED
            return True
        policy = slot.service.policy
        failed = bool(slot.error_type)
        if policy is RestartPolicy.TEMPORARY or (policy is RestartPolicy.TRANSIENT and not failed):
            slot.state = ServiceState.FAILED if failed else ServiceState.DONE
            return True
        now = self._clock.monotonic()
        if now - slot.started_at >= self.config.restart.reset_after_s:
            slot.schedule.reset_waits()
        wait_s = slot.schedule.next_wait_s(now)
        if wait_s is None:
            slot.state = ServiceState.FAILED
            self._escalate(slot, "intensity")
            return False
        group = self._group(slot)
        self._reporter.report(
            ServiceRestarted(
                at=self._clock.wall(),
                supervisor=self.name,
                service=slot.service.name,
                services=tuple(each.service.name for each in group),
                wait_s=wait_s,
                error_type=slot.error_type,
            )
        )
        slot.state = ServiceState.WAITING
        for each in group:
            each.wait_until(now + wait_s, group)
        await self._end(reversed(group))
        return True

    def _group(self, slot: _Slot) -> tuple[_Slot, ...]:
        """Return who is started again with a service: those that stand there, it included."""
        strategy = self.config.strategy
        slots = list(self._slots.values())
        if strategy is RestartStrategy.ONE_FOR_ONE:
            return (slot,)
        if strategy is RestartStrategy.REST_FOR_ONE:
            slots = slots[slots.index(slot) :]
        running = {ServiceState.RUNNING, ServiceState.STOPPING, ServiceState.WAITING}
        return tuple(
            each for each in slots if each is slot or (each.wanted and each.state in running)
        )

    def _start_soon(self, slot: _Slot) -> None:
        slot.wait_until(self._clock.monotonic(), (slot,))
        self._wake.set()

    async def _start_waiting(self, tasks: TaskGroup) -> float:
        """Start who is due, in order, and return the seconds until another one is."""
        now = self._clock.monotonic()
        wait_s = _LONGEST_WAIT_S
        # All at once, since none of a batch is ready any more when the first has started.
        for slot in [each for each in self._slots.values() if each.is_ready]:
            if slot.due > now:
                wait_s = min(wait_s, slot.due - now)
                continue
            if slot.ended.is_set():
                slot.restarts += 1
            slot.state, slot.batch, slot.started_at = ServiceState.RUNNING, (), now
            slot.ended = anyio.Event()
            # Shielded, so that it ends in its turn, and not when the supervisor is cancelled.
            slot.scope = anyio.CancelScope(shield=True)
            # A task that is cancelled before its first step would never tell that it ended.
            with anyio.CancelScope(shield=True):
                await tasks.start(self._serve, slot, slot.scope)
        return wait_s

    async def _serve(
        self, slot: _Slot, scope: anyio.CancelScope, *, task_status: TaskStatus[None]
    ) -> None:
        slot.error, slot.error_type = None, _CANCELLED
        try:
            with scope:
                task_status.started()
                await slot.service.run()
                slot.error_type = ""
        except Exception as error:  # noqa: BLE001 - a service may raise anything
            slot.error, slot.error_type = error, type(error).__name__
        finally:
            slot.scope = None
            slot.ended.set()
            if slot.state is not ServiceState.STOPPING:
                self._exits.append(slot)
            else:
                slot.state = ServiceState.WAITING if slot.batch else ServiceState.STOPPED
                if slot.error_type == _CANCELLED:
                    slot.error_type = ""
            self._wake.set()

    async def _end(self, slots: Iterable[_Slot]) -> None:
        """End services one after the other, waiting for each no longer than it may take."""
        for slot in slots:
            scope = slot.scope
            if scope is None:
                continue
            slot.state = ServiceState.STOPPING
            scope.cancel()
            with self._clock.cut_after(slot.service.shutdown_s):
                await slot.ended.wait()
            if not slot.ended.is_set():
                self._escalate(slot, "will_not_stop")

    def _escalate(self, slot: _Slot, cause: str) -> None:
        self._reporter.report(
            Escalated(
                at=self._clock.wall(),
                source=self.name,
                subject=slot.service.name,
                cause=cause,
                attempts=slot.restarts,
                error_type=slot.error_type,
            )
        )
