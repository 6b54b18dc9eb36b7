"""The guard, driven by hand: what it refuses, what it hands on, and one record for each."""

import json

import anyio
import pytest

from localmcp_harden import HardenConfig
from localmcp_harden.core.events import OutcomeKind
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.tokens import TokenEntry, hash_token
from localmcp_harden.security.transport.config import HttpConfig
from localmcp_harden.testing.doubles.audit_log import FakeAuditLog

pytestmark = pytest.mark.anyio

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_good_request_goes_through_as_it_is(drive):
    server = drive()
    reply = await server.post(b'{"a": 1}', {"accept": "x"})
    assert reply.status == 200
    assert reply.json["body"] == '{"a": 1}'
    assert reply.json["headers"]["accept"] == "x"
    assert reply.headers[b"x-content-type-options"] == b"nosniff"
    (record,) = server.records
    assert record.method == "http/POST"
    assert record.outcome is OutcomeKind.OK
    assert record.ip_address == "192.0.2.1"
    assert reply.headers[b"x-request-id"] == record.call_id.encode()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "evil.example"}, 421, "host_refused"),
        ({"host": ""}, 421, "host_refused"),
        ({"origin": "https://evil.example"}, 403, "origin_refused"),
        ({"origin": "null"}, 403, "origin_refused"),
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"content-length": "9999999"}, 413, "body_too_large"),
        ({"content-length": "1"}, 400, "invalid_headers"),
        ({"content-length": "x"}, 400, "invalid_headers"),
        ({"transfer-encoding": "chunked"}, 400, "invalid_headers"),
        ({"x": "y" * 20_000}, 431, "headers_too_large"),
        ({f"x-{each}": "y" for each in range(70)}, 431, "headers_too_large"),
    ],
)
async def test_a_bad_header_is_refused_and_leaves_one_record(drive, headers, status, code):
    async def never(*_):
        pytest.fail("must not be reached")

    server = drive(never)
    reply = await server.post(b'{"secret": "hunter2"}', headers)
    assert (reply.status, reply.code) == (status, code)
    assert server.codes == [code]
    assert server.records[0].outcome is OutcomeKind.REFUSED
    assert reply.json["error"]["data"]["call_id"] == server.records[0].call_id
    assert b"evil" not in reply.body
    assert "evil" not in repr(server.records[0])


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100],
)
async def test_a_bad_body_is_refused_before_it_is_parsed(drive, body):
    server = drive()
    reply = await server.post(body)
    assert (reply.status, reply.code) == (400, "invalid_json")
    assert reply.json["error"]["code"] == -32700
    assert server.codes == ["invalid_json"]


async def test_a_header_that_is_there_twice_is_refused(drive):
    server = drive()
    for name in (b"host", b"content-length"):
        scope = server.scope("POST", {"content-length": "2", "content-type": "application/json"})
        scope["headers"].append((name, dict(scope["headers"])[name]))
        reply = await server.run(scope, [{"type": "http.request", "body": b"{}"}])
        assert (reply.status, reply.code) == (400, "invalid_headers")


async def test_a_request_without_a_host_is_refused(drive):
    server = drive()
    scope = server.scope("GET")
    scope["headers"] = []
    assert (await server.run(scope)).code == "host_refused"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "X" * 100])
async def test_other_methods_are_refused_under_one_name(drive, method):
    server = drive()
    assert (await server.get(method=method)).status == 405
    assert server.records[0].method == "http/_other"


async def test_other_content_types_are_taken_where_they_are_named(drive):
    server = drive(content_types=("application/json", "application/x-www-form-urlencoded"))
    reply = await server.post(b"a=[", {"content-type": "application/x-www-form-urlencoded"})
    assert reply.json["body"] == "a=["


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("version", ["1.1", "2", "3"])
async def test_a_body_that_no_header_announces_is_judged_like_any_other(drive, method, version):
    server = drive()
    scope = server.scope(method, {"content-type": "application/json"}, version=version)
    reply = await server.run(scope, [{"type": "http.request", "body": b"{", "more_body": False}])
    assert reply.code == "invalid_json"

    scope = server.scope(method, version=version)
    reply = await server.run(scope, [{"type": "http.request", "body": b"x", "more_body": False}])
    assert reply.code == "unsupported_media_type"


