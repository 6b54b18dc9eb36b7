"""Speaks streamable HTTP to an ASGI application in the same process, message by message.

No client library stands between: a client's own checks would keep some methods from
ever being sent.
"""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from itertools import count
from types import MappingProxyType
from typing import Any, Self

import anyio
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)

LEGACY, MODERN = "2025-11-25", "2026-07-28"
_CLIENT = {"name": "method-matrix", "version": "1"}
_ENOUGH_S = 20.0


class Connection:
    """One client of an application; in the handshake era one session.

    Args:
        app: A Starlette application that speaks MCP under `/mcp`.
        version: The protocol version.
    """

    def __init__(self, app: Any, version: str) -> None:
        self._app = app
        self._version = version
        self._session: str | None = None
        self._ids = count(1)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the application."""
        await self._open.enter_async_context(self._app.router.lifespan_context(self._app))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End it."""
        await self._open.aclose()

    async def shake_hands(self) -> None:
        """Begin a session, where the era has sessions."""
        if self._version == LEGACY:
            await self.request("initialize", greeting())
            await self.notify("notifications/initialized", {})

    async def request(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request; return the first message that answers it, error or result."""
        return await self._post(self.message(method, params))

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method, "params": self._dressed(params)}
        await self._post(message)

    async def send(
        self, message: Mapping[str, Any] | bytes, *, method: str = "POST", **headers: str
    ) -> Mapping[str, Any]:
        """Send a message, or bytes that are none, with headers changed or added.

        Returns:
            The first message of the answer, and `status`.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._post(message, method=method, headers=given)

    def message(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request as it is sent."""
        head = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        return {**head, "params": self._dressed(params)}

    def _dressed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._version == LEGACY:
            return dict(params)
        meta = {
            PROTOCOL_VERSION_META_KEY: MODERN,
            CLIENT_INFO_META_KEY: _CLIENT,
            CLIENT_CAPABILITIES_META_KEY: {},
        }
        return {**params, "_meta": meta}

    async def _post(
        self,
        message: Mapping[str, Any] | bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        sent = {
            "host": "127.0.0.1:8000",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": self._version,
        }
        if self._version == MODERN and not isinstance(message, bytes):
            sent["mcp-method"] = message["method"]
            name = message["params"].get("name", message["params"].get("uri"))
            if isinstance(name, str):
                sent["mcp-name"] = name
        if self._session is not None:
            sent["mcp-session-id"] = self._session
        sent.update(headers)
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        exchange = _Exchange(body)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "root_path": "",
            "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
        }
        with anyio.fail_after(_ENOUGH_S):
            await self._app(scope, exchange.receive, exchange.send)
        self._session = exchange.headers.get("mcp-session-id", self._session)
        return exchange.answer()


class _Exchange:
    """One request and its response; hangs up after the first message of a stream."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._received = b""
        self._enough = anyio.Event()
        self.headers: dict[str, str] = {}
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._enough.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = {key.decode().lower(): value.decode() for key, value in event["headers"]}
        else:
            self._received += event.get("body", b"")
            if not event.get("more_body") or self._messages():
                self._enough.set()

    def answer(self) -> Mapping[str, Any]:
        messages = self._messages()
        return {**(messages[0] if messages else {}), "status": self.status}

    def _messages(self) -> list[Mapping[str, Any]]:
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            lines = self._received.decode().splitlines()
            data = [line.removeprefix("data:").strip() for line in lines if line[:5] == "data:"]
            return [json.loads(each) for each in data if each]
        try:
            found = json.loads(self._received)
        except ValueError:
            return []
        return [found] if isinstance(found, dict) else []


def greeting() -> dict[str, Any]:
    """Return the parameters of `initialize`."""
    return {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
