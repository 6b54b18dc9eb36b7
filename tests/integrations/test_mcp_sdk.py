"""harden() on the official SDK: both servers, both eras, in memory and over HTTP."""

import contextlib

import anyio
import httpx2
import mcp
import mcp_types
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer, Server
from mcp.server.caching import CacheHint
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool, ToolAnnotations

from localmcp_harden import Effect, HardenConfig, Hardening, Mode, Rule, ToolConfig
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.events import OutcomeKind
from localmcp_harden.core.model import CallKind
from localmcp_harden.integrations.mcp_sdk import harden
from localmcp_harden.integrations.protocol import target_of
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.limits import RateLimitConfig
from localmcp_harden.security.access.tokens import TokenEntry, generate_token, hash_token
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import (
    FakeAuditLog,
    FakeClock,
    FakeLoggingService,
    RecordingSink,
)

pytestmark = pytest.mark.anyio

ERAS = ["auto", "legacy"]
ALL = (Rule(id="all", effect=Effect.ALLOW),)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def make(sink):
    def make(*rules, clock=None, audit=None, **config):
        config.setdefault("policy", PolicyConfig(rules=rules or ALL))
        return Hardening(
            HardenConfig(**config),
            audit=audit or FakeAuditLog(),
            logs=FakeLoggingService(),
            clock=clock,
            sinks=[sink],
        )

    return make


class Notes:
    """What the server under test does."""

    def __init__(self):
        self.failures = 0
        self.calls = 0
        self.release = None

    def server(self, hardening):
        server = MCPServer("notes", lifespan=hardening.lifespan(), log_level="CRITICAL")

        @server.tool(annotations=ToolAnnotations(read_only_hint=True))
        def search(word: str) -> str:
            self.calls += 1
            if self.failures:
                self.failures -= 1
                raise RuntimeError("the index is busy")
            return f"nothing about {word}"

        @server.tool()
        def erase(word: str) -> str:
            self.calls += 1
            if self.failures:
                self.failures -= 1
                raise RuntimeError("the disk is busy")
            return "erased"

        @server.tool()
        async def slow() -> str:
            await anyio.sleep_forever()
            return "never"

        @server.resource("note://box/{name}")
        def note(name: str) -> str:
            return f"note {name}"

        @server.resource("note://all")
        def notes() -> str:
            return "notes"

        @server.prompt()
        def greet() -> str:
            return "hello"

        return harden(server, hardening)


def refusal_of(result):
    return result.meta["localmcp-harden/refusal"]


@pytest.mark.parametrize("mode", ERAS)
async def test_an_allowed_call_is_answered_as_by_a_bare_server(make, sink, mode):
    bare = MCPServer("notes")

    @bare.tool()
    def search(word: str) -> str:
        return f"nothing about {word}"

    async with mcp.Client(Notes().server(make()), mode=mode) as client:
        hardened = await client.call_tool("search", {"word": "tea"})
    async with mcp.Client(bare, mode=mode) as client:
        plain = await client.call_tool("search", {"word": "tea"})

    assert hardened.model_dump() == plain.model_dump()
    (record,) = [r for r in sink.records if r.method == "tools/call"]
    assert record.outcome is OutcomeKind.OK
    assert record.rules == ("all",)
    assert record.principal.client == "local"


@pytest.mark.parametrize("mode", ERAS)
async def test_lists_show_what_may_be_used_and_the_rest_is_refused(make, sink, mode):
    rules = (
        Rule(id="t", effect=Effect.ALLOW, actions=("tools/call",), tools=("search",)),
        Rule(id="r", effect=Effect.ALLOW, actions=("resources/read",), resources=("note://box",)),
    )
    async with mcp.Client(Notes().server(make(*rules)), mode=mode) as client:
        assert [t.name for t in (await client.list_tools()).tools] == ["search"]
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
        read = await client.read_resource("note://box/1")
        assert read.contents[0].text == "note 1"
        for denied in (
            client.call_tool("erase", {"word": "x"}),
            client.read_resource("note://all"),
            client.get_prompt("greet"),
        ):
            with pytest.raises(mcp.MCPError) as caught:
                await denied
            assert caught.value.data["code"] == "policy_denied"
            assert "rule" in caught.value.message or caught.value.message
    refused = [r.method for r in sink.records if r.outcome is OutcomeKind.REFUSED]
    assert refused == ["tools/call", "resources/read", "prompts/get"]