def part(body, *, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


CHUNKED = {"content-type": "application/json", "transfer-encoding": "chunked"}


async def test_a_body_in_parts_is_put_together(drive):
    server = drive()
    parts = [part(b'{"a"'), part(b""), part(b":1"), part(b"}", more=False)]
    reply = await server.run(server.scope("POST", CHUNKED), parts)
    assert reply.json["body"] == '{"a":1}'
    assert server.guard._rules.budget.held_bytes == 0


async def test_a_body_that_grows_too_large_is_refused(drive):
    server = drive(max_body_bytes=10)
    parts = [part(b" " * 6), part(b" " * 5), part(b"never read")]
    reply = await server.run(server.scope("POST", CHUNKED), parts)
    assert (reply.status, reply.code) == (413, "body_too_large")
    assert server.guard._rules.budget.held_bytes == 0


async def test_a_client_that_goes_away_in_its_body_is_recorded_as_gone(drive):
    server = drive()
    assert await server.run(server.scope("POST", CHUNKED), [part(b"{")]) is None
    (record,) = server.records
    assert (record.outcome, record.code) == (OutcomeKind.CANCELLED, "")
    assert server.guard._rules.budget.held_bytes == server.guard._rules.budget.reading == 0


async def slow(server, steps):
    """Send parts, each so many seconds after the one before; None sends nothing."""
    left = list(steps)
    sent = []

    async def receive():
        if not left:
            await anyio.sleep_forever()
        seconds, body = left.pop(0)
        if body is None:
            server.clock.advance(seconds)
            await anyio.sleep_forever()
        server.clock.advance(seconds)
        return part(body)

    async def send(message):
        sent.append(message)

    with anyio.fail_after(5):
        await server.guard(server.scope("POST", CHUNKED), receive, send)
    return sent[0]


@pytest.mark.parametrize(
    "steps",
    [
        [(10.1, None)],
        [(5, b"{"), (10.1, None)],
        # Empty parts are no progress.
        [(4, b""), (4, b""), (4, b"")],
        # A byte now and then is not enough.
        [(5, b" "), (5.5, b" ")],
        # Enough a second, and still too long.
        [(9, b" " * 20_000)] * 4,
    ],
)
async def test_a_body_that_does_not_come_on_is_given_up(drive, steps):
    server = drive()
    start = await slow(server, steps)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert server.codes == ["body_too_slow"]
    assert server.guard._rules.budget.reading == server.guard._rules.budget.held_bytes == 0


async def test_empty_parts_do_not_put_the_end_off(drive):
    server = drive(min_body_bytes_per_s=0)
    start = await slow(server, [(4, b"{"), (4, b""), (4, b""), (4, b""), (100, None)])
    assert start["status"] == 408
    # Ten seconds after the last byte, and not thirty after the first.
    assert server.records[0].duration_s < 30


async def test_only_so_many_bodies_are_read_at_once(drive):
    server = drive(max_bodies=3, max_bodies_per_address=2)
    scope = server.scope("POST", CHUNKED)
    async with anyio.create_task_group() as tasks:

        async def read(peer):
            await server.run({**scope, "client": (peer, 1)}, hang=True)

        tasks.start_soon(read, "192.0.2.1")
        tasks.start_soon(read, "192.0.2.1")
        await anyio.wait_all_tasks_blocked()
        reply = await server.post(b"{}")
        assert (reply.status, reply.code) == (503, "overloaded")
        assert reply.headers[b"retry-after"] == b"1"
        assert (await server.post(b"{}", peer="192.0.2.2")).status == 200
        tasks.start_soon(read, "192.0.2.3")
        await anyio.wait_all_tasks_blocked()
        assert (await server.post(b"{}", peer="192.0.2.2")).status == 503
        tasks.cancel_scope.cancel()
    assert (await server.post(b"{}")).status == 200
    assert server.codes.count("overloaded") == 2
    assert sum(each.outcome is OutcomeKind.CANCELLED for each in server.records) == 3


async def test_bytes_are_held_until_the_answer_has_ended(drive):
    started, go = anyio.Event(), anyio.Event()

    async def app(scope, receive, send):
        started.set()
        await go.wait()
        await drive.answer(send, 200)

    server = drive(app, max_buffered_bytes=1_024)
    body = json.dumps({"a": "x" * 600}).encode()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.post, body)
        await started.wait()
        assert (await server.post(body)).code == "overloaded"
        go.set()
    assert (await server.post(body)).status == 200


