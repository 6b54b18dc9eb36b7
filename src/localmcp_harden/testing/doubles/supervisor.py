"""A supervisor that keeps what it was told, and otherwise works."""

from typing import final

from ...core.events import EventSink, discard
from ...core.ports import Clock
from ...protocols.supervision import RestartConfig, RestartStrategy, Service, ServiceSnapshot
from ...resilience.supervisor import SupervisorConfig, TaskSupervisor
from ..chance import FakeRandom
from ..clock import FakeClock

__all__ = ("FakeSupervisor",)


@final
class FakeSupervisor:
    """A `Supervisor` on a clock that stands still, without chance in its waits.

    Args:
        strategy: Who is started again with a service that fell.
        restart: How fast and how often.
        clock: The clock; a fake one of its own by default.
        sink: Told of restarts.
    """

    def __init__(
        self,
        *,
        strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE,
        restart: RestartConfig | None = None,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.commands: list[tuple[str, str]] = []
        """Every command and the service it was for, in order: `("stop", "sync")`."""
        self._real = TaskSupervisor(
            SupervisorConfig(strategy=strategy, restart=restart or RestartConfig()),
            name="fake",
            clock=clock or FakeClock(),
            random=FakeRandom(0.0),
            sink=sink,
        )

    def add_service(self, service: Service, /) -> None:
        """Add a service.

        Raises:
            ValueError: There is one of that name, or there are too many.
        """
        self.commands.append(("add", service.name))
        self._real.add_service(service)

    async def run(self) -> None:
        """Run the services.

        Raises:
            RestartsExhaustedError: One fell more often than its restarts allow.
        """
        await self._real.run()

    async def stop_service(self, name: str, /) -> bool:
        """End a service; return whether it ended in its time.

        Raises:
            KeyError: There is no such service.
        """
        self.commands.append(("stop", name))
        return await self._real.stop_service(name)

    async def start_service(self, name: str, /) -> None:
        """Start a service that has ended.

        Raises:
            KeyError: There is no such service.
        """
        self.commands.append(("start", name))
        await self._real.start_service(name)

    async def restart_service(self, name: str, /) -> None:
        """End a service and start it again.

        Raises:
            KeyError: There is no such service.
        """
        self.commands.append(("restart", name))
        await self._real.restart_service(name)

    def get_services(self) -> tuple[ServiceSnapshot, ...]:
        """Return the services in order."""
        return self._real.get_services()
