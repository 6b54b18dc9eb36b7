"""Serves a server of the official SDK over standard input and output, with bounds.

The SDK's own stream parses whatever a line holds. This one refuses a line that is too
long without keeping it, and one that is nested too deeply without parsing it, and
answers both, so that no client waits in vain. Sizes are bytes.
"""

from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeAlias, cast, final

import anyio

try:
    from mcp.server import MCPServer, Server
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage
    from mcp_types import (
        INTERNAL_ERROR,
        INVALID_PARAMS,
        INVALID_REQUEST,
        PARSE_ERROR,
        ErrorData,
        JSONRPCError,
        JSONRPCMessage,
        JSONRPCNotification,
        JSONRPCRequest,
        JSONRPCResponse,
        jsonrpc_message_adapter,
    )
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "serving over standard input and output") from _missing

from ..core.errors import ConfigError, InputTooLargeError
from ..mechanisms.exception_groups import plain_errors
from ..mechanisms.json_bounds import check_json_text
from .shutdown import end_on_signal
from .wire.ends import Item, LineSource, ReadEnd, WriteEnd
from .wire.envelope import MessageId, OpenRequests, read_envelope
from .wire.framing import HEAD_BYTES, TAIL_BYTES, Line
from .wire.lines_out import LineWriter
from .wire.streams import FdReader, FdWriter, claimed_standard_streams

__all__ = ("HasFileno", "serve_stdio")

_LAST_WORDS_S = 5.0
_MIN_BYTES = 1_024


