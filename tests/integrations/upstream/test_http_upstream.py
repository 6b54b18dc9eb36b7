"""The HTTP transport: whatever a server does ends in a named error, and nothing is left."""

import gzip
import json

import anyio
import mcp
import pytest
from mcp import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import CONNECTION_CLOSED, PROTOCOL_VERSION_META_KEY

from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.integrations.upstream.answers import UPSTREAM_ERROR_CODE
from localmcp_harden.integrations.upstream.http_config import HttpUpstreamConfig
from localmcp_harden.integrations.upstream.http_upstream import HttpUpstream
from localmcp_harden.integrations.upstream.transport import open_upstream

from .conftest import MODERN, event, hostile_server, json_of, text

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

TOKEN = "Bearer s3cret-token"


async def call(hostile, name, arguments=None, *, mode="auto", **settings):
    """Return what a call ends in, whether the connection lives on, and why not."""
    transport = open_upstream(hostile.config(**settings))
    ending = None
    with anyio.fail_after(20):
        async with mcp.Client(transport, mode=mode) as client:
            try:
                ending = await client.call_tool(name, arguments or {})
            except MCPError as error:
                ending = error
            lives = not transport.ended.is_set()
            if lives:
                assert (await client.call_tool("echo", {})).content[0].text == "echo"
    return ending, lives, transport.fault


async def failure_of(config):
    with anyio.fail_after(20), pytest.raises(UpstreamError) as raised:
        async with mcp.Client(HttpUpstream(config)):
            pytest.fail("it was greeted")
    return str(raised.value)


async def test_a_client_speaks_through_it_in_either_era(either):
    headers = {"Authorization": TOKEN, "X-Team": "blue"}
    with anyio.fail_after(20):
        async with mcp.Client(HttpUpstream(either.config(headers=headers))) as client:
            assert (await client.call_tool("echo", {})).content[0].text == "echo"
            version = client.protocol_version

    assert version == ("2025-11-25" if either.era == "legacy" else MODERN)
    (called,) = either.having("tools/call")
    assert called.headers["authorization"] == TOKEN
    assert called.headers["x-team"] == "blue"
    assert called.headers["mcp-protocol-version"] == version
    assert called.headers["accept-encoding"] == "identity"
    assert "cookie" not in called.headers
    assert called.headers.get("mcp-session-id") == ("session-1" if either.era == "legacy" else None)
    modern = {"mcp-method": "tools/call", "mcp-name": "echo"}
    said = {name: called.headers[name] for name in modern if name in called.headers}
    assert said == ({} if either.era == "legacy" else modern)
    assert len(either.having("DELETE")) == (1 if either.era == "legacy" else 0)


async def test_a_dispatcher_speaks_through_it_without_a_client(either):
    """The way of the proxy: raw requests, whose headers nobody has stamped."""
    transport = open_upstream(either.config())
    with anyio.fail_after(20):
        async with transport as (read, write):
            dispatcher = JSONRPCDispatcher(read, write)
            async with ClientSession(dispatcher=dispatcher) as session:
                meta = {}
                if either.era == "modern":
                    await session.discover()
                    meta = {PROTOCOL_VERSION_META_KEY: MODERN}
                else:
                    await session.initialize()
                result = await dispatcher.send_raw_request(
                    "tools/call", {"name": "echo", "arguments": {}, "_meta": meta}
                )
    assert result["content"][0]["text"] == "echo"
    (called,) = either.having("tools/call")
    assert called.headers["mcp-protocol-version"] == session.protocol_version
    assert called.headers.get("mcp-name") == ("echo" if either.era == "modern" else None)


def answering(body=b"", **reply):
    async def answer(exchange):
        await exchange.reply(body, **reply)

    return answer


async def closes(exchange):
    exchange.keeps_open = False


