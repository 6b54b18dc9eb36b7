"""A bounded client transport: an MCP server over streamable HTTP, of either era.

`mcp.Client(HttpUpstream(config))` speaks to it. Whatever the server does (refuse, redirect,
flood, fall silent, drop its session) ends in a named error: where it concerns one request
in that request's answer, else in an `UpstreamError` for the connection. It does not stand
on the SDK's own transport, in which one broken request ends all the others, a body has no
bound, and a notification that is not taken holds up what follows.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TypeAlias, final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

try:
    from mcp.shared.message import SessionMessage
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...core.ports import Redactor
from ...mechanisms.exception_groups import leaves
from ...mechanisms.redact import KeyRedactor
from .answers import says_closed
from .child_log import ChildLog, UpstreamLog, ignore
from .http_config import HttpUpstreamConfig
from .http_session import HttpSession, Item
from .http_wire import HttpWire

__all__ = ("HttpUpstream",)

_QUEUE = 32

_Streams: TypeAlias = tuple[MemoryObjectReceiveStream[Item], MemoryObjectSendStream[SessionMessage]]


@final
class HttpUpstream:
    """The transport; good for one connection, which is many requests.

    Args:
        config: Where the server is, and the bounds.
        redactor: Not used so far: over HTTP a server says nothing outside the protocol.
        log: Takes notices of what is dropped, at most 20 a second.
    """

    def __init__(
        self,
        config: HttpUpstreamConfig,
        *,
        redactor: Redactor | None = None,
        log: UpstreamLog = ignore,
    ) -> None:
        self.config: HttpUpstreamConfig = config
        self.ended: anyio.Event = anyio.Event()
        """Set as soon as nothing more will come from the server."""
        self.fault: UpstreamError | None = None
        """Why it ended, when that was not our doing."""
        self._log = ChildLog(config.label, redactor=redactor or KeyRedactor(), log=log)
        self._running = anyio.CancelScope()
        self._connection: AbstractAsyncContextManager[_Streams] | None = None

    @property
    def last_words(self) -> str:
        """Return nothing: there is no standard error to hear."""
        return ""

    async def __aenter__(self) -> _Streams:
        """Return the read and write streams; the first request connects.

        Raises:
            UpstreamError: The file of authorities can not be read.
            RuntimeError: The transport was used before.
        """
        if self._connection is not None:
            raise RuntimeError("an HttpUpstream is good for one connection; make another")
        self._connection = self._connect()
        return await self._connection.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """End the session, where there is one, and close every connection.

        Raises:
            UpstreamError: The connection broke from the server's side, and what runs
                inside failed because of that.
        """
        if self._connection is None:
            return None
        try:
            await self._connection.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # A task group wraps what merely passes through it.
            if exc is None or leaves(group) != leaves(exc):
                raise
        if self.fault is not None and exc is not None and says_closed(exc):
            raise self.fault from exc
        return False

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[_Streams]:
        read_send, read_receive = anyio.create_memory_object_stream[Item](0)
        write_send, write_receive = anyio.create_memory_object_stream[SessionMessage](_QUEUE)
        with read_send, read_receive, write_send, write_receive:
            async with HttpWire(self.config) as wire, anyio.create_task_group() as tasks:
                session = HttpSession(self.config, wire, read_send, log=self._log, over=self._break)
                tasks.start_soon(self._run, session, write_receive, read_send)
                try:
                    yield read_receive, write_send
                finally:
                    # Every wait inside is bounded.
                    with anyio.CancelScope(shield=True):
                        write_send.close()
                        if self.fault is None:
                            await session.flush()
                        self._running.cancel()
                        if self.fault is None:
                            await session.end()
                    tasks.cancel_scope.cancel()

    async def _run(
        self,
        session: HttpSession,
        written: MemoryObjectReceiveStream[SessionMessage],
        messages: MemoryObjectSendStream[Item],
    ) -> None:
        try:
            with self._running:
                await session.run(written)
        finally:
            # First the flag, so that whoever is woken by the end finds it set.
            self.ended.set()
            messages.close()

    def _break(self, reason: UpstreamError) -> None:
        """End the connection, because of what the server does."""
        if self.fault is None and not self._running.cancel_called:
            self.fault = UpstreamError(f"the server {self.config.label!r}: {reason}")
            self._running.cancel()
