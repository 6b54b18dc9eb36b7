"""The clients before a wrapped server: who a message comes from, and how to reach them.

The SDK says in no public place which connection a message came by, and that is where a
session's state belongs; so what is private of it is used here and nowhere else.
"""

from collections.abc import Hashable, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, TypeAlias, final

from attrs import define, field

try:
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession
    from mcp.shared.message import ServerMessageMetadata
    from mcp_types import (
        CLIENT_CAPABILITIES_META_KEY,
        CLIENT_INFO_META_KEY,
        LOG_LEVEL_META_KEY,
        Notification,
        Request,
        RequestId,
    )
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
    from pydantic import RootModel
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.model import SecurityContext
from .about import SELF, Introduction, Json
from .mailbox import Mailbox

__all__ = (
    "CALLER",
    "LOG_LEVELS",
    "Context",
    "LegacyClient",
    "Reach",
    "caller_key",
    "client_of",
    "connection_stack",
    "introduction_of",
    "is_modern",
    "keep_client",
    "log_level_of",
    "meta_of",
    "wants_progress",
)

Context: TypeAlias = ServerRequestContext[Any, Any]

CALLER: ContextVar[SecurityContext | None] = ContextVar("localmcp_harden_caller", default=None)
"""Who the guards found to be calling, while a message is handled."""

LOG_LEVELS: Mapping[str, int] = {
    name: rank
    for rank, name in enumerate(
        ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
    )
}

_STATE_KEY = "localmcp-harden"


class _RawNotification(Notification[dict[str, Any] | None, str]):
    """A notification as it came."""

    params: dict[str, Any] | None = None


class _RawRequest(Request[dict[str, Any] | None, str]):
    """A request as it came."""

    params: dict[str, Any] | None = None


class _RawResult(RootModel[dict[str, Any]]):
    """A result as it came."""


@final
@define(eq=False)
class Reach:
    """A way to a client: by the request it is waiting for, or by its connection."""

    session: ServerSession
    related: RequestId | None = None

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification."""
        note: Any = _RawNotification(method=method, params=None if params is None else dict(params))
        await self.session.send_notification(note, related_request_id=self.related)

    async def ask(self, method: str, params: Mapping[str, Any] | None, *, timeout_s: float) -> Json:
        """Send a request and return the result, which fits the protocol.

        Raises:
            MCPError: The client refused, or can not be reached.
            ValidationError: It answered what does not fit the protocol.
        """
        request: Any = _RawRequest(method=method, params=None if params is None else dict(params))
        metadata = ServerMessageMetadata(related_request_id=self.related)
        result = await self.session.send_request(
            request, _RawResult, request_read_timeout_seconds=timeout_s, metadata=metadata
        )
        return result.root


@final
@define(eq=False)
class LegacyClient:
    """A client of the handshake era, for as long as its connection lasts."""

    reach: Reach
    """By its connection, for what belongs to no request."""
    capabilities: Json
    introduction: Introduction
    mailbox: Mailbox
    key: Hashable
    """Whose upstream it has."""
    is_stream: bool
    """Whether everything for it goes one way, so that a request needs no relation."""
    owner: Hashable = None
    """The principal that greeted us; its session is nobody else's."""
    log_level: str | None = None
    subscribed: dict[str, SecurityContext] = field(factory=dict[str, SecurityContext])


def is_modern(ctx: Context) -> bool:
    """Return whether a message is of the 2026 era."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def meta_of(params: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return `_meta`; empty where there is none."""
    meta = (params or {}).get("_meta")
    return meta if isinstance(meta, Mapping) else {}


def introduction_of(ctx: Context) -> Introduction:
    """Return what a client says of itself: in `initialize`, or in every modern request."""
    if ctx.method == "initialize":
        said: Mapping[str, Any] = ctx.params or {}
        version = said.get("protocolVersion")
        capabilities, info = said.get("capabilities"), said.get("clientInfo")
        if isinstance(version, str) and version in HANDSHAKE_PROTOCOL_VERSIONS:
            return Introduction(
                capabilities=_plain(capabilities), info=_plain(info) or dict(SELF), version=version
            )
    else:
        said = meta_of(ctx.params)
        capabilities, info = said.get(CLIENT_CAPABILITIES_META_KEY), said.get(CLIENT_INFO_META_KEY)
    return Introduction(capabilities=_plain(capabilities), info=_plain(info) or dict(SELF))


def _plain(value: object) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}


def log_level_of(ctx: Context) -> str | None:
    """Return from which level on a modern request wants log lines; None for none."""
    level = meta_of(ctx.params).get(LOG_LEVEL_META_KEY)
    return level if isinstance(level, str) and level in LOG_LEVELS else None


def wants_progress(ctx: Context) -> bool:
    """Return whether whoever sent a request asked to hear of its progress."""
    token = meta_of(ctx.params).get("progressToken")
    if isinstance(token, str | int) and not isinstance(token, bool):
        return True
    # A client in our own process hands over a function and no token.
    channel = getattr(ctx.session, "_request_outbound", None)
    return getattr(channel, "_on_progress", None) is not None


def client_of(ctx: Context) -> LegacyClient | None:
    """Return the client whose connection a message came by, once it was kept there."""
    client = _connection(ctx).state.get(_STATE_KEY)
    return client if isinstance(client, LegacyClient) else None


def caller_key() -> Hashable:
    """Return the principal whose message is being handled; None where nobody is known."""
    security = CALLER.get()
    return None if security is None else security.user.key


def keep_client(ctx: Context, client: LegacyClient) -> None:
    """Keep a client with its connection."""
    _connection(ctx).state[_STATE_KEY] = client


def connection_stack(ctx: Context) -> AsyncExitStack:
    """Return what is unwound when the connection ends."""
    stack: AsyncExitStack = _connection(ctx).exit_stack
    return stack


def _connection(ctx: Context) -> Any:
    return ctx.session._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
