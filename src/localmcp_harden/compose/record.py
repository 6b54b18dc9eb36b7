"""Opens and closes the record of every call: the outermost stage.

Whatever happens to a call, it is closed exactly once: reservations are settled,
secrets are taken out, one `CallRecord` goes to the sink and one outcome to the
audit log.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, final

from ..core.events import CallRecord, EventSink, GuardFailed, OutcomeKind
from ..core.model import Call, CallKind, Outcome, filled
from ..core.ports import Clock, Redactor
from ..mechanisms.digest import short_digest
from ..protocols.chain import CallState
from ..protocols.security import AuditEntry, AuditLog, AuditTicket

__all__ = ("Recorder", "audit_facts")

_UNKNOWN = "_unknown"
_NAME_LIMIT = 200
_URI_LIMIT = 4096
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL, _PROTOCOL, _OK = CallKind.TOOL, CallKind.PROTOCOL, OutcomeKind.OK
_PLAIN_METHODS = frozenset(
    {
        "tools/call",
        "tools/list",
        "resources/read",
        "resources/list",
        "prompts/get",
        "prompts/list",
        "server/discover",
        "initialize",
        "ping",
        "http/POST",
        "http/GET",
        "http/DELETE",
    }
)


@final
class Recorder:
    """Makes the record.

    Args:
        sink: Takes records and rare events.
        clock: Tells wall time.
        redactor: Takes secrets out, once, here.
        audit: Takes outcomes, or None.
        enforced: Whether the chain carries refusals out.
    """

    def __init__(
        self,
        *,
        sink: EventSink,
        clock: Clock,
        redactor: Redactor,
        audit: AuditLog | None = None,
        enforced: bool = True,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._redactor = redactor
        self._audit = audit
        self._enforced = enforced

    def enforcing(self) -> "Recorder":
        """Return one that says of every refusal that it was carried out."""
        return Recorder(
            sink=self._sink, clock=self._clock, redactor=self._redactor, audit=self._audit
        )

    def open(self) -> AuditTicket | None:
        """Take the place in the audit log that the outcome will need.

        Raises:
            AuditUnavailableError: There is none, so the call must not begin.
        """
        return None if self._audit is None else self._audit.reserve()

    def close(
        self,
        state: CallState,
        outcome: Outcome | None,
        duration_s: float,
        ticket: AuditTicket | None,
    ) -> None:
        """Settle and record a call that is over; without an outcome it was cancelled."""
        if state.reservations:
            self._settle(state, outcome)
        record = self._record(state, outcome, duration_s)
        if ticket is not None:
            # The kind first: of a call that acts nothing more is asked.
            if record.kind is not _PROTOCOL or worth_auditing(record):
                # Where the log can, it makes the entry in its own thread.
                later = getattr(ticket, "record_later", None)
                if later is None:
                    ticket.record(_entry(record))
                else:
                    later(partial(_entry, record))
            else:
                ticket.discard()
        self._sink(record)

    def guard_failed(self, guard: str, error: Exception) -> None:
        """Report that a guard broke; of the error only its type, for it may quote the call."""
        self._sink(GuardFailed(at=self._clock.wall(), guard=guard, error_type=type(error).__name__))

    def intent(self, call: Call) -> AuditEntry:
        """Return the entry that is durable before the call acts."""
        user = call.security.user
        return AuditEntry(
            kind="intent",
            call_id=call.id,
            data={
                "method": self._method(call.method),
                "name": self._name(call),
                "principal": list(user.key),
                "resource": self._resource(call.security.resource),
                "arguments": self._redactor.redact(call.arguments),
            },
        )

    def _settle(self, state: CallState, outcome: Outcome | None) -> None:
        keep = outcome is not None and outcome.is_success
        for reservation in state.reservations:
            try:
                if keep:
                    reservation.commit()
                else:
                    reservation.release()
            except Exception as error:  # noqa: BLE001 - the others must be settled all the same
                self.guard_failed("reservation", error)
        state.reservations.clear()

    def _record(self, state: CallState, outcome: Outcome | None, duration_s: float) -> CallRecord:
        call = state.call
        security = call.security
        # Written out for the common call: a helper's frame costs more than what it does.
        method, action, kind = call.method, security.action, call.kind
        plain = method in _PLAIN_METHODS
        outcome_kind, code, reason = _OK, "", ""
        if (
            outcome is None
            or outcome.is_error
            or outcome.refusal is not None
            or outcome.failure is not None
        ):
            outcome_kind, code, reason = _ending(outcome)
        declared = kind is _TOOL and call.annotations.known
        fields = {
            "call_id": call.id,
            "kind": kind,
            "method": method if plain else self._method(method),
            "started_at": security.timestamp,
            "duration_s": duration_s,
            "outcome": outcome_kind,
            "parent_id": call.parent_id,
            "name": call.name if declared else self._name(call),
            "principal": security.user,
            "action": method if plain and action == method else self._method(action),
            "resource": self._resource(security.resource) if security.resource else "",
            "project": security.project,
            "session_id": security.session_id,
            "ip_address": security.ip_address,
            "user_agent": self._text(security.user_agent) if security.user_agent else None,
            "arguments": self._redactor.redact(call.arguments) if call.arguments else _EMPTY,
            "code": code,
            "reason": reason,
            "enforced": self._enforced,
            "would_refuse": tuple(state.observed) if state.observed else (),
            "attempts": state.attempts,
            "decisions": tuple(state.decisions),
            "timings": state.timings,
            "meta": call.meta,
        }
        return filled(CallRecord, fields)

    def _name(self, call: Call) -> str:
        if call.kind is _TOOL and not call.annotations.known:
            # A name that the server does not declare is the caller's invention: a label
            # made of it would grow without bound.
            return _UNKNOWN
        # A declared tool's name is the server's; every other name is the caller's own text.
        return call.name if call.kind is _TOOL else self._text(call.name[:_URI_LIMIT])

    def _resource(self, uri: str) -> str:
        # In its canonical form the URI of a file is a path, and holds no credentials.
        return uri if uri.startswith("file:///") and "?" not in uri else self._text(uri)

    def _method(self, method: str) -> str:
        """Return a method as it is recorded: one of the protocol's is what it seems."""
        if method in _PLAIN_METHODS:
            return method
        return self._text(method[:_NAME_LIMIT])

    def _text(self, text: str) -> str:
        return self._redactor.redact_text(text) if text else ""