@pytest.mark.parametrize("mode", ERAS)
async def test_bad_arguments_are_told_to_the_model(make, mode):
    notes = Notes()
    async with mcp.Client(notes.server(make()), mode=mode) as client:
        result = await client.call_tool("search", {"word": 5})
        assert result.is_error
        assert refusal_of(result)["code"] == "invalid_arguments"
        assert "word" in result.content[0].text
        big = await client.call_tool("search", {"word": "x" * 10_000_000})
        assert refusal_of(big)["code"] == "input_too_large"
        deep = []
        for _ in range(100):
            deep = [deep]
        nested = await client.call_tool("search", {"word": deep})
        assert nested.is_error
    assert notes.calls == 0


@pytest.mark.parametrize(("shut", "scope"), [((), "public"), (("erase",), "private")])
async def test_no_cache_may_share_a_list_that_differs_by_caller(make, shut, scope):
    async def list_tools(ctx, params):
        schema = {"type": "object"}
        return ListToolsResult(tools=[Tool(name=n, input_schema=schema) for n in ("a", "erase")])

    hints = {"tools/list": CacheHint(ttl_ms=1000, scope="public")}
    server = Server("low", on_list_tools=list_tools, cache_hints=hints)
    rules = (*ALL, Rule(id="no", effect=Effect.DENY, tools=shut)) if shut else ALL
    async with mcp.Client(harden(server, make(*rules)), mode="2026-07-28") as client:
        listed = await client.list_tools()
    assert listed.cache_scope == scope


async def test_the_rate_holds_and_says_when(make):
    clock = FakeClock()
    hardening = make(clock=clock, rate_limit=RateLimitConfig(rate_per_s=1, burst=4))
    async with mcp.Client(Notes().server(hardening), mode="auto") as client:
        results = [await client.call_tool("search", {"word": "a"}) for _ in range(6)]
        refused = [r for r in results if r.is_error]
        assert refused
        clock.advance(refusal_of(refused[-1])["retry_after_s"])
        assert not (await client.call_tool("search", {"word": "a"})).is_error


@pytest.mark.parametrize("mode", ERAS)
async def test_what_may_be_repeated_is_and_the_rest_is_not(make, sink, mode):
    notes = Notes()
    hardening = make(clock=FakeClock(autojump=True), retry=RetryConfig(attempts=3))
    async with mcp.Client(notes.server(hardening), mode=mode) as client:
        notes.failures = 2
        assert not (await client.call_tool("search", {"word": "a"})).is_error
        notes.failures = 1
        assert (await client.call_tool("erase", {"word": "a"})).is_error
    assert [r.attempts for r in sink.records if r.method == "tools/call"] == [3, 1]


async def test_the_breaker_opens_for_one_tool_and_recovers(make):
    clock = FakeClock()
    notes = Notes()
    hardening = make(clock=clock, breaker=BreakerConfig(window_calls=4, minimum_calls=2, open_s=10))
    async with mcp.Client(notes.server(hardening)) as client:
        notes.failures = 2
        for _ in range(2):
            assert (await client.call_tool("erase", {"word": "a"})).is_error
        refused = refusal_of(await client.call_tool("erase", {"word": "a"}))
        assert refused["code"] == "circuit_open"
        assert refused["retry_after_s"] == 10
        assert not (await client.call_tool("search", {"word": "a"})).is_error
        clock.advance(10)
        assert not (await client.call_tool("erase", {"word": "a"})).is_error


