"""A server to wrap: run as a program, it serves over stdio."""

import os
import sys
from pathlib import Path

from mcp.server import MCPServer

server = MCPServer("small", log_level="CRITICAL")


@server.tool(structured_output=False)
def where() -> str:
    """Return the working folder."""
    return str(Path.cwd())


@server.tool(structured_output=False)
def variable(name: str) -> str:
    """Return an environment variable."""
    return os.environ.get(name, "(not set)")


@server.tool(structured_output=False)
def forbidden() -> str:
    """Return what only a broken guard lets through."""
    return "reached"


if __name__ == "__main__":
    if "--die" in sys.argv:
        sys.exit("nothing works today")
    server.run()
