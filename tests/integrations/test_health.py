"""Probes over HTTP, and the health resource."""

import json

import anyio
import pytest
from mcp.client import Client
from mcp.server import MCPServer

from localmcp_harden.core.events import GuardFailed
from localmcp_harden.core.model import ANONYMOUS, Principal
from localmcp_harden.integrations.health import HealthApp, HealthAppConfig, with_health
from localmcp_harden.integrations.health_resource import add_health_resource
from localmcp_harden.protocols.health import (
    CheckResult,
    HealConfig,
    HealthCheckConfig,
    HealthKind,
    HealthStatus,
)
from localmcp_harden.testing.doubles.authenticator import FakeAuthenticator
from localmcp_harden.testing.doubles.health_registry import FakeHealthRegistry
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio
ILL, SO_SO, WELL = HealthStatus
TOKEN = "a-long-token-that-is-known"


class Answer:
    def __init__(self, messages):
        start, body = messages
        self.status = start["status"]
        self.headers = dict(start["headers"])
        self.text = body["body"]
        self.json = json.loads(self.text) if self.text else None


async def ask(app, path="/health/ready", method="GET", headers=(), **scope):
    messages = []

    async def receive():
        raise AssertionError("the body of a probe is not read")

    async def send(message):
        messages.append(message)

    full = {"type": "http", "method": method, "path": path, "headers": list(headers),
            "client": ("192.0.2.1", 9), "root_path": ""}  # fmt: skip
    await app(full | scope, receive, send)
    return Answer(messages)


async def broken_database():
    return CheckResult(status=ILL, reason="the disk is gone", data={"free": float("inf")})


def registry(status=None):
    made = FakeHealthRegistry()
    made.register_health_check(
        "db", broken_database, HealthCheckConfig(tags=frozenset({"disk"}), depends_on=("fs",))
    )
    if status is not None:
        made.scripted = dict.fromkeys(HealthKind, status)
    return made


def bearer(token=TOKEN):
    return (b"Authorization", f"Bearer {token}".encode())


@pytest.mark.parametrize(("status", "code"), [(WELL, 200), (SO_SO, 200), (ILL, 503)])
@pytest.mark.parametrize("end", ["live", "ready", "started"])
async def test_a_stranger_is_told_the_status_and_nothing_else(end, status, code):
    made = registry(status)
    answer = await ask(HealthApp(made), f"/health/{end}")
    assert (answer.status, answer.json) == (code, {"status": status.label})
    assert answer.headers[b"cache-control"] == b"no-store"
    assert answer.headers[b"content-length"] == str(len(answer.text)).encode()
    kinds = {"live": "liveness", "ready": "readiness", "started": "startup"}
    assert made.asked == [HealthKind(kinds[end])]


async def test_head_has_no_body_and_the_same_length():
    got, head = [await ask(HealthApp(registry()), method=method) for method in ("GET", "HEAD")]
    assert (head.status, head.text) == (503, b"")
    assert head.headers == got.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused_and_ask_nothing(method):
    made = registry()
    answer = await ask(HealthApp(made), method=method)
    assert (answer.status, answer.headers[b"allow"]) == (405, b"GET, HEAD")
    assert made.asked == []


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/ready/", "/health/ready/x", "/x"])
async def test_other_paths_are_not_found(path):
    assert (await ask(HealthApp(registry()), path)).status == 404


@pytest.mark.parametrize("answer", [True, "async"])
async def test_whoever_is_authorised_sees_every_check(answer):
    async def yes(_scope):
        return True

    authorise = yes if answer == "async" else (lambda scope: scope["client"][0] == "192.0.2.1")
    made = registry()
    made.enable_self_healing("db", broken_database, HealConfig())
    answer = await ask(HealthApp(made, authorise=authorise))
    assert answer.status == 503
    check = answer.json["checks"]["db"]
    assert check["reason"].startswith("it depends on 'fs'")
    assert (check["causes"], check["tags"], check["depends_on"]) == (["fs"], ["disk"], ["fs"])
    assert check["data"] == {"free": None}
    assert check["heal"] == {"attempts": 0, "last": None, "gave_up": False}


