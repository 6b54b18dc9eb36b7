"""Fits blocks into the chain: one small adapter for each stage.

An adapter translates between a block's protocol and the call's state. What a
block decides is the block's; what happens in `observe` mode is decided here.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from ..core.errors import DeadlineExceededError, RefusedError
from ..core.model import ALLOW, Call, CallKind, Decision, Outcome, SecurityContext
from ..protocols.chain import Around, CallNext, CallState, Check
from ..protocols.observability import LoggingService
from ..protocols.resilience import CircuitBreaker, Deadline, Retry
from ..protocols.security import (
    ArgumentValidator,
    AuditEntry,
    AuditLog,
    Authenticator,
    Credentials,
    InputBounds,
    LocalAuthenticator,
    PolicyGate,
    RateLimiter,
)
from .chain import decision_of, refuse_unless_observing

__all__ = (
    "audit_before_acting",
    "authenticate",
    "authenticate_locally",
    "bounds",
    "breaker",
    "catalog",
    "correlate",
    "deadline",
    "freeze",
    "has_circuit",
    "is_failure",
    "is_repeatable",
    "is_timed",
    "policy",
    "rate_limit",
    "retry",
    "schema",
)

# Whoever runs code through the chain without credentials is the host itself.
_IN_PROCESS = Credentials()
_ACTING = frozenset({CallKind.TOOL, CallKind.RESOURCE, CallKind.PROMPT})
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL, _RESOURCE, _PROTOCOL = CallKind.TOOL, CallKind.RESOURCE, CallKind.PROTOCOL


def correlate(logs: LoggingService) -> Check:
    """Put the call's id on every line that is logged while it runs."""
    get, put = logs.get_correlation_id, logs.set_correlation_id

    def check(state: CallState) -> None:
        # A check and not an around, which would cost every call two coroutines.
        state.undo += (("correlate", partial(put, get())),)
        put(state.call.id)

    return check


def authenticate_locally(authenticator: LocalAuthenticator) -> Check:
    """Find out who calls, without waiting."""
    identify = authenticator.identify

    def check(state: CallState) -> Decision | None:
        try:
            user = identify(state.credentials or _IN_PROCESS)
        except RefusedError as error:
            return decision_of(error)
        state.call = state.call.with_user(user)
        return None

    return check


def authenticate(authenticator: Authenticator, *, enforcing: bool) -> Around:
    """Find out who calls, where that may take I/O."""

    async def around(state: CallState, call_next: CallNext) -> Outcome:
        try:
            user = await authenticator.authenticate(state.credentials or _IN_PROCESS)
        except RefusedError as error:
            refusal = refuse_unless_observing(state, "authenticate", error, enforcing=enforcing)
            if refusal is not None:
                return refusal
        else:
            state.call = state.call.with_user(user)
        return await call_next(state)

    return around


def rate_limit(limiter: RateLimiter) -> Check:
    """Count the call."""
    limit = limiter.limit
    return lambda state: limit(state.call)


def catalog(deadline: Deadline, *, enforcing: bool) -> Around:
    """Ask the server what it declares of a tool that is not known, or no longer.

    Here and not before: only a caller who is known, and within its rate, may make the
    server list its tools, and it may not take longer than a call may.
    """

    async def around(state: CallState, call_next: CallNext) -> Outcome:
        if state.declare is not None:
            try:
                annotations = await deadline.execute(state.declare)
            except DeadlineExceededError as error:
                refusal = refuse_unless_observing(state, "catalog", error, enforcing=enforcing)
                if refusal is not None:
                    return refusal
            else:
                state.call = state.call.with_annotations(annotations)
        return await call_next(state)

    return around


def is_unknown(state: CallState) -> bool:
    """Return whether the server must be asked what it declares."""
    return state.declare is not None


def bounds(block: InputBounds) -> Check:
    """Refuse arguments that are too large."""
    check_bounds = block.check_bounds
    return lambda state: check_bounds(state.call.arguments)


def schema(validator: ArgumentValidator) -> Check:
    """Refuse arguments that do not fit the schema."""
    validate = validator.validate
    return lambda state: validate(state.call)


def policy(gate: PolicyGate) -> Check:
    """Ask the gate, once for every resource the call touches."""
    enforce = gate.enforce_policy

    def check(state: CallState) -> Decision | None:
        call, resources = state.call, state.resources
        if len(resources) <= 1 and call.kind is not _PROTOCOL:
            return enforce(call)
        decision = enforce(call) if call.kind is _PROTOCOL else ALLOW
        if not resources or not decision.allowed:
            return decision
        if decision.reservation is not None:
            state.reservations.append(decision.reservation)
        rules = list(decision.rules)
        obligations = list(decision.obligations)
        for resource in resources:
            decision = enforce(_touching(call, resource))
            if not decision.allowed:
                return decision
            if decision.reservation is not None:
                state.reservations.append(decision.reservation)
            rules.extend(rule for rule in decision.rules if rule not in rules)
            obligations.extend(decision.obligations)
        return Decision(effect=ALLOW.effect, rules=tuple(rules), obligations=tuple(obligations))

    return check


