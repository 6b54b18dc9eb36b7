"""harden() on FastMCP: what the SDK's integration does, FastMCP's does; in memory, both eras."""

import logging
from contextlib import asynccontextmanager

import anyio
import mcp
import mcp_types
import pytest
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import ToolResult
from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import ConfigDict

from localmcp_harden import Effect, HardenConfig, Hardening, Mode, Rule, ToolConfig
from localmcp_harden.core.events import OutcomeKind
from localmcp_harden.integrations import fastmcp as on_fastmcp, mcp_sdk as on_sdk
from localmcp_harden.mechanisms.exception_groups import leaves
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.limits import RateLimitConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeAuditLog, FakeClock, FakeLoggingService, RecordingSink

pytestmark = pytest.mark.anyio

ERAS = ["legacy", "2026-07-28"]
ALL = (Rule(id="all", effect=Effect.ALLOW),)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    for name in ("fastmcp", "mcp", "stamina"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def make(sink):
    def make(*rules, into=sink, clock=None, audit=None, **config):
        config.setdefault("policy", PolicyConfig(rules=rules or ALL))
        return Hardening(
            HardenConfig(**config),
            audit=audit or FakeAuditLog(),
            logs=FakeLoggingService(),
            clock=clock,
            sinks=[into],
        )

    return make


def connect(server, mode="2026-07-28"):
    """The SDK's client, since FastMCP's runs on asyncio only; it wants the server beneath."""
    return mcp.Client(getattr(server, "_mcp_server", server), mode=mode)


class Notes:
    """What both servers under test do."""

    def __init__(self):
        self.failures = 0
        self.calls = 0

    def fill(self, server):
        @server.tool(annotations=ToolAnnotations(read_only_hint=True))
        def search(word: str) -> str:
            self.work()
            return f"nothing about {word}"

        @server.tool()
        def erase(word: str) -> str:
            self.work()
            return "erased"

        @server.tool()
        async def slow() -> str:
            await anyio.sleep_forever()
            return "never"

        @server.tool()
        def nothing() -> str:
            return "nothing"

        @server.resource("note://box/{name}")
        def note(name: str) -> str:
            return f"note {name}"

        @server.resource("note://all")
        def notes() -> str:
            return "notes"

        @server.resource("note://broken")
        def broken() -> str:
            raise RuntimeError("the disk is busy")

        @server.prompt()
        def greet() -> str:
            return "hello"

        @server.completion()
        async def complete(ref, argument, context):
            return mcp_types.Completion(values=["yes"])

        return server

    def work(self):
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the disk is busy")

    def on_sdk(self, hardening):
        server = MCPServer("notes", lifespan=hardening.lifespan(), log_level="CRITICAL")
        return on_sdk.harden(self.fill(server), hardening)

    def on_fastmcp(self, hardening, **settings):
        server = FastMCP("notes", lifespan=hardening.lifespan(), **settings)
        return on_fastmcp.harden(self.fill(server), hardening)


class Raw(mcp_types.Request[dict, str]):
    method: str
    params: dict | None = None


class Answer(mcp_types.Result):
    """Any result, as it came."""

    model_config = ConfigDict(extra="allow")


async def send(client, method, params=None):
    """Send any message; return what of its answer two servers must have in common."""
    try:
        result = await client.session.send_request(Raw(method=method, params=params or {}), Answer)
    except mcp.MCPError as error:
        code = error.data.get("code") if isinstance(error.data, dict) else None
        return ("error", error.code, code) if code else ("error", error.code)
    wire = result.model_dump(by_alias=True)
    refusal = (wire.get("_meta") or {}).get("localmcp-harden/refusal") or {}
    return "result", wire.get("isError"), refusal.get("code")


def call(client, name, **arguments):
    return send(client, "tools/call", {"name": name, "arguments": arguments})


def facts_of(record):
    """Return what of a record does not depend on the moment."""
    return (
        record.kind,
        record.method,
        record.name,
        record.outcome,
        record.code,
        record.rules,
        record.would_refuse,
        record.attempts,
        record.principal,
        record.resource,
        record.action,
        dict(record.arguments),
        dict(record.meta),
        record.session_id,
        record.ip_address,
    )


class Scenario:
    """What a client does, and under which guards."""

    def __init__(self, play, *rules, jumps=True, **config):
        self.play = play
        self.jumps = jumps
        self.rules = rules
        self.config = config


async def everything(client, notes, clock):
    ref = {"type": "ref/prompt", "name": "greet"}
    return [
        await call(client, "search", word="tea"),
        await call(client, "search", word=5),
        await call(client, "search", word="x" * 10_000_000),
        await call(client, "unheard-of"),
        await send(client, "tools/call", {"name": "nothing", "arguments": [1]}),
        await send(client, "tools/call", {"name": "nothing", "arguments": None}),
        await send(client, "tools/call", {"name": 5}),
        await send(client, "tools/call"),
        await send(client, "tools/list"),
        await send(client, "tools/list", {"cursor": 5}),
        await send(client, "resources/list"),
        await send(client, "resources/templates/list"),
        await send(client, "prompts/list"),
        await send(client, "resources/read", {"uri": "note://all"}),
        await send(client, "resources/read", {"uri": "note://box/1"}),
        await send(client, "resources/read", {"uri": "note://none"}),
        await send(client, "resources/read", {"uri": "note://broken"}),
        await send(client, "resources/read", {"uri": 5}),
        await send(client, "resources/subscribe", {"uri": "note://all"}),
        await send(client, "resources/unsubscribe", {"uri": "note://all"}),
        await send(client, "prompts/get", {"name": "greet"}),
        await send(
            client, "completion/complete", {"ref": ref, "argument": {"name": "a", "value": "b"}}
        ),
        await send(client, "x/unknown", {"a": 1}),
        await send(client, "tasks/get", {"taskId": "1"}),
    ]


async def failing(client, notes, clock):
    notes.failures = 1
    answers = [await call(client, "erase", word="a"), await call(client, "erase", word="a")]
    notes.failures = 2
    answers.append(await call(client, "search", word="a"))
    notes.failures = 9
    answers.append(await call(client, "search", word="a"))
    return answers


async def often(client, notes, clock):
    answers = [await call(client, "search", word="a") for _ in range(6)]
    clock.advance(60)
    return [*answers, await call(client, "search", word="a")]


async def breaking(client, notes, clock):
    notes.failures = 2
    answers = [await call(client, "erase", word="a") for _ in range(3)]
    answers.append(await call(client, "search", word="a"))
    # Mistakes of a caller must not open anybody's circuit.
    for _ in range(4):
        await send(client, "tools/call", {"name": "nothing", "arguments": [1]})
        await send(client, "resources/read", {"uri": "note://none"})
    answers.append(await call(client, "nothing"))
    answers.append(await send(client, "resources/read", {"uri": "note://all"}))
    clock.advance(10)
    return [*answers, await call(client, "erase", word="a")]


async def waiting(client, notes, clock):
    answers = []

    async def ask():
        answers.append(await call(client, "slow"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        clock.advance(2)
    return answers


SEARCH = Rule(id="t", effect=Effect.ALLOW, actions=("tools/call",), tools=("search",))
BOX = Rule(id="r", effect=Effect.ALLOW, actions=("resources/read",), resources=("note://box",))
SCENARIOS = {
    "everything is allowed": Scenario(everything),
    "little is allowed": Scenario(everything, SEARCH, BOX),
    "nothing is allowed": Scenario(everything, Rule(id="no", effect=Effect.DENY)),
    "nobody is known": Scenario(everything, authentication=AuthenticationConfig(local_client=None)),
    "it is only watched": Scenario(
        everything, Rule(id="no", effect=Effect.DENY), mode=Mode.OBSERVE
    ),
    "tools fail": Scenario(failing, retry=RetryConfig(attempts=3)),
    "too often": Scenario(often, jumps=False, rate_limit=RateLimitConfig(rate_per_s=1, burst=4)),
    "a circuit opens": Scenario(
        breaking, jumps=False, breaker=BreakerConfig(window_calls=4, minimum_calls=2, open_s=10)
    ),
    "too slow": Scenario(
        waiting,
        jumps=False,
        deadline=DeadlineConfig(timeout_s=30),
        tools={"slow": ToolConfig(deadline_s=2)},
    ),
}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_integrations_answer_and_record_the_same(make, mode, name):
    scenario = SCENARIOS[name]
    answers, records = [], []
    for kind in ("on_sdk", "on_fastmcp"):
        notes, clock, seen = Notes(), FakeClock(autojump=scenario.jumps), RecordingSink()
        hardening = make(*scenario.rules, into=seen, clock=clock, **scenario.config)
        server = getattr(notes, kind)(hardening)
        try:
            async with connect(server, mode) as client:
                answers.append(await scenario.play(client, notes, clock))
        except BaseException as error:  # The handshake was refused.
            answers.append([(e.error.code, e.error.data["code"]) for e in leaves(error)])
        records.append([facts_of(record) for record in seen.records])

    assert answers[0] == answers[1]
    assert records[0] == records[1]
    assert answers[0]


class TestAsBare:
    """A failure reaches the client as it would without guards."""

    def fill(self, server):
        Notes().fill(server)

        @server.tool
        def says() -> str:
            raise ToolError("the disk is full")

        @server.tool
        def breaks() -> str:
            raise ValueError("secret detail")

        @server.tool
        def returns() -> ToolResult:
            return ToolResult(content="sorry", structured_content={"a": 1}, is_error=True)

        @server.tool
        def refuses() -> str:
            raise mcp.MCPError(code=-32077, message="not now", data={"a": 1})

        @server.tool
        def counts(n: int) -> list[int]:
            return list(range(n))

        @server.prompt
        def stumbles() -> str:
            raise RuntimeError("no words")

        return server

    async def ask(self, server, mode):
        answers = []
        async with connect(server, mode) as client:
            for method, params in [
                *(("tools/call", {"name": n}) for n in ("says", "breaks", "returns", "refuses")),
                ("tools/call", {"name": "counts", "arguments": {"n": 3}}),
                ("tools/call", {"name": "none"}),
                ("tools/call", {"name": "search", "arguments": {"word": "tea"}}),
                *(("resources/read", {"uri": f"note://{n}"}) for n in ("all", "broken", "none")),
                *(("prompts/get", {"name": n}) for n in ("greet", "stumbles", "none")),
                ("tools/list", {}),
                ("resources/list", {}),
                ("resources/templates/list", {}),
                ("prompts/list", {}),
            ]:
                try:
                    raw = Raw(method=method, params=params)
                    result = await client.session.send_request(raw, Answer)
                    answers.append(result.model_dump(by_alias=True))
                except mcp.MCPError as error:
                    answers.append(error.error.model_dump())
        return answers

    @pytest.mark.parametrize("mode", ERAS)
    @pytest.mark.parametrize("mask", [True, False])
    async def test_failures(self, make, mode, mask):
        bare = self.fill(FastMCP("notes", mask_error_details=mask))
        guarded = self.fill(FastMCP("notes", mask_error_details=mask))
        on_fastmcp.harden(guarded, make(retry=RetryConfig(attempts=1)))

        plain = await self.ask(bare, mode)

        assert await self.ask(guarded, mode) == plain
        assert ("secret detail" in repr(plain)) is not mask


@pytest.mark.parametrize("mode", ERAS)
async def test_every_message_leaves_one_record(make, sink, mode):
    async with connect(Notes().on_fastmcp(make()), mode) as client:
        await client.session.send_request(Raw(method="tools/list"), Answer)
        await call(client, "search", word="a")
        await send(client, "prompts/get", {"name": "greet"})
        await call(client, "unheard-of")
        await send(client, "tools/call", {"name": "nothing", "arguments": [1]})
        await send(client, "x/unknown")
        if mode == "legacy":
            await client.session.send_notification(mcp_types.RootsListChangedNotification())
            await send(client, "ping")
    said = [(r.method, r.name) for r in sink.records]
    opening = [("initialize", ""), ("notifications/initialized", "")]
    closing = [("notifications/roots/list_changed", ""), ("ping", "")]
    assert said == [
        *(opening if mode == "legacy" else []),
        ("tools/list", ""),
        ("tools/call", "search"),
        ("prompts/get", "greet"),
        ("tools/call", "_unknown"),
        ("tools/call", "nothing"),
        ("x/unknown", ""),
        *(closing if mode == "legacy" else []),
    ]
    assert len({r.call_id for r in sink.records}) == len(said)


async def test_discovery_is_a_call_like_any_other(make, sink):
    async with connect(Notes().on_fastmcp(make()), "auto") as client:
        assert await call(client, "search", word="a") == ("result", False, None)
    assert [(r.method, r.outcome) for r in sink.records] == [
        ("server/discover", OutcomeKind.OK),
        ("tools/call", OutcomeKind.OK),
    ]


async def test_a_refused_notification_is_recorded_and_not_answered(make, sink):
    rules = (*ALL, Rule(id="no", effect=Effect.DENY, actions=("notifications/roots/list_changed",)))
    async with connect(Notes().on_fastmcp(make(*rules)), "legacy") as client:
        await client.session.send_notification(mcp_types.RootsListChangedNotification())
        await call(client, "nothing")
    records = [r for r in sink.records if r.method == "notifications/roots/list_changed"]
    assert [r.outcome for r in records] == [OutcomeKind.REFUSED]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_is_given_up_is_recorded_as_cancelled(make, sink, mode):
    server = Notes().on_fastmcp(make(disabled=("deadline",)))
    async with connect(server, mode) as client:
        await client.call_tool("nothing", {})
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "slow", {})
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        await anyio.wait_all_tasks_blocked()
    (record,) = [r for r in sink.records if r.name == "slow"]
    assert record.outcome is OutcomeKind.CANCELLED


@pytest.mark.parametrize("mode", ERAS)
async def test_lists_show_what_may_be_used(make, mode):
    async with connect(Notes().on_fastmcp(make(SEARCH, BOX)), mode) as client:
        assert [t.name for t in (await client.list_tools()).tools] == ["search"]
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
        templates = (await client.list_resource_templates()).resource_templates
        assert [t.uri_template for t in templates] == ["note://box/{name}"]


async def test_paths_are_judged_and_handed_on_as_the_system_opens_them(make, tmp_path):
    hardening = make(
        Rule(id="in", effect=Effect.ALLOW, tools=("ls",), resources=(str(tmp_path / "in"),)),
        tools={"ls": ToolConfig(paths=("folder",))},
        base_folder=tmp_path,
    )
    seen = []
    server = FastMCP("files")

    @server.tool
    def ls(folder: str) -> str:
        seen.append(folder)
        return folder

    async with connect(on_fastmcp.harden(server, hardening)) as client:
        assert await call(client, "ls", folder="in/../in/x") == ("result", False, None)
        assert await call(client, "ls", folder="in/../out") == ("error", -32051, "policy_denied")
    assert seen == [str((tmp_path / "in" / "x").resolve())]


async def test_a_completion_is_judged_by_what_the_server_reads(make):
    rules = (
        Rule(id="open", effect=Effect.ALLOW, resources=("note://public",)),
        Rule(id="shut", effect=Effect.DENY, resources=("prompt:secret",)),
    )
    server, seen = FastMCP("notes"), []

    @server.completion
    def complete(ref, argument, context):
        seen.append(ref)

    ref = {"type": "ref/prompt", "name": "secret", "uri": "note://public"}
    async with connect(on_fastmcp.harden(server, make(*rules))) as client:
        answer = await send(
            client, "completion/complete", {"ref": ref, "argument": {"name": "a", "value": "b"}}
        )
    assert answer == ("error", -32051, "policy_denied")
    assert seen == []


async def test_what_a_tool_changes_no_repetition_sees(make):
    hardening = make(clock=FakeClock(autojump=True), tools={"t": ToolConfig(read_only=True)})
    server, ran = FastMCP("files"), []

    @server.tool
    def t(options: dict) -> str:
        ran.append(list(options["paths"]))
        options["paths"].append("/etc/shadow")
        raise RuntimeError

    async with connect(on_fastmcp.harden(server, hardening)) as client:
        await call(client, "t", options={"paths": ["/srv/ok"]})
    assert len(ran) > 1
    assert ran == [["/srv/ok"]] * len(ran)


@pytest.mark.parametrize("with_lifespan", [True, False])
async def test_the_stores_open_with_the_lifespan_and_without(make, with_lifespan):
    audit, states = FakeAuditLog(), []
    hardening = make(audit=audit)

    async def of_host(server):
        states.append(hardening.is_open)
        yield {"database": "here"}
        states.append(hardening.is_open)

    lifespan = hardening.lifespan(asynccontextmanager(of_host)) if with_lifespan else None
    server = FastMCP("notes", lifespan=lifespan)

    @server.tool
    def nothing() -> str:
        return "nothing"

    async with connect(on_fastmcp.harden(server, hardening)) as client:
        assert await call(client, "nothing") == ("result", False, None)
        assert hardening.is_open
    assert states == ([True, True] if with_lifespan else [])
    assert hardening.is_open is not with_lifespan
    await hardening.aclose()
    assert [e.kind for e in audit.entries if e.call_id] == ["outcome"]
