"""wrap(): a foreign server behind the guards, in memory, over stdio streams and over HTTP."""

import json
import os
import signal
from contextlib import asynccontextmanager

import anyio
import mcp
import pytest
from mcp.shared.exceptions import MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitResult,
    InputRequiredResult,
    PromptReference,
)

from localmcp_harden import Effect, HardenConfig, Hardening, Rule, ToolConfig
from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.core.events import CallRecord, OutcomeKind
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.proxy import (
    UPSTREAM_ERROR_CODE,
    Sharing,
    UpstreamConfig,
    WrapConfig,
    wrap,
)
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeLoggingService, RecordingSink

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ALL = (Rule(id="all", effect=Effect.ALLOW),)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def make(sink):
    def make(*rules, logs=None, **config):
        config.setdefault("policy", PolicyConfig(rules=rules or ALL))
        config.setdefault("authentication", AuthenticationConfig(anonymous_http=True))
        # What is tested here is what one failure looks like, not what many lead to.
        config.setdefault("disabled", ("audit", "rate_limit", "retry", "breaker"))
        return Hardening(HardenConfig(**config), logs=logs or FakeLoggingService(), sinks=[sink])

    return make


@pytest.fixture
def wrapped(upstreams, make):
    """Make a wrapped server that is patient where a loaded machine may be slow."""

    def wrapped(
        era="both", *, hardening=None, name=None, trust_annotations=False, config=None, **settings
    ):
        settings.setdefault("restart_delay_s", 0.05)
        settings.setdefault("restart_max_delay_s", 0.05)
        return wrap(
            upstreams.server(era, **settings),
            hardening or make(),
            name=name,
            trust_annotations=trust_annotations,
            config=config,
        )

    return wrapped


@asynccontextmanager
async def connected(server, mode="auto"):
    with anyio.fail_after(30):
        async with mcp.Client(server, mode=mode) as client:
            yield client


async def until(happened):
    """Wait for what another process does; whoever calls this bounds the time."""
    while not happened():  # noqa: ASYNC110 - there is no event across processes
        await anyio.sleep(0.01)


PAIRS = [("modern", "auto"), ("both", "auto"), ("both", "legacy"), ("legacy", "legacy")]


@pytest.mark.parametrize(("era", "mode"), PAIRS)
async def test_it_presents_itself_as_the_wrapped_server(wrapped, era, mode):
    async with connected(wrapped(era), mode) as client:
        assert client.server_info.name == "hostile"
        assert client.server_info.version == "1.2.3"
        assert client.server_info.title == "Hostile server"
        assert client.instructions == "be careful"
        offered = client.server_capabilities.model_dump(exclude_none=True)
        assert set(offered) == {"tools", "resources", "prompts", "completions"}


async def test_the_name_can_be_given(wrapped):
    async with connected(wrapped(name="mine"), "legacy") as client:
        assert client.server_info.name == "mine"


@pytest.mark.parametrize(("era", "mode"), PAIRS)
async def test_everything_it_offers_is_forwarded(wrapped, era, mode):
    async with connected(wrapped(era), mode) as client:
        first = await client.list_tools()
        second = await client.list_tools(cursor=first.next_cursor)
        assert first.next_cursor == "two"
        assert len(first.tools) == 10
        assert "twice" in {tool.name for tool in second.tools}
        assert first.tools[0].annotations.read_only_hint is True
        assert (await client.list_resources()).resources[0].uri == "test://one"
        templates = await client.list_resource_templates()
        assert templates.resource_templates[0].uri_template == "test://{name}"
        assert (await client.read_resource("test://one")).contents[0].text == "content"
        assert (await client.list_prompts()).prompts[0].name == "greet"
        assert (await client.get_prompt("greet")).messages[0].content.text == "greet"
        reference = PromptReference(name="greet")
        completed = await client.complete(reference, {"name": "who", "value": "wor"})
        assert completed.completion.values == ["wor!"]


@pytest.mark.parametrize(("era", "mode"), PAIRS)
async def test_results_come_untouched(wrapped, era, mode):
    async with connected(wrapped(era), mode) as client:
        arguments = {"none": None, "deep": [{"a": [1.5, True]}], "text": "\u2028"}
        result = await client.call_tool("echo", arguments, meta={"mine": 1})
        seen = result.structured_content
        assert seen["arguments"] == arguments
        assert {"mine": 1}.items() <= seen["meta"].items()
        assert "progressToken" not in seen["meta"]
        assert result.meta["example.org/mark"] == 1


@pytest.mark.parametrize(("era", "mode"), PAIRS)
async def test_errors_come_as_they_are(wrapped, era, mode):
    async with connected(wrapped(era), mode) as client:
        with pytest.raises(MCPError) as raised:
            await client.call_tool("fail", {})
        assert raised.value.code == -32123
        assert raised.value.message == "as it is"
        assert raised.value.data == {"why": ["so"]}


