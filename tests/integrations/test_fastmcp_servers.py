"""FastMCP servers as hosts build them: mounted, with middleware, over HTTP and stdio."""

import contextlib
import contextvars
import logging
import sys
import textwrap

import anyio
import fastmcp
import httpx2
import mcp
import pytest
from fastmcp import Context, FastMCP
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import AuthorizationError, NotFoundError
from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.middleware import Middleware, MiddlewareContext
from fastmcp.server.middleware.caching import ResponseCachingMiddleware
from fastmcp.tools import Tool, ToolResult
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    ReadResourceRequestParams,
    Request,
    Result,
    RootsListChangedNotification,
    ToolAnnotations,
)
from opentelemetry import trace

from localmcp_harden import Effect, HardenConfig, Hardening, Outcome, Rule
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.events import OutcomeKind
from localmcp_harden.integrations import mcp_sdk
from localmcp_harden.integrations.fastmcp import HardenMiddleware, harden
from localmcp_harden.integrations.fastmcp_messages import ListedTools
from localmcp_harden.integrations.fastmcp_nesting import innermost
from localmcp_harden.protocols.chain import Slot, Stage
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.limits import RateLimitConfig
from localmcp_harden.security.access.tokens import TokenEntry, generate_token, hash_token
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeAuditLog, FakeClock, FakeLoggingService, RecordingSink

pytestmark = pytest.mark.anyio

ERAS = ["legacy", "2026-07-28"]
ALL = (Rule(id="all", effect=Effect.ALLOW),)


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def make(sink):
    def make(*rules, into=sink, clock=None, **config):
        config.setdefault("policy", PolicyConfig(rules=rules or ALL))
        return Hardening(
            HardenConfig(**config),
            audit=FakeAuditLog(),
            logs=FakeLoggingService(),
            clock=clock,
            sinks=[into],
        )

    return make


def connect(server, mode="2026-07-28"):
    return mcp.Client(server._mcp_server, mode=mode)


def names(sink):
    return [(r.method, r.name, r.outcome.value) for r in sink.records]


def notes(name="notes", **settings):
    server = FastMCP(name, **settings)

    @server.tool
    def erase(word: str) -> str:
        return f"erased {word}"

    @server.resource("note://all")
    def everything() -> str:
        return "notes"

    return server


class Log(Middleware):
    """A host's own middleware: sees, and adds a tool."""

    def __init__(self, adds=None):
        self.seen = []
        self.adds = adds

    async def on_message(self, context, call_next):
        self.seen.append(context.method)
        return await call_next(context)

    async def on_list_tools(self, context, call_next):
        tools = await call_next(context)
        return [*tools, self.adds] if self.adds else tools

    async def on_call_tool(self, context, call_next):
        if self.adds and context.message.name == self.adds.name:
            return ToolResult(content=f"added {context.message.arguments}")
        return await call_next(context)


