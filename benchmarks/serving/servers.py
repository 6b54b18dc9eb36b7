"""The servers under load, each in a process of its own.

    python -m benchmarks.serving.servers KIND PORT FOLDER

All have one tool, `echo`, and answer stateless requests with JSON. The plain ones are
started in the plain way of their library.
"""

import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - known to both sides of a benchmark


async def echo(text: str) -> str:
    """Return the text."""
    return text


def settings(folder: Path) -> dict[str, Any]:
    """Return settings with every guard on, and bounds no benchmark reaches."""
    return {
        "authentication": {
            "tokens": [
                {
                    "sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
                    "client": "load",
                    "roles": ["caller"],
                }
            ]
        },
        "rate_limit": {"rate_per_s": 1e6, "burst": 1_000_000},
        "logging": {"file": str(folder / "calls.log")},
        "audit": {"folder": str(folder / "audit")},
        "policy": {
            "rules": [
                {"id": "echo", "effect": "allow", "tools": ["echo"], "roles": ["caller", "local"]},
                {"id": "no-secrets", "effect": "deny", "resources": ["/etc"]},
            ]
        },
    }


def sdk_bare(port: int, folder: Path) -> None:
    from mcp.server import MCPServer

    server = MCPServer("bare", log_level="ERROR")
    server.add_tool(echo, name="echo")
    server.run("streamable-http", port=port, json_response=True, stateless_http=True)


def sdk_hardened(port: int, folder: Path) -> None:
    from mcp.server import MCPServer

    from localmcp_harden import Hardening, load_config
    from localmcp_harden.integrations.http_server import serve_http
    from localmcp_harden.integrations.mcp_sdk import harden

    hardening = Hardening(load_config(environ={}, settings=settings(folder)))
    server = MCPServer("hardened", log_level="ERROR", lifespan=hardening.lifespan())
    server.add_tool(echo, name="echo")
    harden(server, hardening)

    async def main() -> None:
        await serve_http(server, port=port, json_response=True)

    anyio.run(main)


def fastmcp_bare(port: int, folder: Path) -> None:
    _run_fastmcp(_fastmcp(), port)


def fastmcp_five(port: int, folder: Path) -> None:
    from fastmcp.server.middleware.error_handling import ErrorHandlingMiddleware, RetryMiddleware
    from fastmcp.server.middleware.logging import StructuredLoggingMiddleware
    from fastmcp.server.middleware.rate_limiting import RateLimitingMiddleware
    from fastmcp.server.middleware.timing import TimingMiddleware

    # Lines go to a file, as ours do, and not to a colored console.
    logger = logging.getLogger("benchmarks.fastmcp")
    logger.addHandler(logging.FileHandler(folder / "fastmcp.log"))
    logger.propagate = False
    logger.setLevel(logging.INFO)
    server = _fastmcp()
    for middleware in (
        ErrorHandlingMiddleware(logger=logger),
        RetryMiddleware(logger=logger),
        RateLimitingMiddleware(max_requests_per_second=1e6, burst_capacity=1_000_000),
        TimingMiddleware(logger=logger),
        StructuredLoggingMiddleware(logger=logger, include_payloads=True),
    ):
        server.add_middleware(middleware)
    _run_fastmcp(server, port)


def fastmcp_hardened(port: int, folder: Path) -> None:
    from localmcp_harden import Hardening, load_config
    from localmcp_harden.integrations.fastmcp import harden

    hardening = Hardening(load_config(environ={}, settings=settings(folder)))
    _run_fastmcp(harden(_fastmcp(lifespan=hardening.lifespan()), hardening), port)


def _fastmcp(**extra: Any) -> Any:
    from fastmcp import FastMCP

    server = FastMCP("fast", **extra)
    server.tool(echo, name="echo")
    return server


def _run_fastmcp(server: Any, port: int) -> None:
    server.run(
        "http",
        host="127.0.0.1",
        port=port,
        path="/mcp",
        stateless_http=True,
        json_response=True,
        show_banner=False,
        log_level="error",
        uvicorn_config={"access_log": False},
    )


KINDS: dict[str, Callable[[int, Path], None]] = {
    "sdk_bare": sdk_bare,
    "sdk_hardened": sdk_hardened,
    "fastmcp_bare": fastmcp_bare,
    "fastmcp_five": fastmcp_five,
    "fastmcp_hardened": fastmcp_hardened,
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