class HasFileno(Protocol):
    """A file, a pipe or a socket."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


async def serve_stdio(
    server: "MCPServer[Any] | Server[Any]",
    *,
    max_message_bytes: int = 4 * 1024 * 1024,
    max_depth: int = 64,
    max_open_requests: int = 1_000,
    stdin: HasFileno | None = None,
    stdout: HasFileno | None = None,
    handle_signals: bool = True,
) -> None:
    """Serve until the input ends or a signal says so.

    Meanwhile what is printed goes to standard error: only messages reach the client.

    Args:
        server: The server.
        max_message_bytes: The longest line (at least 1,024; 4 MiB, what the SDK takes
            over HTTP). A longer one is answered with an error and thrown away.
        max_depth: How deep a message may be nested (8 to 190; 64). A deeper one is
            answered with an error.
        max_open_requests: How many requests may wait for their answer at once (at least
            1; 1,000). One more is answered with an error.
        stdin: Where to read instead of standard input.
        stdout: Where to write instead of standard output.
        handle_signals: Whether SIGTERM and SIGINT end the serving in order; in the main
            thread only.

    Raises:
        ConfigError: A bound is out of range, or a standard stream is closed.
        UpstreamError: The server is a wrapped one and can not be started.
    """
    if max_message_bytes < _MIN_BYTES or not 8 <= max_depth <= 190 or max_open_requests < 1:  # noqa: PLR2004
        raise ConfigError(
            "max_message_bytes is at least 1024, max_depth from 8 to 190 and "
            "max_open_requests at least 1"
        )
    # MCPServer has no public way to be run over given streams.
    low_level = cast("Server[Any]", getattr(server, "_lowlevel_server", server))
    with ExitStack() as stack, plain_errors():
        if stdin is None or stdout is None:
            claimed = stack.enter_context(claimed_standard_streams())
        else:
            claimed = (-1, -1)
        reader = FdReader(claimed[0] if stdin is None else stdin.fileno())
        writer = stack.enter_context(FdWriter(claimed[1] if stdout is None else stdout.fileno()))
        client = _Client(
            reader,
            writer,
            requests=OpenRequests(max_open_requests),
            max_bytes=max_message_bytes,
            max_depth=max_depth,
        )
        async with client.streams(handle_signals=handle_signals) as (incoming, outgoing):
            await low_level.run(incoming, outgoing, low_level.create_initialization_options())


_Streams: TypeAlias = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]


@final
class _Client:
    """The client at the other end of two descriptors."""

    def __init__(
        self,
        reader: FdReader,
        writer: FdWriter,
        *,
        requests: OpenRequests,
        max_bytes: int,
        max_depth: int,
    ) -> None:
        self._reader = reader
        self._lines = LineSource(reader, max_bytes)
        self._writer = LineWriter(writer)
        self._requests = requests
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._refusing = anyio.CancelScope()

    @asynccontextmanager
    async def streams(self, *, handle_signals: bool) -> AsyncGenerator[_Streams]:
        incoming, outgoing = _Incoming(self), _Outgoing(self)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            if handle_signals:
                tasks.start_soon(end_on_signal, self._end)
            try:
                yield incoming, outgoing
            finally:
                incoming.close()
                outgoing.close()
                # What was answered is still written, unless the client does not read.
                with anyio.move_on_after(_LAST_WORDS_S, shield=True):
                    await self._writer.flushed()
                tasks.cancel_scope.cancel()

    def _end(self) -> None:
        """Take nothing more from the client."""
        self._reader.end()
        self._refusing.cancel()

    async def receive(self) -> SessionMessage:
        """Return the next message that is within the bounds; answer the others."""
        while (line := await self._next_line()) is not None:
            message, refused = self._take(line)
            if message is not None:
                return SessionMessage(message)
            if refused is not None:
                # A client that does not read must not keep us from ending.
                with anyio.CancelScope() as self._refusing:
                    await self.send(refused)
        raise anyio.EndOfStream

    async def _next_line(self) -> Line | None:
        try:
            return await self._lines.next()
        except OSError:
            return None  # the client's end of the pipe is broken

    def _take(self, line: Line) -> "tuple[JSONRPCMessage | None, JSONRPCError | None]":
        """Return the message, or the error that answers it; neither for a blank line."""
        if line.too_long:
            text = f"the message has more than {self._max_bytes} bytes"
            return None, _unread(line, INVALID_PARAMS, InputTooLargeError.code, text)
        if not line.data.strip():
            return None, None
        return self._parse(line)

    def _parse(self, line: Line) -> "tuple[JSONRPCMessage | None, JSONRPCError | None]":
        """Return the message, or the error that answers it."""
        try:
            check_json_text(line.data, max_bytes=self._max_bytes, max_depth=self._max_depth)
            message = jsonrpc_message_adapter.validate_json(line.data, by_name=False)
        except InputTooLargeError as error:
            return None, _unread(line, INVALID_PARAMS, error.code, error.reason)
        except ValidationError as error:
            # Of the error only its kind: its text quotes the message.
            if any(fault["type"] == "json_invalid" for fault in error.errors(include_url=False)):
                return None, _error(None, PARSE_ERROR, "parse_error", "the line is not JSON")
            text = "the line is not a JSON-RPC message"
            return None, _unread(line, INVALID_REQUEST, "invalid_request", text)
        refused = self._check(message, line)
        return (message, None) if refused is None else (None, refused)

    def _check(self, message: JSONRPCMessage, line: Line) -> JSONRPCError | None:
        """Keep account of what waits for an answer; return an error for what may not."""
        if isinstance(message, JSONRPCRequest) and not self._requests.open(message.id):
            if self._requests.is_open(message.id):
                text = "a request with this id waits for its answer"
                return _error(message.id, INVALID_REQUEST, "invalid_request", text)
            text = "too many requests wait for their answers"
            return _error(message.id, INTERNAL_ERROR, "too_many_requests", text)
        if isinstance(message, JSONRPCNotification):
            if read_envelope(line.data[:HEAD_BYTES]).has_id:
                # The SDK would take it for a notification, and its sender would wait.
                text = "an id must be a string or a whole number"
                return _error(None, INVALID_REQUEST, "invalid_request", text)
            if message.method == "notifications/cancelled":
                # A cancelled request is never answered.
                self._requests.close((message.params or {}).get("requestId"))
        return None

    async def send(self, message: JSONRPCMessage) -> None:
        """Write a message."""
        try:
            text = message.model_dump_json(by_alias=True, exclude_unset=True)
        except ValueError:
            if not isinstance(message, JSONRPCResponse):
                return
            # Half of a surrogate pair in a result has no form on the wire.
            text = _error(
                message.id, INTERNAL_ERROR, "internal_error", "the result is no text"
            ).model_dump_json(by_alias=True, exclude_unset=True)
        line = text.encode() + b"\n"
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            # Not later: who has the answer may use the id again.
            await self._writer.send(line, partial(self._requests.close, message.id))
        else:
            await self._writer.send(line)

    async def _write(self) -> None:
        try:
            await self._writer.run()
        except OSError:
            self._end()  # nobody reads any more


@final
class _Incoming(ReadEnd):
    """What the client sends."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    async def _next(self) -> Item:
        return await self._client.receive()


@final
class _Outgoing(WriteEnd):
    """What is sent to the client."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    async def _put(self, item: SessionMessage) -> None:
        await self._client.send(item.message)


def _unread(line: Line, code: int, name: str, text: str) -> JSONRPCError | None:
    """Answer a line that was not read as a message; None where nobody waits for an answer."""
    envelope = read_envelope(line.data[:HEAD_BYTES], line.tail or line.data[-TAIL_BYTES:])
    if envelope.is_response:
        return None
    return _error(envelope.id if envelope.is_request else None, code, name, text)


def _error(request_id: MessageId | None, code: int, name: str, text: str) -> JSONRPCError:
    fault = ErrorData(code=code, message=f"{name}: {text}", data={"code": name})
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=fault)