async def test_a_slow_tool_is_cut(make, sink):
    clock = FakeClock()
    hardening = make(
        clock=clock,
        deadline=DeadlineConfig(timeout_s=30),
        tools={"slow": ToolConfig(deadline_s=2)},
    )
    answers = []
    async with mcp.Client(Notes().server(hardening)) as client:

        async def ask():
            answers.append(await client.call_tool("slow", {}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            clock.advance(2)

    assert refusal_of(answers[0])["code"] == "deadline_exceeded"


async def test_observing_refuses_nothing(make, sink):
    hardening = make(Rule(id="none", effect=Effect.DENY), mode=Mode.OBSERVE)
    async with mcp.Client(Notes().server(hardening)) as client:
        assert len((await client.list_tools()).tools) == 3
        assert not (await client.call_tool("search", {"word": "a"})).is_error
    record = next(r for r in sink.records if r.method == "tools/call")
    assert record.would_refuse == ("policy_denied",)
    assert not record.enforced


async def test_paths_are_judged_and_handed_on_as_the_system_opens_them(make, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    hardening = make(
        Rule(id="in", effect=Effect.ALLOW, tools=("ls",), resources=(str(inside),)),
        tools={"ls": ToolConfig(paths=("folder",))},
        base_folder=tmp_path,
    )
    seen = []
    server = MCPServer("files", lifespan=hardening.lifespan())

    @server.tool()
    def ls(folder: str) -> str:
        seen.append(folder)
        return folder

    harden(server, hardening)
    async with mcp.Client(server) as client:
        assert not (await client.call_tool("ls", {"folder": "inside/../inside/x"})).is_error
        for escape in ("inside/link/x", "../outside", str(outside), "inside2", "inside/../outside"):
            with pytest.raises(mcp.MCPError) as caught:
                await client.call_tool("ls", {"folder": escape})
            assert caught.value.data["code"] == "policy_denied"
        with pytest.raises(mcp.MCPError) as caught:
            await client.call_tool("ls", {"folder": "a\x00b"})
        assert caught.value.data["code"] == "invalid_resource"
    assert seen == [str((inside / "x").resolve())]


@pytest.mark.parametrize("mode", ERAS)
async def test_the_low_level_server_is_validated_too(make, mode):
    hardening = make()

    async def list_tools(ctx, params):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        return ListToolsResult(tools=[Tool(name="double", input_schema=schema)])

    async def call_tool(ctx, params):
        return CallToolResult(
            content=[TextContent(type="text", text=str(2 * params.arguments["n"]))]
        )

    server = Server(
        "low", on_list_tools=list_tools, on_call_tool=call_tool, lifespan=hardening.lifespan()
    )
    async with mcp.Client(harden(server, hardening), mode=mode) as client:
        assert (await client.call_tool("double", {"n": 2})).content[0].text == "4"
        wrong = await client.call_tool("double", {"n": "2"})
        assert refusal_of(wrong)["code"] == "invalid_arguments"


def lister(hardening, answers, ran):
    """A low-level server whose tool list is answered step by step, or raised."""

    async def list_tools(ctx, params):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        return ListToolsResult(tools=[Tool(name=name, input_schema=schema) for name in answer])

    async def call_tool(ctx, params):
        ran.append(params.arguments)
        return CallToolResult(content=[])

    server = Server(
        "low", on_list_tools=list_tools, on_call_tool=call_tool, lifespan=hardening.lifespan()
    )
    return harden(server, hardening)


class TestLearning:
    async def test_nobody_goes_on_unjudged_while_the_list_is_on_its_way(self, make):
        go = anyio.Event()

        async def slow():
            await go.wait()
            return ["t"]

        ran, answers = [], []
        async with mcp.Client(lister(make(), [slow], ran), mode="2026-07-28") as client:

            async def ask():
                result = await client.session.call_tool("t", {"n": "not a number"})
                answers.append(result.is_error)

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                go.set()

        assert answers == [True, True, True]
        assert ran == []

    async def test_a_list_that_fails_refuses_the_call_and_tells_nothing(self, make, sink):
        ran = []
        server = lister(make(), [RuntimeError("password=hunter2")], ran)
        async with mcp.Client(server, mode="2026-07-28") as client:
            with pytest.raises(mcp.MCPError) as caught:
                await client.session.call_tool("t", {"n": 1})
        assert caught.value.data["code"] == "gate_failed"
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(sink.events)
        assert len([r for r in sink.records if r.method == "tools/call"]) == 1
        assert ran == []

    async def test_a_caller_nobody_knows_makes_no_server_list_its_tools(self, make):
        asked = []

        async def count():
            asked.append(1)
            return ["t"]

        hardening = make(authentication=AuthenticationConfig(local_client=None))
        async with mcp.Client(lister(hardening, [count], []), mode="2026-07-28") as client:
            with pytest.raises(mcp.MCPError):
                await client.session.call_tool("t", {"n": 1})
        assert asked == []

    async def test_listing_may_not_take_longer_than_a_call_may(self, make):
        clock = FakeClock()

        async def never():
            await anyio.sleep_forever()

        hardening = make(clock=clock, deadline=DeadlineConfig(timeout_s=5))
        answers = []
        async with mcp.Client(lister(hardening, [never], []), mode="2026-07-28") as client:

            async def ask():
                answers.append(await client.session.call_tool("t", {"n": 1}))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                clock.advance(5)
        assert refusal_of(answers[0])["code"] == "deadline_exceeded"

    async def test_tools_that_are_gone_are_forgotten(self, make):
        clock = FakeClock()
        hardening = make(clock=clock, rate_limit=RateLimitConfig(rate_per_s=1e6, burst=1000))
        server = lister(hardening, [["a"], ["b"]], [])
        async with mcp.Client(server, mode="2026-07-28") as client:
            await client.session.call_tool("a", {"n": 1})
            assert hardening.knows_tool("a")
            clock.advance(60)
            await client.session.call_tool("b", {"n": 1})
        assert hardening.knows_tool("b")
        assert not hardening.knows_tool("a")


async def test_what_a_handler_changes_no_repetition_sees(make):
    ran = []
    hardening = make(clock=FakeClock(autojump=True), tools={"t": ToolConfig(read_only=True)})

    async def list_tools(ctx, params):
        return ListToolsResult(tools=[Tool(name="t", input_schema={"type": "object"})])

    async def call_tool(ctx, params):
        ran.append(list(ctx.params["arguments"]["paths"]))
        ctx.params["arguments"]["paths"].append("/etc/shadow")
        return CallToolResult(content=[], is_error=True)

    server = Server(
        "low", on_list_tools=list_tools, on_call_tool=call_tool, lifespan=hardening.lifespan()
    )
    async with mcp.Client(harden(server, hardening)) as client:
        await client.call_tool("t", {"paths": ["/srv/ok"]})
    assert len(ran) > 1
    assert ran == [["/srv/ok"]] * len(ran)


def test_one_hardening_guards_one_server(make):
    hardening = make()
    first = MCPServer("a")
    harden(first, hardening)
    with pytest.raises(ConfigError, match="another server"):
        harden(MCPServer("b"), hardening)
    with pytest.raises(ConfigError, match="already"):
        harden(first, hardening)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_malformed_call_speaks_against_no_tool(make, mode):
    notes = Notes()
    hardening = make(breaker=BreakerConfig(window_calls=4, minimum_calls=2, open_s=10))
    server = notes.server(hardening)

    @server.tool()
    def nothing() -> str:
        return "nothing"

    class Malformed(mcp_types.Request[dict, str]):
        method: str = "tools/call"
        params: dict

    request = Malformed(params={"name": "nothing", "arguments": [1]})
    async with mcp.Client(server, mode=mode) as client:
        for _ in range(4):
            with pytest.raises(mcp.MCPError, match="Invalid request parameters"):
                await client.session.send_request(request, mcp_types.Result)
        assert not (await client.call_tool("nothing", {})).is_error


async def test_a_completion_is_judged_by_what_the_server_reads(make, sink):
    rules = (
        Rule(id="open", effect=Effect.ALLOW, resources=("note://public",)),
        Rule(id="shut", effect=Effect.DENY, resources=("prompt:secret",)),
    )
    server = MCPServer("notes")
    seen = []

    @server.completion()
    async def complete(ref, argument, context):
        seen.append(ref)

    reference = {"type": "ref/prompt", "name": "secret", "uri": "note://public"}
    params = {"ref": reference, "argument": {"name": "a", "value": "b"}}
    target = target_of("completion/complete", params)
    assert (target.kind, target.name) == (CallKind.PROMPT, "secret")
    async with mcp.Client(harden(server, make(*rules))) as client:
        with pytest.raises(mcp.MCPError) as caught:
            await client.complete(
                mcp_types.PromptReference(type="ref/prompt", name="secret"),
                {"name": "a", "value": "b"},
            )
    assert caught.value.data["code"] == "policy_denied"
    assert seen == []


async def test_no_name_a_caller_sends_carries_a_secret_into_the_record(make, sink):
    token = generate_token()
    async with mcp.Client(Notes().server(make()), mode="legacy") as client:
        for odd in (
            client.get_prompt(f"p {token}"),
            client.read_resource(f"file://user:{token}@host/x"),  # pragma: allowlist secret
            client.read_resource(f"file:///x?token={token}"),
        ):
            with contextlib.suppress(mcp.MCPError):
                await odd
    assert token not in repr(sink.records)


async def test_every_message_leaves_one_record(make, sink):
    async with mcp.Client(Notes().server(make()), mode="legacy") as client:
        await client.list_tools()
        await client.list_resource_templates()
        await client.call_tool("search", {"word": "a"})
        await client.get_prompt("greet")
        with contextlib.suppress(mcp.MCPError):
            await client.call_tool("unheard-of", {})
        with contextlib.suppress(mcp.MCPError):
            await client.read_resource("note://none")
    assert [(r.method, r.name) for r in sink.records] == [
        ("initialize", ""),
        ("notifications/initialized", ""),
        ("tools/list", ""),
        ("resources/templates/list", ""),
        ("tools/call", "search"),
        ("prompts/get", "greet"),
        ("tools/call", "_unknown"),
        ("resources/read", "note://none"),
    ]
    assert len({r.call_id for r in sink.records}) == 8


async def test_a_client_that_goes_away_is_recorded_as_cancelled(make, sink):
    server = Notes().server(make(disabled=("deadline",)))
    async with mcp.Client(server, mode="legacy") as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "slow", {})
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
    record = next(r for r in sink.records if r.name == "slow")
    assert record.outcome is OutcomeKind.CANCELLED


async def test_acting_waits_for_its_intent(make):
    audit = FakeAuditLog()
    from localmcp_harden.security.audit.log import AuditConfig

    notes = Notes()
    hardening = make(audit=audit)
    hardening = Hardening(
        HardenConfig(policy=PolicyConfig(rules=ALL), audit=AuditConfig(before_acting="writes")),
        audit=audit,
        logs=FakeLoggingService(),
    )
    async with mcp.Client(notes.server(hardening)) as client:
        await client.call_tool("search", {"word": "a"})
        await client.call_tool("erase", {"word": "a"})
    kinds = [(e.kind, e.data["name"]) for e in audit.entries if e.call_id]
    assert kinds == [("outcome", "search"), ("intent", "erase"), ("outcome", "erase")]


async def test_without_the_lifespan_the_stores_open_by_themselves(sink):
    audit = FakeAuditLog()
    hardening = Hardening(
        HardenConfig(policy=PolicyConfig(rules=ALL)), audit=audit, logs=FakeLoggingService()
    )
    server = MCPServer("plain")

    @server.tool()
    def ping() -> str:
        return "pong"

    async with mcp.Client(harden(server, hardening)) as client:
        assert not (await client.call_tool("ping", {})).is_error
    await hardening.aclose()
    assert [e.kind for e in audit.entries if e.call_id] == ["outcome"]


class TestHttp:
    """Over streamable HTTP, in process."""

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @contextlib.asynccontextmanager
    async def client(self, server, token, mode):
        app = server.streamable_http_app()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8000", headers=headers
            ) as http:
                streams = streamable_http_client("http://127.0.0.1:8000/mcp", http_client=http)
                async with mcp.Client(streams, mode=mode) as client:
                    yield client

    @pytest.mark.parametrize("mode", ERAS)
    async def test_a_token_makes_the_caller(self, make, sink, mode):
        token = generate_token()
        hardening = make(
            Rule(id="w", effect=Effect.ALLOW, roles=("writer",)),
            authentication=AuthenticationConfig(
                tokens=(
                    TokenEntry(
                        sha256=hash_token(token), client="ci", subject="bob", roles=("writer",)
                    ),
                )
            ),
        )
        server = Notes().server(hardening)
        async with self.client(server, token, mode) as client:
            assert not (await client.call_tool("erase", {"word": "a"})).is_error
        record = next(r for r in sink.records if r.name == "erase")
        assert record.principal.key == ("token", "ci", "bob")
        assert record.meta["transport"] == "http"
        assert token not in repr(sink.events)

    @pytest.mark.parametrize("mode", ERAS)
    @pytest.mark.parametrize("token", [None, "lmh_wrong"])
    async def test_without_a_good_token_nothing_goes(self, make, sink, mode, token):
        with pytest.raises(BaseException) as caught:
            async with self.client(Notes().server(make()), token, mode):
                pass
        errors = list(_leaves(caught.value))
        assert [e.data["code"] for e in errors if isinstance(e, mcp.MCPError)] == [
            "unauthenticated"
        ]
        assert {r.outcome for r in sink.records} == {OutcomeKind.REFUSED}


def _leaves(error):
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def test_the_refusal_codes_collide_with_none_of_the_sdk():
    from localmcp_harden.integrations import protocol

    taken = {
        value
        for name, value in vars(mcp_types.jsonrpc).items()
        if name.isupper() and isinstance(value, int)
    }
    ours = set(protocol._ERROR_CODES.values()) - {mcp_types.INVALID_PARAMS}
    assert not ours & taken
    assert all(-32099 <= code <= -32000 for code in ours)