async def test_a_server_that_needs_input_asks_through_us(wrapped):
    async with connected(wrapped("modern")) as client:
        first = await client.session.call_tool("input", {}, allow_input_required=True)
        assert isinstance(first, InputRequiredResult)
        assert first.request_state == "sealed"
        (asked,) = first.input_requests.values()
        assert isinstance(asked, ElicitRequest)
        # What this client can do is what the server is told.
        assert asked.params.message == "form: False"


async def test_what_the_client_can_do_is_told_and_its_answers_arrive(wrapped):
    async def answer(context, params):
        assert params.message == "form: True"
        return ElicitResult(action="accept", content={"name": "x"})

    with anyio.fail_after(30):
        async with mcp.Client(wrapped("modern"), elicitation_callback=answer) as client:
            result = await client.call_tool("input", {})
    responses, state = json.loads(result.content[0].text)
    assert responses["name"]["content"] == {"name": "x"}
    assert state == "sealed"


async def test_without_bridges_a_modern_client_is_sent_to_the_older_era(wrapped):
    server = wrapped("legacy", config=WrapConfig(bridge_eras=False))
    with pytest.raises((MCPError, ExceptionGroup)) as raised:
        async with connected(server, "2026-07-28") as client:
            await client.list_tools()
    error = raised.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert error.code == -32022
    assert "2025-11-25" in error.data["supported"]


@pytest.mark.parametrize(("bridges", "version"), [(False, "2025-11-25"), (True, "2026-07-28")])
async def test_on_a_stream_a_client_of_both_eras_finds_its_own(wrapped, bridges, version):
    server = wrapped("legacy", config=WrapConfig(bridge_eras=bridges))

    @asynccontextmanager
    async def transport():
        async with (
            create_client_server_memory_streams() as (ours, theirs),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(server.run, *theirs, server.create_initialization_options())
            yield ours
            tasks.cancel_scope.cancel()

    async with connected(transport()) as client:
        assert client.protocol_version == version
        assert (await client.call_tool("echo", {})).is_error is False


async def test_what_it_does_not_offer_is_unknown(upstreams, make, tmp_path):
    program = tmp_path / "bare.py"
    text = await anyio.Path(upstreams.server().args[0]).read_text(encoding="utf-8")
    start = text.index("CAPABILITIES = ")
    program.write_text(
        text[:start] + 'CAPABILITIES = {"tools": {}}\n' + text[text.index("TOOLS = (") :]
    )
    config = UpstreamConfig(
        command=upstreams.server().command,
        args=(str(program), "both", upstreams.token),
        start_timeout_s=20.0,
    )
    async with connected(wrap(config, make())) as client:
        assert set(client.server_capabilities.model_dump(exclude_none=True)) == {"tools"}
        with pytest.raises(MCPError) as raised:
            await client.list_prompts()
        assert raised.value.code == -32601


async def test_policy_is_asked_before_it_is(wrapped, make, sink):
    rules = (Rule(id="echo", effect=Effect.ALLOW, actions=("tools/call",), tools=("echo",)),)
    async with connected(wrapped(hardening=make(*rules))) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"echo"}
        with pytest.raises(MCPError) as raised:
            await client.call_tool("exit", {})
        assert raised.value.data["code"] == "policy_denied"
        assert (await client.call_tool("echo", {})).is_error is False
    refused = [each for each in sink.of(CallRecord) if each.outcome is OutcomeKind.REFUSED]
    assert [(each.name, each.code) for each in refused] == [("exit", "policy_denied")]


@pytest.mark.parametrize(
    ("trust", "config", "attempts"),
    [
        (False, {}, 1),
        (True, {}, 3),
        (True, {"trust_annotations": False}, 1),
        (False, {"tools": {"malformed": ToolConfig(idempotent=True)}}, 3),
    ],
)
async def test_what_tools_say_of_themselves_is_not_believed(
    wrapped, make, sink, trust, config, attempts
):
    hardening = make(
        disabled=("audit", "breaker"),
        retry=RetryConfig(attempts=3, base_s=0.001, max_wait_s=0.002),
        **config,
    )
    server = wrapped(hardening=hardening, trust_annotations=trust)
    async with connected(server) as client:
        second = await client.list_tools(cursor="two")
        assert {tool.annotations.read_only_hint for tool in second.tools} == {True}
        with pytest.raises(MCPError):
            await client.call_tool("malformed", {})
    assert sink.of(CallRecord)[-1].attempts == attempts