async def test_foreign_claims_are_taken_away(drive):
    server = drive()
    headers = {"x-forwarded-for": "198.51.100.1", "forwarded": "for=198.51.100.1", "x-real-ip": "1",
               "traceparent": TRACE, "tracestate": "a=b", "baggage": "c=d"}  # fmt: skip
    reply = await server.post(b"{}", headers)
    assert not set(headers) & set(reply.json["headers"])
    assert reply.json["client"] == server.records[0].ip_address == "192.0.2.1"
    assert not any("trace" in key for key in server.records[0].meta)


async def test_a_declared_proxy_says_where_a_request_comes_from(drive):
    server = drive(trusted_proxies=("192.0.2.0/24",))
    headers = {"x-forwarded-for": "203.0.113.9, 198.51.100.1"}
    reply = await server.post(b"{}", headers)
    assert reply.json["client"] == server.records[0].ip_address == "198.51.100.1"
    assert "x-forwarded-for" in reply.json["headers"]
    reply = await server.post(b"{}", {"forwarded": "for=198.51.100.1"})
    assert reply.json["client"] == "192.0.2.1"


async def test_a_socket_without_an_address_is_local(drive):
    server = drive()
    scope = server.scope("GET", peer=None)
    reply = await server.run(scope, [part(b"", more=False)])
    assert reply.json["client"] is None
    assert server.records[0].ip_address is None


META = {"traceparent": TRACE, "tracestate": "a=b", "progressToken": 1}
MESSAGE = json.dumps({"params": {"_meta": META}}).encode()


async def test_a_trace_context_in_the_body_is_taken_out(drive):
    reply = await drive().post(MESSAGE)
    assert json.loads(reply.json["body"]) == {"params": {"_meta": {"progressToken": 1}}}
    assert int(reply.json["headers"]["content-length"]) == len(reply.json["body"])


@pytest.mark.parametrize("where", ["header", "body"])
async def test_a_trusted_callers_trace_can_be_linked(drive, where):
    server = drive(trace_context="link", trace_networks=("192.0.2.0/24",))
    reply = await (
        server.post(b"{}", {"traceparent": TRACE}) if where == "header" else server.post(MESSAGE)
    )
    assert "traceparent" not in reply.body.decode()
    assert server.records[0].meta["linked_trace_id"] == TRACE[3:35]
    assert server.records[0].meta["linked_span_id"] == TRACE[36:52]


async def test_a_trusted_callers_trace_can_be_the_parent(drive):
    server = drive(trace_context="parent", trace_networks=("192.0.2.0/24",))
    reply = await server.post(MESSAGE, {"traceparent": TRACE})
    assert reply.json["headers"]["traceparent"] == TRACE
    assert reply.json["body"] == MESSAGE.decode()
    assert server.records[0].meta["trace_id"] == TRACE[3:35]
    assert (await server.post(MESSAGE)).json["body"] == MESSAGE.decode()
    reply = await server.post(MESSAGE, {"traceparent": "forged"})
    assert "traceparent" not in reply.json["headers"]


