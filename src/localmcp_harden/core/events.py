"""What is reported: one wide record for every call, and a few rare events.

Logs, metrics, the audit log and debuggers are readers of `CallRecord`. An event
of its own is only what no call can tell.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, final

from attrs import field, frozen

from .model import CallKind, Decision, Principal

__all__ = (
    "BreakerStateChanged",
    "CallRecord",
    "ChaosInjected",
    "ConfigurationReloaded",
    "DegradationChanged",
    "EndpointEjectionChanged",
    "Escalated",
    "Event",
    "EventSink",
    "FallbackUsed",
    "GuardFailed",
    "HealAttempted",
    "HealthChanged",
    "HedgeStarted",
    "LoopStalled",
    "OutcomeKind",
    "RetryEnded",
    "RetryScheduled",
    "ServiceRestarted",
    "StageDecision",
    "StoreFailed",
    "discard",
)


class OutcomeKind(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    """The target reported an error, as a result or by raising."""
    REFUSED = "refused"
    CANCELLED = "cancelled"


class StageDecision(NamedTuple):
    """A decision with the stage that made it. A tuple, since every call makes some."""

    stage: str
    decision: Decision


# A dict and not slots: attrs fills it twice as fast, and every call makes one of these.
@final
@frozen(kw_only=True, slots=False)
class CallRecord:
    """All that is to be known of one call, secrets taken out.

    Args:
        call_id: The id of the call.
        parent_id: The call that made this one.
        kind: What the call was aimed at.
        method: The protocol method.
        name: Tool, prompt or resource; `_unknown` when the server declares no such thing.
        principal: Who called.
        action: What policy judged.
        resource: The canonical URI touched.
        project: The project the server works for.
        session_id: The legacy session.
        ip_address: The peer.
        user_agent: What the client says of itself.
        arguments: The arguments, redacted.
        started_at: Seconds since the Unix epoch.
        duration_s: Seconds from arrival to outcome.
        outcome: How it ended.
        code: The refusal's code, the error's type, or `""`.
        reason: The refusal's reason.
        enforced: False when the chain only observed and the refusal was not carried out.
        would_refuse: The codes of refusals that observing let pass.
        attempts: How often the target was called.
        decisions: Every decision that said more than a bare yes.
        timings: Each stage's own seconds, without what it waited for further in, in order.
        meta: Trace ids, protocol version, transport.
    """

    call_id: str
    kind: CallKind
    method: str
    started_at: float
    duration_s: float
    outcome: OutcomeKind
    parent_id: str | None = None
    name: str = ""
    principal: Principal = field(factory=Principal)
    action: str = ""
    resource: str = ""
    project: str = ""
    session_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    arguments: Mapping[str, Any] = field(default=MappingProxyType({}))
    code: str = ""
    reason: str = ""
    enforced: bool = True
    would_refuse: tuple[str, ...] = ()
    attempts: int = 0
    decisions: tuple[StageDecision, ...] = ()
    timings: Mapping[str, float] = field(default=MappingProxyType({}))
    meta: Mapping[str, Any] = field(default=MappingProxyType({}))

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the ids of all rules that decided, in the order of the stages."""
        return tuple(rule for made in self.decisions for rule in made.decision.rules)


@final
@frozen(kw_only=True)
class BreakerStateChanged:
    """A circuit breaker went from one state to another.

    `cause` is `failure_rate`, `slow_call_rate`, `consecutive_failures`, `trial_failed`,
    `trial_slow`, `trial_hung`, `trials_succeeded`, `open_time_over`, `reset` or
    `configured`; of an operator's modes `forced_open`, `disabled`, `metrics_only`,
    `released` and `would_open`; `manual` by hand; of a shared circuit `shared`, `shared_lost` and
    `shared_again`. `duration_s` is how long the previous state lasted, `error_type` the
    type of the error that decided, `""` when it was none.
    """

    at: float
    breaker: str
    previous: str
    current: str
    cause: str
    era: int = 0
    duration_s: float = 0.0
    error_type: str = ""


@final
@frozen(kw_only=True)
class EndpointEjectionChanged:
    """An endpoint was left out of its pool for `ejection_s` seconds, or is let in again.

    `cause` is `consecutive_errors`, `success_rate`, `ejection_over` or `reset`.
    """

    at: float
    pool: str
    endpoint: str
    ejected: bool
    cause: str
    ejection_s: float = 0.0