class TestMounted:
    async def test_a_call_through_a_mount_is_recorded_once(self, make, sink):
        parent = FastMCP("parent")
        parent.mount(notes(), namespace="child")
        async with connect(harden(parent, make())) as client:
            result = await client.session.call_tool("child_erase", {"word": "x"})
            assert result.content[0].text == "erased x"
            await client.read_resource("note://child/all")
        assert names(sink) == [
            ("tools/call", "child_erase", "ok"),
            ("tools/list", "", "ok"),  # the client's own, for the output schema
            ("resources/read", "note://child/all", "ok"),
        ]

    async def test_one_hardening_on_both_judges_a_call_once(self, make, sink):
        hardening = make()
        child = notes(middleware=[HardenMiddleware(hardening)])
        parent = FastMCP("parent", middleware=[HardenMiddleware(hardening)])
        parent.mount(child, namespace="child")
        async with connect(parent) as client:
            assert not (await client.call_tool("child_erase", {"word": "x"})).is_error
            await client.list_tools()
        calls = [r for r in names(sink) if r[0] == "tools/call"]
        assert calls == [("tools/call", "child_erase", "ok")]
        # The child alone would be a second server of the same hardening.
        async with connect(child) as client:
            with pytest.raises(mcp.MCPError):
                await client.session.call_tool("erase", {"word": "x"})

    async def test_what_a_mounted_servers_tool_asks_of_it_came_through_no_mount(self, make, sink):
        only = Rule(id="only", effect=Effect.ALLOW, tools=("child_twice",))
        hardening = make(only)
        child = notes("child", middleware=[HardenMiddleware(hardening)])

        @child.tool
        async def twice(context: Context) -> str:
            return str((await context.fastmcp.call_tool("erase", {"word": "x"})).content)

        parent = FastMCP("parent", middleware=[HardenMiddleware(hardening)])
        parent.mount(child, namespace="child")
        async with connect(parent) as client:
            result = await client.call_tool("child_twice", {})
        assert result.is_error
        assert "erased" not in result.content[0].text
        assert ("tools/call", "child_twice", "error") in names(sink)

    async def test_a_mounted_servers_own_hardening_judges_too(self, make, sink):
        inner = RecordingSink()
        shut = Rule(id="no", effect=Effect.DENY, tools=("erase",))
        child = harden(notes(), make(*ALL, shut, into=inner))
        parent = FastMCP("parent")
        parent.mount(child, namespace="child")
        async with connect(harden(parent, make())) as client:
            assert (await client.list_tools()).tools == []
            assert (await client.session.call_tool("child_erase", {"word": "x"})).is_error
        assert ("tools/call", "erase", "refused") in names(inner)
        # The mounted server does not show it to this caller, so it stays unknown here.
        assert ("tools/call", "_unknown", "error") in names(sink)

    async def test_a_call_that_a_tool_makes_is_a_call_of_its_own(self, make, sink):
        server = notes()

        @server.tool
        async def tidy(context: Context) -> str:
            await context.fastmcp.call_tool("erase", {"word": "x"})
            return "tidy"

        shut = Rule(id="no", effect=Effect.DENY, tools=("erase",))
        async with connect(harden(server, make(*ALL, shut))) as client:
            assert (await client.session.call_tool("tidy", {})).is_error
        inner, outer = [r for r in sink.records if r.kind == "tool"]
        assert (inner.name, inner.outcome) == ("erase", OutcomeKind.REFUSED)
        assert (outer.name, outer.call_id) == ("tidy", inner.parent_id)

    async def test_a_call_that_is_over_covers_nothing(self, make):
        hardening, contexts = make(), []
        server = notes()

        @server.tool
        def keep() -> str:
            contexts.append(contextvars.copy_context())
            return "kept"

        @server.tool
        async def look() -> str:
            contexts.append(innermost(hardening))
            return "seen"

        async with connect(harden(server, hardening)) as client:
            await client.session.call_tool("keep", {})
            await client.session.call_tool("look", {})
        assert contexts[0].run(innermost, hardening) is None
        assert contexts[1].call.name == "look"


