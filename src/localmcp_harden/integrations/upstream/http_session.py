"""The tasks of one connection over HTTP: each request has its own, and fails alone."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias, final

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import frozen

try:
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

from ...core.errors import UpstreamError
from ...protocols.observability import LogLevel
from ..wire.envelope import OpenRequests
from .answers import failed_answer, unsendable
from .child_log import ChildLog
from .http_config import HttpUpstreamConfig
from .http_exchange import GREETINGS, ConnectionOverError, HttpExchange, NoStreamError, Told
from .http_headers import HeaderBook, modern_version
from .http_wire import HttpWire, UnreachableError

__all__ = ("HttpSession", "Item")

Item: TypeAlias = SessionMessage | Exception

_MAX_QUESTIONS = 100
_MAX_NOTES = 200
_NOTE_S = 30.0
_FLUSH_S = 0.5
_GOODBYE_S = 2.0
_LISTEN_FAILURES = 5
_LISTEN_DELAY_S = 1.0
_LISTEN_MAX_DELAY_S = 60.0


@final
@frozen(eq=False)
class _Asked:
    """A request in flight."""

    method: str
    scope: anyio.CancelScope
    modern: bool


@final
class HttpSession:
    """Carries messages between two streams and an endpoint.

    Args:
        config: The bounds.
        wire: The connections.
        messages: Takes what the server says.
        log: Takes notices of what is dropped.
        over: Told once, when the connection is over from the server's side.
    """

    def __init__(
        self,
        config: HttpUpstreamConfig,
        wire: HttpWire,
        messages: MemoryObjectSendStream[Item],
        *,
        log: ChildLog,
        over: Callable[[UpstreamError], None],
    ) -> None:
        self._wire = wire
        self._messages = messages
        self._log = log
        self._over = over
        self._headers = HeaderBook(config.headers)
        self._exchange = HttpExchange(
            wire, self._headers, config, receive=self._receive, drop=self._drop
        )
        self._questions = OpenRequests(_MAX_QUESTIONS)
        self._in_flight: dict[str, _Asked] = {}
        # So that a server which takes none of them keeps no request from its connection.
        self._telling = anyio.CapacityLimiter(max(1, config.max_connections // 4))
        self._notes = 0
        self._all_told = anyio.Event()

    async def run(self, written: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Send what is written; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            async for sent in written:
                await self._send(sent.message, tasks)
            await anyio.sleep_forever()

    async def flush(self) -> None:
        """Let notifications out that are on their way, for half a second."""
        if self._notes:
            with anyio.move_on_after(_FLUSH_S):
                await self._all_told.wait()

    async def end(self) -> None:
        """End the session on the server, where there is one, within two seconds."""
        if self._headers.session_id is None:
            return
        with anyio.move_on_after(_GOODBYE_S), suppress(UpstreamError):
            async with self._wire.send("DELETE", self._headers.plain()):
                pass

    async def _send(self, message: JSONRPCMessage, tasks: TaskGroup) -> None:
        try:
            body = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except ValueError:
            # Half a surrogate pair, from a caller in our own process.
            if isinstance(message, JSONRPCRequest):
                tasks.start_soon(self._deliver, unsendable(message))
            return
        if isinstance(message, JSONRPCRequest):
            if message.method in GREETINGS:
                self._drop_greetings()
            is_modern = modern_version(message.params) is not None
            asked = _Asked(message.method, anyio.CancelScope(), is_modern)
            # Noted before it runs: the very next message may call it off.
            self._in_flight[str(message.id)] = asked
            tasks.start_soon(self._ask, message, body, asked)
            return
        if isinstance(message, JSONRPCNotification):
            if message.method == "notifications/initialized":
                # What follows would be refused as long as this has not arrived.
                await self._tell(message, body)
                if self._headers.session_id is not None:
                    tasks.start_soon(self._listen)
                return
            if message.method == "notifications/cancelled" and self._call_off(message):
                return
        if self._notes >= _MAX_NOTES:
            self._log.report(LogLevel.WARNING, "the server does not take notifications", {})
            return
        tasks.start_soon(self._tell, message, body)

    def _drop_greetings(self) -> None:
        """Stop waiting for the answer to another greeting: it is given up without a word."""
        for asked in self._in_flight.values():
            if asked.method in GREETINGS:
                asked.scope.cancel()

    def _call_off(self, message: JSONRPCNotification) -> bool:
        """Stop waiting for an answer; return whether that is all there is to say."""
        asked = self._in_flight.pop(str((message.params or {}).get("requestId")), None)
        if asked is None:
            return True
        asked.scope.cancel()
        # In the era of 2026 the end of the request is the cancellation.
        return asked.modern

    async def _ask(self, request: JSONRPCRequest, body: bytes, asked: _Asked) -> None:
        key = str(request.id)
        try:
            with asked.scope:
                try:
                    answer = SessionMessage(await self._exchange.ask(request, body))
                except ConnectionOverError as error:
                    self._over(error)
                    return
                except UpstreamError as error:
                    await self._deliver(failed_answer(request.id, str(error)))
                    # Nobody is there, and nobody waits for an answer from before: let
                    # whoever keeps the connection start anew, with its patience.
                    if isinstance(error, UnreachableError) and list(self._in_flight) == [key]:
                        self._over(error)
                    return
                await self._deliver(answer)
        finally:
            if self._in_flight.get(key) is asked:
                del self._in_flight[key]

    async def _tell(self, message: JSONRPCMessage, body: bytes) -> None:
        if not self._notes:
            self._all_told = anyio.Event()
        self._notes += 1
        try:
            async with self._telling:
                with anyio.move_on_after(_NOTE_S):
                    await self._exchange.tell(message, body)
            if isinstance(message, JSONRPCResponse | JSONRPCError):
                self._questions.close(message.id)
        except ConnectionOverError as error:
            self._over(error)
        except UpstreamError as error:
            self._log.report(
                LogLevel.WARNING, "the server did not take a notification", {"reason": str(error)}
            )
        finally:
            self._notes -= 1
            if not self._notes:
                self._all_told.set()

    async def _listen(self) -> None:
        """Keep a stream open for what the server says unasked."""
        last_id: bytes | None = None
        failures = 0
        delay_s = _LISTEN_DELAY_S
        while failures < _LISTEN_FAILURES:
            try:
                last_id, retry_s = await self._exchange.listen(last_id)
                failures, delay_s = 0, max(retry_s or 0.0, _LISTEN_DELAY_S)
            except ConnectionOverError as error:
                self._over(error)
                return
            except NoStreamError:
                return
            except UpstreamError:
                failures += 1
                delay_s *= 2
            await anyio.sleep(min(delay_s, _LISTEN_MAX_DELAY_S))
        self._log.report(LogLevel.WARNING, "the server's own stream can not be kept open", {})

    async def _receive(self, message: Told) -> None:
        if isinstance(message, JSONRPCRequest):
            if not self._questions.open(message.id):
                raise ConnectionOverError("the server asks more than it reads answers to")
        elif message.method == "notifications/cancelled":
            self._questions.close((message.params or {}).get("requestId"))
        await self._deliver(SessionMessage(message))

    async def _deliver(self, message: SessionMessage) -> None:
        # Nobody reads any more: the connection is being left.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._messages.send(message)

    def _drop(self, size: int, problem: str) -> None:
        facts = {"bytes": size, "problem": problem}
        self._log.report(LogLevel.WARNING, "the server sent what is no message", facts)
