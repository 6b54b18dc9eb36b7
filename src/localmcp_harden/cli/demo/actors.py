"""The callers: real MCP clients, and what each one sees of a call."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar, final

from attrs import evolve, frozen

from ...core.errors import UpstreamError
from ...integrations.protocol import REFUSAL_META_KEY
from ..exits import unwrapped
from .sdk import (
    CallToolResult,
    Client,
    MCPError,
    StdioServerParameters,
    error_data,
    httpx2,
    stdio_client,
    streamable_http_client,
)
from .story import Caller, Verdict

__all__ = ("Actors", "Seen")

T = TypeVar("T")

_CALL_TIMEOUT_S = 20.0
_TEXT_LIMIT = 400
_OK = 200


@final
@frozen(kw_only=True)
class Seen:
    """What a client saw of one call.

    Args:
        verdict: What came of it.
        code: The code that the refusal told, `""` when it told none.
        text: The beginning of what a person or a model reads.
        retry_after_s: The seconds that the refusal told.
        call_id: The id by which the refusal leads to the record.
        tools: The names in a list.
        duration_s: How long the client waited.
    """

    verdict: Verdict
    code: str = ""
    text: str = ""
    retry_after_s: float | None = None
    call_id: str = ""
    tools: tuple[str, ...] | None = None
    duration_s: float = 0.0


@final
class Actors:
    """Every caller with its client, connected when it first calls.

    Args:
        commands: How each caller over stdio starts its server.
        address: Where the server over HTTP listens.
        tokens: The bearer token of each caller over HTTP that has one.
        errors: Where the servers' standard error goes.
    """

    def __init__(
        self,
        *,
        commands: Mapping[Caller, StdioServerParameters],
        address: str,
        tokens: Mapping[Caller, str],
        errors: TextIO,
    ) -> None:
        self._commands = commands
        self._address = address
        self._tokens = tokens
        self._errors = errors
        self._clients: dict[Caller, Client] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin; nobody is connected yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect everybody, the last one first; servers over stdio end with that."""
        await self._stack.__aexit__(kind, error, trace)

    async def connect(self, caller: Caller) -> Seen:
        """Connect, and say how that went."""
        return await _watch(lambda: self._client(caller), lambda _: Seen(verdict=Verdict.ALLOWED))

    async def ask_health(self) -> Seen:
        """Ask as a service manager does, and say what it is told."""
        async with httpx2.AsyncClient(trust_env=False, timeout=_CALL_TIMEOUT_S) as web:
            started = time.monotonic()
            answer = await web.get(str(httpx2.URL(self._address).join("/health/ready")))
        verdict = Verdict.ALLOWED if answer.status_code == _OK else Verdict.FAILED
        return Seen(verdict=verdict, text=answer.text, duration_s=time.monotonic() - started)

    async def list_tools(self, caller: Caller) -> Seen:
        """List the tools, and say what was seen.

        Raises:
            UpstreamError: The server does not answer.
        """
        client = await self._connected(caller)
        return await _watch(
            client.list_tools,
            lambda listed: Seen(
                verdict=Verdict.ALLOWED, tools=tuple(sorted(tool.name for tool in listed.tools))
            ),
        )

    async def call(self, caller: Caller, tool: str, arguments: Mapping[str, Any]) -> Seen:
        """Call a tool, and say what was seen.

        Raises:
            UpstreamError: The server does not answer.
        """
        client = await self._connected(caller)
        return await _watch(
            lambda: client.call_tool(tool, dict(arguments), read_timeout_seconds=_CALL_TIMEOUT_S),
            _seen_in_result,
        )

    async def _connected(self, caller: Caller) -> Client:
        try:
            return await self._client(caller)
        except (MCPError, OSError, TimeoutError) as error:
            raise UpstreamError(
                f"{caller.value}: the {caller.server} server does not answer: {error}"
                f"{self._last_words()}"
            ) from error

    def _last_words(self) -> str:
        """Return what a server wrote last to standard error, to say why it is not there."""
        self._errors.flush()
        said = Path(self._errors.name).read_text(encoding="utf-8", errors="replace").split("\n")
        lines = [line for line in said if line.strip()]
        return f"; it last wrote: {lines[-1][:_TEXT_LIMIT]}" if lines else ""

    async def _client(self, caller: Caller) -> Client:
        if caller not in self._clients:
            try:
                self._clients[caller] = await self._new_client(caller)
            except ExceptionGroup as group:
                # The SDK's task groups wrap whatever ends a connection at its start.
                error = unwrapped(group)
                raise error from group
        return self._clients[caller]

    async def _new_client(self, caller: Caller) -> Client:
        # A stack of its own, so that a caller who is refused leaves nothing half open.
        async with AsyncExitStack() as trying:
            transport: Any
            if caller in self._commands:
                transport = stdio_client(self._commands[caller], errlog=self._errors)
            else:
                token = self._tokens.get(caller)
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                # The environment may name a proxy, and loopback is nobody else's business.
                web = await trying.enter_async_context(
                    httpx2.AsyncClient(headers=headers, trust_env=False, timeout=_CALL_TIMEOUT_S)
                )
                transport = streamable_http_client(self._address, http_client=web)
            client = Client(transport, read_timeout_seconds=_CALL_TIMEOUT_S)
            await trying.enter_async_context(client)
            self._stack.push_async_exit(trying.pop_all())
        return client


async def _watch(act: Callable[[], Awaitable[T]], see: Callable[[T], Seen]) -> Seen:
    started = time.monotonic()
    try:
        seen = see(await act())
    except MCPError as error:
        seen = _seen_in_error(error)
    return evolve(seen, duration_s=time.monotonic() - started)


def _seen_in_result(result: CallToolResult) -> Seen:
    text = "\n".join(getattr(part, "text", "") for part in result.content)[:_TEXT_LIMIT]
    refusal = (result.meta or {}).get(REFUSAL_META_KEY)
    if isinstance(refusal, Mapping):
        return _refused(refusal, text)
    if result.is_error:
        return Seen(verdict=Verdict.FAILED, text=text)
    return Seen(verdict=Verdict.ALLOWED, text=text)


def _seen_in_error(error: MCPError) -> Seen:
    data = error_data(error)
    if "call_id" in data:
        return _refused(data, error.message[:_TEXT_LIMIT])
    return Seen(verdict=Verdict.FAILED, text=error.message[:_TEXT_LIMIT])


def _refused(data: Mapping[str, Any], text: str) -> Seen:
    wait = data.get("retry_after_s")
    return Seen(
        verdict=Verdict.REFUSED,
        code=str(data.get("code", "")),
        call_id=str(data.get("call_id", "")),
        retry_after_s=float(wait) if isinstance(wait, (int, float)) else None,
        text=text,
    )