@pytest.mark.parametrize("said", [False, None, 1, "yes", ValueError])
async def test_only_a_plain_yes_opens_the_details(said):
    def authorise(_scope):
        if said is ValueError:
            raise ValueError("the-secret")
        return said

    sink = RecordingSink()
    answer = await ask(HealthApp(registry(), authorise=authorise, sink=sink))
    assert set(answer.json) == {"status"}
    told = [event.guard for event in sink.of(GuardFailed)]
    assert told == (["health_app.authorise"] if said is ValueError else [])


class Known:
    """Knows one token, and breaks at another."""

    def __init__(self):
        self.seen = []

    async def authenticate(self, credentials, /):
        self.seen.append(credentials)
        if credentials.bearer == "anonymous":
            return ANONYMOUS
        if credentials.bearer == "breaks":
            raise RuntimeError
        known = FakeAuthenticator(bearers={TOKEN: Principal(client="c", subject="ann")})
        return await known.authenticate(credentials)


@pytest.mark.parametrize(
    ("headers", "seen", "asked"),
    [
        ([bearer()], True, 1),
        ([(b"authorization", f"BEARER {TOKEN} ".encode())], True, 1),
        ([], False, 0),
        ([bearer("wrong")], False, 1),
        ([bearer("anonymous")], False, 1),
        ([bearer("breaks")], False, 1),
        ([bearer("") ], False, 0),
        ([bearer("x" * 9_000)], False, 0),
        ([bearer(), bearer()], False, 0),
        ([(b"authorization", b"Basic abc")], False, 0),
    ],
)  # fmt: skip
async def test_a_bearer_token_opens_the_details_to_whom_it_proves(headers, seen, asked):
    known = Known()
    answer = await ask(HealthApp(registry(), authenticator=known), headers=headers)
    assert ("checks" in answer.json) is seen
    assert len(known.seen) == asked
    assert answer.status == 503
    assert all(credentials.ip_address == "192.0.2.1" for credentials in known.seen)


async def test_a_registry_that_raises_is_unhealthy():
    class Broken:
        async def get_health_status(self, _kind):
            raise RuntimeError("the-secret")

    sink = RecordingSink()
    answer = await ask(HealthApp(Broken(), sink=sink))
    assert (answer.status, answer.json) == (503, {"status": "unhealthy"})
    assert [event.guard for event in sink.of(GuardFailed)] == ["health_app.registry"]


async def test_beside_an_application():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], scope.get("path")))

    both = with_health(app, registry(WELL), config=HealthAppConfig(prefix="/-/health"))
    assert (await ask(both, "/-/health/live")).status == 200
    assert (await ask(both, "/-/health/nonsense")).status == 404
    assert (await ask(both, "/sub/-/health/live", root_path="/sub")).status == 200
    await both({"type": "http", "path": "/mcp"}, None, None)
    await both({"type": "http", "path": "/-/healthy"}, None, None)
    await both({"type": "lifespan"}, None, None)
    assert seen == [("http", "/mcp"), ("http", "/-/healthy"), ("lifespan", None)]


async def test_alone_it_has_a_lifespan_and_no_websockets():
    app, sent = HealthApp(registry()), []
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket", "path": "/health/live"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("wrong", [{"prefix": "health"}, {"prefix": "/"}, {"max_token_bytes": 1}])
def test_nonsense_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HealthAppConfig(**wrong)


async def test_two_hundred_strangers_cause_one_run():
    runs, gate = [], anyio.Event()

    async def slow():
        runs.append(1)
        await gate.wait()
        return CheckResult(status=WELL)

    made = FakeHealthRegistry()
    made.register_health_check("slow", slow)
    codes = []

    async def probe(app):
        codes.append((await ask(app)).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(probe, HealthApp(made))
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert (codes, len(runs)) == ([200] * 200, 1)


@pytest.mark.parametrize("details", [False, True])
async def test_the_resource_says_how_the_server_is(details):
    server = add_health_resource(MCPServer("s"), registry(), details=details)
    async with Client(server) as client:
        (listed,) = (await client.list_resources()).resources
        assert (str(listed.uri), listed.mime_type) == ("health://status", "application/json")
        (content,) = (await client.read_resource("health://status")).contents
    body = json.loads(content.text)
    assert body["status"] == "unhealthy"
    assert ("checks" in body) is details
