"""What is written and counted of each rare event: one line, and one or two series.

A new event gets a function of each kind and a place in the two tables; one that has
none is written under its name and not counted.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from ..core.events import (
    BreakerStateChanged,
    ChaosInjected,
    ConfigurationReloaded,
    DegradationChanged,
    EndpointEjectionChanged,
    Escalated,
    FallbackUsed,
    GuardFailed,
    HealAttempted,
    HealthChanged,
    HedgeStarted,
    LoopStalled,
    RetryEnded,
    RetryScheduled,
    ServiceRestarted,
    StoreFailed,
)
from ..protocols.observability import LogLevel, MetricKind, MetricsService
from . import names

__all__ = ("DECLARED", "count_rare", "describe_rare")

_Line: TypeAlias = tuple[LogLevel, str, dict[str, object]]
_GOOD_HEALS = frozenset({"healed"})
_GOOD_ENDS = frozenset({"recovered", "cancelled"})

DECLARED: tuple[tuple[str, MetricKind, str, str], ...] = (
    (names.RETRIES, MetricKind.COUNTER, "Attempts that were repeated, by error.", ""),
    (names.RETRY_ENDS, MetricKind.COUNTER, "Ends of repetitions, by outcome.", ""),
    (
        names.BREAKER_STATE,
        MetricKind.GAUGE,
        "Where breakers stand: 0 closed, 1 half open, 2 open.",
        "",
    ),
    (names.BREAKER_TRANSITIONS, MetricKind.COUNTER, "Changes of breakers' states.", ""),
    (names.EJECTIONS, MetricKind.COUNTER, "Endpoints left out of their pool, or let in.", ""),
    (names.HEDGES, MetricKind.COUNTER, "Operations begun once more beside a slow one.", ""),
    (names.FALLBACKS, MetricKind.COUNTER, "Answers given in the place of a failure.", ""),
    (names.DEGRADATIONS, MetricKind.COUNTER, "Changes of the level of service.", ""),
    (names.CHAOS, MetricKind.COUNTER, "Disturbances made on purpose, by kind.", ""),
    (names.GUARD_FAILURES, MetricKind.COUNTER, "Guards, sinks and predicates that raised.", ""),
    (names.STORE_FAILURES, MetricKind.COUNTER, "Stores that could not be written.", ""),
    (names.CONFIGURATION_RELOADS, MetricKind.COUNTER, "New configurations in force.", ""),
    (
        names.HEALTH_STATUS,
        MetricKind.GAUGE,
        "How checks stand: 0 unhealthy, 1 degraded, 2 healthy.",
        "",
    ),
    (names.HEAL_ATTEMPTS, MetricKind.COUNTER, "Heal actions tried, by outcome.", ""),
    (names.SERVICE_RESTARTS, MetricKind.COUNTER, "Restarts of supervised services.", ""),
    (names.ESCALATIONS, MetricKind.COUNTER, "What healing gave up on, by cause.", ""),
    (names.LOOP_STALLS, MetricKind.COUNTER, "How often the event loop stood still.", ""),
    (names.LOOP_STALLED, MetricKind.COUNTER, "How long the event loop stood still.", "s"),
)
"""The metrics that rare events count: name, kind, description, unit."""


def describe_rare(event: object) -> _Line:
    """Return the line of a rare event: what happened in words, the parts as context."""
    describe = _DESCRIBED.get(type(event))
    if describe is None:
        kind = type(event).__name__
        return LogLevel.INFO, f"event {kind}", {"event": kind}
    return describe(event)


def count_rare(metrics: MetricsService, event: object) -> None:
    """Count a rare event."""
    count = _COUNTED.get(type(event))
    if count is not None:
        count(metrics, event)


def _breaker_line(event: BreakerStateChanged) -> _Line:
    return (
        LogLevel.WARNING if event.current == "open" else LogLevel.INFO,
        f"breaker {event.breaker}: {event.previous} to {event.current}",
        {"event": "breaker_state_changed", "breaker": event.breaker,
         "previous": event.previous, "current": event.current, "cause": event.cause},
    )  # fmt: skip


def _retry_line(event: RetryScheduled) -> _Line:
    return (
        LogLevel.INFO,
        f"{event.operation}: attempt {event.attempt} failed, the next in {event.wait_s:.3g} s",
        {"event": "retry_scheduled", "operation": event.operation, "attempt": event.attempt,
         "wait_s": event.wait_s, "error_type": event.error_type},
    )  # fmt: skip


def _retry_end_line(event: RetryEnded) -> _Line:
    return (
        LogLevel.INFO if event.outcome in _GOOD_ENDS else LogLevel.WARNING,
        f"{event.operation}: {event.outcome} after {event.attempts} attempts",
        {"event": "retry_ended", "operation": event.operation, "outcome": event.outcome,
         "attempts": event.attempts, "waited_s": event.waited_s, "error_type": event.error_type},
    )  # fmt: skip


def _ejection_line(event: EndpointEjectionChanged) -> _Line:
    what = f"left out for {event.ejection_s:.3g} s" if event.ejected else "let in again"
    return (
        LogLevel.WARNING if event.ejected else LogLevel.INFO,
        f"endpoint {event.endpoint} of {event.pool} is {what}",
        {"event": "endpoint_ejection_changed", "pool": event.pool, "endpoint": event.endpoint,
         "ejected": event.ejected, "cause": event.cause, "ejection_s": event.ejection_s},
    )  # fmt: skip


def _hedge_line(event: HedgeStarted) -> _Line:
    return (
        LogLevel.INFO,
        f"{event.operation} is begun once more after {event.delay_s:.3g} s",
        {"event": "hedge_started", "operation": event.operation, "hedge": event.hedge,
         "delay_s": event.delay_s},
    )  # fmt: skip


def _fallback_line(event: FallbackUsed) -> _Line:
    return (
        LogLevel.WARNING,
        f"{event.operation} failed, and a {event.source} was answered",
        {"event": "fallback_used", "operation": event.operation, "source": event.source,
         "error_type": event.error_type, "age_s": event.age_s},
    )  # fmt: skip


def _degradation_line(event: DegradationChanged) -> _Line:
    return (
        LogLevel.WARNING,
        f"service {event.service}: {event.previous} to {event.current}",
        {"event": "degradation_changed", "service": event.service, "previous": event.previous,
         "current": event.current, "cause": event.cause},
    )  # fmt: skip


def _chaos_line(event: ChaosInjected) -> _Line:
    return (
        LogLevel.WARNING,
        f"{event.operation}: {event.kind} on purpose",
        {"event": "chaos_injected", "operation": event.operation, "kind": event.kind,
         "delay_s": event.delay_s},
    )  # fmt: skip


def _guard_line(event: GuardFailed) -> _Line:
    return (
        LogLevel.ERROR,
        f"guard {event.guard} broke: {event.error_type}",
        {"event": "guard_failed", "guard": event.guard, "error_type": event.error_type},
    )


def _store_line(event: StoreFailed) -> _Line:
    return (
        LogLevel.ERROR,
        f"store {event.store} failed: {event.error_type}",
        {"event": "store_failed", "store": event.store, "error_type": event.error_type,
         "detail": event.detail},
    )  # fmt: skip


def _reload_line(event: ConfigurationReloaded) -> _Line:
    return (
        LogLevel.INFO,
        f"configuration {event.version} is in force",
        {"event": "configuration_reloaded", "version": event.version, "source": event.source},
    )


def _health_line(event: HealthChanged) -> _Line:
    said = f": {event.reason}" if event.reason else ""
    return (
        LogLevel.INFO if event.current == "healthy" else LogLevel.WARNING,
        f"health check {event.check} is {event.current}{said}",
        {"event": "health_changed", "check": event.check, "previous": event.previous,
         "current": event.current, "reason": event.reason},
    )  # fmt: skip


def _heal_line(event: HealAttempted) -> _Line:
    return (
        LogLevel.INFO if event.outcome in _GOOD_HEALS else LogLevel.WARNING,
        f"healing {event.check}, attempt {event.attempt}: {event.outcome}",
        {"event": "heal_attempted", "check": event.check, "attempt": event.attempt,
         "outcome": event.outcome, "error_type": event.error_type},
    )  # fmt: skip


def _restart_line(event: ServiceRestarted) -> _Line:
    why = event.error_type or "it ended"
    return (
        LogLevel.WARNING,
        f"service {event.service} is restarted in {event.wait_s:.3g} s: {why}",
        {"event": "service_restarted", "supervisor": event.supervisor, "service": event.service,
         "services": event.services, "wait_s": event.wait_s, "error_type": event.error_type},
    )  # fmt: skip


def _escalation_line(event: Escalated) -> _Line:
    return (
        LogLevel.ERROR,
        f"{event.source} gave up on {event.subject}: {event.cause}",
        {"event": "escalated", "source": event.source, "subject": event.subject,
         "cause": event.cause, "attempts": event.attempts, "error_type": event.error_type},
    )  # fmt: skip


def _stall_line(event: LoopStalled) -> _Line:
    where = f" in {event.stack[-1]}" if event.stack else ""
    return (
        LogLevel.ERROR,
        f"the event loop stood still for {event.stalled_s:.3g} s{where}",
        {"event": "loop_stalled", "stalled_s": event.stalled_s, "stack": event.stack},
    )


def _count_breaker(metrics: MetricsService, event: BreakerStateChanged) -> None:
    breaker = {names.BREAKER: event.breaker}
    level = names.BREAKER_STATES.get(event.current, -1.0)
    metrics.record_gauge(names.BREAKER_STATE, level, breaker)
    labels = {**breaker, "from": event.previous, "to": event.current}
    metrics.increment_counter(names.BREAKER_TRANSITIONS, 1.0, labels)


def _count_retry(metrics: MetricsService, event: RetryScheduled) -> None:
    metrics.increment_counter(names.RETRIES, 1.0, {names.ERROR_TYPE: event.error_type})


def _count_retry_end(metrics: MetricsService, event: RetryEnded) -> None:
    metrics.increment_counter(names.RETRY_ENDS, 1.0, {names.OUTCOME: event.outcome})


def _count_ejection(metrics: MetricsService, event: EndpointEjectionChanged) -> None:
    metrics.increment_counter(names.EJECTIONS, 1.0, {names.CAUSE: event.cause})


def _count_hedge(metrics: MetricsService, _event: HedgeStarted) -> None:
    metrics.increment_counter(names.HEDGES)


def _count_fallback(metrics: MetricsService, event: FallbackUsed) -> None:
    metrics.increment_counter(names.FALLBACKS, 1.0, {names.SOURCE: event.source})


def _count_degradation(metrics: MetricsService, event: DegradationChanged) -> None:
    labels = {names.SERVICE: event.service, "to": event.current}
    metrics.increment_counter(names.DEGRADATIONS, 1.0, labels)


def _count_chaos(metrics: MetricsService, event: ChaosInjected) -> None:
    metrics.increment_counter(names.CHAOS, 1.0, {names.KIND: event.kind})


def _count_guard(metrics: MetricsService, event: GuardFailed) -> None:
    labels = {names.GUARD: event.guard, names.ERROR_TYPE: event.error_type}
    metrics.increment_counter(names.GUARD_FAILURES, 1.0, labels)


def _count_store(metrics: MetricsService, event: StoreFailed) -> None:
    labels = {names.STORE: event.store, names.ERROR_TYPE: event.error_type}
    metrics.increment_counter(names.STORE_FAILURES, 1.0, labels)


def _count_reload(metrics: MetricsService, _event: ConfigurationReloaded) -> None:
    metrics.increment_counter(names.CONFIGURATION_RELOADS)


def _count_health(metrics: MetricsService, event: HealthChanged) -> None:
    level = names.HEALTH_STATUSES.get(event.current, -1.0)
    metrics.record_gauge(names.HEALTH_STATUS, level, {names.CHECK: event.check})


def _count_heal(metrics: MetricsService, event: HealAttempted) -> None:
    labels = {names.CHECK: event.check, names.OUTCOME: event.outcome}
    metrics.increment_counter(names.HEAL_ATTEMPTS, 1.0, labels)


def _count_restart(metrics: MetricsService, event: ServiceRestarted) -> None:
    labels = {names.SERVICE: event.service, names.ERROR_TYPE: event.error_type}
    metrics.increment_counter(names.SERVICE_RESTARTS, 1.0, labels)


def _count_escalation(metrics: MetricsService, event: Escalated) -> None:
    labels = {names.SOURCE: event.source, names.CAUSE: event.cause}
    metrics.increment_counter(names.ESCALATIONS, 1.0, labels)


def _count_stall(metrics: MetricsService, event: LoopStalled) -> None:
    metrics.increment_counter(names.LOOP_STALLS)
    metrics.increment_counter(names.LOOP_STALLED, event.stalled_s)


_DESCRIBED: Mapping[type, Callable[[Any], _Line]] = MappingProxyType(
    {
        BreakerStateChanged: _breaker_line,
        EndpointEjectionChanged: _ejection_line,
        RetryScheduled: _retry_line,
        RetryEnded: _retry_end_line,
        HedgeStarted: _hedge_line,
        FallbackUsed: _fallback_line,
        DegradationChanged: _degradation_line,
        ChaosInjected: _chaos_line,
        GuardFailed: _guard_line,
        StoreFailed: _store_line,
        ConfigurationReloaded: _reload_line,
        HealthChanged: _health_line,
        HealAttempted: _heal_line,
        ServiceRestarted: _restart_line,
        Escalated: _escalation_line,
        LoopStalled: _stall_line,
    }
)

_COUNTED: Mapping[type, Callable[[MetricsService, Any], None]] = MappingProxyType(
    {
        BreakerStateChanged: _count_breaker,
        EndpointEjectionChanged: _count_ejection,
        RetryScheduled: _count_retry,
        RetryEnded: _count_retry_end,
        HedgeStarted: _count_hedge,
        FallbackUsed: _count_fallback,
        DegradationChanged: _count_degradation,
        ChaosInjected: _count_chaos,
        GuardFailed: _count_guard,
        StoreFailed: _count_store,
        ConfigurationReloaded: _count_reload,
        HealthChanged: _count_health,
        HealAttempted: _count_heal,
        ServiceRestarted: _count_restart,
        Escalated: _count_escalation,
        LoopStalled: _count_stall,
    }
)
