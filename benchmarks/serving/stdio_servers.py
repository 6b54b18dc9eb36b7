"""Servers over standard input and output, each in a process of its own.

python -m benchmarks.serving.stdio_servers child
python -m benchmarks.serving.stdio_servers fastmcp_proxy
"""

import sys

from benchmarks.serving.servers import echo


def child() -> None:
    """Serve `echo` in the plain way of the official SDK."""
    from mcp.server import MCPServer

    server = MCPServer("child", log_level="ERROR")
    server.add_tool(echo, name="echo")
    server.run("stdio")


def fastmcp_proxy() -> None:
    """Serve what FastMCP makes of the child."""
    from fastmcp.client.transports import StdioTransport
    from fastmcp.server import create_proxy

    transport = StdioTransport(sys.executable, ["-m", "benchmarks.serving.stdio_servers", "child"])
    create_proxy(transport, name="proxy").run("stdio", show_banner=False, log_level="error")


if __name__ == "__main__":
    {"child": child, "fastmcp_proxy": fastmcp_proxy}[sys.argv[1]]()