class TestMiddleware:
    async def test_a_refused_notification_raises_nothing(self, make):
        class Outside(Middleware):
            errors = 0

            async def on_notification(self, context, call_next):
                try:
                    return await call_next(context)
                except BaseException:
                    self.errors += 1
                    raise

        outside = Outside()
        shut = Rule(id="no", effect=Effect.DENY, actions=("notifications/roots/list_changed",))
        server = harden(notes(middleware=[outside]), make(*ALL, shut))
        async with connect(server, "legacy") as client:
            await client.session.send_notification(RootsListChangedNotification())
            await client.session.call_tool("erase", {"word": "x"})
        assert outside.errors == 0

    async def test_a_hosts_own_works_outside_and_inside(self, make, sink):
        outside, inside = Log(), Log()
        server = notes(middleware=[outside])
        shut = Rule(id="no", effect=Effect.DENY, tools=("erase",))
        harden(server, make(*ALL, shut))
        server.add_middleware(inside)
        async with connect(server) as client:
            with pytest.raises(mcp.MCPError):
                await client.session.call_tool("erase", {"word": "x"})
            await client.read_resource("note://all")
        assert outside.seen == ["tools/call", "resources/read"]
        # A refused call does not come through; the list is what the guards learn from.
        assert inside.seen == ["tools/list", "resources/read"]

    async def test_the_guards_learn_what_middleware_inside_adds(self, make):
        def added(n: int) -> str:
            raise NotImplementedError

        server = notes()
        hardening = make()
        harden(server, hardening)
        server.add_middleware(Log(adds=Tool.from_function(added, output_schema=None)))
        async with connect(server) as client:
            wrong = await client.session.call_tool("added", {"n": "one"})
            assert wrong.meta["localmcp-harden/refusal"]["code"] == "invalid_arguments"
            right = await client.session.call_tool("added", {"n": 1})
            assert right.content[0].text == "added {'n': 1}"
        assert hardening.knows_tool("added")

    async def test_the_place_in_the_list_is_the_place_of_the_guards(self, make):
        inside = Log()
        hardening = make(Rule(id="no", effect=Effect.DENY))
        async with connect(notes(middleware=[HardenMiddleware(hardening), inside])) as client:
            with pytest.raises(mcp.MCPError):
                await client.read_resource("note://all")
        assert inside.seen == []

    async def test_no_cache_may_stand_outside(self, make):
        with pytest.raises(ConfigError, match="cache"):
            harden(notes(middleware=[ResponseCachingMiddleware()]), make())
        server = harden(notes(), make())
        server.add_middleware(ResponseCachingMiddleware())
        async with connect(server) as client:
            for _ in range(2):
                assert not (await client.session.call_tool("erase", {"word": "x"})).is_error

    def test_no_cache_on_the_way_may_share_what_differs_by_caller(self, make):
        with pytest.raises(ConfigError, match="cache_scope"):
            harden(notes(cache_ttl=60, cache_scope="public"), make())
        harden(notes(cache_ttl=60), make())

    async def test_a_stage_of_the_hosts_has_the_last_word(self, sink):
        async def replace(state, call_next):
            await call_next(state)
            return Outcome(failure=mcp.MCPError(code=-32077, message="ours"))

        hardening = Hardening(
            HardenConfig(policy=PolicyConfig(rules=ALL), disabled=("audit",)),
            logs=FakeLoggingService(),
            sinks=[sink],
            stages=[Stage(name="last", slot=Slot.RETRY, around=replace)],
        )
        async with connect(harden(notes(), hardening)) as client:
            for uri in ("note://none", "note://all"):
                with pytest.raises(mcp.MCPError, match="ours"):
                    await client.read_resource(uri)

    async def test_a_list_that_stands_wrong_answers_nothing(self, make):
        hardening = make()
        guards = [HardenMiddleware(hardening), HardenMiddleware(hardening)]
        for wrong in ([ResponseCachingMiddleware(), guards[0]], guards):
            async with connect(notes(middleware=wrong)) as client:
                with pytest.raises(mcp.MCPError):
                    await client.session.call_tool("erase", {"word": "x"})

    def test_one_hardening_guards_one_server_once(self, make):
        hardening = make()
        server = harden(notes(), hardening)
        with pytest.raises(ConfigError, match="already"):
            harden(server, hardening)
        with pytest.raises(ConfigError, match="another server"):
            harden(notes(), hardening)
        with pytest.raises(ConfigError, match="another server"):
            mcp_sdk.harden(mcp.server.MCPServer("b"), hardening)