async def no_http(exchange):
    exchange.keeps_open = False
    await exchange.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering(status="401 Unauthorized"), "HTTP 401: it wants credentials"),
        (answering(status="403 Forbidden"), "HTTP 403: it forbids this"),
        (answering(status="404 Not Found"), "HTTP 404: there is no MCP server"),
        (answering(status="405 Method Not Allowed"), "HTTP 405: it does not take"),
        (answering(status="400 Bad Request"), "HTTP 400: it refused the request"),
        (answering(status="500 Internal Server Error"), "HTTP 500: it failed"),
        (
            answering(status="503 Service Unavailable", retry_after="7"),
            "HTTP 503: it failed; try again in 7 seconds",
        ),
        (
            answering(status="307 Temporary Redirect", location="http://127.0.0.1:1/secret-path"),
            "HTTP 307: it redirects, which is not followed",
        ),
        (answering(b"<html>secret-path</html>", kind="text/html"), "neither JSON nor a stream"),
        (answering(b"{secret-path", kind="application/json"), "could not be read"),
        (answering(b"x" * 70_000), "more than 65536 bytes"),
        (answering(b"[" * 60_000), "could not be read"),
        (answering(status="202 Accepted"), "without answering it (HTTP 202)"),
        (closes, "closed the connection or does not speak HTTP"),
        (no_http, "closed the connection or does not speak HTTP"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_that_can_not_be_greeted_is_named(hostile, answer, said, mode):
    hostile.on = {"server/discover": answer, "initialize": answer}
    config = hostile.config(max_message_bytes=65_536, headers={"Authorization": TOKEN}, mode=mode)
    with anyio.fail_after(20), pytest.raises(UpstreamError) as raised:
        async with mcp.Client(HttpUpstream(config), mode=mode):
            pytest.fail("it was greeted")

    assert said in str(raised.value)
    assert f"127.0.0.1:{hostile.port}" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "405 No", "500 Broken"])
async def test_a_server_may_fail_at_a_greeting_that_it_does_not_know(either, status):
    unknown = "initialize" if either.era == "modern" else "server/discover"
    either.on[unknown] = answering(status=status)
    log = []
    link_like = open_upstream(either.config(), log=lambda *line: log.append(line))
    with anyio.fail_after(20):
        async with link_like as (read, write):
            dispatcher = JSONRPCDispatcher(read, write)
            async with ClientSession(dispatcher=dispatcher) as session:
                first, second = (
                    (session.initialize, session.discover)
                    if either.era == "modern"
                    else (session.discover, session.initialize)
                )
                with pytest.raises(MCPError, match="HTTP " + status[:3]):
                    await first()
                await second()
                assert not link_like.ended.is_set()


async def test_a_greeting_that_is_given_up_is_closed(hostile):
    hostile.on["server/discover"], left = hanging()
    options = {"cancel_on_abandon": False}
    with anyio.fail_after(20):
        async with HttpUpstream(hostile.config()) as (read, write):
            dispatcher = JSONRPCDispatcher(read, write)
            async with ClientSession(dispatcher=dispatcher) as session:
                with anyio.move_on_after(0.3):
                    await dispatcher.send_raw_request("server/discover", None, options)
                assert not left.is_set()
                await session.initialize()
                await left.wait()


async def test_a_port_where_nobody_listens(upstreams):
    async with hostile_server("both") as server:
        config = server.config()
    assert "no connection could be made" in await failure_of(config)


async def test_tls_where_there_is_none(hostile):
    config = HttpUpstreamConfig(url=f"https://127.0.0.1:{hostile.port}/mcp")
    assert "TLS certificate or protocol is not acceptable" in await failure_of(config)


async def test_a_certificate_counts_when_a_named_authority_vouches_for_it(upstreams, certificate):
    file, context = certificate
    async with hostile_server("both", tls=context) as server:
        url = f"https://127.0.0.1:{server.port}/mcp"
        text = await failure_of(HttpUpstreamConfig(url=url))
        assert "TLS certificate or protocol is not acceptable" in text
        assert server.seen == []

        with anyio.fail_after(20):
            async with mcp.Client(HttpUpstream(HttpUpstreamConfig(url=url, ca_file=file))) as c:
                assert (await c.call_tool("echo", {})).content[0].text == "echo"


async def test_a_file_of_authorities_that_is_none(hostile, tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    for path in (file, tmp_path / "none.pem"):
        assert "'ca_file' can not be read" in await failure_of(hostile.config(ca_file=path))


async def test_a_redirect_carries_no_header_anywhere(hostile, upstreams):
    async with hostile_server("both") as elsewhere:
        for status in ("301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent"):
            hostile.on["tools"] = answering(status=status, location=elsewhere.url)
            ending, lives, _ = await call(hostile, "tools", headers={"Authorization": TOKEN})
            assert ending.code == UPSTREAM_ERROR_CODE
            assert lives
        assert elsewhere.seen == []


async def dies_in_the_middle(exchange):
    await exchange.stream_events(event({"method": "notifications/message"})[:20])


async def ends_without_answer(exchange):
    await exchange.stream_events(b": hello\n\n", event({"method": "notifications/x"}))


async def breaks_off(exchange):
    exchange.keeps_open = False
    await exchange.raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"
    )