def _touching(call: Call, resource: str) -> Call:
    """Return the call as one that touches this resource alone."""
    if call.kind is not _PROTOCOL:
        return call.with_security(call.security.with_resource(resource))
    # A subscription over several resources is judged as one to each.
    return Call(
        id=call.id,
        kind=CallKind.RESOURCE,
        method="resources/subscribe",
        name=resource,
        meta=call.meta,
        security=SecurityContext(
            user=call.security.user,
            project=call.security.project,
            action="resources/subscribe",
            resource=resource,
            timestamp=call.security.timestamp,
            session_id=call.security.session_id,
            ip_address=call.security.ip_address,
            user_agent=call.security.user_agent,
        ),
        parent_id=call.parent_id,
    )


def freeze(*, keep_copy: bool) -> Check:
    """Set down the call as policy saw it.

    Args:
        keep_copy: Whether to copy the arguments, to compare them before the handler runs.
    """

    def check(state: CallState) -> Decision | None:
        state.judged = state.call
        if keep_copy:
            state.facts["frozen"] = copy.deepcopy(dict(state.call.arguments))
        return None

    return check


def audit_before_acting(
    audit: AuditLog,
    intent: Callable[[Call], AuditEntry],
    *,
    before: str,
    enforcing: bool,
) -> Around:
    """Wait until the intent is durable, for the calls that ask for it.

    Args:
        audit: Where it is kept.
        intent: Makes the entry.
        before: `always`, or `writes` for tools that are not known to be read-only.
        enforcing: Whether a call is refused when its intent can not be kept.
    """

    def asks(call: Call) -> bool:
        if call.kind not in _ACTING:
            return False
        if before == "always":
            return True
        reads = call.annotations.trusted and call.annotations.read_only
        return call.kind is _TOOL and not reads

    async def around(state: CallState, call_next: CallNext) -> Outcome:
        if asks(state.call):
            try:
                await audit.append(intent(state.call))
            except RefusedError as error:
                refusal = refuse_unless_observing(state, "audit", error, enforcing=enforcing)
                if refusal is not None:
                    return refusal
        return await call_next(state)

    return around


def deadline(block: Deadline, timeouts: Mapping[str, float]) -> Around:
    """Cut off what takes too long."""
    execute = block.execute

    # No coroutine of its own: the chain turns `DeadlineExceededError` into the refusal.
    def around(state: CallState, call_next: CallNext) -> Awaitable[Outcome]:
        return execute(partial(call_next, state), timeout_s=timeouts.get(state.call.name))

    return around


def is_timed(state: CallState) -> bool:
    """Return whether a deadline covers a call: not what only keeps the conversation going."""
    return state.call.kind is not _PROTOCOL


def is_failure(outcome: Outcome) -> bool:
    """Return whether an outcome speaks against the target: an error, and not a refusal.

    A JSON-RPC error that blames the request (-32600, -32601, -32602, -32700, or
    -32002, not found) says nothing about the target's health.
    """
    if outcome.failure is not None:
        return getattr(outcome.failure, "code", None) not in _CALLERS_FAULT
    return outcome.is_error


_CALLERS_FAULT = frozenset({-32700, -32600, -32601, -32602, -32002})


def retry(block: Retry) -> Around:
    """Repeat what failed."""
    execute = block.execute

    def around(state: CallState, call_next: CallNext) -> Awaitable[Outcome]:
        call = state.call
        # What is repeated is declared: an invented name never becomes an event's.
        name = call.name if call.kind is _TOOL else call.method
        return execute(partial(call_next, state), is_failure=is_failure, name=name)

    return around


def is_repeatable(state: CallState) -> bool:
    """Return whether repeating a call is known to do no harm."""
    call = state.call
    if call.kind is _TOOL:
        return call.annotations.is_repeatable
    return call.kind is _RESOURCE


def breaker(get: Callable[[str], CircuitBreaker]) -> Around:
    """Leave a failing target in peace: one circuit for each tool, one for resources."""

    # No coroutine of its own: the chain turns `CircuitOpenError` into the refusal.
    def around(state: CallState, call_next: CallNext) -> Awaitable[Outcome]:
        call = state.call
        circuit = get(call.name if call.kind is _TOOL else call.method)
        return circuit.execute(partial(call_next, state))

    return around


def has_circuit(state: CallState) -> bool:
    """Return whether a breaker stands before a call's target.

    A name that the server does not declare must not get a circuit of its own, and the
    invented names of prompts must not open one for all prompts.
    """
    call = state.call
    if call.kind is _TOOL:
        return call.annotations.known
    return call.kind is _RESOURCE
