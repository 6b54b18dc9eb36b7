"""The streamable HTTP transport, request by request: what to send, and what an answer means.

Every failure has a name: an `UpstreamError` concerns one request, a `ConnectionOverError`
all of them. Waiting for an answer is bounded by whoever asks; what is sent meanwhile, by
the settings.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, final

import anyio
from attrs import define

try:
    from mcp_types import (
        JSONRPCError,
        JSONRPCMessage,
        JSONRPCNotification,
        JSONRPCRequest,
        JSONRPCResponse,
    )
    from mcp_types.jsonrpc import HEADER_MISMATCH
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import InputTooLargeError, UpstreamError
from ..wire.envelope import read_envelope
from ..wire.events import EventSplitter, ServerEvent
from ..wire.framing import HEAD_BYTES, TAIL_BYTES
from .answers import parse_message
from .http_config import HttpUpstreamConfig
from .http_headers import HeaderBook, modern_version
from .http_wire import HttpWire, Reply, SeveredError, UnreachableError

__all__ = ("GREETINGS", "Answer", "ConnectionOverError", "HttpExchange", "NoStreamError", "Told")

Answer: TypeAlias = JSONRPCResponse | JSONRPCError
Told: TypeAlias = JSONRPCRequest | JSONRPCNotification

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED = 401, 403, 404, 405
_OK, _REDIRECTS, _REFUSALS, _FAULTS = 200, 300, 400, 500
_STREAM, _JSON = "text/event-stream", "application/json"
_RESUMPTIONS = 3
_RESUME_DELAY_S = 1.0
_RESUME_LEAST_S = 0.1
_RESUME_MOST_S = 60.0
_MAX_PAGES = 20
GREETINGS = frozenset({"server/discover", "initialize"})
_PATIENT = "subscriptions/listen"


@final
class ConnectionOverError(UpstreamError):
    """Nothing more can be had over this connection."""


@final
class NoStreamError(UpstreamError):
    """The server says nothing unasked."""


@final
@define
class _Place:
    """How far a stream of events was read."""

    last_id: bytes | None = None
    retry_s: float | None = None


@final
class HttpExchange:
    """Asks one endpoint.

    Args:
        wire: The connections.
        headers: What requests say of themselves; learns from the answers.
        config: The bounds.
        receive: Takes what the server says beside its answers.
        drop: Hears of what can not be read: its size, and the kind of the problem.
    """

    def __init__(
        self,
        wire: HttpWire,
        headers: HeaderBook,
        config: HttpUpstreamConfig,
        *,
        receive: Callable[[Told], Awaitable[None]],
        drop: Callable[[int, str], None],
    ) -> None:
        self._wire = wire
        self._headers = headers
        self._config = config
        self._receive = receive
        self._drop = drop
        self._lists = 0
        self._failed_greetings: set[str] = set()
        self.greeted: bool = False
        """Whether the server has answered a greeting."""

    async def ask(self, request: JSONRPCRequest, body: bytes) -> Answer:
        """Send a request and return its answer.

        Args:
            request: The request.
            body: The same as it goes over the wire.

        Raises:
            ConnectionOverError: No request will be answered over this connection.
            UpstreamError: This one will not.
        """
        try:
            answer = await self._post(request, body)
            if _is_mismatch(answer, request) and await self._learn(request):
                # Refused by its headers, so it was not carried out. The tool may have
                # changed, or this connection has never seen the list.
                answer = await self._post(request, body)
        except ConnectionOverError:
            raise
        except UpstreamError as error:
            if self._is_hopeless(request, error):
                raise ConnectionOverError(str(error)) from None
            raise
        if isinstance(answer, JSONRPCResponse) and request.method in GREETINGS:
            self.greeted = True
        return answer

    def _is_hopeless(self, request: JSONRPCRequest, error: UpstreamError) -> bool:
        """Return whether a server that failed so will not answer anything else, either."""
        if self.greeted:
            return False
        if request.method in GREETINGS:
            # One of the two it need not know, and some fail at what they do not know.
            self._failed_greetings.add(request.method)
        return (
            isinstance(error, UnreachableError)
            or self._failed_greetings >= GREETINGS
            or (self._config.mode == "legacy" and bool(self._failed_greetings))
        )

    async def tell(self, message: JSONRPCMessage, body: bytes) -> None:
        """Send a notification, or the answer to a question of the server.

        Raises:
            ConnectionOverError: The server has ended the session.
            UpstreamError: It was not taken.
        """
        async with self._wire.send("POST", self._headers.of(message), body) as reply:
            if reply.status >= _REDIRECTS:
                raise self._refusal(reply)

    async def listen(self, last_id: bytes | None) -> tuple[bytes | None, float | None]:
        """Take what the server says unasked, until its stream ends.

        Args:
            last_id: The event after which to go on.

        Returns:
            The last event, and how long the server wants us to wait before the next
            stream.

        Raises:
            ConnectionOverError: The server has ended the session.
            NoStreamError: It offers no such stream.
            UpstreamError: The stream can not be had now.
        """
        place = _Place(last_id)
        async with self._wire.send("GET", self._resuming(last_id), patient=True) as reply:
            if reply.status < _REDIRECTS and reply.content_type != _STREAM:
                raise NoStreamError("the server offers no such stream")
            if reply.status == _NOT_ALLOWED:
                raise NoStreamError("the server offers no such stream")
            if reply.status >= _REDIRECTS:
                raise self._refusal(reply)
            await self._follow(reply, None, place)
        return place.last_id, place.retry_s

    async def _post(self, request: JSONRPCRequest, body: bytes) -> Answer:
        headers = self._headers.of(request)
        patient = request.method == _PATIENT
        place = _Place()
        answer: Answer | None
        async with self._wire.send("POST", headers, body, patient=patient) as reply:
            if reply.status >= _REDIRECTS:
                return await self._refused(reply, request)
            if reply.status != _OK:
                raise UpstreamError(
                    f"the server took the request without answering it (HTTP {reply.status})"
                )
            if request.method == "initialize":
                # Before the answer, which may come over a stream that is resumed.
                self._headers.take_session(reply.header("mcp-session-id"))
            if reply.content_type == _JSON:
                answer = self._own(await reply.body(), request)
            elif reply.content_type == _STREAM:
                answer = await self._follow(reply, request, place)
            else:
                raise UpstreamError("the answer is neither JSON nor a stream of events")
        if answer is None:
            answer = await self._resume(request, place)
        if isinstance(answer, JSONRPCResponse):
            self._note(request, answer.result)
        return answer

    def _note(self, request: JSONRPCRequest, result: Mapping[str, Any]) -> None:
        if request.method == "initialize":
            self._headers.greeted(result)
        elif request.method == "tools/list" and modern_version(request.params):
            self._headers.listed(result)

    def _own(self, data: bytes, request: JSONRPCRequest) -> Answer:
        """Return the answer in a body that holds nothing else."""
        try:
            message = parse_message(data, self._config)
        except (InputTooLargeError, ValueError) as error:
            self._drop(len(data), type(error).__name__)
            raise UpstreamError("the server's answer could not be read") from None
        if not isinstance(message, Answer) or not _answers(message, request):
            raise UpstreamError("the server answered something else")
        return message

    async def _follow(
        self, reply: Reply, request: JSONRPCRequest | None, place: _Place
    ) -> Answer | None:
        """Read a stream up to the answer to `request`; None where it ends without."""
        splitter = EventSplitter(self._config.max_message_bytes)
        try:
            while chunk := await reply.read():
                for event in splitter.feed(chunk):
                    place.last_id = event.id or place.last_id
                    place.retry_s = place.retry_s if event.retry_s is None else event.retry_s
                    message = self._read(event, request)
                    if isinstance(message, Told):
                        await self._receive(message)
                    elif message is not None and request and _answers(message, request):
                        return message
                    elif message is not None:
                        self._drop(len(event.data), "an answer to another request")
        except InputTooLargeError as error:
            raise UpstreamError(f"the answer is too large: {error}") from None
        except SeveredError:
            # What was numbered can be asked for again.
            if place.last_id is None:
                raise
        return None

    async def _resume(self, request: JSONRPCRequest, place: _Place) -> Answer:
        """Ask for the rest of a stream, as long as there is more of it each time."""
        tries = 0
        while place.last_id is not None and tries < _RESUMPTIONS:
            tries += 1
            delay_s = _RESUME_DELAY_S if place.retry_s is None else place.retry_s
            await anyio.sleep(min(max(delay_s, _RESUME_LEAST_S), _RESUME_MOST_S))
            before = place.last_id
            try:
                async with self._wire.send("GET", self._resuming(before)) as reply:
                    if reply.status != _OK or reply.content_type != _STREAM:
                        raise self._refusal(reply)
                    answer = await self._follow(reply, request, place)
            except UnreachableError:
                continue
            if answer is not None:
                return answer
            if place.last_id != before:
                tries = 0
        raise UpstreamError("the stream of events ended without the answer")

    def _resuming(self, last_id: bytes | None) -> dict[str, str]:
        headers = self._headers.plain()
        headers["accept"] = _STREAM
        if last_id is not None:
            headers["last-event-id"] = last_id.decode("ascii")
        return headers

    def _read(self, event: ServerEvent, request: JSONRPCRequest | None) -> JSONRPCMessage | None:
        """Return the message of an event; None for what holds none."""
        if not event.data or event.event not in {b"", b"message"}:
            return None
        try:
            return parse_message(event.data, self._config)
        except (InputTooLargeError, ValueError) as error:
            self._drop(len(event.data), type(error).__name__)
        if request and read_envelope(event.data[:HEAD_BYTES], event.data[-TAIL_BYTES:]).is_response:
            raise UpstreamError("the server's answer could not be read")
        return None

    async def _refused(self, reply: Reply, request: JSONRPCRequest) -> Answer:
        """Return the protocol's error in a refusal, where it has one; else say what it is."""
        refusal = self._refusal(reply)
        own = isinstance(refusal, ConnectionOverError) or reply.status in {
            _UNAUTHORIZED,
            _FORBIDDEN,
        }
        is_json = reply.content_type == _JSON and reply.status >= _REFUSALS
        if not own and is_json and (error := await self._error_in(reply, request)):
            return error
        raise refusal

    async def _error_in(self, reply: Reply, request: JSONRPCRequest) -> JSONRPCError | None:
        try:
            message = parse_message(await reply.body(), self._config)
        except (InputTooLargeError, ValueError, UpstreamError):
            return None
        if not isinstance(message, JSONRPCError):
            return None
        # A server that refuses before it parses does not know the id.
        return JSONRPCError(jsonrpc="2.0", id=request.id, error=message.error)

    def _refusal(self, reply: Reply) -> UpstreamError:
        """Return what a status means that is no success."""
        status = reply.status
        if status < _REDIRECTS:
            return UpstreamError("the stream of events ended without the answer")
        if status < _REFUSALS:
            text = "it redirects, which is not followed; give the address it redirects to"
        elif status == _UNAUTHORIZED:
            text = "it wants credentials, or does not accept those given; see 'headers'"
        elif status == _FORBIDDEN:
            text = "it forbids this to the credentials given"
        elif status == _NOT_FOUND and self._headers.session_id is not None:
            return ConnectionOverError("the server has ended the session (HTTP 404)")
        elif status == _NOT_FOUND:
            text = "there is no MCP server at this address"
        elif status == _NOT_ALLOWED:
            text = "it does not take this kind of request"
        elif status >= _FAULTS:
            text = "it failed"
        else:
            text = "it refused the request"
        error = f"the server answered HTTP {status}: {text}"
        # Without the right address or credentials nothing else is answered, either.
        hopeless = status < _REFUSALS or status in {_UNAUTHORIZED, _FORBIDDEN}
        if hopeless and not self.greeted:
            return ConnectionOverError(error)
        wait_s = reply.retry_after_s()
        return UpstreamError(error if wait_s is None else f"{error}; try again in {wait_s} seconds")

    async def _learn(self, request: JSONRPCRequest) -> bool:
        """List the tools, up to the one that is asked for; return whether it was there."""
        params = request.params or {}
        cursor: object = None
        for _ in range(_MAX_PAGES):
            self._lists += 1
            asked: dict[str, Any] = {"_meta": params.get("_meta")}
            if isinstance(cursor, str):
                asked["cursor"] = cursor
            question = JSONRPCRequest(
                jsonrpc="2.0",
                id=f"localmcp-harden-{self._lists}",
                method="tools/list",
                params=asked,
            )
            body = question.model_dump_json(by_alias=True, exclude_unset=True).encode()
            answer = await self._post(question, body)
            if isinstance(answer, JSONRPCError):
                return False
            if self._headers.knows(params.get("name")):
                return True
            cursor = answer.result.get("nextCursor")
            if not isinstance(cursor, str):
                return False
        return False


def _answers(message: JSONRPCMessage, request: JSONRPCRequest) -> bool:
    # The SDK takes 7 and "7" for one id.
    return isinstance(message, Answer) and str(message.id) == str(request.id)


def _is_mismatch(answer: Answer, request: JSONRPCRequest) -> bool:
    return (
        isinstance(answer, JSONRPCError)
        and answer.error.code == HEADER_MISMATCH
        and request.method == "tools/call"
        and modern_version(request.params) is not None
    )
