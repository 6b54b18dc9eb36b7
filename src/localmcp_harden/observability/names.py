"""Every name that metrics and spans carry, in one place.

The `mcp.*` and `gen_ai.*` names are those of the OpenTelemetry semantic conventions
for generative AI (docs/gen-ai/mcp.md), still in development there: when they move,
they move here. The `localmcp.*` names are ours.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = (
    "BREAKER",
    "BREAKER_STATE",
    "BREAKER_STATES",
    "BREAKER_TRANSITIONS",
    "CALLS",
    "CAUSE",
    "CHAOS",
    "CHECK",
    "CODE",
    "CONFIGURATION_RELOADS",
    "DEGRADATIONS",
    "DURATION_BUCKETS_S",
    "EJECTIONS",
    "ERROR_TYPE",
    "ESCALATIONS",
    "FALLBACKS",
    "GUARD",
    "GUARD_FAILURES",
    "HEALTH_STATUS",
    "HEALTH_STATUSES",
    "HEAL_ATTEMPTS",
    "HEDGES",
    "KIND",
    "KNOWN_METHODS",
    "LOOP_STALLED",
    "LOOP_STALLS",
    "METHOD",
    "METRICS_MISUSE",
    "METRICS_OVERFLOW",
    "OPERATION_DURATION",
    "OTHER_METHOD",
    "OUTCOME",
    "OVERFLOW",
    "REFUSALS",
    "RETRIES",
    "RETRY_ENDS",
    "SERVICE",
    "SERVICE_RESTARTS",
    "SOURCE",
    "STORE",
    "STORE_FAILURES",
    "TOOL_ERROR",
    "TOOL_NAME",
    "UNKNOWN",
    "WOULD_REFUSE",
)

# Semantic conventions.
OPERATION_DURATION: str = "mcp.server.operation.duration"
"""Histogram, seconds: how long a request took, as the caller saw it."""
DURATION_BUCKETS_S: tuple[float, ...] = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""The bounds that the conventions set for durations, in seconds."""
METHOD: str = "mcp.method.name"
TOOL_NAME: str = "gen_ai.tool.name"
ERROR_TYPE: str = "error.type"
TOOL_ERROR: str = "tool_error"
"""The error type of a result that reports an error itself (`isError`)."""

# Ours.
CALLS: str = "localmcp.calls"
REFUSALS: str = "localmcp.refusals"
WOULD_REFUSE: str = "localmcp.refusals.observed"
RETRIES: str = "localmcp.retries"
RETRY_ENDS: str = "localmcp.retries.ended"
BREAKER_STATE: str = "localmcp.breaker.state"
BREAKER_TRANSITIONS: str = "localmcp.breaker.transitions"
EJECTIONS: str = "localmcp.ejections"
HEDGES: str = "localmcp.hedges"
FALLBACKS: str = "localmcp.fallbacks"
DEGRADATIONS: str = "localmcp.degradations"
CHAOS: str = "localmcp.chaos"
GUARD_FAILURES: str = "localmcp.guard.failures"
STORE_FAILURES: str = "localmcp.store.failures"
CONFIGURATION_RELOADS: str = "localmcp.configuration.reloads"
HEALTH_STATUS: str = "localmcp.health.status"
HEAL_ATTEMPTS: str = "localmcp.heal.attempts"
SERVICE_RESTARTS: str = "localmcp.service.restarts"
ESCALATIONS: str = "localmcp.escalations"
LOOP_STALLS: str = "localmcp.loop.stalls"
LOOP_STALLED: str = "localmcp.loop.stalled"
METRICS_OVERFLOW: str = "localmcp.metrics.overflow"
METRICS_MISUSE: str = "localmcp.metrics.misuse"

KIND: str = "kind"
OUTCOME: str = "outcome"
CODE: str = "code"
BREAKER: str = "breaker"
GUARD: str = "guard"
STORE: str = "store"
CHECK: str = "check"
SERVICE: str = "service"
SOURCE: str = "source"
CAUSE: str = "cause"

OVERFLOW: str = "__overflow__"
"""The label value of the series that takes what finds no room of its own."""
UNKNOWN: str = "_unknown"
"""The name of a tool or prompt that the server does not declare."""
OTHER_METHOD: str = "_other"
"""The method of a request that the protocol does not know."""

BREAKER_STATES: Mapping[str, float] = MappingProxyType(
    {"closed": 0.0, "half_open": 1.0, "open": 2.0}
)
"""The level that stands for each state of a breaker; an unknown state is -1."""

HEALTH_STATUSES: Mapping[str, float] = MappingProxyType(
    {"unhealthy": 0.0, "degraded": 1.0, "healthy": 2.0}
)
"""The level that stands for each status of a health check; an unknown status is -1."""

KNOWN_METHODS: frozenset[str] = frozenset(
    {
        "initialize", "ping", "server/discover", "completion/complete", "logging/setLevel",
        "tools/list", "tools/call", "prompts/list", "prompts/get",
        "resources/list", "resources/read", "resources/templates/list",
        "resources/subscribe", "resources/unsubscribe", "subscriptions/listen",
        "roots/list", "sampling/createMessage", "elicitation/create",
        "tasks/get", "tasks/list", "tasks/cancel", "tasks/result", "tasks/update",
        "notifications/initialized", "notifications/cancelled", "notifications/progress",
        "notifications/message", "notifications/roots/list_changed",
        "notifications/tools/list_changed", "notifications/prompts/list_changed",
        "notifications/resources/list_changed", "notifications/resources/updated",
        "notifications/elicitation/complete", "notifications/tasks/status",
        "notifications/subscriptions/acknowledged",
    }
)  # fmt: skip
"""The methods that get a series of their own; what a caller invents does not."""
