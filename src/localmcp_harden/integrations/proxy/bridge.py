"""What a message must look like in the other era of the protocol, and what can not cross.

Pure functions: from the client's message to the server's, from the server's answer to the
client's.
"""

from collections.abc import Mapping
from typing import Any

try:
    from mcp_types import (
        CLIENT_CAPABILITIES_META_KEY,
        CLIENT_INFO_META_KEY,
        LOG_LEVEL_META_KEY,
        PROTOCOL_VERSION_META_KEY,
        SERVER_INFO_META_KEY,
    )
    from mcp_types.methods import CACHEABLE_METHODS, INPUT_REQUIRED_METHODS
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from .about import About, Introduction, Json
from .clients import meta_of

__all__ = (
    "NOT_OFFERED",
    "discovered",
    "incoming",
    "may_need_input",
    "needed_capability",
    "offered",
    "outgoing",
    "without_input",
)

_ENVELOPE = (
    "progressToken",
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
_MODERN_ONLY = ("resultType", "ttlMs", "cacheScope")

NOT_OFFERED: Mapping[str, str] = {
    "tasks": "the SDK this stands on has no task methods in the 2025 era",
}
"""The capabilities that are never offered, whoever has them, and why."""

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "tools/list": ("tools",),
    "tools/call": ("tools",),
    "resources/list": ("resources",),
    "resources/templates/list": ("resources",),
    "resources/read": ("resources",),
    "resources/subscribe": ("resources", "subscribe"),
    "resources/unsubscribe": ("resources", "subscribe"),
    "prompts/list": ("prompts",),
    "prompts/get": ("prompts",),
    "completion/complete": ("completions",),
    "logging/setLevel": ("logging",),
}


def needed_capability(method: str) -> tuple[str, ...]:
    """Return the capability without which a server does not have a method; none for others."""
    return _NEEDS.get(method, ())


def offered(about: About) -> Json:
    """Return the capabilities that clients are told of: the server's own, as it sent them."""
    return {key: value for key, value in about.capabilities.items() if key not in NOT_OFFERED}


def discovered(about: About, info: Json | None) -> Json:
    """Return the answer to `server/discover`."""
    result: Json = {
        "resultType": "complete",
        "supportedVersions": list(MODERN_PROTOCOL_VERSIONS),
        "capabilities": offered(about),
        # Ours to say how long it holds: the server may be another after its next start.
        "ttlMs": 0,
        "cacheScope": "private",
    }
    if about.instructions is not None:
        result["instructions"] = about.instructions
    if info is not None:
        result["_meta"] = {SERVER_INFO_META_KEY: info}
    return result


def outgoing(
    params: Mapping[str, Any] | None,
    about: About,
    introduction: Introduction,
    *,
    progress_token: str | None,
    log_level: str | None,
) -> Json:
    """Return the parameters as the server gets them.

    In the modern era every request says who sends it and what that client can do. That is
    passed on, so that the server asks for input only where the client can give it.

    Args:
        params: The parameters as the guards let them through.
        about: The server.
        introduction: The client.
        progress_token: Ours, None where the client does not want to hear of progress.
        log_level: From which level on log lines are wanted, None for none.
    """
    forwarded = dict(params or {})
    forwarded.pop("_meta", None)
    meta = {key: value for key, value in meta_of(params).items() if key not in _ENVELOPE}
    if about.modern:
        meta[PROTOCOL_VERSION_META_KEY] = about.version
        meta[CLIENT_INFO_META_KEY] = introduction.info
        meta[CLIENT_CAPABILITIES_META_KEY] = introduction.capabilities
        if log_level is not None:
            meta[LOG_LEVEL_META_KEY] = log_level
    if progress_token is not None:
        meta["progressToken"] = progress_token
    if meta:
        forwarded["_meta"] = meta
    return forwarded


def without_input(params: Mapping[str, Any] | None) -> Json:
    """Return parameters without what only the modern era's retries carry."""
    return {
        key: value
        for key, value in (params or {}).items()
        if key not in {"inputResponses", "requestState"}
    }


def incoming(
    method: str, result: Json, about: About, info: Json | None, *, for_modern: bool
) -> Json:
    """Return a result as the client gets it.

    Args:
        method: The method that it answers.
        result: The result as it came.
        about: The server.
        info: How the server presents itself.
        for_modern: Whether the client is of the 2026 era.
    """
    if result.get("cacheScope") == "public":
        # Who may have it is for policy to say, caller by caller, and not for a cache.
        result["cacheScope"] = "private"
    if about.modern == for_modern:
        if for_modern and info is not None and SERVER_INFO_META_KEY in meta_of(result):
            # By the name that we give it, where we were given one.
            result["_meta"] = {**meta_of(result), SERVER_INFO_META_KEY: info}
        return result
    if for_modern:
        stamp = {} if info is None else {SERVER_INFO_META_KEY: info}
        bridged: Json = {"resultType": "complete", **result}
        bridged["_meta"] = {**meta_of(result), **stamp}
        if method in CACHEABLE_METHODS:
            # A server of 2025 says nothing of how long it holds, so it holds for nobody.
            bridged.setdefault("ttlMs", 0)
            bridged.setdefault("cacheScope", "private")
        return bridged
    bridged = {key: value for key, value in result.items() if key not in _MODERN_ONLY}
    meta = {key: value for key, value in meta_of(result).items() if key != SERVER_INFO_META_KEY}
    bridged.pop("_meta", None)
    if meta:
        bridged["_meta"] = meta
    return bridged


def may_need_input(method: str) -> bool:
    """Return whether the modern era lets a method ask for input by its result."""
    return method in INPUT_REQUIRED_METHODS
