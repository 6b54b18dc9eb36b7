"""Health: what a server can say of its own state, and what it does when it is not well.

All durations are seconds. A status is one of three, ordered, so that the worse of two
is the smaller. Reasons and data are for operators: a stranger sees a status only.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias, final

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, in_, instance_of, le

from .resilience import CircuitBreaker

__all__ = (
    "CheckReport",
    "CheckResult",
    "HealAction",
    "HealConfig",
    "HealOutcome",
    "HealState",
    "HealthCheck",
    "HealthCheckConfig",
    "HealthKind",
    "HealthPublisher",
    "HealthRegistry",
    "HealthReport",
    "HealthStatus",
    "HealthSubscription",
    "HealthWatch",
    "OnEscalate",
)


class HealthStatus(IntEnum):
    """How well something is; the smaller, the worse."""

    UNHEALTHY = 0
    DEGRADED = 1
    """It works, but not as it should."""
    HEALTHY = 2

    @property
    def label(self) -> str:
        """Return the status as events and answers spell it: `healthy`."""
        return self.name.lower()


class HealthKind(StrEnum):
    """The three questions that a service manager asks."""

    LIVENESS = "liveness"
    """Should this process be replaced? Never a question about somebody else."""
    READINESS = "readiness"
    """Should calls be sent here?"""
    STARTUP = "startup"
    """Has it finished starting? Once answered with yes, it is not asked again."""


@final
@frozen(kw_only=True)
class CheckResult:
    """What one run of a check found.

    Args:
        status: How well it is.
        reason: One sentence for operators; cut at 200 characters.
        data: A few measured values; at most 16 are kept.
    """

    status: HealthStatus = field(validator=instance_of(HealthStatus))
    reason: str = field(default="", validator=instance_of(str))
    data: Mapping[str, float | str] = field(default=MappingProxyType({}))


HealthCheck: TypeAlias = Callable[[], Awaitable[CheckResult]]
"""Finds out how something is. May raise; may be cancelled when it takes too long."""

HealAction: TypeAlias = Callable[[], Awaitable[object]]
"""Tries to make something well again. May raise; is cancelled when it takes too long."""

_are_kinds = deep_iterable(in_(frozenset(HealthKind)), instance_of(frozenset))
_are_tags = deep_iterable(instance_of(str), instance_of(frozenset))
_are_names = deep_iterable(instance_of(str), instance_of(tuple))
_count = [instance_of(int), and_(ge(1), le(1_000))]


@final
@frozen(kw_only=True)
class HealthCheckConfig:
    """How one check is run, and what its results count for.

    Args:
        kinds: The questions it takes part in (readiness). What depends on somebody else
            does not belong in liveness: a restart mends nothing there.
        tags: Words to select checks by.
        critical: Whether its failure makes the whole unhealthy; otherwise degraded (True).
        timeout_s: How long one run may take (above 0, up to 300; 5).
        ttl_s: How long a result is good before the check runs again (0.05 to 86,400; 10,
            the usual probe period).
        jitter: The share by which `ttl_s` varies at random, so that checks of many
            servers do not run in step (0 to 0.5; 0.1).
        fail_after: How many results in a row must be worse before the status falls
            (1 to 1,000; 3, Kubernetes' default).
        pass_after: How many in a row must be better before it rises (1 to 1,000; 1).
        failure_status: What a check that raises or takes too long counts as (UNHEALTHY).
        depends_on: Names of checks without which this one can not be well.
    """

    kinds: frozenset[HealthKind] = field(
        default=frozenset({HealthKind.READINESS}), validator=_are_kinds
    )
    tags: frozenset[str] = field(default=frozenset(), validator=_are_tags)
    critical: bool = field(default=True, validator=instance_of(bool))
    timeout_s: float = field(default=5.0, validator=and_(gt(0.0), le(300.0)))
    ttl_s: float = field(default=10.0, validator=and_(ge(0.05), le(86_400.0)))
    jitter: float = field(default=0.1, validator=and_(ge(0.0), le(0.5)))
    fail_after: int = field(default=3, validator=_count)
    pass_after: int = field(default=1, validator=_count)
    failure_status: HealthStatus = field(
        default=HealthStatus.UNHEALTHY,
        validator=in_((HealthStatus.UNHEALTHY, HealthStatus.DEGRADED)),
    )
    depends_on: tuple[str, ...] = field(default=(), validator=_are_names)


@final
@frozen(kw_only=True)
class HealConfig:
    """When something is healed, how often, and when that is given up.

    Args:
        heal_at: The settled status at which, and below which, it is healed (UNHEALTHY).
        timeout_s: How long one action may take (above 0, up to 3,600; 30).
        initial_wait_s: The wait after a first failed action (0.05 to 3,600; 5).
        max_wait_s: The longest wait; the wait doubles up to it (`initial_wait_s` to
            86,400; 300).
        max_failures: After how many failed actions in a row it is given up (1 to 1,000; 3).
        max_heals: How many actions there may be in `window_s`, successful ones included,
            before it is given up (1 to 1,000; 5): what must be healed all the time is
            not healed.
        window_s: The window of `max_heals` (above 0, up to 604,800; 3,600).
    """

    heal_at: HealthStatus = field(
        default=HealthStatus.UNHEALTHY,
        validator=in_((HealthStatus.UNHEALTHY, HealthStatus.DEGRADED)),
    )
    timeout_s: float = field(default=30.0, validator=and_(gt(0.0), le(3_600.0)))
    initial_wait_s: float = field(default=5.0, validator=and_(ge(0.05), le(3_600.0)))
    max_wait_s: float = field(default=300.0, validator=le(86_400.0))
    max_failures: int = field(default=3, validator=_count)
    max_heals: int = field(default=5, validator=_count)
    window_s: float = field(default=3_600.0, validator=and_(gt(0.0), le(604_800.0)))

    def __attrs_post_init__(self) -> None:
        """Refuse a longest wait that is shorter than the first."""
        if not self.max_wait_s >= self.initial_wait_s:
            raise ValueError(
                f"max_wait_s ({self.max_wait_s:g}) must not be below "
                f"initial_wait_s ({self.initial_wait_s:g})"
            )


class HealOutcome(StrEnum):
    """How one heal action ended."""

    HEALED = "healed"
    """The check says that it is well again."""
    NOT_VERIFIED = "not_verified"
    """The action returned, and the check still says it is not well."""
    FAILED = "failed"
    """The action raised."""
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    """The breaker is open; the action was not run."""


@final
@frozen(kw_only=True)
class HealState:
    """Where the healing of one check stands.

    Args:
        attempts: Actions run since it was last well.
        last: How the last one ended, None before the first.
        gave_up: Whether nothing more is tried until it is well, or healing is enabled anew.
    """

    attempts: int = 0
    last: HealOutcome | None = None
    gave_up: bool = False


OnEscalate: TypeAlias = Callable[[str, HealState], object]
"""Told the name of a check that healing gave up on. Must not block."""


@final
@frozen(kw_only=True)
class CheckReport:
    """One check in a report.

    Args:
        name: Its name.
        status: How it is, what it depends on included.
        own_status: How it is by its own settled results.
        reason: What the last run said, or what it waits for.
        data: What the last run measured.
        causes: The names of the failing checks at the root of it, itself included.
        kinds: The questions it takes part in.
        tags: Its tags.
        critical: Whether its failure makes the whole unhealthy.
        depends_on: What it depends on.
        checked_at: When it last ran, seconds since the Unix epoch; 0 when it never did.
        duration_s: How long that took.
        heal: Where its healing stands, None when it is not healed.
    """

    name: str
    status: HealthStatus
    own_status: HealthStatus
    reason: str = ""
    data: Mapping[str, float | str] = field(default=MappingProxyType({}))
    causes: tuple[str, ...] = ()
    kinds: frozenset[HealthKind] = frozenset()
    tags: frozenset[str] = frozenset()
    critical: bool = True
    depends_on: tuple[str, ...] = ()
    checked_at: float = 0.0
    duration_s: float = 0.0
    heal: HealState | None = None


@final
@frozen(kw_only=True)
class HealthReport:
    """How the whole is, and every check that was asked about.

    Args:
        status: The status of the whole.
        kind: The question, None for all checks.
        at: When the report was made, seconds since the Unix epoch.
        draining: Whether the server is on its way out.
        checks: The checks, by name.
    """

    status: HealthStatus
    kind: HealthKind | None
    at: float
    draining: bool = False
    checks: tuple[CheckReport, ...] = ()


class HealthRegistry(Protocol):
    """Knows every check, runs it when its result is too old, and makes one status of them.

    However many ask at once, a check runs once. One that raises or takes too long counts
    as failed and is reported; it never breaks the asking.
    """

    def register_health_check(
        self, name: str, check: HealthCheck, config: HealthCheckConfig | None = None, /
    ) -> None:
        """Add a check, or put it in the place of the one of that name.

        Raises:
            ValueError: The name is empty, there are too many checks, the dependencies
                form a circle, or a liveness check would depend on one that is not.
        """
        ...

    def remove_health_check(self, name: str, /) -> bool:
        """Take a check away; return whether there was one."""
        ...

    async def get_health_status(
        self, kind: HealthKind | None = HealthKind.READINESS, *, tags: frozenset[str] = frozenset()
    ) -> HealthStatus:
        """Return the status of the checks of a kind, of those with one of `tags` if given."""
        ...

    async def get_detailed_health(
        self, kind: HealthKind | None = None, *, tags: frozenset[str] = frozenset()
    ) -> HealthReport:
        """Return the status with every check that it is made of."""
        ...

    def enable_self_healing(
        self,
        name: str,
        action: HealAction,
        config: HealConfig | None = None,
        /,
        *,
        breaker: CircuitBreaker | None = None,
        on_escalate: OnEscalate | None = None,
    ) -> None:
        """Heal the check `name` with `action` when it is not well.

        Args:
            name: A registered check.
            action: What may help.
            config: When, how often, and when to give up.
            breaker: Guards the action; a healing that the check does not confirm counts
                as a failure.
            on_escalate: Told when healing gives up.

        Raises:
            ValueError: There is no such check.
        """
        ...

    def disable_self_healing(self, name: str, /) -> bool:
        """Heal the check no more; return whether it was healed."""
        ...


class HealthWatch(Protocol):
    """A registry that can be waited for."""

    @property
    def version(self) -> int:
        """How many changes of a settled status there have been."""
        ...

    async def wait_changed(self, since: int, /) -> int:
        """Wait until `version` is not `since`, and return it."""
        ...


class HealthSubscription(Protocol):
    """One reader's place at a publisher."""

    async def receive(self) -> HealthReport | None:
        """Return the next report; None when the publisher dropped this reader or ended."""
        ...

    def close(self) -> None:
        """Read no more; a second time does nothing."""
        ...


class HealthPublisher(Protocol):
    """Hands a report to every subscriber when something changes, and from time to time."""

    def subscribe(self) -> HealthSubscription:
        """Return a new reader's place.

        Raises:
            ValueError: There are too many subscribers.
        """
        ...

    @property
    def dropped(self) -> int:
        """How many subscribers were dropped because they read too slowly."""
        ...