@pytest.mark.parametrize("trust", ["link", "parent"])
async def test_the_trace_of_others_is_not_believed(drive, trust):
    server = drive(trace_context=trust, trace_networks=("10.0.0.0/8",))
    reply = await server.post(MESSAGE, {"traceparent": TRACE})
    assert "traceparent" not in reply.body.decode()
    assert server.records[0].meta == {"transport": "http"}


async def test_a_page_that_may_read_gets_its_preflight(drive):
    server = drive(cors_origins=("https://app.example",))
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    reply = await server.get(asked, method="OPTIONS")
    assert reply.status == 204
    assert reply.headers[b"access-control-allow-origin"] == b"https://app.example"
    reply = await server.post(b"{}", {"origin": "https://app.example"})
    assert reply.headers[b"access-control-allow-origin"] == b"https://app.example"
    reply = await server.post(b"{}", {"origin": "http://localhost"})
    assert reply.status == 200
    assert b"access-control-allow-origin" not in reply.headers
    reply = await server.get({"origin": "https://evil.example"}, method="OPTIONS")
    assert reply.status == 403


async def test_refused_requests_of_an_address_are_limited(drive):
    server = drive(refused_burst=2, refused_rate_per_s=0.1)
    assert [(await server.post(b"{")).status for _ in range(3)] == [400, 400, 429]
    reply = await server.post(b"{}")
    assert (reply.status, reply.code) == (429, "rate_limited")
    assert 9 <= int(reply.headers[b"retry-after"]) <= 10
    assert (await server.post(b"{}", peer="192.0.2.2")).status == 200
    server.clock.advance(10)
    assert (await server.post(b"{}")).status == 200
    assert len(server.records) == 6


async def test_an_ipv6_client_can_not_change_its_address(drive):
    server = drive(refused_burst=2, refused_rate_per_s=0.1)
    statuses = [(await server.post(b"{", peer=f"2001:db8::{each}")).status for each in range(1, 4)]
    assert statuses == [400, 400, 429]


async def test_a_foreign_host_or_page_costs_an_honest_user_nothing(drive):
    server = drive(refused_burst=1, refused_rate_per_s=0.1)
    for _ in range(5):
        await server.post(b"{}", {"origin": "https://evil.example"})
        await server.post(b"{}", {"host": "evil.example"})
    assert (await server.post(b"{}")).status == 200


@pytest.mark.parametrize(
    ("status", "code", "counts"),
    [(401, "unauthenticated", True), (404, "not_found", True), (403, "forbidden", False),
     (405, "method_not_allowed", False), (503, "overloaded", False), (418, "bad_request", False),
     (400, "bad_request", True)],
)  # fmt: skip
async def test_what_the_application_refuses_is_recorded_and_counted(drive, status, code, counts):
    async def app(scope, receive, send):
        await drive.answer(send, status)

    server = drive(app, refused_burst=1, refused_rate_per_s=0.1)
    await server.get()
    assert server.codes == [code]
    assert server.records[0].outcome is OutcomeKind.REFUSED
    assert (await server.get()).status == (429 if counts else status)


async def test_a_fault_of_the_application_is_recorded_and_not_hidden(drive):
    async def app(scope, receive, send):
        raise ZeroDivisionError("secret")

    server = drive(app)
    with pytest.raises(ZeroDivisionError):
        await server.get()
    (record,) = server.records
    assert (record.outcome, record.code) == (OutcomeKind.ERROR, "ZeroDivisionError")

    async def broken(scope, receive, send):
        await drive.answer(send, 500)

    server = drive(broken)
    await server.get()
    assert (server.records[0].outcome, server.codes) == (OutcomeKind.ERROR, ["HttpServerError"])


