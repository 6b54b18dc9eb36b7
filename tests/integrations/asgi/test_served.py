"""The guard before a real server on loopback: what only a socket can do, one record for each."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import anyio
import httpx2
import mcp
import pytest
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from localmcp_harden import HardenConfig, Hardening, Mode
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.events import CallRecord, OutcomeKind
from localmcp_harden.core.model import CallKind
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.mcp_sdk import harden
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.tokens import TokenEntry, hash_token
from localmcp_harden.security.transport.config import HttpConfig
from localmcp_harden.testing.doubles.logging_service import FakeLoggingService

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

TOKEN = "localmcp-served-token"
ANYBODY = AuthenticationConfig(anonymous_http=True)
TOKENS = AuthenticationConfig(tokens=(TokenEntry(sha256=hash_token(TOKEN), client="ci"),))
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused


class Served:
    def __init__(self, authentication=ANYBODY, *, mode=Mode.ENFORCE, **http):
        self.records = []
        self._changed = anyio.Event()
        config = HardenConfig(
            mode=mode,
            disabled=("audit", "policy"),
            authentication=authentication,
            http=HttpConfig(**http),
        )
        self.hardening = Hardening(config, sinks=[self._keep], logs=FakeLoggingService())
        self.started = anyio.Event()
        self.go = anyio.Event()
        self.port = 0

    def _keep(self, event):
        if isinstance(event, CallRecord):
            self.records.append(event)
            self._changed.set()
            self._changed = anyio.Event()

    def make(self, **options):
        server = MCPServer("x", lifespan=self.hardening.lifespan(), log_level="CRITICAL", **options)

        @server.tool()
        async def echo(text: str) -> str:
            return text

        @server.tool()
        async def wait() -> str:
            self.started.set()
            await self.go.wait()
            return "done"

        return harden(server, self.hardening)

    @asynccontextmanager
    async def running(self, server=None, **options):
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                serve = partial(serve_http, server or self.make(), port=0, handle_signals=False)
                self.port = await tasks.start(partial(serve, **options))
                yield self
                tasks.cancel_scope.cancel()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    async def raw(self, data):
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        await stream.send(data)
        return stream

    async def recorded(self, count=1):
        while len(self.records) < count:
            await self._changed.wait()
        # Not `wait_all_tasks_blocked`: it looks every 0.1 s, as often as uvicorn wakes, and
        # may never see it asleep.
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert len(self.records) == count
        return self.records


async def everything(stream):
    found = b""
    async with stream:
        try:
            async for chunk in stream:
                found += chunk
        except anyio.BrokenResourceError:
            pass
    return found


async def drip(stream):
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.02)


def request(*lines, body=b"", method="POST"):
    head = [f"{method} /mcp HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


QUICK = {"chunk_timeout_s": 0.2, "body_timeout_s": 0.5}


@pytest.mark.parametrize(
    "data",
    [
        request("Content-Length: 100", body=b"{"),
        request("Content-Length: 100"),
        request("Transfer-Encoding: chunked", body=b"1\r\n{\r\n"),
    ],
)
async def test_a_body_that_stops_is_given_up(data):
    async with Served(**QUICK).running() as server:
        found = await everything(await server.raw(data))
        assert found.startswith(b"HTTP/1.1 408 ")
        (record,) = await server.recorded()
        assert (record.method, record.code) == ("http/POST", "body_too_slow")


async def test_a_body_that_drips_is_given_up():
    async with Served(**QUICK).running() as server:
        stream = await server.raw(request("Content-Length: 100000"))
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await drip(stream)
        await stream.aclose()
        assert [each.code for each in await server.recorded()] == ["body_too_slow"]


@pytest.mark.parametrize("data", [b"", b"POST /mcp HT", request()[:-2]])
async def test_a_connection_that_sends_no_request_is_closed(data):
    async with Served().running(header_timeout_s=0.2) as server:
        assert await everything(await server.raw(data)) == b""
        assert server.records == []


async def test_what_follows_a_refused_body_does_not_hold_the_connection():
    async with Served(max_body_bytes=10).running(header_timeout_s=0.2) as server:
        stream = await server.raw(request("Content-Length: 100000"))
        assert b" 413 " in await stream.receive()
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await drip(stream)
        await stream.aclose()
        assert [each.code for each in await server.recorded()] == ["body_too_large"]


async def test_a_client_that_closes_its_half_has_gone():
    async with Served().running() as server:
        stream = await server.raw(request("Content-Length: 100", body=b"{"))
        await anyio.wait_all_tasks_blocked()
        await stream.send_eof()
        await everything(stream)
        (record,) = await server.recorded()
        assert record.outcome is OutcomeKind.CANCELLED


async def test_a_client_that_vanishes_in_its_body_is_recorded_as_gone():
    async with Served().running() as server:
        stream = await server.raw(request("Content-Length: 100", body=b"{"))
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()
        (record,) = await server.recorded()
        assert (record.outcome, record.code) == (OutcomeKind.CANCELLED, "")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (request("X: " + "y" * 20_000), 431, "headers_too_large"),
        (request(*[f"X-{each}: y" for each in range(100)]), 431, "headers_too_large"),
        (request("X: " + "y" * 200_000), 400, "invalid_http"),
        (request("Host: localhost"), 400, "invalid_http"),
        (request("Content-Length: 1", "Content-Length: 2"), 400, "invalid_http"),
        (request("Origin: https://evil.example"), 403, "origin_refused"),
        (request(method="TRACE"), 405, "method_not_allowed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_http"),
        (b"GET /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "host_refused"),
    ],
)
async def test_what_is_refused_leaves_one_record(data, status, code):
    async with Served().running(header_timeout_s=0.5) as server:
        found = await everything(await server.raw(data))
        assert found.startswith(f"HTTP/1.1 {status} ".encode())
        (record,) = await server.recorded()
        assert (record.code, record.ip_address) == (code, "127.0.0.1")


async def test_too_many_connections_are_answered_and_recorded():
    async with Served().running(max_connections=1) as server:
        async with await server.raw(b""):
            stream = await server.raw(request())
            assert (await stream.receive()).startswith(b"HTTP/1.1 503 ")
            assert await everything(await server.raw(b"")) == b""
            await stream.aclose()
        (record,) = await server.recorded()
        assert record.code == "overloaded"


async def test_who_forwards_is_not_believed_on_loopback_either():
    async with Served().running() as server:
        async with httpx2.AsyncClient() as client:
            await client.get(server.url, headers={"x-forwarded-for": "198.51.100.1"})
        (record,) = await server.recorded()
        assert record.ip_address == "127.0.0.1"


MODES = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


@MODES
async def test_every_call_leaves_one_record_of_its_own(mode):
    async with Served().running() as server:
        async with mcp.Client(server.url, mode=mode) as client:
            for _ in range(3):
                await client.call_tool("echo", {"text": "a"})
        await anyio.wait_all_tasks_blocked()
        expected = Counter({"tools/call": 3, "tools/list": 1})
        if mode == "legacy":
            # The stream ends and the session with it; both were opened by the client.
            session = ("initialize", "notifications/initialized", "http/GET", "http/DELETE")
            expected.update(session)
            await server.recorded(8)
        methods = Counter(each.method for each in server.records)
        assert methods["tools/list"] >= 1
        assert methods == expected | Counter({"tools/list": methods["tools/list"]})
        ids = [each.call_id for each in server.records]
        assert len(set(ids)) == len(ids)
        calls = [each for each in server.records if each.kind is CallKind.TOOL]
        assert all(each.parent_id is None and "transport" in each.timings for each in calls)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


async def initialize(client, url, headers=()):
    given = {**JSON, **dict(headers)}
    response = await client.post(url, json=INITIALIZE, headers=given)
    if response.status_code != 200:
        return response, given
    given["mcp-session-id"] = response.headers["mcp-session-id"]
    greeting = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await client.post(url, json=greeting, headers=given)).status_code == 202
    return response, given


async def test_an_id_in_use_is_refused_and_the_first_call_gets_its_answer():
    async with Served().running() as server, httpx2.AsyncClient(timeout=20) as client:
        _, session = await initialize(client, server.url)
        call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "wait"}}
        answers = []

        async def first():
            answers.append(await client.post(server.url, json=call, headers=session))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await server.started.wait()
            other = {**call, "params": {"name": "echo", "arguments": {"text": "stolen"}}}
            response = await client.post(server.url, json=other, headers=session)
            assert response.status_code == 409
            assert response.json()["error"]["data"]["code"] == "request_id_in_use"
            server.go.set()
        assert "done" in answers[0].text
        records = await server.recorded(4)
        assert sorted(each.method for each in records) == [
            "http/POST",
            "initialize",
            "notifications/initialized",
            "tools/call",
        ]


async def test_a_message_that_the_server_refuses_is_recorded_once():
    async with Served().running() as server, httpx2.AsyncClient() as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
        response = await client.post(server.url, json=body, headers=JSON)
        assert response.status_code == 400
        (record,) = await server.recorded()
        assert (record.method, record.code) == ("http/POST", "bad_request")
        assert response.headers["x-request-id"] == record.call_id


async def test_a_session_is_ended_with_credentials_only():
    async with Served(TOKENS).running() as server, httpx2.AsyncClient() as client:
        good = {"authorization": f"Bearer {TOKEN}"}
        _, session = await initialize(client, server.url, good)
        bare = {key: value for key, value in session.items() if key != "authorization"}
        for headers in (bare, {**bare, "authorization": "Bearer wrong"}):
            assert (await client.delete(server.url, headers=headers)).status_code == 401
            assert (await client.get(server.url, headers=headers)).status_code == 401
        assert (await client.delete(server.url, headers=session)).status_code == 200
        records = await server.recorded(7)
        codes = Counter((each.method, each.code) for each in records)
        assert codes["http/DELETE", "unauthenticated"] == 2
        assert codes["http/GET", "unauthenticated"] == 2
        assert codes["http/DELETE", ""] == 1


@MODES
async def test_wrong_tokens_are_slowed_down_by_address(mode):
    settings = {"refused_burst": 3, "refused_rate_per_s": 0.001}
    async with Served(TOKENS, **settings).running() as server, httpx2.AsyncClient() as client:
        headers = {**JSON, "authorization": "Bearer wrong"}
        body = INITIALIZE
        if mode != "legacy":
            meta = {
                "io.modelcontextprotocol/protocolVersion": mode,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
            headers |= {"mcp-protocol-version": mode, "mcp-method": "tools/list"}
        statuses = [
            (await client.post(server.url, json=body, headers=headers)).status_code
            for _ in range(5)
        ]
        assert statuses[3:] == [429, 429]
        assert 429 not in statuses[:3]
        records = await server.recorded(5)
        assert [each.code for each in records] == ["unauthenticated"] * 3 + ["rate_limited"] * 2


class Verifier:
    async def verify_token(self, token):
        if token != TOKEN:
            return None
        return AccessToken(token=token, client_id="sdk", scopes=[], resource="http://localhost")


async def test_what_the_sdk_verifies_is_left_to_it():
    served = Served(AuthenticationConfig())
    auth = AuthSettings(
        issuer_url="https://issuer.example",
        resource_server_url="http://localhost",
        validate_token_resource=False,
    )
    server = served.make(token_verifier=Verifier(), auth=auth)
    async with served.running(server), httpx2.AsyncClient() as client:
        _, session = await initialize(client, served.url, {"authorization": f"Bearer {TOKEN}"})
        bare = {key: value for key, value in session.items() if key != "authorization"}
        assert (await client.delete(served.url, headers=bare)).status_code == 401
        assert (await client.delete(served.url, headers=session)).status_code == 200
        records = await served.recorded(4)
        assert [each.code for each in records] == ["", "", "unauthenticated", ""]


async def test_a_trace_in_the_body_does_not_reach_the_sdk():
    async with Served().running() as server, httpx2.AsyncClient() as client:
        _, session = await initialize(client, server.url)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        params = {"name": "echo", "arguments": {"text": "a"}, "_meta": {"traceparent": trace}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        assert (await client.post(server.url, json=call, headers=session)).status_code == 200
        assert all(trace[3:35] not in repr(each) for each in await server.recorded(3))


async def test_sessions_are_bounded():
    async with Served().running(max_sessions=1) as server, httpx2.AsyncClient() as client:
        assert (await initialize(client, server.url))[0].status_code == 200
        assert (await initialize(client, server.url))[0].status_code == 503
        assert [each.code for each in await server.recorded(3)][-1] == "overloaded"


async def test_other_machines_need_authentication_unless_told_by_name():
    remote = {"host": EVERY_ADDRESS, "port": 0, "allow_remote": True,
              "allowed_hosts": ("mcp.example:*",)}  # fmt: skip
    for served in (Served(AuthenticationConfig()), Served(ANYBODY)):
        with pytest.raises(ConfigError, match="allow_unauthenticated=True"):
            await serve_http(served.make(), **remote)
    # Whoever only observes asks nobody for credentials.
    with pytest.raises(ConfigError, match="allow_unauthenticated=True"):
        await serve_http(Served(TOKENS, mode=Mode.OBSERVE).make(), **remote)
    bare = MCPServer("bare", log_level="CRITICAL")
    with pytest.raises(ConfigError, match="allow_unauthenticated=True"):
        await serve_http(bare, **remote)
    remote["handle_signals"] = False
    for served, options in (
        (Served(TOKENS), {}),
        (Served(ANYBODY), {"allow_unauthenticated": True}),
        (Served(ANYBODY, allowed_hosts=("mcp.example",)), {"allow_unauthenticated": True}),
    ):
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                await tasks.start(partial(serve_http, served.make(), **remote, **options))
                tasks.cancel_scope.cancel()


async def test_hosts_of_the_configuration_count_and_keywords_over_them():
    served = Served(allowed_hosts=("mcp.example",), max_body_bytes=100)
    async with served.running(max_request_bytes=10), httpx2.AsyncClient() as client:
        headers = {**JSON, "host": "mcp.example"}
        response = await client.post(served.url, content=b"{" * 50, headers=headers)
        assert response.status_code == 413
        assert (await client.post(served.url, headers=JSON)).status_code == 421
    with pytest.raises(ConfigError, match="allowed_hosts"):
        await serve_http(Served().make(), allowed_hosts=("*",))


@pytest.mark.parametrize(
    "data",
    [
        request("Transfer-Encoding: chunked", body=b"1\r\n{\r\nzzz\r\n"),
        request("Origin: https://evil.example", "Transfer-Encoding: chunked", body=b"zzz\r\n"),
    ],
)
async def test_a_body_that_is_malformed_leaves_no_second_record(data):
    async with Served().running() as server:
        await everything(await server.raw(data))
        await server.recorded()


async def test_a_long_method_leaves_one_record():
    async with Served().running() as server, httpx2.AsyncClient() as client:
        _, session = await initialize(client, server.url)
        call = {"jsonrpc": "2.0", "id": 1, "method": "m" * 300}
        assert (await client.post(server.url, json=call, headers=session)).status_code == 200
        assert (await server.recorded(3))[-1].parent_id is None


async def test_nobody_without_credentials_fills_the_sessions():
    async with Served(TOKENS).running(max_sessions=2) as server, httpx2.AsyncClient() as client:
        for _ in range(5):
            reply = await client.post(server.url, json=INITIALIZE, headers=JSON)
            assert reply.status_code == 401
        good = {"authorization": f"Bearer {TOKEN}"}
        assert (await initialize(client, server.url, good))[0].status_code == 200


async def test_refused_notifications_count():
    settings = {"refused_burst": 2, "refused_rate_per_s": 0.001}
    async with Served(TOKENS, **settings).running() as server, httpx2.AsyncClient() as client:
        _, session = await initialize(client, server.url, {"authorization": f"Bearer {TOKEN}"})
        session["authorization"] = "Bearer wrong"
        news = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        statuses = [
            (await client.post(server.url, json=news, headers=session)).status_code
            for _ in range(5)
        ]
        assert statuses[0] == 202
        assert statuses[-1] == 429


async def test_what_is_malformed_after_the_answer_ends_the_connection_in_order():
    broken = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: broken.append(what))
    async with Served().running() as server:
        lines = ("Origin: https://evil.example", "Transfer-Encoding: chunked")
        stream = await server.raw(request(*lines))
        assert b" 403 " in await stream.receive()
        await server.recorded()
        await stream.send(b"zzz\r\n")
        await everything(stream)
        await server.recorded()
    assert broken == []


@pytest.mark.parametrize("path", ["/health", "/health/mcp"])
async def test_probes_do_not_hide_the_server(path):
    with pytest.raises(ConfigError, match="must not cover"):
        await serve_http(Served().make(), port=0, path=path, handle_signals=False)
