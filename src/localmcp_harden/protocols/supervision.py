"""Supervision: services that run beside the calls, and are started again when they fall.

The words are those of Erlang/OTP: a restart policy for each service, a strategy for
those that stand beside it, and an intensity beyond which the supervisor gives up.
All durations are seconds.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, instance_of, le, matches_re

__all__ = (
    "RestartConfig",
    "RestartPolicy",
    "RestartStrategy",
    "Service",
    "ServiceSnapshot",
    "ServiceState",
    "Supervisor",
)


class RestartPolicy(StrEnum):
    """When a service that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """When it ended with an error."""
    TEMPORARY = "temporary"
    """Never."""


class RestartStrategy(StrEnum):
    """Who is started again with a service."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody."""
    REST_FOR_ONE = "rest_for_one"
    """Those that were added after it, since they may build on it."""
    ONE_FOR_ALL = "one_for_all"
    """Everybody."""


class ServiceState(StrEnum):
    """Where a service stands."""

    RUNNING = "running"
    WAITING = "waiting"
    """It ended and will be started again."""
    STOPPING = "stopping"
    """It was told to end and has not yet."""
    STOPPED = "stopped"
    """It was told to end, or has not been started."""
    DONE = "done"
    """It ended by itself and is not started again."""
    FAILED = "failed"
    """It ended with an error and is not started again."""


@final
@frozen(kw_only=True)
class RestartConfig:
    """How fast and how often something is started again.

    Args:
        max_restarts: How many restarts there may be in `window_s` (0 to 10,000; 5,
            systemd's burst); one more, and it is given up.
        window_s: The window (above 0, up to 604,800; 60).
        initial_wait_s: The wait before a first restart (0 to 3,600; 0.1, systemd's).
        factor: By how much each further wait is longer (1 to 10; 2).
        max_wait_s: The longest wait (`initial_wait_s` to 86,400; 30).
        jitter: The share by which a wait is shortened at random (0 to 1; 0.5).
        reset_after_s: After how long a run the waits begin anew (above 0, up to
            86,400; 60).
    """

    max_restarts: int = field(default=5, validator=[instance_of(int), and_(ge(0), le(10_000))])
    window_s: float = field(default=60.0, validator=and_(gt(0.0), le(604_800.0)))
    initial_wait_s: float = field(default=0.1, validator=and_(ge(0.0), le(3_600.0)))
    factor: float = field(default=2.0, validator=and_(ge(1.0), le(10.0)))
    max_wait_s: float = field(default=30.0, validator=and_(ge(0.0), le(86_400.0)))
    jitter: float = field(default=0.5, validator=and_(ge(0.0), le(1.0)))
    reset_after_s: float = field(default=60.0, validator=and_(gt(0.0), le(86_400.0)))

    def __attrs_post_init__(self) -> None:
        """Refuse a longest wait that is shorter than the first."""
        if self.max_wait_s < self.initial_wait_s:
            raise ValueError(
                f"max_wait_s ({self.max_wait_s:g}) must not be below "
                f"initial_wait_s ({self.initial_wait_s:g})"
            )


@final
@frozen(kw_only=True)
class Service:
    """Something that runs until it ends, falls, or is told to end by cancellation.

    Args:
        name: Unique in its supervisor, 1 to 128 characters on one line.
        run: Runs it.
        policy: When it is started again (PERMANENT).
        shutdown_s: How long it may take to end when cancelled (above 0, up to 3,600; 5).
    """

    name: str = field(validator=[instance_of(str), matches_re(r"[^\r\n]{1,128}")])
    run: Callable[[], Awaitable[object]]
    policy: RestartPolicy = field(
        default=RestartPolicy.PERMANENT, validator=in_(frozenset(RestartPolicy))
    )
    shutdown_s: float = field(default=5.0, validator=and_(gt(0.0), le(3_600.0)))


@final
@frozen(kw_only=True)
class ServiceSnapshot:
    """A service at one moment.

    Args:
        name: Its name.
        state: Where it stands.
        restarts: How often it was started again.
        error_type: The type of the error it last ended with, `""` when there was none.
    """

    name: str
    state: ServiceState
    restarts: int
    error_type: str


class Supervisor(Protocol):
    """Runs services in the order in which they were added, and ends them in the opposite one.

    A service never runs twice at once: one that does not end when told to is waited for.
    """

    def add_service(self, service: Service, /) -> None:
        """Add a service; it is started when the supervisor runs.

        Raises:
            ValueError: There is one of that name, or there are too many.
        """
        ...

    async def run(self) -> None:
        """Run the services until cancelled, or until none is left that may run again.

        Raises:
            RestartsExhaustedError: One fell more often than its restarts allow. All
                have been ended.
        """
        ...

    async def stop_service(self, name: str, /) -> bool:
        """End a service for good; return whether it has ended in its time.

        Raises:
            KeyError: There is no such service.
        """
        ...

    async def start_service(self, name: str, /) -> None:
        """Start a service that has ended, while the supervisor runs.

        Raises:
            KeyError: There is no such service.
        """
        ...

    async def restart_service(self, name: str, /) -> None:
        """End a service and start it again; counts against no intensity.

        Raises:
            KeyError: There is no such service.
        """
        ...

    def get_services(self) -> tuple[ServiceSnapshot, ...]:
        """Return the services in order."""
        ...
