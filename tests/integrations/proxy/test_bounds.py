"""A wrapped server, or a client, that does not keep to the rules: nothing leaks, nobody hangs."""

import json
import sys
from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from localmcp_harden import Effect, HardenConfig, Rule
from localmcp_harden.core.events import CallRecord, OutcomeKind
from localmcp_harden.integrations.proxy import UpstreamConfig, WrapConfig, wrap
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeLoggingService, RecordingSink

from .wrapping import ALL, Notes, guards, on_streams, said, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

CHANGING = Path(__file__).parents[1] / "upstreams" / "changing.py"


class Heard:
    """What the wrapped server was sent."""

    def __init__(self, file):
        self.file = file

    def messages(self):
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines() if line]

    def methods(self):
        return [message["method"] for message in self.messages() if "method" in message]

    def of(self, method):
        return [each for each in self.messages() if each.get("method") == method]


@pytest.fixture
def heard(tmp_path):
    return Heard(tmp_path / "heard")


@pytest.fixture
def changing(upstreams, heard):
    return UpstreamConfig(
        command=sys.executable,
        args=(str(CHANGING), str(heard.file), upstreams.token),
        mode="legacy",
        start_timeout_s=20.0,
        restart_delay_s=0.05,
        restart_max_delay_s=0.05,
    )


def client_of(notes, server, mode="legacy"):
    return notes.client(on_streams(server), mode)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_flood_is_dropped_and_counted(changing, mode):
    notes, logs = Notes(), FakeLoggingService()
    config = WrapConfig(max_queued=50, notifications_per_s=1.0)
    server = wrap(changing, guards(logs=logs), config=config)
    with anyio.fail_after(40):
        async with client_of(notes, server, mode) as client:
            if mode == "legacy":
                await client.subscribe_resource("test://one")
            result = await client.call_tool(
                "flood", {"count": 5_000}, progress_callback=notes.on_progress
            )
            assert said(result) == "flood"
            # What still waits goes out in a burst before the answer, and no more than that.
            assert len(notes.progress) + len(notes.logged) <= 400
            assert len(notes.told) <= 400
            assert set(notes.updated()) <= {"test://one"}
            assert said(await client.call_tool("strays", {})) == "first"
    assert "notifications of the server were dropped" in str(logs.lines)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_belongs_to_nobody_changes_nothing(changing, mode):
    notes = Notes()
    with anyio.fail_after(30):
        async with client_of(notes, wrap(changing, guards()), mode) as client:
            result = await client.call_tool("strays", {}, progress_callback=notes.on_progress)
            assert said(result) == "first"
            assert said(await client.call_tool("strays", {})) == "first"
    assert notes.progress == notes.logged == notes.told == []


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_repeated_attempt_does_not_turn_progress_back(changing, mode):
    notes = Notes()
    hardening = guards(
        disabled=("audit", "breaker"), retry=RetryConfig(attempts=3, base_s=0.001, max_wait_s=0.002)
    )
    server = wrap(changing, hardening, trust_annotations=True)
    with anyio.fail_after(30):
        async with client_of(notes, server, mode) as client:
            result = await client.call_tool("flaky", {}, progress_callback=notes.on_progress)
            assert said(result) == "flaky"
            await until(lambda: len(notes.progress) >= 6)
    assert sorted(amount for amount, _, _ in notes.progress) == [1, 2, 3, 4, 5, 6]


async def test_a_deadline_cancels_there_too(changing, heard):
    hardening = guards(deadline=DeadlineConfig(timeout_s=0.3))
    with anyio.fail_after(30):
        async with client_of(Notes(), wrap(changing, hardening)) as client:
            result = await client.call_tool("wait", {})
            assert "deadline_exceeded" in said(result)
            await until(lambda: heard.of("notifications/cancelled"))
    (call,) = heard.of("tools/call")
    (cancelled,) = heard.of("notifications/cancelled")
    assert cancelled["params"]["requestId"] == call["id"]


async def test_a_server_that_was_started_again_knows_what_was_asked_of_it(changing, heard):
    notes, logs = Notes(), FakeLoggingService()
    with anyio.fail_after(40):
        async with client_of(notes, wrap(changing, guards(logs=logs))) as client:
            await client.subscribe_resource("test://one")
            await client.set_logging_level("error")
            assert (await client.list_prompts()).prompts == []
            with pytest.raises(MCPError, match="went away"):
                await client.call_tool("die", {})
            assert "new" in {tool.name for tool in (await client.list_tools()).tools}
            await until(lambda: "notifications/tools/list_changed" in notes.methods())
            with pytest.raises(MCPError) as raised:
                await client.list_prompts()
            assert raised.value.code == -32601
    assert "the server offers something else than before" in str(logs.lines)
    assert len(heard.of("resources/subscribe")) == len(heard.of("logging/setLevel")) == 2


