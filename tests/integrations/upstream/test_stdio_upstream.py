"""The bounded transport: whatever a child does ends in a named error, and nothing is left."""

import os
import signal
import sys

import anyio
import mcp
import pytest
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.integrations.proxy import (
    UPSTREAM_ERROR_CODE,
    StdioUpstream,
    UpstreamConfig,
)
from localmcp_harden.mechanisms.redact import KeyRedactor
from localmcp_harden.protocols.observability import LogLevel

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def hurried(monkeypatch):
    """Children that do not end when asked to get a tenth of the time."""
    for module, name in (("child", "_TERM_WAIT_S"), ("stdio_upstream", "_LAST_WORDS_S")):
        place = f"localmcp_harden.integrations.upstream.{module}.{name}"
        monkeypatch.setattr(place, 0.2)


class Log:
    def __init__(self):
        self.lines = []

    def __call__(self, level, message, context):
        self.lines.append((level, message, context))

    def having(self, word):
        return [line for line in self.lines if word in line[1]]


async def failure_of(config, **options):
    with anyio.fail_after(20), pytest.raises(UpstreamError) as raised:
        async with mcp.Client(StdioUpstream(config, **options)):
            pytest.fail("it was greeted")
    return str(raised.value)


@pytest.mark.parametrize("era", ["modern", "legacy", "both"])
async def test_a_client_speaks_through_it(upstreams, era):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server(era))) as client:
            result = await client.call_tool("echo", {"a": None, "b": [1, "\u2028"]})

            assert client.protocol_version == ("2025-11-25" if era == "legacy" else "2026-07-28")
            assert result.structured_content["arguments"] == {"a": None, "b": [1, "\u2028"]}
            assert len(upstreams.running()) == 1
    assert upstreams.running() == []


async def test_a_command_that_does_not_exist(upstreams):
    config = UpstreamConfig(command="/no/such/folder/no-such-command", args=("--key=s3cret",))
    text = await failure_of(config)
    assert text.startswith("'no-such-command' did not start: there is no such command")
    assert "s3cret" not in text


async def test_a_command_that_is_not_executable(upstreams, tmp_path):
    program = tmp_path / "program"
    program.write_text("nothing")
    text = await failure_of(UpstreamConfig(command=str(program)))
    assert text == "'program' did not start: it is not executable"


async def test_a_file_that_no_system_can_run(upstreams, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o700)
    assert "'program' did not start: " in await failure_of(UpstreamConfig(command=str(program)))


async def test_a_working_folder_that_does_not_exist(upstreams, tmp_path):
    text = await failure_of(upstreams.server(cwd=tmp_path / "none"))
    assert text.endswith("did not start: its working folder does not exist")


async def test_arguments_that_have_no_form(upstreams):
    text = await failure_of(UpstreamConfig(command=sys.executable, args=("\ud800",)))
    assert text.endswith("its arguments are no text") or "ended with exit code" in text


async def test_a_child_that_dies_at_start(upstreams):
    log = Log()
    text = await failure_of(upstreams.start("dies"), log=log)

    assert "ended with exit code 3; it last wrote: line 46 | line 47 | line 48 | line 49 |" in text
    assert "0123456789abcdef" not in text + str(log.lines)
    assert "\x1b" not in text + "".join(str(line[2]["line"]) for line in log.lines)
    assert len(log.having("standard error")) == 51
    assert upstreams.token not in text


async def test_the_redactor_that_is_given_is_used(upstreams):
    class Mine(KeyRedactor):
        def redact_text(self, text, /):
            return "gone"

    text = await failure_of(upstreams.start("dies"), redactor=Mine())
    assert text.endswith("it last wrote: gone | gone | gone | gone | gone")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("killed", "was ended by SIGKILL"),
        ("garbage", "wrote 101 lines in a row that are no messages"),
        ("blank", "wrote 101 lines in a row that are no messages"),
        ("endless", "wrote a line of more than 65536 bytes"),
        ("closes", "closed its output"),
        ("leaves_child", "ended with exit code 4"),
    ],
)
async def test_a_child_that_is_no_server(upstreams, what, said):
    assert said in await failure_of(upstreams.start(what, max_message_bytes=65_536))


async def test_garbage_is_logged_without_its_content(upstreams):
    log = Log()
    await failure_of(upstreams.start("garbage"), log=log)
    lines = log.having("no message")

    assert {line[0] for line in lines} == {LogLevel.WARNING}
    assert lines[0][2]["bytes"] == 7
    assert set(lines[0][2]) == {"server", "bytes", "problem"}
    assert "garbage" not in str(lines)


