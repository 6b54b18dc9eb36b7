"""Two readers of events: one writes a line for each, the other counts them.

Both are plain functions of one event, made for the event loop: they neither wait nor
raise, as long as the services they write to keep their word.
"""

from collections.abc import Callable
from typing import TypeAlias, cast, final

from ..core.events import CallRecord, Event, OutcomeKind
from ..core.model import CallKind
from ..mechanisms.digest import short_digest
from ..protocols.observability import (
    BindableMetrics,
    BoundCounter,
    BoundHistogram,
    LoggingService,
    LogLevel,
    MetricKind,
    MetricsService,
    SettledContext,
)
from . import names
from .rare_events import DECLARED as RARE_DECLARED, count_rare, describe_rare

__all__ = ("CallLogger", "CallMeter")

_Usual: TypeAlias = tuple[CallKind, str, str]
_MAX_USUAL = 1_000
_MAX_SHOWN_NAME_CHARS = 128
_PROTOCOL_KINDS = frozenset({CallKind.TOOL, CallKind.RESOURCE, CallKind.PROMPT, CallKind.PROTOCOL})
_WORDS = {
    OutcomeKind.OK: "ok",
    OutcomeKind.ERROR: "failed",
    OutcomeKind.REFUSED: "denied",
    OutcomeKind.CANCELLED: "cancelled",
}
_LEVELS = {
    OutcomeKind.OK: LogLevel.INFO,
    OutcomeKind.ERROR: LogLevel.WARNING,
    OutcomeKind.REFUSED: LogLevel.WARNING,
    OutcomeKind.CANCELLED: LogLevel.INFO,
}
# A guard that broke is the server's fault, not the caller's.
_LOUD_CODES = frozenset({"gate_failed", "audit_unavailable"})
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_OK, _INFO = OutcomeKind.OK, LogLevel.INFO


@final
class CallLogger:
    """Writes one line for each call and one for each rare event.

    A call's line names method, target and outcome, and carries the whole record as
    context: principal, rules, timings, redacted arguments. What a client says of
    itself stands under `claimed`. The legacy session id opens a session to whoever
    has it, so only eight digits of its SHA-256 are written.

    Args:
        logs: Where lines go; calls under the name `localmcp.calls`, the rest under
            `localmcp.events`.
    """

    def __init__(self, logs: LoggingService) -> None:
        self._calls = logs.create_logger("localmcp.calls")
        # Records are frozen: their lines may be made where they are written.
        self._later: Callable[..., None] | None = getattr(self._calls, "log_later", None)
        self._events = logs.create_logger("localmcp.events")

    def __call__(self, event: Event, /) -> None:
        """Write one line."""
        if isinstance(event, CallRecord):
            if self._later is not None:
                usual = event.outcome is _OK and not event.would_refuse
                self._later(_INFO if usual else _level(event), _line, event)
            else:
                self._calls.log(_level(event), *_line(event))
        else:
            level, message, context = describe_rare(event)
            self._events.log(level, message, context)


def _level(record: CallRecord) -> LogLevel:
    if record.code in _LOUD_CODES:
        return LogLevel.ERROR
    if record.would_refuse:
        return LogLevel.WARNING
    return _LEVELS[record.outcome]


def _line(record: CallRecord) -> tuple[str, SettledContext]:
    return _headline(record), _context(record)


def _headline(record: CallRecord) -> str:
    target = record.method
    if record.name:
        target = f"{target} {record.name[:_MAX_SHOWN_NAME_CHARS]}"
    if record.would_refuse:
        return f"{target} {_WORDS[record.outcome]}, would be denied"
    return f"{target} {_WORDS[record.outcome]}"


def _context(record: CallRecord) -> SettledContext:
    principal = record.principal
    context = SettledContext(
        call_id=record.call_id,
        kind=record.kind.value,
        method=record.method,
        outcome=record.outcome.value,
        duration_s=record.duration_s,
        attempts=record.attempts,
    )
    if record.name:
        context["name"] = record.name
    if not principal.is_anonymous:
        context["principal"] = {
            "issuer": principal.issuer,
            "client": principal.client,
            "subject": principal.subject,
            "roles": tuple(principal.roles),
        }
    if record.decisions:
        context["rules"] = record.rules
    if record.timings:
        context["timings_s"] = record.timings
    if record.arguments:
        context["arguments"] = record.arguments
    _add_place(record, context)
    if record.outcome is not _OK or record.would_refuse:
        _add_trouble(record, context)
    return context


def _add_place(record: CallRecord, context: SettledContext) -> None:
    """Add where a call came from and what it touched, as far as there is something."""
    if record.meta:
        context["meta"] = dict(record.meta)
    if record.resource:
        context["resource"] = record.resource
    if record.project:
        context["project"] = record.project
    if record.ip_address:
        context["ip_address"] = record.ip_address
    if record.user_agent:
        context["claimed"] = {"user_agent": record.user_agent}
    if record.session_id:
        context["session"] = short_digest(record.session_id)
    if record.parent_id:
        context["parent_id"] = record.parent_id