async def test_a_stream_is_recorded_once_when_it_ends(drive):
    go = anyio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"b"})

    server = drive(app)
    await server.hardening.ensure_open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.get)
        await anyio.wait_all_tasks_blocked()
        assert server.records == []
        server.clock.advance(60)
        go.set()
    (record,) = server.records
    assert (record.method, record.duration_s, record.outcome) == ("http/GET", 60, OutcomeKind.OK)


async def test_a_cancelled_request_is_recorded_as_such(drive):
    async def app(scope, receive, send):
        await anyio.sleep_forever()

    server = drive(app)
    await server.hardening.ensure_open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.get)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [each.outcome for each in server.records] == [OutcomeKind.CANCELLED]


async def test_a_request_is_recorded_that_is_cancelled_while_the_stores_open(drive):
    server = drive()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await server.get()
    assert len(server.records) == 1


def call(request_id, session="s"):
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "tools/call"}).encode()
    return body, {"mcp-session-id": session}


async def test_an_id_is_used_once_at_a_time_in_a_session(drive):
    go = anyio.Event()

    async def app(scope, receive, send):
        await go.wait()
        await drive.answer(send, 200)

    server = drive(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.post, *call(1))
        await anyio.wait_all_tasks_blocked()
        # The SDK keeps ids as text, so these two are one.
        for request_id in (1, "1"):
            reply = await server.post(*call(request_id))
            assert (reply.status, reply.code) == (409, "request_id_in_use")
        tasks.start_soon(server.post, *call(2))
        tasks.start_soon(server.post, *call(1, "other"))
        await anyio.wait_all_tasks_blocked()
        assert server.codes == ["request_id_in_use"] * 2
        go.set()
    assert (await server.post(*call(1))).status == 200
    assert server.guard._in_flight == set()


TOKEN = "localmcp-test-token"
WITH_TOKEN = HardenConfig(
    disabled=("audit", "policy"),
    authentication=AuthenticationConfig(
        tokens=(TokenEntry(sha256=hash_token(TOKEN), client="ci"),)
    ),
)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_no_call_asks_for_credentials_here(drive, method):
    server = drive(settings=WITH_TOKEN)
    session = {"mcp-session-id": "s"}
    for headers in (session, {**session, "authorization": "Bearer wrong"},
                    {**session, "authorization": f"Basic {TOKEN}"}):  # fmt: skip
        reply = await server.get(headers, method=method)
        assert (reply.status, reply.code) == (401, "unauthenticated")
        assert reply.headers[b"www-authenticate"] == b"Bearer"
    good = {**session, "authorization": f"Bearer {TOKEN}"}
    assert (await server.get(good, method=method)).status == 200
    # What is about no session is the application's own.
    assert (await server.get(method=method)).status == 200


async def test_an_application_that_asks_itself_is_left_to_it(drive):
    server = drive(settings=WITH_TOKEN, app_authenticates=True)
    assert (await server.get({"mcp-session-id": "s"}, method="DELETE")).status == 200