async def test_a_flood_on_standard_error_is_read_and_not_kept(upstreams):
    log = Log()
    with anyio.fail_after(20):
        transport = StdioUpstream(upstreams.start("noise", stop_grace_s=0.1), log=log)
        async with transport:
            while not transport._child_log._lines.overflowing:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    assert len(log.lines) <= 1
    assert sum(len(str(line)) for line in log.lines) < 10_000


@pytest.mark.parametrize("what", ["silent", "stubborn", "noise"])
async def test_cancellation_during_the_handshake_leaves_nothing(hurried, upstreams, what):
    config = upstreams.start(what, stop_grace_s=0.1)
    with anyio.fail_after(20):
        with anyio.move_on_after(0.3) as scope:
            async with mcp.Client(StdioUpstream(config)):
                pytest.fail("it was greeted")
        assert scope.cancelled_caught
    assert upstreams.running() == []


async def test_cancellation_before_the_start_leaves_nothing(upstreams):
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with mcp.Client(StdioUpstream(upstreams.server())):
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert upstreams.running() == []


async def test_a_stubborn_child_is_killed_with_its_group(hurried, upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server(stop_grace_s=0.1))) as client:
            await client.call_tool("stubborn", {})
    assert upstreams.running() == []


async def call(upstreams, name, arguments=None, **settings):
    """Return what a call ends in, and what the transport then says."""
    transport = StdioUpstream(upstreams.server(**settings))
    ending = None
    with anyio.fail_after(20):
        async with mcp.Client(transport) as client:
            try:
                ending = await client.call_tool(name, arguments or {})
            except (MCPError, RuntimeError) as error:
                ending = error
    return ending, transport.fault


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exit", "ended with exit code 7; it last wrote: password=[redacted]"),
        ("die", "was ended by SIGKILL"),
        ("garbage", "wrote 101 lines in a row that are no messages"),
        ("flood_line", "wrote a line of more than 1000000 bytes"),
        ("ask_often", "asks more than it reads answers to"),
    ],
)
async def test_a_child_that_fails_in_the_middle_of_a_call(upstreams, name, said):
    ending, fault = await call(upstreams, name, max_message_bytes=1_000_000)
    assert ending.code == CONNECTION_CLOSED
    assert said in str(fault)


async def test_what_fails_inside_because_of_it_is_named(upstreams):
    with anyio.fail_after(20), pytest.raises(UpstreamError, match="ended with exit code 7"):
        async with mcp.Client(StdioUpstream(upstreams.server())) as client:
            await client.call_tool("exit", {})


async def test_what_fails_inside_for_another_reason_keeps_its_own_name(upstreams):
    with anyio.fail_after(20), pytest.raises(ValueError, match="mine"):
        async with StdioUpstream(upstreams.server()):
            raise ValueError("mine")


async def test_so_does_what_fails_after_the_child_has_died(upstreams):
    transport = StdioUpstream(upstreams.server())

    async def use():
        async with mcp.Client(transport):
            upstreams.kill()
            await transport.ended.wait()
            raise ValueError("mine")

    # The client wraps it in a group of its own.
    with anyio.fail_after(20), pytest.raises((ValueError, ExceptionGroup)) as raised:
        await use()
    assert "mine" in str(getattr(raised.value, "exceptions", raised.value))
    assert "was ended by SIGKILL" in str(transport.fault)


@pytest.mark.parametrize("lines", [1, 100])
async def test_some_garbage_is_endured(upstreams, lines):
    ending, fault = await call(upstreams, "garbage", {"lines": lines})
    assert ending.content[0].text == "after the garbage"
    assert fault is None


async def test_good_messages_end_a_row_of_garbage(upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server())) as client:
            for _ in range(3):
                await client.call_tool("garbage", {"lines": 60})


@pytest.mark.parametrize(
    ("name", "arguments"), [("deep", {}), ("deep", {"depth": 127}), ("malformed", {})]
)
async def test_an_answer_that_can_not_be_read_fails_its_call_alone(upstreams, name, arguments):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server())) as client:
            with pytest.raises(MCPError, match="upstream_unavailable") as raised:
                await client.call_tool(name, arguments)
            assert raised.value.code == UPSTREAM_ERROR_CODE
            assert raised.value.data == {"code": "upstream_unavailable"}
            assert (await client.call_tool("echo", {})).content[0].text == "echo"
            assert (await client.call_tool("deep", {"depth": 126})).content[0].text == "deep"


async def test_a_flood_of_notifications_hides_no_answer(upstreams):
    ending, _ = await call(upstreams, "flood_notifications", {"count": 5_000})
    assert ending.content[0].text == "after the flood"


async def test_a_second_answer_is_dropped(upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server())) as client:
            for _ in range(2):
                assert (await client.call_tool("twice", {})).content[0].text == "first"