async def failing(client, name, arguments=None):
    with pytest.raises(MCPError) as raised:
        await client.call_tool(name, arguments or {})
    return raised.value


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("name", ["exit", "die", "garbage", "flood_line", "ask_often"])
async def test_a_server_that_dies_in_the_middle_of_a_call_is_started_again(
    wrapped, upstreams, mode, name
):
    server = wrapped(max_message_bytes=1_000_000, stop_grace_s=0.1)
    async with connected(server, mode) as client:
        (first,) = upstreams.running()
        error = await failing(client, name)
        assert error.code == UPSTREAM_ERROR_CODE
        assert error.message == "upstream_unavailable: the server went away during the call"
        assert error.data == {"code": "upstream_unavailable"}
        assert (await client.call_tool("echo", {})).structured_content["arguments"] == {}
        (second,) = upstreams.running()
        assert second != first


async def test_every_call_in_flight_gets_its_answer(wrapped):
    async with connected(wrapped()) as client:
        await client.call_tool("echo", {})
        errors = []

        async def wait():
            errors.append(await failing(client, "never"))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(failing, client, "exit")
        assert {error.code for error in errors} == {UPSTREAM_ERROR_CODE}
        assert len(errors) == 50


async def test_many_calls_cause_one_start(wrapped, upstreams, make):
    logs = FakeLoggingService()
    async with connected(wrapped(hardening=make(logs=logs))) as client:
        await failing(client, "exit")
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.call_tool, "echo", {})
        assert len(upstreams.running()) == 1
    assert str(logs.lines).count("the server was started") == 2


async def test_a_start_that_fails_is_not_repeated_at_once(wrapped, upstreams, make, tmp_path):
    program = tmp_path / "server"
    config = upstreams.server()
    shebang = f"#!/bin/sh\nexec {config.command} {' '.join(config.args)}\n"
    program.write_text(shebang)
    program.chmod(0o700)
    logs = FakeLoggingService()
    wrapped_config = UpstreamConfig(command=str(program), start_timeout_s=20, restart_delay_s=3_600)
    async with connected(wrap(wrapped_config, make(logs=logs))) as client:
        await failing(client, "exit")
        # The delay has begun with the first start, so the next call would wait for it.
        with anyio.move_on_after(0.1) as scope:
            await client.call_tool("echo", {})
        assert scope.cancelled_caught
        assert upstreams.running() == []


@pytest.mark.parametrize("delay_s", [0, 0.01])
async def test_a_server_that_can_not_come_back_is_named(
    wrapped, upstreams, make, tmp_path, sink, delay_s
):
    program = tmp_path / "server"
    config = upstreams.server()
    program.write_text(f"#!/bin/sh\nexec {config.command} {' '.join(config.args)}\n")
    program.chmod(0o700)
    logs = FakeLoggingService()
    again = UpstreamConfig(command=str(program), start_timeout_s=20, restart_delay_s=delay_s)
    async with connected(wrap(again, make(logs=logs))) as client:
        await failing(client, "exit")
        program.unlink()
        for _ in range(2):
            error = await failing(client, "echo")
            assert "upstream_unavailable: the server 'server' can not be reached" in error.message
        assert "there is no such command" in str(logs.lines)
        # Also where its list of tools could not be had.
        records = [each for each in sink.of(CallRecord) if each.method == "tools/call"]
        assert [each.code for each in records] == ["UpstreamUnavailableError"] * 3
        program.write_text(f"#!/bin/sh\nexec {config.command} {' '.join(config.args)}\n")
        program.chmod(0o700)
        with anyio.fail_after(20):
            while True:
                try:
                    await client.call_tool("echo", {})
                    break
                except MCPError:
                    await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "era", "mode"),
    [
        ("deep", "modern", "auto"),
        ("malformed", "modern", "auto"),
        # The SDK's own table lets this one pass in the modern era.
        ("nonsense", "legacy", "legacy"),
    ],
)
async def test_an_answer_outside_the_protocol_is_named(wrapped, upstreams, name, era, mode):
    async with connected(wrapped(era), mode) as client:
        (before,) = upstreams.running()
        error = await failing(client, name)
        assert error.code == UPSTREAM_ERROR_CODE
        assert error.data == {"code": "upstream_unavailable"}
        assert (await client.call_tool("echo", {})).is_error is False
        assert upstreams.running() == [before]


async def test_a_server_that_never_answers_is_not_waited_for(wrapped):
    async with connected(wrapped(call_timeout_s=0.3)) as client:
        error = await failing(client, "never")
        assert error.message.endswith("the server did not answer within 0.3 seconds")
        assert (await client.call_tool("echo", {})).is_error is False


async def test_the_time_to_start_is_not_the_time_to_live(wrapped, upstreams):
    async with connected(wrapped(start_timeout_s=2, call_timeout_s=2.5)) as client:
        before = upstreams.running()
        error = await failing(client, "never")
        assert error.message.endswith("the server did not answer within 2.5 seconds")
        assert upstreams.running() == before