@final
@frozen(kw_only=True)
class RetryScheduled:
    """An attempt failed and another follows after `wait_s` seconds."""

    at: float
    operation: str
    attempt: int
    wait_s: float
    error_type: str


@final
@frozen(kw_only=True)
class RetryEnded:
    """An operation that failed for a passing reason is repeated no more.

    `outcome` is `recovered`, `exhausted` (all attempts were made), `not_retryable` (a
    later attempt failed otherwise), `deadline`, `asked_wait` (the target asks for a
    longer wait than allowed), `budget`, `nested` (an enclosing operation is being
    repeated), `switched_off` (the host has switched stamina off) or `cancelled`.
    """

    at: float
    operation: str
    outcome: str
    attempts: int
    waited_s: float
    error_type: str = ""


@final
@frozen(kw_only=True)
class ChaosInjected:
    """A disturbance was made on purpose; `kind` is that of the rule."""

    at: float
    operation: str
    kind: str
    delay_s: float = 0.0


@final
@frozen(kw_only=True)
class HedgeStarted:
    """An operation took longer than `delay_s`, and the same was begun once more beside it."""

    at: float
    operation: str
    hedge: int
    delay_s: float


@final
@frozen(kw_only=True)
class FallbackUsed:
    """An operation failed and something else was answered.

    `source` is `stale`, `function` or `value`; `age_s` is the age of a stale answer.
    """

    at: float
    operation: str
    source: str
    error_type: str
    age_s: float = 0.0


@final
@frozen(kw_only=True)
class DegradationChanged:
    """A service went from one level of degradation to another.

    `cause` is `health`, `manual` or `configured`.
    """

    at: float
    service: str
    previous: str
    current: str
    cause: str


@final
@frozen(kw_only=True)
class GuardFailed:
    """A guard, a sink or a predicate raised instead of deciding."""

    at: float
    guard: str
    error_type: str


@final
@frozen(kw_only=True)
class StoreFailed:
    """A store could not be written; `detail` names the file's role, never its content."""

    at: float
    store: str
    error_type: str
    detail: str = ""


@final
@frozen(kw_only=True)
class ConfigurationReloaded:
    """A new configuration is in force."""

    at: float
    version: int
    source: str


@final
@frozen(kw_only=True)
class HealthChanged:
    """A health check's settled status changed; `previous` is `""` at its first result.

    `reason` is what the check says of itself, `""` when it says nothing.
    """

    at: float
    check: str
    previous: str
    current: str
    reason: str = ""


@final
@frozen(kw_only=True)
class HealAttempted:
    """A heal action was tried, and its check asked again.

    `outcome` is `healed`, `not_verified`, `failed`, `timed_out` or `refused`; `attempt`
    counts from 1 since the check was last well.
    """

    at: float
    check: str
    attempt: int
    outcome: str
    error_type: str = ""


@final
@frozen(kw_only=True)
class ServiceRestarted:
    """A supervised service ended and is started again after `wait_s` seconds.

    `services` are all that are started again with it; `error_type` is `""` when it
    ended without an error.
    """

    at: float
    supervisor: str
    service: str
    services: tuple[str, ...]
    wait_s: float
    error_type: str = ""


@final
@frozen(kw_only=True)
class Escalated:
    """What heals by itself gave up, so that a person or a supervisor above must act.

    `source` is the block, `subject` the check or the service; `cause` is `intensity`,
    `heals_failed` or `will_not_stop`.
    """

    at: float
    source: str
    subject: str
    cause: str
    attempts: int
    error_type: str = ""


@final
@frozen(kw_only=True)
class LoopStalled:
    """The event loop stood still for `stalled_s` seconds; told when it went on.

    `stack` is where it stood, innermost last: file, line and function, no values.
    """

    at: float
    stalled_s: float
    stack: tuple[str, ...] = ()


Event: TypeAlias = (
    CallRecord
    | BreakerStateChanged
    | EndpointEjectionChanged
    | RetryScheduled
    | RetryEnded
    | ChaosInjected
    | HedgeStarted
    | FallbackUsed
    | DegradationChanged
    | GuardFailed
    | StoreFailed
    | ConfigurationReloaded
    | HealthChanged
    | HealAttempted
    | ServiceRestarted
    | Escalated
    | LoopStalled
)
"""Everything a sink may be handed."""

EventSink: TypeAlias = Callable[[Event], None]
"""A reader of events: called in the event loop, so it must neither block nor raise."""


def discard(event: Event, /) -> None:
    """Do nothing with an event; the sink of a block that nobody listens to."""