class TestLearning:
    async def test_a_flood_of_invented_names_costs_one_list_a_second(self, make):
        clock, inside = FakeClock(), Log()
        server = harden(notes(), make(clock=clock, rate_limit=RateLimitConfig(burst=1000)))
        server.add_middleware(inside)
        async with connect(server) as client:
            for at in range(20):
                await client.session.call_tool(f"invented{at}", {})
            assert inside.seen.count("tools/list") == 1
            clock.advance(1)
            await client.session.call_tool("invented", {})
        assert inside.seen.count("tools/list") == 2

    async def test_a_caller_nobody_knows_makes_no_server_list_its_tools(self, make):
        inside = Log()
        server = harden(notes(), make(authentication=AuthenticationConfig(local_client=None)))
        server.add_middleware(inside)
        async with connect(server) as client:
            with pytest.raises(mcp.MCPError):
                await client.session.call_tool("erase", {"word": "x"})
        assert inside.seen == []

    async def test_a_list_that_fails_refuses_the_call_and_tells_nothing(self, make, sink):
        class Broken(Middleware):
            async def on_list_tools(self, context, call_next):
                raise RuntimeError("password=hunter2")

        server = harden(notes(), make())
        server.add_middleware(Broken())
        async with connect(server) as client:
            with pytest.raises(mcp.MCPError) as caught:
                await client.session.call_tool("erase", {"word": "x"})
        assert caught.value.error.data["code"] == "gate_failed"
        assert "hunter2" not in repr((str(caught.value), sink.events))

    async def test_of_several_versions_counts_what_holds_for_each(self, make):
        server = FastMCP("notes")

        @server.tool(name="find", version="1", annotations=ToolAnnotations(read_only_hint=True))
        def find_1(word: str) -> str:
            return "one"

        @server.tool(name="find", version="2", annotations=ToolAnnotations(destructive_hint=True))
        def find_2(word: str, limit: int) -> str:
            return "two"

        hardening = make()
        harden(server, hardening)
        async with connect(server) as client:
            old = await client.session.call_tool(
                "find", {"word": "x"}, meta={"fastmcp": {"version": "1"}}
            )
            new = await client.session.call_tool("find", {"word": "x", "limit": 1})
        assert (old.content[0].text, new.content[0].text) == ("one", "two")
        assert hardening.annotations_of("find").read_only is None
        assert hardening.annotations_of("find").destructive is None
        assert not hardening.annotations_of("find").is_repeatable

    async def test_what_one_caller_does_not_see_is_not_forgotten(self, make):
        class Fickle(Middleware):
            hidden = False

            async def on_list_tools(self, context, call_next):
                return [] if self.hidden else await call_next(context)

        fickle, clock = Fickle(), FakeClock()
        hardening = make(clock=clock, rate_limit=RateLimitConfig(burst=1000))
        server = harden(notes(), hardening)
        server.add_middleware(fickle)
        async with connect(server) as client:
            await client.session.call_tool("erase", {"word": "x"})
            fickle.hidden = True
            clock.advance(60)
            wrong = await client.session.call_tool("erase", {"word": 5})
        assert wrong.meta["localmcp-harden/refusal"]["code"] == "invalid_arguments"
        assert hardening.knows_tool("erase")

    async def test_a_malformed_call_asks_for_no_list_and_is_refused_as_an_error(self, make, sink):
        class Malformed(Request[dict, str]):
            method: str = "tools/call"
            params: dict

        inside = Log()
        server = harden(notes(), make())
        server.add_middleware(inside)
        request = Malformed(params={"name": "erase", "arguments": [1]})
        async with connect(server) as client:
            with pytest.raises(mcp.MCPError, match="Invalid request parameters"):
                await client.session.send_request(request, Result)
            assert inside.seen == ["tools/call"]
            await client.session.call_tool("erase", {"word": "x"})
            with pytest.raises(mcp.MCPError) as caught:
                await client.session.send_request(request, Result)
        assert caught.value.error.data["code"] == "invalid_arguments"
        assert caught.value.error.code == -32602

    async def test_a_result_that_reports_an_error_is_one(self, make, sink):
        server = notes()

        @server.tool
        def returns() -> ToolResult:
            return ToolResult(content="sorry", is_error=True)

        async with connect(harden(server, make())) as client:
            await client.session.call_tool("returns", {})
        assert (sink.records[-1].outcome, sink.records[-1].code) == (
            OutcomeKind.ERROR,
            "tool_error",
        )


