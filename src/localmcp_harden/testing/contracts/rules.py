"""What the rules of a policy gate stand on: policy rules, calls, and their facts."""

from typing import Any

from ...core.model import Call, CallKind, Decision, Effect, Principal, SecurityContext
from ...protocols.security import Rule

__all__ = ("CALL", "allowing", "call_to", "context", "denying", "facts_of")

CALL = "tools/call"
"""The action that most rules here are about."""


def allowing(rule_id: str = "allow", **parts: Any) -> Rule:
    """Return an allow rule; by default it matches everything."""
    return Rule(id=rule_id, effect=Effect.ALLOW, **parts)


def denying(rule_id: str = "deny", **parts: Any) -> Rule:
    """Return a deny rule; by default it matches everything."""
    return Rule(id=rule_id, effect=Effect.DENY, **parts)


def context(action: str, resource: str = "", roles: tuple[str, ...] = ()) -> SecurityContext:
    """Return the context of Ann, who has these roles."""
    user = Principal(client="kit", subject="ann", roles=frozenset(roles))
    return SecurityContext(user=user, action=action, resource=resource)


def call_to(
    name: str = "read",
    resource: str = "",
    *,
    roles: tuple[str, ...] = (),
    action: str = CALL,
    kind: CallKind = CallKind.TOOL,
) -> Call:
    """Return a call by Ann, who has these roles."""
    security = context(action, resource, roles)
    return Call(id="1", kind=kind, method=action, name=name, security=security)


def facts_of(decision: Decision) -> tuple[object, ...]:
    """Return what of a decision must not depend on chance."""
    return (decision.effect, decision.code, decision.reason, decision.rules)
