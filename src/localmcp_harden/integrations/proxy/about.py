"""Greets a wrapped server in the era that suits the client, and notes what it says.

Done by hand and not by the SDK's client session, so that the server is told exactly what
the client in front can do, and its capabilities come back exactly as it sent them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import anyio
from attrs import field, frozen

try:
    from mcp.shared.exceptions import MCPError
    from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
    from mcp_types import (
        CLIENT_CAPABILITIES_META_KEY,
        CLIENT_INFO_META_KEY,
        CONNECTION_CLOSED,
        PROTOCOL_VERSION_META_KEY,
        SERVER_INFO_META_KEY,
        DiscoverResult,
        Implementation,
        InitializeResult,
    )
    from mcp_types.version import (
        HANDSHAKE_PROTOCOL_VERSIONS,
        LATEST_HANDSHAKE_VERSION,
        LATEST_MODERN_VERSION,
        MODERN_PROTOCOL_VERSIONS,
    )
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ... import __version__

__all__ = ("LEGACY", "MODERN", "SELF", "About", "Introduction", "Json", "greet")

Json: TypeAlias = dict[str, Any]

MODERN = "modern"
LEGACY = "legacy"

SELF: Json = {"name": "localmcp-harden", "version": __version__}
"""Who asks where no client is behind a request."""


@final
@frozen(kw_only=True)
class Introduction:
    """What a server is told of its client when it is greeted.

    Args:
        capabilities: What the client can do, as it said so.
        info: Who it is.
        version: The handshake version it asks for.
    """

    capabilities: Json = field(factory=dict[str, Any])
    info: Json = field(factory=lambda: dict(SELF))
    version: str = LATEST_HANDSHAKE_VERSION


@final
@frozen(kw_only=True)
class About:
    """What a server says of itself when it is greeted, as it came."""

    version: str
    modern: bool
    info: Json | None
    capabilities: Json
    instructions: str | None

    def offers(self, *path: str) -> bool:
        """Return whether a capability is there; one that is `false` is not."""
        value: Any = self.capabilities
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
            if value is None or value is False:
                return False
        return True


async def greet(
    dispatcher: "JSONRPCDispatcher[Any]",
    introduction: Introduction,
    eras: Sequence[str],
    *,
    timeout_s: float,
) -> About:
    """Greet the server in the first of `eras` that it speaks.

    An era that it leaves unanswered gives way to the next while there is time.

    Args:
        dispatcher: The connection.
        introduction: Who asks.
        eras: What to try, in order.
        timeout_s: How long all of it may take; the caller does the cutting.

    Raises:
        MCPError: The server refused, in every era.
        ValidationError: It said of itself what does not fit the protocol.
        RuntimeError: It names no version that we know.
    """
    ways = {MODERN: _discover, LEGACY: _initialize}
    for era in eras[:-1]:
        with anyio.move_on_after(timeout_s / len(eras)):
            try:
                return await ways[era](dispatcher, introduction)
            except MCPError as error:
                if error.code == CONNECTION_CLOSED:
                    raise
            except (RuntimeError, ValidationError):
                pass  # what it said of itself names no version of this era
    return await ways[eras[-1]](dispatcher, introduction)


async def _discover(dispatcher: "JSONRPCDispatcher[Any]", introduction: Introduction) -> About:
    meta = {
        PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
        CLIENT_INFO_META_KEY: introduction.info,
        CLIENT_CAPABILITIES_META_KEY: introduction.capabilities,
    }
    raw = await dispatcher.send_raw_request(
        "server/discover", {"_meta": meta}, {"cancel_on_abandon": False}
    )
    if isinstance(ttl := raw.get("ttlMs"), int | float) and ttl < 0:
        raw["ttlMs"] = 0
    said = DiscoverResult.model_validate(raw, by_name=False)
    known = [each for each in MODERN_PROTOCOL_VERSIONS if each in said.supported_versions]
    if not known:
        raise RuntimeError
    given = raw.get("_meta")
    info = given.get(SERVER_INFO_META_KEY) if isinstance(given, Mapping) else None
    return About(
        version=known[-1],
        modern=True,
        info=_information(info),
        capabilities=dict(raw["capabilities"]),
        instructions=said.instructions,
    )


async def _initialize(dispatcher: "JSONRPCDispatcher[Any]", introduction: Introduction) -> About:
    asked = {
        "protocolVersion": introduction.version,
        "capabilities": introduction.capabilities,
        "clientInfo": introduction.info,
    }
    raw = await dispatcher.send_raw_request("initialize", asked, {"cancel_on_abandon": False})
    said = InitializeResult.model_validate(raw, by_name=False)
    if said.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise RuntimeError
    await dispatcher.notify("notifications/initialized", None)
    return About(
        version=said.protocol_version,
        modern=False,
        info=_information(raw.get("serverInfo")),
        capabilities=dict(raw["capabilities"]),
        instructions=said.instructions,
    )


def _information(value: object) -> Json | None:
    """Return what a server says of its name; None where it can not be read."""
    try:
        Implementation.model_validate(value, by_name=False)
    except ValidationError:
        return None
    return dict(value) if isinstance(value, dict) else None
