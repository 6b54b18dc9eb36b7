"""A server over HTTP whose tools do what servers should not do, in the test's own loop."""

import json
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import anyio
import pytest
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from localmcp_harden.integrations.upstream.http_config import HttpUpstreamConfig

MODERN = "2026-07-28"
INFO = {"name": "hostile", "version": "1.2.3"}
CAPABILITIES = {"tools": {"listChanged": True}}


def json_of(message):
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def event(message=None, **fields):
    lines = [f"{name}: {value}" for name, value in fields.items()]
    if message is not None:
        lines.append(f"data: {json_of(message).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def text(value):
    return {"content": [{"type": "text", "text": value}], "resultType": "complete"}


class Exchange:
    """One request, and the means to answer it in any way."""

    def __init__(self, stream, method, headers, body):
        self.stream = stream
        self.method = method
        self.headers = headers
        self.message = json.loads(body) if body else {}
        self.id = self.message.get("id")
        self.keeps_open = True

    @property
    def params(self):
        return self.message.get("params", {})

    async def raw(self, data):
        await self.stream.send(data)

    async def reply(self, body=b"", status="200 OK", kind="application/json", **headers):
        head = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def result(self, result, **headers):
        await self.reply(json_of({"id": self.id, "result": result}), **headers)

    async def stream_events(self, *events):
        """Begin a stream that ends with the connection."""
        self.keeps_open = False
        await self.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"connection: close\r\n\r\n" + b"".join(events)
        )


class Hostile:
    """The server. `on` maps a tool, a method, "GET" or "DELETE" to what answers it."""

    def __init__(self, era, port):
        self.era = era
        self.port = port
        self.on = {}
        self.seen = []
        self.open = 0
        self.tools = [{"name": "echo", "inputSchema": {"type": "object"}}]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/secret-path?key=secret-key"

    def config(self, **settings):
        settings = {"start_timeout_s": 20.0, "restart_delay_s": 0.05, **settings}
        return HttpUpstreamConfig(url=self.url, **settings)

    def having(self, what):
        return [each for each in self.seen if what in (each.method, each.message.get("method"))]

    async def serve(self, stream):
        self.open += 1
        try:
            async with stream:
                while (exchange := await _read(stream)) is not None:
                    self.seen.append(exchange)
                    await self.answer(exchange)
                    if not exchange.keeps_open:
                        return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass
        finally:
            self.open -= 1

    async def answer(self, exchange):
        method = exchange.message.get("method", exchange.method)
        name = exchange.params.get("name") if method == "tools/call" else method
        if name in self.on:
            await self.on[name](exchange)
        elif exchange.method == "DELETE":
            await exchange.reply(status="204 No Content")
        elif exchange.method == "GET":
            await exchange.reply(status="405 Method Not Allowed")
        elif method == "server/discover" and self.era != "legacy":
            await exchange.result(
                {
                    "supportedVersions": [MODERN],
                    "capabilities": CAPABILITIES,
                    "resultType": "complete",
                    "ttlMs": 0,
                    "cacheScope": "private",
                    "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
                }
            )
        elif method == "initialize" and self.era != "modern":
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": CAPABILITIES,
                "serverInfo": INFO,
            }
            await exchange.result(result, mcp_session_id="session-1")
        elif exchange.id is None or "method" not in exchange.message:
            await exchange.reply(status="202 Accepted")
        elif method == "tools/list":
            await exchange.result(
                {
                    "tools": self.tools,
                    "resultType": "complete",
                    "ttlMs": 0,
                    "cacheScope": "private",
                }
            )
        elif method == "tools/call":
            await exchange.result(text("echo"))
        else:
            fault = {"code": -32601, "message": "Method not found"}
            await exchange.reply(
                json_of({"id": exchange.id, "error": fault}), status="404 Not Found"
            )


async def _read(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            data += await stream.receive()
        except anyio.EndOfStream:
            return None
        if data.startswith(b"\x16"):
            return None  # TLS, to a server that does not speak it
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    while len(body) < int(headers.get("content-length", 0)):
        body += await stream.receive()
    return Exchange(stream, first.split()[0], headers, body)


@asynccontextmanager
async def hostile_server(era, tls=None, port=0):
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    server = Hostile(era, port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def hostile(upstreams):
    """A server that speaks both eras; `upstreams` sees that nothing is left."""
    async with hostile_server("both") as server:
        yield server


@pytest.fixture(params=["modern", "legacy"])
async def either(request, upstreams):
    async with hostile_server(request.param) as server:
        yield server


@pytest.fixture
async def legacy(upstreams):
    async with hostile_server("legacy") as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself: its file, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", context
