"""A bounded client transport: an MCP server as a child process, over its standard streams.

`mcp.Client(StdioUpstream(config))` speaks to it. Whatever the child does (die, flood,
stall, write garbage) ends in an `UpstreamError` within stated bounds, and nothing of it
is left behind. Sizes are bytes, times are seconds.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import TypeAlias, TypeVar, final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

try:
    from mcp.shared.message import SessionMessage
    from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import InputTooLargeError, UpstreamError
from ...core.ports import Redactor
from ...mechanisms.exception_groups import leaves
from ...mechanisms.redact import KeyRedactor
from ...protocols.observability import LogLevel
from ..wire.envelope import OpenRequests, read_envelope
from ..wire.framing import HEAD_BYTES, TAIL_BYTES, LineSplitter
from .answers import (
    UPSTREAM_ERROR_CODE,
    failed_answer,
    parse_message,
    says_closed,
    unsendable,
)
from .child import UpstreamConfig, exit_text, start_child, stop_child, wait_for_exit
from .child_log import ChildLog, UpstreamLog, ignore

__all__ = ("UPSTREAM_ERROR_CODE", "StdioUpstream", "UpstreamConfig", "UpstreamLog")

_CHUNK = 65_536
_QUEUE = 32
_MAX_QUESTIONS = 100
_FLUSH_S = 0.5
_LAST_WORDS_S = 1.0
_WATCH_S = 0.25
_WATCH_ROUND_S = 3_600.0

_Item: TypeAlias = SessionMessage | Exception
_Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[_Item], MemoryObjectSendStream[SessionMessage]
]
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
        self._received = 0
        self._questions = OpenRequests(_MAX_QUESTIONS)
        self._reading = anyio.CancelScope()
        self._write_done = anyio.Event()
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
        process = await start_child(self.config)
        # From here on nothing waits before the task group that ends the process.
        read_send, read_receive = anyio.create_memory_object_stream[_Item](0)
        write_send, write_receive = anyio.create_memory_object_stream[SessionMessage](_QUEUE)
        async with anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(self._read, process, read_send)
                tasks.start_soon(self._write, process, write_receive, read_send)
                tasks.start_soon(self._listen, process)
                tasks.start_soon(self._watch, process)
                yield read_receive, write_send
            finally:
                # Every wait inside is bounded, so a cancelled host neither leaves a
                # process behind nor hangs on one.
                with anyio.CancelScope(shield=True):
                    self._left = True
                    read_receive.close()
                    write_send.close()
                    await self._stop(process)
                tasks.cancel_scope.cancel()
                read_send.close()
                write_receive.close()

    async def _stop(self, process: Process) -> None:
        broke = self._broke
        if broke and not self._reason:
            # Its output ended first. Mostly it is just dying: let it say with what code.
            died = await wait_for_exit(process, _LAST_WORDS_S)
            self._reason = exit_text(process.returncode) if died else "closed its output"
        elif not broke:
            with anyio.move_on_after(_FLUSH_S):
                await self._write_done.wait()
        self._reading.cancel()
        await stop_child(process, 0.0 if broke else self.config.stop_grace_s)
        if broke:
            said = self._child_log.last_words
            self.fault = UpstreamError(
                f"the server {self.config.program!r} {self._reason}"
                + (f"; it last wrote: {said}" if said else "")
            )

    def _break(self, reason: str) -> None:
        """End the connection, because of what the child does."""
        self._reason = self._reason or reason
        self._reading.cancel()

    async def _watch(self, process: Process) -> None:
        """Notice a death that its output does not tell, since a grandchild holds the pipe."""
        while not await wait_for_exit(process, _WATCH_ROUND_S, every_s=_WATCH_S):
            pass
        received = -1
        while received != self._received:
            received = self._received
            await anyio.sleep(_WATCH_S)
        self._break(exit_text(process.returncode))

    async def _read(self, process: Process, messages: MemoryObjectSendStream[_Item]) -> None:
        stdout = _existing(process.stdout)
        try:
            with self._reading:
                await self._deliver(stdout, messages)
            # Not reached when the host cancels us.
            self._broke = not self._left
        finally:
            # First the flag, so that whoever is woken by the end finds it set.
            self.ended.set()
            messages.close()
            # A child with a full pipe could not end by itself; stopping it ends this.
            with anyio.CancelScope(shield=True):
                while await _receive(stdout):
                    pass

    async def _deliver(
        self, stdout: ByteReceiveStream, messages: MemoryObjectSendStream[_Item]
    ) -> None:
        config = self.config
        lines = LineSplitter(config.max_message_bytes)
        while chunk := await _receive(stdout):
            self._received += 1
            for line in lines.feed(chunk):
                message = None if line.too_long else self._parse(line.data)
                if message is not None:
                    try:
                        await messages.send(message)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        self._left = True
                        return
                elif line.too_long:
                    self._break(f"wrote a line of more than {config.max_message_bytes} bytes")
                    return
                elif self._garbage_in_a_row > config.max_garbage_lines:
                    count = self._garbage_in_a_row
                    self._break(f"wrote {count} lines in a row that are no messages")
                    return
            if lines.overflowing:
                self._break(f"wrote a line of more than {config.max_message_bytes} bytes")
                return

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
            self._break("asks more than it reads answers to")
            return None
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._questions.close((message.params or {}).get("requestId"))
        return SessionMessage(message)

    async def _write(
        self,
        process: Process,
        messages: MemoryObjectReceiveStream[SessionMessage],
        answers: MemoryObjectSendStream[_Item],
    ) -> None:
        stdin = _existing(process.stdin)
        try:
            async for sent in messages:
                message = sent.message
                try:
                    text = message.model_dump_json(by_alias=True, exclude_unset=True)
                except ValueError:
                    # Half a surrogate pair, from a caller in our own process.
                    if isinstance(message, JSONRPCRequest):
                        await answers.send(unsendable(message))
                    continue
                if isinstance(message, JSONRPCResponse | JSONRPCError):
                    self._questions.close(message.id)
                if not await self._send(stdin, text.encode() + b"\n"):
                    stalled_s = self.config.stall_timeout_s
                    self._break(f"did not read its input for {stalled_s:g} seconds")
                    return
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            # One that is dying gets the time to say how; one that lives on with its
            # input closed must not keep its callers waiting.
            died = await wait_for_exit(process, _LAST_WORDS_S)
            self._break(exit_text(process.returncode) if died else "closed its input")
        finally:
            self._write_done.set()

    async def _send(self, stdin: ByteSendStream, data: bytes) -> bool:
        """Write in pieces, so that it is progress that is timed; False when there is none."""
        for start in range(0, len(data), _CHUNK):
            with anyio.move_on_after(self.config.stall_timeout_s) as scope:
                await stdin.send(data[start : start + _CHUNK])
            if scope.cancelled_caught:
                return False
        return True

    async def _listen(self, process: Process) -> None:
        stderr = _existing(process.stderr)
        # Shielded: the last words come while the child is being stopped, which ends this.
        with anyio.CancelScope(shield=True):
            while chunk := await _receive(stderr):
                self._child_log.feed(chunk)
        self._child_log.finish()


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
