"""What the chain needs to know of MCP: what a method is aimed at, how a refusal is told.

Free of any server library, so that every integration says the same things.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..compose.resources import SUBSCRIBED
from ..core.model import CallKind, Decision

__all__ = (
    "LISTS",
    "REFUSAL_META_KEY",
    "ListMethod",
    "Target",
    "error_code",
    "is_readable_by_model",
    "refusal_data",
    "refusal_text",
    "target_of",
)

REFUSAL_META_KEY = "localmcp-harden/refusal"
"""Where a refused tool call's result carries the refusal, for programs."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Target(NamedTuple):
    """What a message is aimed at."""

    kind: CallKind
    name: str = ""
    arguments: Mapping[str, Any] = _EMPTY


class ListMethod(NamedTuple):
    """A list, and how one of its items would be used."""

    items: str
    """The key of the items in the result."""
    name: str
    """The key of an item's name."""
    action: str
    """The method that uses an item."""


LISTS: Mapping[str, ListMethod] = MappingProxyType(
    {
        "tools/list": ListMethod("tools", "name", "tools/call"),
        "resources/list": ListMethod("resources", "uri", "resources/read"),
        "resources/templates/list": ListMethod(
            "resourceTemplates", "uriTemplate", "resources/read"
        ),
        "prompts/list": ListMethod("prompts", "name", "prompts/get"),
    }
)
"""The lists that are shown only in part to a caller who may use only a part."""

_PROTOCOL = Target(CallKind.PROTOCOL)
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL = CallKind.TOOL
_PROTOCOL_METHODS = frozenset(
    {
        "initialize",
        "server/discover",
        "ping",
        "logging/setLevel",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    }
)


def target_of(method: str, params: Mapping[str, Any] | None) -> Target:
    """Return what a message is aimed at; parameters of the wrong shape count as absent.

    A method that is not part of the protocol counts as code of the host's own
    (`CallKind.STAGE`): policy must allow it by its name.
    """
    find = _TARGETS.get(method)
    if find is not None:
        return find(params or _EMPTY)
    if method in _PROTOCOL_METHODS or method.startswith("notifications/"):
        return _PROTOCOL
    return Target(CallKind.STAGE, arguments=params or _EMPTY)


def _tool(params: Mapping[str, Any]) -> Target:
    name, arguments = params.get("name"), params.get("arguments")
    # The exact types first: each call that is spared here is spared on every tool call.
    if type(name) is not str:
        name = _text(params, "name")
    if type(arguments) is not dict:
        arguments = _object(params, "arguments")
    return tuple.__new__(Target, (_TOOL, name, arguments))


def _prompt(params: Mapping[str, Any]) -> Target:
    return Target(CallKind.PROMPT, _text(params, "name"), _object(params, "arguments"))


def _resource(params: Mapping[str, Any]) -> Target:
    return Target(CallKind.RESOURCE, _text(params, "uri"))


def _subscription(params: Mapping[str, Any]) -> Target:
    uris = _object(params, "notifications").get(SUBSCRIBED)
    return Target(CallKind.PROTOCOL, arguments={SUBSCRIBED: uris}) if uris else _PROTOCOL


def _completion(params: Mapping[str, Any]) -> Target:
    """Return what a completion is for: by the reference's type, as the server reads it."""
    reference = _object(params, "ref")
    asked = {key: params[key] for key in ("argument", "context") if key in params}
    kind = reference.get("type")
    if kind == "ref/prompt":
        return Target(CallKind.PROMPT, _text(reference, "name"), asked)
    if kind == "ref/resource":
        return Target(CallKind.RESOURCE, _text(reference, "uri"), asked)
    return Target(CallKind.STAGE, arguments=params)


_TARGETS: Mapping[str, Callable[[Mapping[str, Any]], Target]] = MappingProxyType(
    {
        "tools/call": _tool,
        "prompts/get": _prompt,
        "resources/read": _resource,
        "resources/subscribe": _resource,
        "resources/unsubscribe": _resource,
        "completion/complete": _completion,
        "subscriptions/listen": _subscription,
    }
)


def _text(params: Mapping[str, Any], key: str) -> str:
    value = params.get(key)
    return value if isinstance(value, str) else ""


def _object(params: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = params.get(key)
    return value if isinstance(value, Mapping) else _EMPTY


# -32602 is JSON-RPC's own "invalid params"; the others lie in the range that JSON-RPC
# leaves to servers, clear of every code that MCP and its SDK use.
_ERROR_CODES: Mapping[str, int] = MappingProxyType(
    {
        "input_too_large": -32602,
        "invalid_arguments": -32602,
        "invalid_resource": -32602,
        "unauthenticated": -32050,
        "policy_denied": -32051,
        "rate_limited": -32052,
        "circuit_open": -32053,
        "deadline_exceeded": -32054,
        "audit_unavailable": -32055,
        "gate_failed": -32056,
        "bulkhead_full": -32058,
        "overloaded": -32059,
        "throttled": -32060,
        "switched_off": -32061,
    }
)
_OTHER_REFUSAL = -32051

# What the model that called can mend, or wait for: it must be able to read these.
_READABLE = frozenset(
    {
        "rate_limited",
        "input_too_large",
        "invalid_arguments",
        "circuit_open",
        "deadline_exceeded",
        "bulkhead_full",
        "overloaded",
        "throttled",
        "switched_off",
    }
)


def error_code(decision: Decision) -> int:
    """Return the JSON-RPC error code of a refusal."""
    return _ERROR_CODES.get(decision.code, _OTHER_REFUSAL)


def is_readable_by_model(decision: Decision) -> bool:
    """Return whether a refused tool call is answered with a result instead of an error.

    The protocol asks for results where the model can correct itself; who may do what
    is not the model's to correct.
    """
    return decision.code in _READABLE


def refusal_text(decision: Decision) -> str:
    """Return what a person or a model reads."""
    return f"{decision.code}: {decision.reason}"


def refusal_data(decision: Decision, call_id: str) -> dict[str, Any]:
    """Return what a program reads; the call id leads to the record."""
    data: dict[str, Any] = {"code": decision.code, "call_id": call_id}
    if decision.retry_after_s is not None:
        data["retry_after_s"] = decision.retry_after_s
    return data