async def endless_event(exchange):
    await exchange.stream_events()
    while True:
        await exchange.raw(b"data: " + b"x" * 10_000 + b"\n")


async def endless_line(exchange):
    await exchange.stream_events(b"data: ")
    while True:
        await exchange.raw(b"x" * 10_000)


async def endless_body(exchange):
    exchange.keeps_open = False
    await exchange.raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    while True:
        await exchange.raw(b"2710\r\n" + b" " * 10_000 + b"\r\n")


async def someone_else(exchange):
    await exchange.reply(json_of({"id": 999_999, "result": text("not yours")}))


async def deep(exchange):
    nested = "[" * 200 + "]" * 200
    await exchange.stream_events(
        f'data: {{"jsonrpc":"2.0","id":{exchange.id},"result":{{"x":{nested}}}}}\n\n'.encode()
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering(status="401 Unauthorized"), "HTTP 401"),
        (answering(json_of({"id": 1, "result": {}}), status="403 Forbidden"), "HTTP 403"),
        (answering(status="500 Internal Server Error"), "HTTP 500"),
        (answering(status="429 Too Many", retry_after="3"), "try again in 3 seconds"),
        (answering(status="429 Too Many", retry_after="9" * 99), "HTTP 429: it refused"),
        (answering(status="202 Accepted"), "without answering it"),
        (answering(b"", kind="text/html"), "neither JSON nor a stream"),
        (answering(b"{]"), "could not be read"),
        (answering(gzip.compress(b"{}"), content_encoding="gzip"), "compressed"),
        (someone_else, "answered something else"),
        (closes, "closed the connection"),
        (breaks_off, "broke in the middle"),
        (dies_in_the_middle, "ended without the answer"),
        (ends_without_answer, "ended without the answer"),
        (endless_event, "more than 65536 bytes"),
        (endless_line, "more than 65536 bytes"),
        (endless_body, "more than 65536 bytes"),
        (deep, "could not be read"),
    ],
)
async def test_what_goes_wrong_with_one_call_fails_it_alone(either, answer, said):
    either.on["tools"] = answer
    ending, lives, fault = await call(either, "tools", max_message_bytes=65_536)

    assert ending.code == UPSTREAM_ERROR_CODE
    assert ending.data["code"] == "upstream_unavailable"
    assert said in str(ending)
    assert "secret" not in str(ending)
    assert lives
    assert fault is None


@pytest.mark.parametrize("identity", ["same", None])
async def test_an_error_of_the_protocol_is_passed_on_whatever_its_status(either, identity):
    async def answer(exchange):
        fault = {"code": -32602, "message": "as it is", "data": {"why": "so"}}
        said = {"id": exchange.id if identity else None, "error": fault}
        await exchange.reply(json_of(said), status="400 Bad Request")

    either.on["tools"] = answer
    ending, lives, _ = await call(either, "tools")
    assert (ending.code, str(ending), ending.data) == (-32602, "as it is", {"why": "so"})
    assert lives


async def test_a_second_answer_and_one_for_somebody_else_are_dropped(either):
    async def answer(exchange):
        await exchange.stream_events(
            b"\xef\xbb\xbfevent: other\ndata: {}\n\n",
            b"data: garbage\n\n",
            event({"id": 999_999, "result": text("not yours")}),
            event({"id": exchange.id, "result": text("first")}),
            event({"id": exchange.id, "result": text("second")}),
        )

    either.on["echo"] = answer
    log = []
    transport = open_upstream(either.config(), log=lambda *line: log.append(line))
    with anyio.fail_after(20):
        async with mcp.Client(transport) as client:
            for _ in range(2):
                assert (await client.call_tool("echo", {})).content[0].text == "first"
    assert {line[2]["problem"] for line in log} == {
        "ValidationError",
        "an answer to another request",
    }
    assert "garbage" not in str(log)


async def never(exchange):
    await exchange.stream.receive()


def hanging():
    """Return what never answers, and an event for when it is no longer waited for."""
    left = anyio.Event()

    async def hangs(exchange):
        try:
            await exchange.stream.receive()
        finally:
            left.set()

    return hangs, left


