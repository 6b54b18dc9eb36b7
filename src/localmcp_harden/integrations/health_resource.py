"""Offers a server's health as an MCP resource of a server of the official SDK.

The resource goes through the chain like any other: who may read it is policy.
"""

import json
from typing import Any, TypeVar

try:
    from mcp.server import MCPServer
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "a health resource") from _missing

from ..protocols.health import HealthRegistry
from .health_json import health_to_plain

__all__ = ("HEALTH_URI", "add_health_resource")

HEALTH_URI: str = "health://status"

ServerT = TypeVar("ServerT", bound="MCPServer[Any]")


def add_health_resource(
    server: ServerT, registry: HealthRegistry, *, uri: str = HEALTH_URI, details: bool = False
) -> ServerT:
    """Add a resource that says how the server is, as JSON.

    Args:
        server: The server. It is changed, and returned for convenience.
        registry: What is asked.
        uri: The resource's URI.
        details: Whether every check is shown to whoever may read the resource.
    """

    @server.resource(
        uri,
        name="health",
        description="How well this server is: healthy, degraded or unhealthy.",
        mime_type="application/json",
    )
    async def health() -> str:
        if details:
            return json.dumps(health_to_plain(await registry.get_detailed_health()))
        status = await registry.get_health_status()
        return json.dumps({"status": status.label})

    del health  # the server keeps it
    return server