async def test_an_unhardened_lifespan_passes_through(drive):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    server = drive(app)
    await server.guard({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
    assert server.records == []


async def test_a_websocket_is_judged_by_its_handshake(drive):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    server = drive(app)
    sent = []

    async def send(message):
        sent.append(message)

    for headers in ({}, {"origin": "https://evil.example"}, {"host": "evil.example"}):
        await server.guard(server.scope("GET", headers, kind="websocket"), None, send)
    assert seen == ["websocket"]
    assert [each["type"] for each in sent] == ["websocket.close"] * 2
    assert server.codes == ["", "origin_refused", "host_refused"]
    assert {each.method for each in server.records} == {"http/WEBSOCKET"}


async def test_a_reload_changes_the_rules_and_keeps_the_counts(drive):
    server = drive()
    server.guard._config = None
    config = HardenConfig(
        disabled=("audit", "policy"), http=HttpConfig(refused_burst=2, refused_rate_per_s=0.1)
    )
    server.hardening.reload(config)
    await server.post(b"{")
    server.hardening.reload(
        HardenConfig(
            disabled=("audit", "policy"),
            http=HttpConfig(refused_burst=2, refused_rate_per_s=0.1, max_body_bytes=1),
        )
    )
    assert (await server.post(b"{}")).code == "body_too_large"
    assert (await server.post(b"{")).code == "rate_limited"


async def test_a_million_requests_leave_nothing_behind(drive):
    server = drive(max_addresses=100)
    for each in range(2_000):
        await server.post(b"{", peer=f"198.51.{each % 250}.{each // 250}")
    assert len(server.guard._rules.refused) <= 100
    assert len(server.guard._rules._peers) <= 1_024
    assert len(server.records) == 2_000


async def test_a_body_that_its_length_denies_is_not_handed_on(drive):
    server = drive()
    scope = server.scope("POST", {"content-length": "0"}, version="2")
    parts = [{"type": "http.request", "body": b'{"a": 1, "a": 2}', "more_body": False}]
    assert (await server.run(scope, parts)).code == "invalid_headers"
    empty = [{"type": "http.request", "body": b"", "more_body": False}]
    assert (await server.run(scope, empty)).status == 200


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}', {"mcp-session-id": "s"}),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}', {"mcp-session-id": "s"}),
        (b'{"jsonrpc":"2.0","id":1,"method":"initialize"}', {}),
    ],
)
async def test_what_a_refused_call_does_not_undo_asks_for_credentials_here(drive, body, headers):
    reached = []

    async def app(scope, receive, send):
        reached.append(await receive())
        await drive.answer(send, 200)

    server = drive(app, settings=WITH_TOKEN)
    for shown in ({}, {"authorization": "Bearer wrong"}):
        reply = await server.post(body, {**headers, **shown})
        assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reached == []
    good = {**headers, "authorization": f"Bearer {TOKEN}"}
    assert (await server.post(body, good)).status == 200
    assert (await server.post(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')).status == 200
    assert len(server.records) == 4


async def test_a_trace_context_is_taken_out_of_each_message_of_an_array(drive):
    messages = [{"method": "ping"}, {"params": {"_meta": {"traceparent": TRACE, "kept": 1}}}, 5]
    reply = await drive(json_arrays=True).post(json.dumps(messages).encode())
    assert json.loads(reply.json["body"]) == [
        {"method": "ping"},
        {"params": {"_meta": {"kept": 1}}},
        5,
    ]


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_only_http_1_is_told_to_close_the_connection(drive, version):
    server = drive()
    scope = server.scope("POST", {"content-type": "application/json", "content-length": "9"})
    scope["http_version"] = version
    sent = []

    async def receive():
        server.clock.advance(10.1)
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    with anyio.fail_after(5):
        await server.guard(scope, receive, send)
    assert sent[0]["status"] == 408
    assert ((b"connection", b"close") in sent[0]["headers"]) is (version == "1.1")


async def test_a_flood_of_refusals_does_not_fill_the_audit_log(drive):
    audit = FakeAuditLog()
    server = drive(
        settings=HardenConfig(disabled=("policy",)),
        audit=audit,
        refused_burst=3,
        refused_rate_per_s=0.001,
    )
    for _ in range(10):
        assert (await server.get({"host": "evil.example"})).status == 421
        server.guard.record_unreadable("192.0.2.7")
    assert len(server.records) == 20
    kept = [entry.data["ip_address"] for entry in audit.entries]
    assert kept.count("192.0.2.1") == 3
    assert kept.count("192.0.2.7") == 3


async def test_a_refused_handshake_counts(drive):
    server = drive(refused_burst=2)

    async def send(message):
        pass

    for _ in range(3):
        scope = server.scope("GET", kind="websocket")
        scope["headers"].append((b"host", b"localhost"))
        await server.guard(scope, None, send)
    assert server.codes == ["invalid_headers"] * 3
    assert (await server.get()).status == 429