async def test_giving_up_a_call_closes_its_connection(either):
    either.on["never"], left = hanging()
    with anyio.fail_after(20):
        async with mcp.Client(HttpUpstream(either.config())) as client:
            with anyio.move_on_after(0.3) as scope:
                await client.call_tool("never", {})
            assert scope.cancelled_caught
            await left.wait()
            assert (await client.call_tool("echo", {})).content[0].text == "echo"
    cancelled = either.having("notifications/cancelled")
    # In the era of 2026 the end of the request is the cancellation.
    assert len(cancelled) == (1 if either.era == "legacy" else 0)


async def test_a_server_that_falls_silent_is_not_waited_for_for_ever(either):
    async def half(exchange):
        await exchange.stream_events(b": here\n\n")
        await exchange.stream.receive()

    either.on = {"never": never, "half": half}
    for name, said in (("never", "was silent for 0.3 seconds"), ("half", "fell silent")):
        ending, lives, _ = await call(either, name, read_timeout_s=0.3)
        assert said in str(ending)
        assert lives


async def test_a_server_that_dies_with_fifty_calls_in_flight(either):
    arrived = 0
    doom = anyio.Event()

    async def hangs(exchange):
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            doom.set()
        await doom.wait()
        exchange.keeps_open = False

    either.on["hangs"] = hangs
    endings = []

    async def one(client):
        with pytest.raises(MCPError) as raised:
            await client.call_tool("hangs", {})
        endings.append(raised.value)

    with anyio.fail_after(30):
        async with mcp.Client(HttpUpstream(either.config())) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(one, client)
            assert (await client.call_tool("echo", {})).content[0].text == "echo"
    assert [error.code for error in endings] == [UPSTREAM_ERROR_CODE] * 50


async def test_more_calls_than_connections_fail_by_name(hostile):
    hostile.on["never"] = never
    transport = HttpUpstream(hostile.config(max_connections=1, connect_timeout_s=0.3))
    with anyio.fail_after(20):
        async with mcp.Client(transport) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "never", {})
            while not hostile.having("tools/call"):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            with pytest.raises(MCPError, match="all 1 connections"):
                await client.call_tool("echo", {})
            tasks.cancel_scope.cancel()


async def test_nobody_there_any_more_ends_the_connection(upstreams):
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            ready = anyio.Event()
            stop = anyio.Event()
            made = []

            async def serve():
                async with hostile_server("both") as server:
                    made.append(server)
                    ready.set()
                    await stop.wait()
                stopped.set()

            stopped = anyio.Event()
            tasks.start_soon(serve)
            await ready.wait()
            transport = HttpUpstream(made[0].config(connect_timeout_s=5))
            async with mcp.Client(transport) as client:
                stop.set()
                await stopped.wait()
                with pytest.raises(MCPError) as raised:
                    await client.call_tool("echo", {})
                assert raised.value.code in {UPSTREAM_ERROR_CODE, CONNECTION_CLOSED}
                while not transport.ended.is_set():
                    with pytest.raises(MCPError):
                        await client.call_tool("echo", {})
            assert "no connection could be made" in str(transport.fault)


async def test_a_session_that_is_dropped_ends_the_connection(legacy):
    legacy.on["tools"] = answering(status="404 Not Found")
    ending, lives, fault = await call(legacy, "tools")
    assert ending.code == CONNECTION_CLOSED
    assert not lives
    assert "has ended the session (HTTP 404)" in str(fault)
    assert legacy.having("DELETE") == []


async def test_a_stream_that_breaks_off_is_taken_up_again(either):
    async def answer(exchange):
        await exchange.stream_events(event(id="7", retry="100"))

    async def resume(exchange):
        if exchange.headers.get("last-event-id") != "7":
            await exchange.reply(status="405 Method Not Allowed")
            return
        (called,) = either.having("tools/call")[-1:]
        await exchange.stream_events(event({"id": called.id, "result": text("at last")}, id="8"))

    either.on = {"resumed": answer, "GET": resume}
    ending, lives, _ = await call(either, "resumed")
    assert ending.content[0].text == "at last"
    assert lives