async def test_all_fifty_in_flight_are_answered_when_it_dies(changing):
    errors = []
    with anyio.fail_after(40):
        async with (
            client_of(Notes(), wrap(changing, guards())) as client,
            anyio.create_task_group() as tasks,
        ):

            async def call(name):
                with pytest.raises(MCPError) as raised:
                    await client.call_tool(name, {})
                errors.append(raised.value.data["code"])

            for _ in range(50):
                tasks.start_soon(call, "wait")
            await anyio.sleep(0.2)
            tasks.start_soon(call, "die")
    assert errors == ["upstream_unavailable"] * 51


async def test_policies_see_the_tools_that_are_new(changing, heard):
    hardening = guards()
    with anyio.fail_after(40):
        async with client_of(Notes(), wrap(changing, hardening)) as client:
            await client.call_tool("strays", {})
            assert not hardening.knows_tool("new")
            with pytest.raises(MCPError):
                await client.call_tool("die", {})
            # At most once a second the tools are listed for this.
            while not hardening.knows_tool("new"):
                await client.call_tool("strays", {})
                await anyio.sleep(0.05)
            # The client itself lists them, too.
            assert len(heard.of("tools/list")) <= 4


async def test_news_is_for_those_who_may_still_hear_it(changing):
    notes = Notes()
    hardening = guards()
    with anyio.fail_after(40):
        async with client_of(notes, wrap(changing, hardening)) as client:
            await client.subscribe_resource("test://one")
            await client.call_tool("flood", {"count": 1})
            await until(lambda: notes.updated() == ["test://one"])
            denied = Rule(
                id="none",
                effect=Effect.DENY,
                actions=("resources/subscribe",),
                resources=("test://one",),
            )
            hardening.reload(
                HardenConfig(
                    policy=PolicyConfig(rules=(*ALL, denied)),
                    disabled=("audit", "rate_limit", "retry", "breaker"),
                )
            )
            await client.call_tool("flood", {"count": 1})
            assert notes.updated() == ["test://one"]


async def test_subscriptions_are_bounded(changing):
    with anyio.fail_after(40):
        server = wrap(changing, guards(), config=WrapConfig(max_subscriptions=2))
        async with client_of(Notes(), server) as client:
            await client.subscribe_resource("test://one")
            await client.subscribe_resource("test://two")
            with pytest.raises(MCPError, match="too many subscriptions"):
                await client.subscribe_resource("test://three")
            await client.unsubscribe_resource("test://one")
            await client.subscribe_resource("test://three")


async def test_ids_used_twice_and_cancellations_of_nothing(changing):
    """Spoken by hand: no client of the SDK would."""
    sink = RecordingSink()
    server = wrap(changing, guards(sinks=[sink]))
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    with anyio.fail_after(40):
        async with (
            create_client_server_memory_streams() as ((read, write), theirs),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(server.run, *theirs, server.create_initialization_options())

            async def ask(number, method, params):
                request = JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
                await write.send(SessionMessage(request))

            async def tell(method, params):
                note = JSONRPCNotification(jsonrpc="2.0", method=method, params=params)
                await write.send(SessionMessage(note))

            async def hear():
                while True:
                    message = (await read.receive()).message
                    if isinstance(message, JSONRPCResponse | JSONRPCError):
                        return message

            await ask(1, "initialize", opening)
            assert (await hear()).id == 1
            await tell("notifications/initialized", None)
            for _ in range(2):
                await ask(7, "tools/call", {"name": "strays", "arguments": {}})
            assert [(await hear()).id, (await hear()).id] == [7, 7]
            for unknown in (7, 99, "x", None, {"a": 1}):
                await tell("notifications/cancelled", {"requestId": unknown})
                await tell("notifications/progress", {"progressToken": unknown, "progress": 1})
            await ask(8, "tools/call", {"name": "strays", "arguments": {}})
            assert (await hear()).id == 8
            tasks.cancel_scope.cancel()
    calls = [each for each in sink.of(CallRecord) if each.method == "tools/call"]
    assert [each.outcome for each in calls] == [OutcomeKind.OK] * 3