class TestHashes:
    """FastMCP finds a tool of an app by the hash of its identity as well."""

    @pytest.fixture
    def server(self):
        server = FastMCP("notes")
        hidden = {"fastmcp": {"tool_hash": "0123456789ab"}, "ui": {"visibility": ["app"]}}

        @server.tool(meta=hidden)
        def erase(word: str) -> str:
            return f"erased {word}"

        return server

    async def test_no_hash_gets_around_a_rule(self, server, make):
        shut = Rule(id="no", effect=Effect.DENY, tools=("erase",))
        async with connect(harden(server, make(*ALL, shut))) as client:
            for name in ("0123456789ab_erase", "0123456789ab_x", "0123456789ab_erase"):
                try:
                    result = await client.session.call_tool(name, {"word": "x"})
                except mcp.MCPError as error:
                    assert error.error.data["code"] == "policy_denied"
                else:
                    assert "Unknown tool" in result.content[0].text

    async def test_a_hash_is_judged_by_the_name_it_stands_for(self, server, make, sink):
        bare = FastMCP("bare")
        bare.mount(server)
        async with connect(bare) as client:
            plain = await client.session.call_tool("0123456789ab_erase", {"word": "x"})
        if plain.is_error:
            pytest.skip("this FastMCP does not find it by these words")
        only = Rule(id="only", effect=Effect.ALLOW, tools=("erase",))
        lists = Rule(id="lists", effect=Effect.ALLOW, actions=("tools/list",))
        async with connect(harden(server, make(only, lists))) as client:
            await client.list_tools()
            result = await client.session.call_tool("0123456789ab_erase", {"word": "x"})
            assert result.content[0].text == "erased x"
            wrong = await client.session.call_tool("0123456789ab_erase", {"word": 5})
            assert wrong.meta["localmcp-harden/refusal"]["code"] == "invalid_arguments"
        assert [r.name for r in sink.records if r.kind == "tool"] == ["erase", "erase"]

    async def test_a_tool_whose_own_name_looks_like_a_hash_is_itself(self, server, make):
        @server.tool(name="0123456789ab_plain")
        def plain() -> str:
            return "plain"

        async with connect(harden(server, make())) as client:
            for _ in range(2):
                result = await client.session.call_tool("0123456789ab_plain", {})
        assert result.content[0].text == "plain"

    async def test_a_hash_of_two_tools_reaches_none(self, server, make):
        parent = FastMCP("parent")
        parent.mount(server, namespace="a")
        parent.mount(server, namespace="b")
        async with connect(harden(parent, make())) as client:
            await client.list_tools()
            result = await client.session.call_tool("0123456789ab_erase", {"word": "x"})
        assert result.is_error
        assert "Unknown tool" in result.content[0].text


async def test_a_hash_of_two_tools_reaches_none_whoever_lists_which(make):
    def tool(name):
        return Tool(name=name, parameters={}, meta={"fastmcp": {"tool_hash": "0123456789ab"}})

    tools = ListedTools(make())
    tools.learn([tool("a_erase")])
    assert tools.name_for_rules("0123456789ab_erase") == "a_erase"
    tools.learn([tool("b_erase")])
    assert tools.name_for_rules("0123456789ab_erase") == "0123456789ab_erase"
    tools.learn([tool("a_erase")])
    assert tools.name_for_rules("0123456789ab_erase") == "0123456789ab_erase"