_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _ending(outcome: Outcome | None) -> tuple[OutcomeKind, str, str]:
    if outcome is None:
        return OutcomeKind.CANCELLED, "", ""
    if outcome.refusal is not None:
        return OutcomeKind.REFUSED, outcome.refusal.code, outcome.refusal.reason
    if outcome.failure is not None:
        # Only the type: a message may quote what the call carried.
        return OutcomeKind.ERROR, type(outcome.failure).__name__, ""
    if outcome.is_error:
        return OutcomeKind.ERROR, "tool_error", ""
    return _OK, "", ""


def _entry(record: CallRecord) -> AuditEntry:
    return AuditEntry(kind="outcome", call_id=record.call_id, data=audit_facts(record))


def worth_auditing(record: CallRecord) -> bool:
    """Return whether a record says more than that a conversation is kept going."""
    return record.kind is not _PROTOCOL or record.outcome is not _OK


def audit_facts(record: CallRecord) -> Mapping[str, Any]:
    """Return what of a record is kept for good."""
    return {
        "method": record.method,
        "name": record.name,
        "principal": list(record.principal.key),
        "roles": sorted(record.principal.roles),
        "resource": record.resource,
        "arguments": record.arguments,
        "outcome": record.outcome.value,
        "code": record.code,
        "rules": list(record.rules),
        "would_refuse": list(record.would_refuse),
        "attempts": record.attempts,
        "started_at": record.started_at,
        "duration_s": record.duration_s,
        "ip_address": record.ip_address,
        "session": short_digest(record.session_id) if record.session_id else None,
        "trace_id": record.meta.get("trace_id", ""),
    }
