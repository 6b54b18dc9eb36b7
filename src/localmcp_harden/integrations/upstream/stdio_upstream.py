"""A bounded client transport: an MCP server as a child process, over its standard streams.

`mcp.Client(StdioUpstream(config))` speaks to it. Whatever the child does (die, flood,
stall, write garbage) ends in an `UpstreamError` within stated bounds, and nothing of it
is left behind. Sizes are bytes, times are seconds.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TypeAlias, TypeVar, final

import anyio
from anyio.abc import ByteReceiveStream, Process

try:
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage
    from mcp_types import (
        JSONRPCError,
        JSONRPCMessage,
        JSONRPCNotification,
        JSONRPCRequest,
        JSONRPCResponse,
    )
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import InputTooLargeError, UpstreamError
from ...core.ports import Redactor
from ...mechanisms.exception_groups import leaves
from ...mechanisms.redact import KeyRedactor
from ...protocols.observability import LogLevel
from ..wire.ends import Item, LineSource, ReadEnd, WriteEnd
from ..wire.envelope import OpenRequests, read_envelope
from ..wire.framing import HEAD_BYTES, TAIL_BYTES, Line
from ..wire.lines_out import LineWriter
from ..wire.streams import FdReader
from .answers import (
    UPSTREAM_ERROR_CODE,
    failed_answer,
    parse_message,
    says_closed,
    unsendable_error,
)
from .child import (
    ChildPipes,
    UpstreamConfig,
    exit_text,
    start_child,
    stop_child,
    wait_for_exit,
)
from .child_log import ChildLog, UpstreamLog, ignore

__all__ = ("UPSTREAM_ERROR_CODE", "StdioUpstream", "UpstreamConfig", "UpstreamLog")

_CHUNK = 65_536
_QUEUE = 32
_MAX_QUESTIONS = 100
_FLUSH_S = 0.5
_LAST_WORDS_S = 1.0
_WATCH_S = 0.25
_WATCH_ROUND_S = 3_600.0

_Streams: TypeAlias = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]
T = TypeVar("T")


@final
class StdioUpstream:
    """The transport; good for one connection.

    Args:
        config: What to start, and the bounds.
        redactor: Takes secrets out of what the child writes to standard error, before
            anybody sees it (`KeyRedactor`).
        log: Takes those lines and notices of garbage, at most 20 a second.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        redactor: Redactor | None = None,
        log: UpstreamLog = ignore,
    ) -> None:
        self.config: UpstreamConfig = config
        self.ended: anyio.Event = anyio.Event()
        """Set as soon as nothing more will come from the child."""
        self.fault: UpstreamError | None = None
        """Why it ended, when that was not our doing. Known once the transport is left."""
        self._broke = False
        self._left = False
        self._reason = ""
        self._child_log = ChildLog(config.program, redactor=redactor or KeyRedactor(), log=log)
        self._garbage_in_a_row = 0
        self._questions = OpenRequests(_MAX_QUESTIONS)
        self._pipes: ChildPipes | None = None
        self._connection: AbstractAsyncContextManager[_Streams] | None = None

    @property
    def last_words(self) -> str:
        """Return what the child last wrote to standard error, without secrets."""
        return self._child_log.last_words

    async def __aenter__(self) -> _Streams:
        """Start the child and return its read and write streams.

        Raises:
            UpstreamError: It can not be started.
            RuntimeError: The transport was used before.
        """
        if self._connection is not None:
            raise RuntimeError("a StdioUpstream is good for one connection; make another")
        self._connection = self._connect()
        return await self._connection.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Stop the child.

        Raises:
            UpstreamError: The connection broke from the child's side, and what runs
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
        pipes = ChildPipes()
        try:
            process = await start_child(self.config, pipes)
            pipes.hand_over()
            async with self._running(process, pipes) as streams:
                yield streams
        finally:
            pipes.close()

    @asynccontextmanager
    async def _running(self, process: Process, pipes: ChildPipes) -> AsyncGenerator[_Streams]:
        # From here on nothing waits before the task group that ends the process.
        self._pipes = pipes
        config = self.config
        writer = LineWriter(pipes.writer, room=_QUEUE, stall_timeout_s=config.stall_timeout_s)
        lines = LineSource(pipes.reader, config.max_message_bytes, whole_only=True)
        read, write = _FromChild(self, lines), _ToChild(self, writer)
        async with anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(self._write, process, writer)
                tasks.start_soon(self._listen, process)
                tasks.start_soon(self._watch, process, lines)
                yield read, write
            finally:
                # Every wait inside is bounded, so a cancelled host neither leaves a
                # process behind nor hangs on one.
                with anyio.CancelScope(shield=True):
                    self._left = True
                    read.close()
                    write.close()
                    await self._stop(process, pipes, writer)
                tasks.cancel_scope.cancel()

    async def _stop(self, process: Process, pipes: ChildPipes, writer: LineWriter) -> None:
        broke = self._broke
        if broke and not self._reason:
            # Its output ended first. Mostly it is just dying: let it say with what code.
            died = await wait_for_exit(process, _LAST_WORDS_S)
            self._reason = exit_text(process.returncode) if died else "closed its output"
        elif not broke:
            with anyio.move_on_after(_FLUSH_S):
                await writer.flushed()
        self.over()
        pipes.end_input()
        async with anyio.create_task_group() as tasks:
            # A child with a full pipe could not end by itself.
            tasks.start_soon(_drain, pipes.from_child)
            await stop_child(process, 0.0 if broke else self.config.stop_grace_s)
            tasks.cancel_scope.cancel()
        if broke:
            said = self._child_log.last_words
            self.fault = UpstreamError(
                f"the server {self.config.program!r} {self._reason}"
                + (f"; it last wrote: {said}" if said else "")
            )

    def over(self, reason: str = "") -> None:
        """End the connection; because of what the child does, unless it was left already."""
        if not self.ended.is_set():
            self._reason = reason
            self._broke = not self._left
            # The flag was first, so that whoever is woken by the end finds it set.
            self.ended.set()
        if self._pipes is not None:
            self._pipes.reader.end()

    async def _watch(self, process: Process, lines: LineSource) -> None:
        """Notice a death that its output does not tell, since a grandchild holds the pipe."""
        while not await wait_for_exit(process, _WATCH_ROUND_S, every_s=_WATCH_S):
            pass
        received = -1
        while received != lines.chunks:
            received = lines.chunks
            await anyio.sleep(_WATCH_S)
        self.over(exit_text(process.returncode))

    async def receive(self, lines: LineSource) -> Item:
        """Return the next message."""
        config = self.config
        while (line := await _next_line(lines)) is not None and not line.too_long:
            message = self._parse(line.data)
            if message is not None:
                return message
            if self._garbage_in_a_row > config.max_garbage_lines:
                count = self._garbage_in_a_row
                self.over(f"wrote {count} lines in a row that are no messages")
                break
        else:
            too_long = line is not None or lines.overflowing
            self.over(
                f"wrote a line of more than {config.max_message_bytes} bytes" if too_long else ""
            )
        raise anyio.EndOfStream

    def _parse(self, data: bytes) -> SessionMessage | None:
        """Return a message; None for garbage, which is counted."""
        config = self.config
        if not data.strip():
            self._garbage_in_a_row += 1
            return None
        try:
            message = parse_message(data, config)
        except (InputTooLargeError, ValueError) as error:
            # Of the error only its type: its text quotes what was written.
            self._garbage_in_a_row += 1
            facts = {"bytes": len(data), "problem": type(error).__name__}
            self._child_log.report(
                LogLevel.WARNING, "the server wrote a line that is no message", facts
            )
            return _failed_answer(data)
        self._garbage_in_a_row = 0
        if isinstance(message, JSONRPCRequest) and not self._questions.open(message.id):
            self.over("asks more than it reads answers to")
            return None
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._questions.close((message.params or {}).get("requestId"))
        return SessionMessage(message)

    async def send(self, message: JSONRPCMessage, writer: LineWriter) -> None:
        """Write a message."""
        if self.ended.is_set():
            raise anyio.BrokenResourceError
        try:
            line = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        except ValueError:
            # Half a surrogate pair, from a caller in our own process.
            if isinstance(message, JSONRPCRequest):
                raise unsendable_error() from None
            return
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            await writer.send(line, partial(self._questions.close, message.id))
        else:
            await writer.send(line)

    async def _write(self, process: Process, writer: LineWriter) -> None:
        try:
            await writer.run()
        except TimeoutError:
            self.over(f"did not read its input for {self.config.stall_timeout_s:g} seconds")
        except OSError:
            # One that is dying gets the time to say how; one that lives on with its
            # input closed must not keep its callers waiting.
            died = await wait_for_exit(process, _LAST_WORDS_S)
            self.over(exit_text(process.returncode) if died else "closed its input")

    async def _listen(self, process: Process) -> None:
        stderr = _existing(process.stderr)
        # Shielded: the last words come while the child is being stopped, which ends this.
        with anyio.CancelScope(shield=True):
            while chunk := await _receive(stderr):
                self._child_log.feed(chunk)
        self._child_log.finish()