async def test_a_stream_that_never_goes_on_is_given_up(either):
    async def nothing(exchange):
        await exchange.stream_events(event(id="7", retry="100"))

    async def refuse(exchange):
        if "last-event-id" in exchange.headers:
            await nothing(exchange)
        else:
            await exchange.reply(status="405 Method Not Allowed")

    either.on = {"broken": nothing, "GET": refuse}
    ending, lives, _ = await call(either, "broken")
    assert "ended without the answer" in str(ending)
    assert lives
    assert len([each for each in either.having("GET") if "last-event-id" in each.headers]) == 3


async def test_what_the_server_says_unasked_comes_through(legacy):
    streams = 0

    async def talk(exchange):
        nonlocal streams
        streams += 1
        note = {"method": "notifications/tools/list_changed"}
        await exchange.stream_events(event(note, id=f"n{streams}"))
        if streams > 1:
            await exchange.stream.receive()

    legacy.on["GET"] = talk
    heard = []
    both = anyio.Event()

    async def hear(message):
        heard.append(type(message).__name__)
        if len(heard) == 2:
            both.set()

    with anyio.fail_after(20):
        transport = HttpUpstream(legacy.config())
        async with mcp.Client(transport, message_handler=hear):
            await both.wait()
    first, second = legacy.having("GET")
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"] == "n1"
    assert first.headers["mcp-session-id"] == "session-1"


async def test_a_server_that_asks_without_reading_answers_is_left(legacy):
    async def ask(exchange):
        await exchange.stream_events()
        for number in range(5_000):
            await exchange.raw(event({"id": f"q{number}", "method": "ping"}))

    async def held(exchange):
        if "method" not in exchange.message:
            await exchange.stream.receive()
        else:
            await exchange.reply(status="202 Accepted")

    legacy.on = {"ask": ask, "POST": held}
    ending, lives, fault = await call(legacy, "ask")
    assert ending.code == CONNECTION_CLOSED
    assert not lives
    assert "asks more than it reads answers to" in str(fault)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_notification_that_is_not_taken_holds_nothing_up(legacy):
    legacy.on["notifications/roots/list_changed"] = never
    with anyio.fail_after(20):
        async with mcp.Client(HttpUpstream(legacy.config())) as client:
            for _ in range(300):
                await client.session.send_roots_list_changed()
            assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_parameters_that_belong_in_headers_are_learned_from_the_list(hostile):
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }
    hostile.tools = [{"name": "routed", "inputSchema": schema}]

    async def routed(exchange):
        if exchange.headers.get("mcp-param-region") == "eu":
            await exchange.result(text("routed"))
        else:
            fault = {"code": -32020, "message": "header mismatch"}
            await exchange.reply(
                json_of({"id": exchange.id, "error": fault}), status="400 Bad Request"
            )

    hostile.on["routed"] = routed
    params = {
        "name": "routed",
        "arguments": {"region": "eu"},
        "_meta": {PROTOCOL_VERSION_META_KEY: MODERN},
    }
    with anyio.fail_after(20):
        async with HttpUpstream(hostile.config()) as (read, write):
            dispatcher = JSONRPCDispatcher(read, write)
            async with ClientSession(dispatcher=dispatcher) as session:
                await session.discover()
                for _ in range(2):
                    result = await dispatcher.send_raw_request("tools/call", params)
                    assert result["content"][0]["text"] == "routed"
                unknown = {**params, "name": "unknown", "arguments": {}}
                hostile.on["unknown"] = routed
                with pytest.raises(MCPError, match="header mismatch"):
                    await dispatcher.send_raw_request("tools/call", unknown)
    assert [each.params["name"] for each in hostile.having("tools/call")] == [
        *["routed"] * 3,
        "unknown",
    ]


async def test_text_that_is_not_unicode_fails_its_call_alone(either):
    with anyio.fail_after(20):
        async with mcp.Client(HttpUpstream(either.config())) as client:
            with pytest.raises(MCPError, match="not Unicode"):
                await client.call_tool("echo", {"text": "\ud800"})
            assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_cancellation_during_the_handshake_leaves_nothing(either):
    either.on = {"server/discover": never, "initialize": never}
    with anyio.fail_after(20), anyio.move_on_after(0.3) as scope:
        async with mcp.Client(HttpUpstream(either.config())):
            pytest.fail("it was greeted")
    assert scope.cancelled_caught


