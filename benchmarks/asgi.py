"""The guard for HTTP: one POST of a small JSON-RPC message through it, and through its peers.

The application reads the body and answers. The peer stack is what a host would put in
front with Starlette and the SDK: allowed hosts, origins, bounds of the body, and an id
for each request. It neither looks into the JSON, nor bounds time, nor keeps a record.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.harness import OURS, Bench
from localmcp_harden import HardenConfig, Hardening
from localmcp_harden.compose.opened import SCOPE_KEY
from localmcp_harden.core.model import Call, CallKind
from localmcp_harden.integrations.asgi import AsgiGuard
from localmcp_harden.protocols.observability import LoggingConfig, LogLevel

BODY = (
    b'{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"search",'
    b'"arguments":{"query":"the plan","limit":10,"tags":["a","b"]},'
    b'"_meta":{"progressToken":17}}}'
)
HEADERS = [
    (b"host", b"localhost:8000"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"content-type", b"application/json"),
    (b"mcp-protocol-version", b"2026-07-28"),
    (b"content-length", str(len(BODY)).encode()),
]
CALL = Call(id="1", kind=CallKind.TOOL, method="tools/call", name="search")
PEERS = "starlette hosts + cors + SDK body limit + asgi-correlation-id"
PART = {"type": "http.request", "body": BODY, "more_body": False}


async def application(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    while message.get("more_body", False):
        message = await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def hardened(scope: Any, receive: Any, send: Any) -> None:
    """Take the record over, as every call of a hardened server does; its chain makes it."""
    scope[SCOPE_KEY].adopt(CALL)
    await application(scope, receive, send)


async def receive() -> Any:
    return PART


async def send(message: Any) -> None:
    pass


def requests(app: Any) -> Callable[[], Awaitable[None]]:
    async def one() -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50_000),
            "scheme": "http",
            "method": "POST",
            "root_path": "",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "headers": HEADERS,
            "state": {},
        }
        await app(scope, receive, send)

    return one


def run(bench: Bench) -> None:
    from asgi_correlation_id import CorrelationIdMiddleware
    from mcp.server.transport_security import RequestBodyLimitMiddleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    def stack(app: Any) -> Any:
        app = RequestBodyLimitMiddleware(app, 4 * 1024 * 1024)
        app = CORSMiddleware(app, allow_origins=["http://localhost:8000"])
        app = TrustedHostMiddleware(app, allowed_hosts=["localhost", "127.0.0.1"])
        return CorrelationIdMiddleware(app)

    config = HardenConfig(disabled=("audit",), logging=LoggingConfig(level=LogLevel.CRITICAL))
    hardening = Hardening(config)
    medians = bench.compare_async(
        "a small message",
        {
            "bare": requests(application),
            OURS: requests(AsgiGuard(hardened, hardening)),
            f"{OURS}, with a record of its own": requests(AsgiGuard(application, hardening)),
            PEERS: requests(stack(application)),
        },
        base="bare",
    )
    ratio = (medians[OURS] - medians["bare"]) / (medians[PEERS] - medians["bare"])
    bench.target("a small message", "adds at most what the peers add", ratio, met=ratio <= 1.0)