@final
class _FromChild(ReadEnd):
    """What the child sends."""

    def __init__(self, upstream: StdioUpstream, lines: LineSource) -> None:
        self._upstream = upstream
        self._lines = lines

    async def _next(self) -> Item:
        return await self._upstream.receive(self._lines)


@final
class _ToChild(WriteEnd):
    """What is sent to the child."""

    def __init__(self, upstream: StdioUpstream, writer: LineWriter) -> None:
        self._upstream = upstream
        self._writer = writer

    async def _put(self, item: SessionMessage) -> None:
        await self._upstream.send(item.message, self._writer)


async def _next_line(lines: LineSource) -> Line | None:
    with suppress(OSError):
        return await lines.next()
    return None


async def _drain(fd: int) -> None:
    """Read what nobody wants any more, up to the end."""
    reader = FdReader(fd)
    with suppress(OSError):
        while await reader.read():
            pass


async def _receive(stream: ByteReceiveStream) -> bytes:
    """Return what can be read; nothing at the end, however it comes."""
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        return await stream.receive(_CHUNK)
    return b""


def _existing(stream: T | None) -> T:
    if stream is None:  # pragma: no cover - every child is started with three pipes
        raise RuntimeError("the child has no such stream")
    return stream


def _failed_answer(data: bytes) -> SessionMessage | None:
    """Return an error in the place of an answer that can not be read, so that nobody waits."""
    envelope = read_envelope(data[:HEAD_BYTES], data[-TAIL_BYTES:])
    if not envelope.is_response or envelope.id is None:
        return None
    return failed_answer(envelope.id, "the server's answer could not be read")
