"""The names of the MCP SDK that the demo uses.

The only place that imports them, so that one error names the extra that brings them.
"""

from typing import Any

try:
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.server import MCPServer
    from mcp.shared.exceptions import MCPError
    from mcp.types import CallToolResult, ToolAnnotations
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("cli", "the demo") from _missing

__all__ = (
    "CallToolResult",
    "Client",
    "MCPError",
    "MCPServer",
    "StdioServerParameters",
    "ToolAnnotations",
    "error_data",
    "httpx2",
    "stdio_client",
    "streamable_http_client",
)


def error_data(error: MCPError) -> dict[str, Any]:
    """Return the data of a JSON-RPC error, `{}` when it has none."""
    data = error.error.data
    return data if isinstance(data, dict) else {}
