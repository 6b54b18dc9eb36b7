"""Makes the default blocks from a configuration, and carries their state over a reload.

This is the one place that knows which implementation stands behind a protocol.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, cast, final, runtime_checkable

from attrs import evolve, frozen

from ..core.errors import ConfigError
from ..core.events import EventSink
from ..core.model import Outcome
from ..core.ports import Clock, Random, Redactor
from ..mechanisms.paths import canonical_path
from ..mechanisms.redact import KeyRedactor
from ..observability.logs import JsonLoggingService
from ..observability.metrics import MetricsRegistry
from ..protocols.degradation import Degradation
from ..protocols.load import Bulkhead, BulkheadConfig
from ..protocols.observability import LoggingService, MetricsService
from ..protocols.resilience import CircuitBreaker, Deadline, Retry
from ..protocols.security import (
    ArgumentValidator,
    AuditLog,
    Authenticator,
    InputBounds,
    PolicyGate,
    RateLimiter,
)
from ..resilience.breakers import BreakerRegistry
from ..resilience.bulkheads import BulkheadSet
from ..resilience.deadline import ScopeDeadline
from ..resilience.degradation import DegradationLevels
from ..resilience.retry import StaminaRetry
from ..security.access.identity import DefaultAuthenticator
from ..security.access.limits import GcraRateLimiter
from ..security.access.roles import RoleMap
from ..security.audit.log import SqliteAuditLog
from ..security.content.bounds import DefaultInputBounds
from ..security.content.schema import JsonSchemaValidator
from ..security.policy.gate import IndexedPolicyGate
from .config import HardenConfig
from .stages import is_failure

__all__ = ("BlockOverrides", "Blocks", "BreakerFactory", "Breakers", "Ports", "build_blocks")

T = TypeVar("T")

BreakerFactory: TypeAlias = Callable[[str], CircuitBreaker]
"""Returns the circuit breaker of a target; the same one every time."""


class Breakers(Protocol):
    """Circuit breakers by target."""

    def get(self, name: str, /) -> CircuitBreaker:
        """Return the breaker of a target; the same one every time."""
        ...


@final
@frozen(kw_only=True)
class Blocks:
    """Every block of a hardened server."""

    authenticator: Authenticator
    policy: PolicyGate
    rate_limiter: RateLimiter
    bounds: InputBounds
    validator: ArgumentValidator
    deadline: Deadline
    retry: Retry
    breakers: Breakers
    bulkheads: BulkheadSet
    degradation: Degradation | None
    redactor: Redactor
    logs: LoggingService
    metrics: MetricsService
    audit: AuditLog


@final
@frozen(kw_only=True)
class BlockOverrides:
    """The blocks a host brings of its own; None stands for the default."""

    authenticator: Authenticator | None = None
    policy: PolicyGate | None = None
    rate_limiter: RateLimiter | None = None
    bounds: InputBounds | None = None
    validator: ArgumentValidator | None = None
    deadline: Deadline | None = None
    retry: Retry | None = None
    breaker: CircuitBreaker | BreakerFactory | None = None
    bulkhead: Bulkhead | None = None
    degradation: Degradation | None = None
    redactor: Redactor | None = None
    logs: LoggingService | None = None
    metrics: MetricsService | None = None
    audit: AuditLog | None = None


@final
@frozen(kw_only=True)
class Ports:
    """What every default block is given."""

    clock: Clock
    random: Random
    sink: EventSink


def build_blocks(
    config: HardenConfig,
    own: BlockOverrides,
    ports: Ports,
    previous: tuple[HardenConfig, Blocks] | None = None,
) -> Blocks:
    """Return the host's own blocks, and a default for each of the others.

    Args:
        config: The configuration.
        own: The blocks that the host brings.
        ports: What each default is given.
        previous: On a reload, what was in force before: a block whose settings did
            not change stays as it is, one that can be configured keeps its state,
            and only the others are made anew.

    Raises:
        ConfigError: A setting changed that can not change while the server runs.
    """
    if previous is not None and own.audit is None and previous[0].audit != config.audit:
        raise ConfigError("can not change while the server runs; restart it", "audit")

    # What is kept is changed only when everything new has been made: a reload that is
    # refused must leave no trace.
    later: list[Callable[[], None]] = []

    def block(
        name: str, section: str, make: Callable[[], T], *others: str, settings: object = None
    ) -> T:
        brought = getattr(own, name, None)
        if brought is not None:
            return cast("T", brought)
        if previous is None:
            return make()
        before, blocks = previous
        kept: T = getattr(blocks, name)
        changed = [s for s in (section, *others) if getattr(before, s) != getattr(config, s)]
        if not changed:
            return kept
        if changed == [section] and isinstance(kept, _Reconfigurable):
            later.append(partial(kept.configure, settings or getattr(config, section)))
            return kept
        return make()

    options: Any = {"clock": ports.clock, "random": ports.random, "sink": ports.sink}
    # Outcomes, not results, pass through the chain: only this place can say what fails.
    circuits = evolve(config.breaker, is_failure=is_failure)
    deadline: Deadline = block(
        "deadline", "deadline", lambda: ScopeDeadline(config.deadline, **options)
    )
    redactor: Redactor = block("redactor", "redaction", lambda: KeyRedactor(config.redaction))
    bulkheads = _bulkheads(config, own, ports, None if previous is None else previous[1], later)
    blocks = Blocks(
        authenticator=block(
            "authenticator",
            "authentication",
            lambda: DefaultAuthenticator(
                config.authentication, roles=RoleMap(config.roles), **options
            ),
            "roles",
        ),
        policy=block(
            "policy",
            "policy",
            lambda: IndexedPolicyGate(config.policy, resolve_path=_resolve_path, **options),
        ),
        rate_limiter=block(
            "rate_limiter", "rate_limit", lambda: GcraRateLimiter(config.rate_limit, **options)
        ),
        bounds=block("bounds", "bounds", lambda: DefaultInputBounds(config.bounds, **options)),
        validator=block(
            "validator", "schema", lambda: JsonSchemaValidator(config.schema, **options)
        ),
        deadline=deadline,
        # A wait that the deadline would cut is not begun.
        retry=block(
            "retry",
            "retry",
            lambda: StaminaRetry(config.retry, remaining_s=deadline.remaining_s, **options),
        ),
        breakers=_own_breakers(own.breaker)
        or block(
            "breakers",
            "breaker",
            lambda: BreakerRegistry(circuits, **options),
            settings=circuits,
        ),
        bulkheads=bulkheads,
        degradation=own.degradation
        if config.degradation is None
        else block(
            "degradation",
            "degradation",
            lambda: DegradationLevels(config.degradation, **options),
        ),
        redactor=redactor,
        logs=block(
            "logs",
            "logging",
            lambda: JsonLoggingService(config.logging, redactor=redactor, **options),
        ),
        metrics=block("metrics", "metrics", lambda: MetricsRegistry(config.metrics, **options)),
        audit=block("audit", "audit", lambda: SqliteAuditLog(config.audit, **options)),
    )
    for configure in later:
        configure()
    return blocks


@runtime_checkable
class _Reconfigurable(Protocol):
    """A block that can go on with other settings and keep its state."""

    def configure(self, config: Any, /) -> None: ...


def _bulkheads(
    config: HardenConfig,
    own: BlockOverrides,
    ports: Ports,
    previous: Blocks | None,
    later: list[Callable[[], None]],
) -> BulkheadSet:
    all_calls = None if config.bulkhead is None else _for_outcomes(config.bulkhead)
    tools = {
        name: _for_outcomes(tool.bulkhead)
        for name, tool in config.tools.items()
        if tool.bulkhead is not None
    }
    if previous is not None:
        later.append(partial(previous.bulkheads.configure, all_calls, tools))
        return previous.bulkheads
    return BulkheadSet(all_calls, tools, own=own.bulkhead, clock=ports.clock, sink=ports.sink)


def _for_outcomes(config: BulkheadConfig) -> BulkheadConfig:
    """Return settings under which an outcome tells of overload, as an exception would."""
    adaptive = config.adaptive
    if adaptive is None:
        return config

    def is_overload(outcome: Outcome) -> bool:
        return isinstance(outcome.failure, adaptive.overload_on)

    return evolve(config, adaptive=evolve(adaptive, is_overload=is_overload))


def _resolve_path(path: str) -> str:
    """Return the URI that a rule's path stands for, links followed as for a call's path."""
    return canonical_path(path, base="/")


@final
class _OwnBreakers:
    """A host's own breaker for all targets, or its own way of making one for each."""

    def __init__(self, get: BreakerFactory) -> None:
        self._get = get

    def get(self, name: str, /) -> CircuitBreaker:
        return self._get(name)


def _own_breakers(own: CircuitBreaker | BreakerFactory | None) -> Breakers | None:
    if own is None:
        return None
    either: Any = own
    return _OwnBreakers((lambda _: either) if hasattr(own, "execute") else either)