async def test_an_answer_as_large_as_allowed_comes_whole(upstreams):
    ending, _ = await call(upstreams, "huge", {"size": 10_000_000})
    assert len(ending.content[0].text) == 10_000_000


async def test_a_child_that_does_not_read_is_given_up(upstreams):
    transport = StdioUpstream(upstreams.server(stall_timeout_s=0.3, stop_grace_s=0.1))
    with anyio.fail_after(20):
        async with mcp.Client(transport) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(ends, client, "stop_reading", {})
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ends, client, "echo", {"text": "x" * 1_000_000})
    assert "did not read its input for 0.3 seconds" in str(transport.fault)


async def ends(client, name, arguments):
    with pytest.raises(MCPError):
        await client.call_tool(name, arguments)


async def test_a_child_that_closes_its_input_is_given_up(hurried, upstreams):
    transport = StdioUpstream(upstreams.server(stop_grace_s=0.1))
    with anyio.fail_after(20):
        async with mcp.Client(transport) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(ends, client, "close_stdin", {})
            while not transport.ended.is_set():
                with anyio.move_on_after(0.1):
                    await ends(client, "echo", {})
    assert "closed its input" in str(transport.fault)


async def test_text_that_is_not_unicode_fails_its_call_alone(upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server())) as client:
            with pytest.raises(MCPError, match="not Unicode"):
                await client.call_tool("echo", {"text": "\ud800"})
            assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_questions_are_answered_as_by_a_client_that_can_do_nothing(upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server("legacy"))) as client:
            for _ in range(3):
                result = await client.call_tool("ask", {})
                assert result.content[0].text == '["q1", -32600]'


async def test_a_child_gets_the_environment_it_may_have(upstreams, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("LC_TEST", "C")
    monkeypatch.setenv("SHELL", "() { echo; }")
    ending, _ = await call(upstreams, "environment", env={"EXTRA": "1"})
    seen = ending.structured_content

    assert seen["EXTRA"] == "1"
    assert seen["LC_TEST"] == "C"
    assert seen["PATH"] == os.environ["PATH"]
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert "SHELL" not in seen


async def test_a_child_leads_its_own_session(upstreams):
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server())):
            (process,) = upstreams.running()
            assert os.getsid(process) == process != os.getsid(0)


async def test_streams_carry_messages_without_a_client(upstreams):
    with anyio.fail_after(20):
        async with StdioUpstream(upstreams.server("legacy")) as (read, write):
            note = JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
            await write.send(SessionMessage(note))
            await write.send(
                SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=9, method="tools/list"))
            )
            answer = await read.receive()
            assert isinstance(answer.message, JSONRPCResponse)
            assert answer.message.id == 9


async def test_a_transport_is_good_for_one_connection(upstreams):
    transport = StdioUpstream(upstreams.server())
    async with transport:
        pass
    with pytest.raises(RuntimeError, match="good for one connection"):
        await transport.__aenter__()


async def test_an_end_of_our_own_is_no_fault(upstreams):
    transport = StdioUpstream(upstreams.server())
    async with mcp.Client(transport):
        pass
    assert transport.fault is None


async def test_a_child_killed_between_calls_is_noticed(upstreams):
    transport = StdioUpstream(upstreams.server())
    with anyio.fail_after(20):
        async with mcp.Client(transport):
            (process,) = upstreams.running()
            os.kill(process, signal.SIGTERM)
            await transport.ended.wait()
    assert "was ended by SIGTERM" in str(transport.fault)


def test_a_repr_shows_neither_arguments_nor_variables():
    config = UpstreamConfig(command="x", args=("s3cret", "b"), env={"KEY": "s3cret"})
    assert "s3cret" not in repr(config)
    assert "args=<2>, env=<1>" in repr(config)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"command": " "}, "command"),
        ({"command": "a\0b"}, "command"),
        ({"args": ("a\0b",)}, "args"),
        ({"env": {"A=B": "c"}}, "env"),
        ({"env": {"A": "c\0"}}, "env"),
        ({"mode": "2026-07-28"}, "mode"),
        ({"max_message_bytes": 1}, "max_message_bytes"),
        ({"max_depth": 1_000}, "max_depth"),
        ({"max_garbage_lines": 0}, "max_garbage_lines"),
        ({"start_timeout_s": 0}, "start_timeout_s"),
        ({"call_timeout_s": -1.0}, "call_timeout_s"),
        ({"stall_timeout_s": 0}, "stall_timeout_s"),
        ({"restart_delay_s": -1}, "restart_delay_s"),
        ({"stop_grace_s": 61}, "stop_grace_s"),
    ],
)
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ValueError, match=field):
        UpstreamConfig(**{"command": "x", **settings})
