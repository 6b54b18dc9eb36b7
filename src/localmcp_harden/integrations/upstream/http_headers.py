"""What the requests to a wrapped server say of themselves in their headers.

Computed from the message and the settings alone: nothing that a caller sent as a header
reaches the server. In the era of 2025 they carry the session and the version that were
agreed upon, in that of 2026 what the message says (version, method, name, parameters).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, final

try:
    from mcp.shared.inbound import (
        MCP_METHOD_HEADER,
        MCP_NAME_HEADER,
        MCP_PROTOCOL_VERSION_HEADER,
        NAME_BEARING_METHODS,
        encode_header_value,
        find_invalid_x_mcp_header,
        mcp_param_headers,
        x_mcp_header_map,
    )
    from mcp_types import PROTOCOL_VERSION_META_KEY, JSONRPCNotification, JSONRPCRequest
    from mcp_types.version import KNOWN_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

__all__ = ("HeaderBook", "modern_version")

_SESSION = "mcp-session-id"
_MAX_TOOLS = 10_000
_MAX_SESSION = 1_024


@final
class HeaderBook:
    """Knows the headers of one connection.

    Args:
        given: What every request carries.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in given.items()}
        self._version: str | None = None
        self._maps: OrderedDict[str, Mapping[tuple[str, ...], str]] = OrderedDict()
        self.session_id: str | None = None
        """The session of the 2025 era, where the server has one."""

    def plain(self) -> dict[str, str]:
        """Return the headers of a request that carries no message."""
        headers = dict(self._given)
        # What is compressed has no size before it is unpacked.
        headers["accept-encoding"] = "identity"
        if self.session_id is not None:
            headers[_SESSION] = self.session_id
        if self._version is not None:
            headers[MCP_PROTOCOL_VERSION_HEADER] = self._version
        return headers

    def of(self, message: object) -> dict[str, str]:
        """Return the headers of a request that carries a message."""
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            # The version is what it asks for; an answer to another question is no answer.
            self._version = None
        params: Mapping[str, Any] = {}
        version: str | None = None
        if isinstance(message, JSONRPCRequest | JSONRPCNotification):
            params = message.params or {}
            version = modern_version(params)
            if version is not None:
                self._version = version
        headers = self.plain()
        headers["accept"] = "application/json, text/event-stream"
        headers["content-type"] = "application/json"
        if version is not None and isinstance(message, JSONRPCRequest | JSONRPCNotification):
            headers[MCP_METHOD_HEADER] = encode_header_value(message.method)
            name = params.get(NAME_BEARING_METHODS.get(message.method, ""))
            if isinstance(name, str):
                headers[MCP_NAME_HEADER] = encode_header_value(name)
                if message.method == "tools/call":
                    arguments = params.get("arguments")
                    said = arguments if isinstance(arguments, Mapping) else {}
                    headers.update(mcp_param_headers(self._maps.get(name, {}), said))
        return headers

    def take_session(self, session_id: str | None) -> None:
        """Note the session that an answer to `initialize` opens."""
        usable = session_id and len(session_id) <= _MAX_SESSION and session_id.isascii()
        self.session_id = session_id if usable and str(session_id).isprintable() else None

    def greeted(self, result: Mapping[str, Any]) -> None:
        """Note the version that the answer to `initialize` agreed upon."""
        version = result.get("protocolVersion")
        if isinstance(version, str) and version in KNOWN_PROTOCOL_VERSIONS:
            self._version = version

    def knows(self, tool: object) -> bool:
        """Return whether this tool is known to say parameters in headers."""
        return tool in self._maps

    def listed(self, result: Mapping[str, Any]) -> None:
        """Note which parameters of which tools are said in headers."""
        tools = result.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if not isinstance(tool, Mapping) or not isinstance(name := tool.get("name"), str):
                continue
            self._maps.pop(name, None)
            schema = tool.get("inputSchema")
            # One that breaks the rules is for clients to leave out; we send none for it.
            if isinstance(schema, Mapping) and find_invalid_x_mcp_header(schema) is None:
                found = x_mcp_header_map(schema)
                if found:
                    self._maps[name] = found
            if len(self._maps) > _MAX_TOOLS:
                self._maps.popitem(last=False)


def modern_version(params: Mapping[str, Any] | None) -> str | None:
    """Return the version that a message of the 2026 era names; None in the era of 2025."""
    meta = (params or {}).get("_meta")
    said = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, Mapping) else None
    return said if isinstance(said, str) and said in MODERN_PROTOCOL_VERSIONS else None
