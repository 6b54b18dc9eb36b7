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
    "ConfigurationReloaded",
    "Event",
    "EventSink",
    "GuardFailed",
    "OutcomeKind",
    "RetryScheduled",
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

    `cause` is `failure_rate`, `trial_failed`, `trials_succeeded`, `open_time_over`,
    `trial_hung`, `reset` or `configured`.
    """

    at: float
    breaker: str
    previous: str
    current: str
    cause: str


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


Event: TypeAlias = (
    CallRecord
    | BreakerStateChanged
    | RetryScheduled
    | GuardFailed
    | StoreFailed
    | ConfigurationReloaded
)
"""Everything a sink may be handed."""

EventSink: TypeAlias = Callable[[Event], None]
"""A reader of events: called in the event loop, so it must neither block nor raise."""


def discard(event: Event, /) -> None:
    """Do nothing with an event; the sink of a block that nobody listens to."""
