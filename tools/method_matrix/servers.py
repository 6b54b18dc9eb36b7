"""The same small server in every form in which it can be hardened."""

import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
from fastmcp import FastMCP
from mcp.server import MCPServer, Server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool, ToolAnnotations

from localmcp_harden import Hardening
from localmcp_harden.integrations import fastmcp as for_fastmcp, mcp_sdk as for_sdk
from localmcp_harden.integrations.asgi import AsgiGuard
from localmcp_harden.integrations.proxy import UpstreamConfig, wrap

App = Any
_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def fill(server: Any) -> Any:
    """Give a server a tool, resources, a prompt and completions."""

    @server.tool()
    def echo(text: str) -> str:
        return text

    tries = count(1)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def flaky() -> str:
        if next(tries) == 1:
            raise RuntimeError("busy")
        return "at last"

    @server.tool()
    def broken() -> str:
        raise RuntimeError("broken")

    @server.tool()
    async def slow() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.resource("note://all")
    def notes() -> str:
        return "notes"

    @server.resource("note://box/{name}")
    def note(name: str) -> str:
        return name

    @server.prompt()
    def greet(name: str = "you") -> str:
        return f"hello {name}"

    return server


def sdk_server(hardening: Hardening) -> App:
    """Return the official SDK's MCPServer, hardened in process."""
    server = fill(MCPServer("matrix", lifespan=hardening.lifespan(), log_level="CRITICAL"))
    return for_sdk.harden(server, hardening).streamable_http_app()


def low_level_server(hardening: Hardening) -> App:
    """Return the official SDK's low-level Server, hardened in process."""

    async def list_tools(_: object, __: object) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name="echo", input_schema=_SCHEMA)])

    async def call_tool(_: object, params: Any) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=params.arguments["text"])])

    server: Server[Any] = Server(
        "matrix",
        lifespan=hardening.lifespan(),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    return for_sdk.harden(server, hardening).streamable_http_app()


def fastmcp_server(hardening: Hardening) -> App:
    """Return a FastMCP server, hardened in process."""
    server = fill(FastMCP("matrix", lifespan=hardening.lifespan()))
    return for_fastmcp.harden(server, hardening).http_app()


def wrapped_server(hardening: Hardening) -> App:
    """Return somebody else's server behind `wrap`: a child that knows nothing of us."""
    child = UpstreamConfig(command=sys.executable, args=(str(Path(__file__)),))
    return wrap(child, hardening).streamable_http_app()


INTEGRATIONS: Mapping[str, Callable[[Hardening], App]] = MappingProxyType(
    {
        "`harden`, MCPServer": sdk_server,
        "`harden`, Server": low_level_server,
        "`harden`, FastMCP": fastmcp_server,
        "`wrap`": wrapped_server,
    }
)
"""How a server is hardened, by the column's title."""


def guarded(make: Callable[[Hardening], App]) -> Callable[[Hardening], App]:
    """Return the same server with the guard for HTTP in front."""

    def make_guarded(hardening: Hardening) -> App:
        app = make(hardening)
        return Guarded(AsgiGuard(app, hardening), app.router)

    return make_guarded


class Guarded(NamedTuple):
    """An application behind the guard, and its lifespan."""

    guard: AsgiGuard
    router: Any

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Take a request."""
        return self.guard(scope, receive, send)


if __name__ == "__main__":
    fill(MCPServer("matrix", log_level="CRITICAL")).run("stdio")