async def test_a_flood_and_a_second_answer_change_nothing(wrapped):
    async with connected(wrapped()) as client:
        flooded = await client.call_tool("flood_notifications", {"count": 3_000})
        assert flooded.content[0].text == "after the flood"
        assert (await client.call_tool("twice", {})).content[0].text == "first"
        assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_its_questions_are_refused_as_without_the_capability(wrapped):
    async with connected(wrapped("legacy"), "legacy") as client:
        result = await client.call_tool("ask", {})
        assert result.content[0].text == '["q1", -32600]'


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancelled_call_is_cancelled_there(wrapped, make, tmp_path, mode, sink):
    called = tmp_path / "called"
    logs = FakeLoggingService()
    async with connected(wrapped(hardening=make(logs=logs)), mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "never", {"cancel_file": str(called)})
            await until(called.exists)
            tasks.cancel_scope.cancel()
        await until(lambda: "cancelled " in str(logs.lines))
        assert (await client.call_tool("echo", {})).is_error is False
    assert OutcomeKind.CANCELLED in {each.outcome for each in sink.of(CallRecord)}


async def test_a_client_that_leaves_in_the_middle_of_a_call(wrapped, upstreams, tmp_path):
    called = tmp_path / "called"
    with anyio.fail_after(20):
        async with (
            anyio.create_task_group() as tasks,
            mcp.Client(wrapped(), mode="legacy") as client,
        ):
            tasks.start_soon(leaves, client, called)
            await until(called.exists)
    assert upstreams.running() == []


async def leaves(client, called):
    with pytest.raises(MCPError):
        await client.call_tool("never", {"cancel_file": str(called)})


async def test_arguments_beyond_the_bounds_never_reach_it(wrapped, sink):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    async with connected(wrapped()) as client:
        for arguments in ({"text": "x" * 10_000_000}, {"deep": json.loads("[" * 200 + "]" * 200)}):
            result = await client.call_tool("echo", arguments)
            assert isinstance(result, CallToolResult)
            assert result.is_error
            assert "input_too_large" in result.content[0].text
    refused = [each for each in sink.of(CallRecord) if each.name == "echo"]
    assert {(each.code, each.attempts) for each in refused} == {("input_too_large", 0)}


@pytest.mark.parametrize(
    ("what", "said"),
    [("dies", "ended with exit code 3"), ("silent", "did not answer within 0.5 seconds")],
)
async def test_a_server_that_does_not_start_is_told_to_the_host(upstreams, make, what, said):
    config = upstreams.start(what, start_timeout_s=0.5 if what == "silent" else 20)
    with anyio.fail_after(20), pytest.raises(UpstreamError, match=said):
        async with mcp.Client(wrap(config, make())):
            pytest.fail("it was greeted")


async def test_a_server_that_is_asked_the_older_way_only(wrapped):
    async with connected(wrapped("both", mode="legacy"), "legacy") as client:
        assert client.protocol_version == "2025-11-25"
        assert (await client.call_tool("echo", {})).is_error is False


async def test_failures_open_the_breaker(wrapped, make):
    hardening = make(
        disabled=("audit", "retry"),
        breaker=BreakerConfig(minimum_calls=2, failure_rate=0.5, open_s=3_600),
    )
    async with connected(wrapped(hardening=hardening, restart_delay_s=0)) as client:
        await failing(client, "exit")
        await failing(client, "exit")
        result = await client.call_tool("exit", {})
        assert "circuit_open" in result.content[0].text


@asynccontextmanager
async def over_http(server):
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status):
            await serve_http(server, port=0, task_status=task_status, handle_signals=False)

        port = await tasks.start(serve)
        yield f"http://127.0.0.1:{port}/mcp"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("era", "mode"), [*PAIRS, ("legacy", "auto")])
async def test_over_http_all_clients_may_share_one_process(wrapped, upstreams, sink, era, mode):
    with anyio.fail_after(30):
        async with (
            over_http(wrapped(era, config=WrapConfig(sharing=Sharing.SHARED))) as url,
            mcp.Client(url, mode=mode) as one,
            mcp.Client(url, mode=mode) as two,
        ):
            for client in (one, two):
                assert client.server_info.name == "hostile"
                first = await client.list_tools()
                assert first.next_cursor == "two"
                result = await client.call_tool("echo", {"a": 1})
                assert result.structured_content["arguments"] == {"a": 1}
            (first,) = upstreams.running()
            os.kill(first, signal.SIGKILL)
            await upstreams.gone()
            assert (await two.call_tool("echo", {})).is_error is False
            assert (await one.call_tool("echo", {})).is_error is False
            assert len(upstreams.running()) == 1
    # Header checks of the modern transport list no tools of their own.
    calls = [each for each in sink.of(CallRecord) if each.method == "tools/call"]
    assert len([each for each in sink.of(CallRecord) if each.method == "tools/list"]) == 2
    assert len(calls) == 4