async def test_what_is_shown_without_being_read_is_judged_as_read(make):
    shut = Rule(id="no", effect=Effect.DENY, resources=("note://all",))
    local = Rule(id="local", effect=Effect.ALLOW, roles=("local",))
    guard = HardenMiddleware(make(local, shut))
    server = notes(middleware=[guard])
    asked = []

    def about(uri):
        return MiddlewareContext(message=ReadResourceRequestParams(uri=uri))

    @server.tool
    async def look() -> str:
        for uri in ("note://all", "note://other"):
            try:
                await guard.check_resource_access(about(uri))
            except AuthorizationError:
                asked.append((uri, "refused"))
            else:
                asked.append((uri, "shown"))
        return "looked"

    async with connect(server) as client:
        await client.session.call_tool("look", {})
    assert asked == [("note://all", "refused"), ("note://other", "shown")]
    with pytest.raises(AuthorizationError):
        await guard.check_resource_access(about("note://other"))


async def test_a_hosts_own_calls_are_judged_as_local(make, sink):
    server = harden(notes(), make())
    span = trace.NonRecordingSpan(
        trace.SpanContext(trace_id=1, span_id=2, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    with trace.use_span(span):
        result = await server.call_tool("erase", {"word": "x"})
    assert result.content[0].text == "erased x"
    with pytest.raises(NotFoundError):
        await server.call_tool("none", {})
    refused = await server.call_tool("erase", {"word": 5})
    assert refused.is_error
    first = sink.records[0]
    assert first.principal.client == "local"
    assert first.meta["trace_id"] == f"{1:032x}"


class OnAsyncio:
    """FastMCP's own client, and what serves HTTP, run on asyncio only."""

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"


class TestFastMCPsClient(OnAsyncio):
    @pytest.mark.parametrize("mode", ["auto", *ERAS])
    async def test_it_gets_results_refusals_and_errors(self, make, mode):
        shut = Rule(id="no", effect=Effect.DENY, resources=("note://all",))
        async with fastmcp.Client(harden(notes(), make(*ALL, shut)), mode=mode) as client:
            assert (await client.call_tool("erase", {"word": "x"})).data == "erased x"
            with pytest.raises(fastmcp.exceptions.ToolError, match="invalid_arguments"):
                await client.call_tool("erase", {"word": 5})
            with pytest.raises(mcp.MCPError) as caught:
                await client.read_resource("note://all")
            assert caught.value.error.data["code"] == "policy_denied"
            assert await client.list_resources() == []

    async def test_a_proxy_is_guarded_once(self, make, sink):
        async with fastmcp.Client(harden(create_proxy(notes()), make())) as client:
            assert (await client.call_tool("erase", {"word": "x"})).data == "erased x"
        assert [r for r in names(sink) if r[0] == "tools/call"] == [("tools/call", "erase", "ok")]


@contextlib.asynccontextmanager
async def over_http(app, token, mode, kind, scheme="Bearer"):
    headers = {"Authorization": f"{scheme} {token}"} if token else {}
    url = "http://127.0.0.1:8000/mcp"

    def http(headers=None, **settings):
        settings.pop("auth", None)
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            headers={**(headers or {}), "user-agent": "tests/1"},
            **settings,
        )

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        if kind == "fastmcp":
            transport = StreamableHttpTransport(url, headers=headers, httpx_client_factory=http)
            yield await stack.enter_async_context(fastmcp.Client(transport, mode=mode))
        else:
            client = await stack.enter_async_context(http(headers))
            streams = streamable_http_client(url, http_client=client)
            yield await stack.enter_async_context(mcp.Client(streams, mode=mode))


@pytest.mark.parametrize("kind", ["sdk", "fastmcp"])
@pytest.mark.parametrize("mode", ERAS)
class TestHttp(OnAsyncio):
    async def test_an_opaque_token_makes_the_caller(self, make, sink, mode, kind):
        token = generate_token()
        entry = TokenEntry(sha256=hash_token(token), client="ci", subject="bob", roles=("writer",))
        hardening = make(
            Rule(id="w", effect=Effect.ALLOW, roles=("writer",)),
            authentication=AuthenticationConfig(tokens=(entry,)),
        )
        app = harden(notes(lifespan=hardening.lifespan()), hardening).http_app()
        async with over_http(app, token, mode, kind) as client:
            assert not (await client.call_tool("erase", {"word": "a"})).is_error
        (record,) = [r for r in sink.records if r.name == "erase"]
        assert record.principal.key == ("token", "ci", "bob")
        assert record.meta["transport"] == "http"
        assert record.meta["protocol_version"] == ("2025-11-25" if mode == "legacy" else mode)
        assert record.ip_address == "127.0.0.1"
        assert record.user_agent == "tests/1"
        assert (record.session_id is not None) is (mode == "legacy")
        assert token not in repr(sink.events)

    async def test_a_token_in_another_scheme_is_a_wrong_one(self, make, sink, mode, kind):
        token = generate_token()
        entry = TokenEntry(sha256=hash_token(token), client="ci", subject="bob")
        authentication = AuthenticationConfig(tokens=(entry,), anonymous_http=True)
        app = harden(notes(), make(authentication=authentication)).http_app()
        with pytest.raises(BaseException):  # each client has its own
            async with over_http(app, token, mode, kind, scheme="Basic") as client:
                await client.call_tool("erase", {"word": "a"})
        assert {r.code for r in sink.records} == {"unauthenticated"}

    async def test_a_token_that_fastmcp_verified_makes_the_caller(self, make, sink, mode, kind):
        claims = {
            "client_id": "app",
            "sub": "ann",
            "iss": "https://id.example",
            "scopes": ["notes:write"],
        }
        server = notes(auth=StaticTokenVerifier({"good": claims}))
        async with over_http(harden(server, make()).http_app(), "good", mode, kind) as client:
            assert not (await client.call_tool("erase", {"word": "a"})).is_error
        (record,) = [r for r in sink.records if r.name == "erase"]
        assert record.principal.key == ("https://id.example", "app", "ann")
        assert record.principal.scopes == {"notes:write"}

    @pytest.mark.parametrize("token", [None, "lmh_wrong"])
    async def test_without_a_good_token_nothing_goes(self, make, sink, mode, kind, token):
        app = harden(notes(), make()).http_app()
        with pytest.raises(BaseException):  # each client has its own
            async with over_http(app, token, mode, kind) as client:
                await client.call_tool("erase", {"word": "a"})
        assert {r.outcome for r in sink.records} == {OutcomeKind.REFUSED}
        assert {r.code for r in sink.records} == {"unauthenticated"}


SERVER = """
    import logging, sys
    from fastmcp import FastMCP
    from localmcp_harden import Effect, HardenConfig, Hardening, Rule
    from localmcp_harden.integrations.fastmcp import harden
    from localmcp_harden.security.policy.gate import PolicyConfig

    rules = (Rule(id="all", effect=Effect.ALLOW, tools=("where",), roles=("local",)),)
    hardening = Hardening(HardenConfig(policy=PolicyConfig(rules=rules), disabled=("audit",)))
    server = FastMCP("notes", lifespan=hardening.lifespan())

    @server.tool
    def where(word: str) -> str:
        return f"here {word}"

    @server.tool
    def hidden() -> str:
        return "never"

    harden(server, hardening).run("stdio", show_banner=False, log_level="CRITICAL")
"""


@pytest.mark.parametrize("kind", ["sdk", "fastmcp"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
class TestStdio(OnAsyncio):
    async def test_the_local_caller_is_served(self, tmp_path, mode, kind):
        script = tmp_path / "server.py"
        script.write_text(textwrap.dedent(SERVER), encoding="utf-8")
        parameters = mcp.StdioServerParameters(command=sys.executable, args=[str(script)])
        stdio = StdioTransport(sys.executable, [str(script)], keep_alive=False)
        client = (
            mcp.Client(parameters, mode=mode) if kind == "sdk" else fastmcp.Client(stdio, mode=mode)
        )
        with anyio.fail_after(40):
            async with client:
                result = await client.call_tool("where", {"word": "x"})
                assert result.content[0].text == "here x"
                listed = await client.list_tools()
                tools = listed if isinstance(listed, list) else listed.tools
                assert [tool.name for tool in tools] == ["where"]