async def test_a_goodbye_that_is_not_answered_is_bounded(legacy, monkeypatch):
    monkeypatch.setattr("localmcp_harden.integrations.upstream.http_session._GOODBYE_S", 0.1)
    legacy.on["DELETE"] = never
    with anyio.fail_after(10):
        async with mcp.Client(HttpUpstream(legacy.config())):
            pass
    assert len(legacy.having("DELETE")) == 1


async def test_a_transport_is_good_for_one_connection_and_its_end_is_no_fault(hostile):
    transport = HttpUpstream(hostile.config())
    async with mcp.Client(transport):
        pass
    assert transport.fault is None
    assert transport.ended.is_set()
    assert transport.last_words == ""
    with pytest.raises(RuntimeError, match="good for one connection"):
        await transport.__aenter__()


async def test_what_fails_inside_for_another_reason_keeps_its_own_name(hostile):
    with anyio.fail_after(20), pytest.raises(ValueError, match="mine"):
        async with HttpUpstream(hostile.config()):
            raise ValueError("mine")


def test_a_repr_shows_neither_path_nor_headers():
    config = HttpUpstreamConfig(
        url="https://example.org:8443/s3cret?k=s3cret", headers={"Authorization": "s3cret"}
    )
    assert "s3cret" not in repr(config)
    assert "url='https://example.org:8443/...'" in repr(config)
    assert "headers=<1>" in repr(config)
    assert config.label == config.program == "example.org:8443"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "printable"),
        ("https://exa mple.org/", "printable"),
        ("https://example.org/\n", "printable"),
        ("https://" + "s3cret" * 1_000, "printable"),
        ("ftp://s3cret.org/", "http://HOST/PATH"),
        ("https:///s3cret", "http://HOST/PATH"),
        ("https://example.org:99999/s3cret", "http://HOST/PATH"),
        ("https://[s3cret/", "http://HOST/PATH"),
        ("https://user:s3cret@example.org/", "no credentials"),  # pragma: allowlist secret
        ("https://example.org/#s3cret", "no fragment"),
        ("http://example.org/s3cret", "plain_http"),
        ("http://10.0.0.1/s3cret", "plain_http"),
        ("http://localhost.example.org/s3cret", "plain_http"),
    ],
)
def test_a_url_that_will_not_do_is_refused_unseen(url, said):
    with pytest.raises(ValueError, match=said) as raised:
        HttpUpstreamConfig(url=url)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"])
def test_plain_http_is_for_this_machine(host):
    assert HttpUpstreamConfig(url=f"http://{host}/mcp").label == host


def test_plain_http_to_others_has_to_be_asked_for():
    assert HttpUpstreamConfig(url="http://example.org/", plain_http=True).label == "example.org"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"A B": "s3cret"}, "HTTP tokens"),
        ({"Host": "s3cret"}, "'host'; it is set here"),
        ({"Mcp-Session-Id": "s3cret"}, "it is set here"),
        ({"X": "1", "x": "s3cret"}, "twice"),
        ({"X": "s3cret\r\nY: 1"}, "printable ASCII"),
        ({"X": "s3cret\u00e9"}, "printable ASCII"),
        ({"X": ""}, "printable ASCII"),
        ({"X": " s3cret"}, "printable ASCII"),
    ],
)
def test_headers_that_will_not_do_are_refused_unseen(headers, said):
    with pytest.raises(ValueError, match=said) as raised:
        HttpUpstreamConfig(url="https://example.org/", headers=headers)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"mode": "2026-07-28"}, "mode"),
        ({"max_message_bytes": 1}, "max_message_bytes"),
        ({"connect_timeout_s": 0}, "connect_timeout_s"),
        ({"read_timeout_s": 0}, "read_timeout_s"),
        ({"max_connections": 0}, "max_connections"),
        ({"restart_max_delay_s": -1}, "restart_max_delay_s"),
        ({"restart_limit": 0}, "restart_limit"),
        ({"restart_window_s": 0}, "restart_window_s"),
        ({"restart_stable_s": -1}, "restart_stable_s"),
        ({"drain_s": -1}, "drain_s"),
    ],
)
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ValueError, match=field):
        HttpUpstreamConfig(url="https://example.org/", **settings)


def test_the_settings_hold_their_own_copy_of_the_headers():
    headers = {"X": "1"}
    config = HttpUpstreamConfig(url="https://example.org/", headers=headers)
    headers["Host"] = "evil"
    assert json.dumps(dict(config.headers)) == '{"X": "1"}'
