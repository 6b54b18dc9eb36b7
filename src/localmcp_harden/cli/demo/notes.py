"""The demo's own server: notes, an archive behind it that can fail, all of it hardened.

The first function is what a host writes; the rest serves it on loopback.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import final

import anyio

from ...compose.hardening import Hardening
from ...integrations.http_server import serve_http
from ...integrations.mcp_sdk import harden
from .sdk import MCPServer, ToolAnnotations
from .story import Given

__all__ = ("Archive", "make_server", "serve_on_loopback")

_EXPORT_S = 60.0
_PRINT_S = 0.3
_READS = ToolAnnotations(read_only_hint=True)
_REPEATABLE = ToolAnnotations(read_only_hint=False, idempotent_hint=True)


@final
class Archive:
    """What stands behind one of the tools: a service that fails when the story says so."""

    def __init__(self) -> None:
        self.calls: int = 0
        self.exports_cut: int = 0
        self._failures_left = 0
        self._is_down = False

    def arrange(self, given: Given) -> None:
        """Do what the story asks for."""
        if given is Given.ARCHIVE_STUMBLES:
            self._failures_left = 2
        elif given is Given.ARCHIVE_IS_DOWN:
            self._is_down = True
        elif given is Given.ARCHIVE_IS_BACK:
            self._is_down = False

    def store(self, notes: list[str]) -> int:
        """Take over the notes, or fail.

        Raises:
            ConnectionError: The archive can not be reached.
        """
        self.calls += 1
        if self._is_down or self._failures_left > 0:
            self._failures_left = max(0, self._failures_left - 1)
            raise ConnectionError("the archive does not answer")
        return len(notes)


def make_server(hardening: Hardening, archive: Archive) -> MCPServer:
    """Return the server with its guards."""
    server = MCPServer("notes", lifespan=hardening.lifespan(), log_level="CRITICAL")
    notes = ["the plan is to ship", "the plan needs a test"]

    @server.tool(annotations=_READS)
    async def find_notes(word: str) -> list[str]:
        """Return the notes that hold a word."""
        return [note for note in notes if word in note]

    @server.tool()
    async def add_note(text: str, password: str = "") -> str:
        """Add a note, with the password of the notebook where it has one."""
        notes.append(text)
        return "added, with a password" if password else "added"

    @server.tool(annotations=_REPEATABLE)
    async def sync_archive() -> str:
        """Send all notes to the archive; doing it twice does no harm."""
        return f"archived {archive.store(notes)} notes"

    @server.tool(annotations=_READS)
    async def print_notes() -> str:
        """Print all notes on a printer that takes its time."""
        await anyio.sleep(_PRINT_S)
        return f"printed {len(notes)} notes"

    @server.tool(annotations=_READS)
    async def export_notes() -> str:
        """Export all notes, slowly."""
        try:
            await anyio.sleep(_EXPORT_S)
        except anyio.get_cancelled_exc_class():
            archive.exports_cut += 1
            raise
        return "\n".join(notes)

    return harden(server, hardening)


@asynccontextmanager
async def serve_on_loopback(server: MCPServer) -> AsyncGenerator[str]:
    """Serve over streamable HTTP on a free port of 127.0.0.1, and yield the address.

    Raises:
        ConfigError: Nothing can listen there.
    """
    async with anyio.create_task_group() as tasks:
        port: int = await tasks.start(partial(serve_http, server, port=0, handle_signals=False))
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            tasks.cancel_scope.cancel()