def _add_trouble(record: CallRecord, context: SettledContext) -> None:
    """Add why a call did not simply succeed."""
    context["code"] = record.code
    context["enforced"] = record.enforced
    if record.reason:
        context["reason"] = record.reason
    if record.would_refuse:
        context["would_refuse"] = record.would_refuse
    if record.decisions:
        context["decisions"] = {
            stage: decision.code or decision.effect.value for stage, decision in record.decisions
        }


@final
class CallMeter:
    """Counts calls and rare events under the names of `names`.

    Labels hold nothing that a caller can invent: a method that the protocol does not
    know is `_other`, a tool that the server does not declare is `_unknown`, and
    resource URIs are not labels at all.

    Args:
        metrics: Where it counts; the metrics are declared here.
    """

    def __init__(self, metrics: MetricsService) -> None:
        self._metrics = metrics
        self._binds = hasattr(metrics, "bind_counter")
        self._usual: dict[_Usual, tuple[BoundCounter, BoundHistogram | None]] = {}
        for name, kind, description, unit in _DECLARED:
            buckets = names.DURATION_BUCKETS_S if kind is MetricKind.HISTOGRAM else None
            metrics.create_custom_metric(
                name, kind, description=description, unit=unit, buckets=buckets
            )

    def __call__(self, event: Event, /) -> None:
        """Count one event."""
        if not isinstance(event, CallRecord):
            count_rare(self._metrics, event)
            return
        if self._binds and event.outcome is _OK and not event.would_refuse:
            # Most calls end here: making the labels anew costs several times as much.
            bound = self._usual.get((event.kind, event.method, event.name))
            counter, histogram = self._bind(event) if bound is None else bound
            counter.inc()
            if histogram is not None:
                histogram.observe(event.duration_s)
        else:
            self._count_call(event)

    def _bind(self, record: CallRecord) -> tuple[BoundCounter, BoundHistogram | None]:
        """Return the series of calls like this one, and hold on to them while they are few."""
        metrics = cast("BindableMetrics", self._metrics)
        labels = _duration_labels(record)
        histogram = None
        if labels is not None:
            histogram = metrics.bind_histogram(names.OPERATION_DURATION, labels)
        counter = metrics.bind_counter(names.CALLS, _call_labels(record))
        # What is past the registry's bound is counted as such at each look-up: not held.
        if len(self._usual) < _MAX_USUAL and not (_is_shared(counter) or _is_shared(histogram)):
            self._usual[record.kind, record.method, record.name] = (counter, histogram)
        return counter, histogram

    def _count_call(self, record: CallRecord) -> None:
        metrics = self._metrics
        labels = _duration_labels(record)
        if labels is not None:
            metrics.record_histogram(names.OPERATION_DURATION, record.duration_s, labels)
        metrics.increment_counter(names.CALLS, 1.0, _call_labels(record))
        if record.outcome is OutcomeKind.REFUSED:
            metrics.increment_counter(names.REFUSALS, 1.0, {names.CODE: record.code})
        for code in record.would_refuse:
            metrics.increment_counter(names.WOULD_REFUSE, 1.0, {names.CODE: code})


def _call_labels(record: CallRecord) -> dict[str, str]:
    return {
        names.KIND: record.kind.value,
        names.OUTCOME: record.outcome.value,
        names.CODE: record.code,
    }


def _duration_labels(record: CallRecord) -> dict[str, str] | None:
    """Return the labels of a request's duration, None for what is no request."""
    if record.kind not in _PROTOCOL_KINDS:
        return None
    method = record.method
    labels = {names.METHOD: method if method in names.KNOWN_METHODS else names.OTHER_METHOD}
    if record.kind is CallKind.TOOL:
        labels[names.TOOL_NAME] = record.name or names.UNKNOWN
    if record.outcome is not _OK:
        labels[names.ERROR_TYPE] = _error_type(record)
    return labels


def _is_shared(series: BoundCounter | BoundHistogram | None) -> bool:
    """Return whether a series takes what found no room, as far as it tells."""
    labels: tuple[tuple[str, str], ...] = getattr(series, "labels", ())
    return any(value == names.OVERFLOW for _, value in labels)


def _error_type(record: CallRecord) -> str:
    if record.code:
        return record.code
    return names.TOOL_ERROR if record.outcome is OutcomeKind.ERROR else record.outcome.value


_DECLARED = (
    (names.OPERATION_DURATION, MetricKind.HISTOGRAM, "How long requests took.", "s"),
    (names.CALLS, MetricKind.COUNTER, "Calls by kind, outcome and code.", ""),
    (names.REFUSALS, MetricKind.COUNTER, "Calls that a guard refused, by code.", ""),
    (names.WOULD_REFUSE, MetricKind.COUNTER, "Refusals that observing let pass, by code.", ""),
    *RARE_DECLARED,
)
