"""A load generator for streamable HTTP that costs little beside the server it drives.

Each client is one keep-alive connection that sends its request again as soon as the
answer is there. Requests are of the stateless era (2026-07-28) and made beforehand;
of an answer only its length, its status and one mark of success are looked at.
"""

import asyncio
import json
import math
import time
from typing import final

import attrs

_REVISION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_DONE = b'"isError":false'


def call_request(port: int, *, token: str = "", name: str = "echo", text: str = "hello") -> bytes:
    """Return a whole HTTP request that calls a tool."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": {"text": text}, "_meta": _META},
    }
    body = json.dumps(message, separators=(",", ":")).encode()
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Mcp-Protocol-Version: {_REVISION}",
        "Mcp-Method: tools/call",
        f"Mcp-Name: {name}",
        *([f"Authorization: Bearer {token}"] if token else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@attrs.frozen
class Load:
    """What one burst of load saw."""

    calls: int
    seconds: float
    latencies_s: list[float]

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.seconds

    def quantile_s(self, share: float) -> float:
        """Return the latency that this share of the calls did not pass."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


class RequestFailedError(Exception):
    """The server did not answer, or answered something else."""


@final
class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, request: bytes, burst: "_Burst") -> None:
        self._request = request
        self._burst = burst
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self) -> None:
        self._sent_at = time.perf_counter()
        assert self._transport is not None
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        size = _content_length(buffer, head) if head >= 0 else None
        if size is None or len(buffer) < head + 4 + size:
            self._buffer = buffer
            return
        self._buffer = b""
        if not buffer.startswith(b"HTTP/1.1 200") or _DONE not in buffer:
            self._burst.fail(buffer[:500].decode(errors="replace"))
            return
        if self._burst.took(time.perf_counter() - self._sent_at):
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._burst.fail("the connection was closed")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _content_length(buffer: bytes, head: int) -> int | None:
    at = buffer.lower().find(b"content-length:", 0, head)
    if at < 0:
        raise RequestFailedError("an answer without a length")
    return int(buffer[at + 15 : buffer.index(b"\r\n", at)])


@final
class _Burst:
    """Calls by many clients, until a number or a time is reached."""

    def __init__(self, clients: int, *, calls: float, seconds: float) -> None:
        self.latencies: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = clients
        self._calls = calls
        self._until = time.perf_counter() + seconds

    def took(self, latency_s: float) -> bool:
        """Note one answer; return whether its client goes on."""
        self.latencies.append(latency_s)
        # Clients on their way count, so that exactly so many calls are made.
        if (
            len(self.latencies) + self._open <= self._calls
            and time.perf_counter() < self._until
            and not self.ended.done()
        ):
            return True
        self._open -= 1
        if not self._open and not self.ended.done():
            self.ended.set_result(None)
        return False

    def fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RequestFailedError(reason))


async def drive(
    port: int,
    request: bytes,
    *,
    clients: int,
    calls: float = math.inf,
    seconds: float = math.inf,
) -> Load:
    """Let `clients` call until either bound is reached; every call must succeed."""
    loop = asyncio.get_running_loop()
    burst = _Burst(clients, calls=calls, seconds=seconds)
    connections: list[_Connection] = []
    try:
        for _ in range(clients):
            _, connection = await loop.create_connection(
                lambda: _Connection(request, burst), "127.0.0.1", port
            )
            connections.append(connection)
        start = time.perf_counter()
        for connection in connections:
            connection.send()
        await burst.ended
        return Load(len(burst.latencies), time.perf_counter() - start, burst.latencies)
    finally:
        if not burst.ended.done():
            burst.ended.cancel()
        for connection in connections:
            connection.close()
