"""A wrapped server, or a client, that means harm: found by reading, kept by a test."""

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from localmcp_harden.integrations.proxy import HttpUpstreamConfig, UpstreamConfig, WrapConfig, wrap
from localmcp_harden.integrations.proxy.mailbox import Mailbox, size_of

from .test_sharing import served, two_principals
from .wrapping import Notes, guards, on_streams, said, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

HOSTILE = Path(__file__).parents[1] / "upstreams" / "hostile.py"


@pytest.fixture
def hostile(upstreams, tmp_path):
    def make(*words, **settings):
        settings = {"start_timeout_s": 2.0, "restart_delay_s": 0.05, **settings}
        args = (str(HOSTILE), str(tmp_path / "starts"), upstreams.token, *words)
        return UpstreamConfig(
            command=sys.executable, args=args, restart_max_delay_s=0.05, **settings
        )

    return make


async def test_a_restart_does_not_wait_for_subscriptions_that_are_not_answered(hostile):
    with anyio.fail_after(30):
        async with Notes().client(on_streams(wrap(hostile("mute"), guards())), "legacy") as client:
            await client.subscribe_resource("test://one")
            with pytest.raises(MCPError, match="went away"):
                await client.call_tool("die", {})
            assert said(await client.call_tool("emit", {})) == "emit"


async def test_what_was_taken_back_while_it_was_refused_is_counted_once(hostile):
    server = wrap(hostile("slow"), guards(), config=WrapConfig(max_subscriptions=2))
    with anyio.fail_after(30):
        async with Notes().client(on_streams(server), "legacy") as client:
            for number in range(5):

                async def subscribe(uri):
                    with pytest.raises(MCPError):
                        await client.subscribe_resource(uri)

                async with anyio.create_task_group() as tasks:
                    uri = f"test://{number}"
                    tasks.start_soon(subscribe, uri)
                    await anyio.sleep(0.03)
                    await client.unsubscribe_resource(uri)
            refused = []

            async def wish(uri):
                try:
                    await client.subscribe_resource(uri)
                except MCPError as error:
                    refused.append(error.message)

            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(wish, f"test://more/{number}")
            assert sum("too many subscriptions" in text for text in refused) == 4


class Pondering(Notes):
    """A client that never answers a question."""

    most = 0

    async def on_elicitation(self, context, params):
        self.asked.append(params.message)
        self.most = max(self.most, len(self.asked))
        await anyio.sleep_forever()


async def test_a_question_is_not_called_off_by_what_is_no_id(hostile):
    notes, errors = Pondering(), []
    with anyio.fail_after(30):
        async with notes.client(on_streams(wrap(hostile(), guards())), "legacy") as client:
            try:
                await client.call_tool("questions", {"count": 400})
            except MCPError as error:
                errors.append(error.message)
    assert len(errors) == 1
    assert "went away" in errors[0]
    assert notes.most <= 100


async def test_the_call_that_may_ask_is_asked_for_and_not_the_newest_request(hostile):
    notes = Notes()
    with anyio.fail_after(30):
        async with (
            notes.client(on_streams(wrap(hostile(), guards())), "auto") as client,
            anyio.create_task_group() as tasks,
        ):

            async def read():
                await anyio.sleep(0.2)
                await client.call_tool("emit", {})
                await client.read_resource("test://one")

            tasks.start_soon(read)
            assert said(await client.call_tool("late", {})) == "accept"


async def test_news_of_tools_reaches_the_guards_between_two_of_the_newer_era(hostile):
    server = wrap(hostile("modern"), guards())
    guard = next(each for each in server.middleware if hasattr(each, "hardening")).hardening
    meta = {"io.modelcontextprotocol/subscriptionId": "listen-1"}
    news = {"method": "notifications/tools/list_changed", "params": {"_meta": meta}}
    with anyio.fail_after(30):
        async with Notes().client(on_streams(server), "auto") as client:
            await client.list_tools()
            await client.call_tool("emit", {})
            async with client.listen(tools_list_changed=True) as heard:
                assert guard.knows_tool("emit")
                await client.call_tool("emit", {"lines": [json.dumps({"jsonrpc": "2.0", **news})]})
                await anext(aiter(heard))
                assert not guard.knows_tool("emit")


async def test_no_cache_shares_what_policy_gives_to_one(hostile):
    with anyio.fail_after(30):
        async with Notes().client(on_streams(wrap(hostile("modern"), guards())), "auto") as client:
            result = await client.read_resource("test://one")
            assert (result.ttl_ms, result.cache_scope) == (60_000, "private")


async def test_each_resource_of_a_subscription_counts(hostile):
    server = wrap(hostile(), guards(), config=WrapConfig(max_subscriptions=3))
    uris = [f"test://{number}" for number in range(4)]
    with anyio.fail_after(30):
        async with Notes().client(on_streams(server), "auto") as client:
            with pytest.raises(MCPError, match="too many subscriptions"):
                async with client.listen(resource_subscriptions=uris):
                    pytest.fail("it was let in")
            async with client.listen(resource_subscriptions=uris[:3]):
                with pytest.raises(MCPError, match="too many subscriptions"):
                    async with client.listen(tools_list_changed=True):
                        pytest.fail("it was let in")


async def test_progress_that_is_no_number_goes_nowhere(hostile):
    notes = Notes()
    params = '{"progressToken": "call-%d", "progress": %s}'
    line = '{"jsonrpc": "2.0", "method": "notifications/progress", "params": %s}'
    lines = [
        line % (params % (number, amount))
        for number in range(5)
        for amount in ("NaN", "Infinity", "-Infinity", "1e999", "7")
    ]
    with anyio.fail_after(30):
        async with Notes().client(on_streams(wrap(hostile(), guards())), "legacy") as client:
            await client.call_tool("emit", {"lines": lines}, progress_callback=notes.on_progress)
            await until(lambda: notes.progress)
    assert notes.progress == [(7, None, None)]


async def test_what_waits_is_bounded_in_bytes():
    lost, sent = [], []
    gate = anyio.Event()
    note = {"level": "error", "data": ["x" * 1_000_000, {"y": 1}]}
    assert 1_000_000 < size_of(note) < 1_001_000
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            mailbox = Mailbox(WrapConfig(), spawn=tasks.start_soon, dropped=lost.append)

            async def send():
                await gate.wait()
                sent.append(1)

            for _ in range(50):
                mailbox.put(send, size_of(note))
            assert len(mailbox) == 4
            for number in range(50):
                mailbox.put_level(str(number % 10), send, size_of(note))
            assert len(mailbox) <= 5
            # One that is larger than all that may wait still has its turn.
            mailbox.put(send, 1 << 30)
            gate.set()
            await mailbox.flush()
    assert sent
    assert len(sent) + sum(lost) >= 61


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_session_is_greeted_once(upstreams, hostile):
    opening = {
        "jsonrpc": "2.0",
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        },
    }
    headers = {"accept": "application/json, text/event-stream"}
    async with served(hostile()) as url, httpx2.AsyncClient(headers=headers, timeout=20) as http:
        first = await http.post(url, json={**opening, "id": 1})
        headers = {"mcp-session-id": first.headers["mcp-session-id"]}
        again = await http.post(url, json={**opening, "id": 2}, headers=headers)
        assert "the session has begun already" in again.text
        assert len(upstreams.running()) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_session_is_nobody_elses(hostile):
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    async with served(hostile(), two_principals()) as url, httpx2.AsyncClient(timeout=20) as http:
        headers = {"accept": "application/json, text/event-stream"}

        async def ask(number, word, method, params):
            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            whose = {**headers, "authorization": f"Bearer {word}"}
            return await http.post(url, json=message, headers=whose)

        first = await ask(1, "one", "initialize", opening)
        headers["mcp-session-id"] = first.headers["mcp-session-id"]
        call = {"name": "emit", "arguments": {}}
        assert '"text":"emit"' in (await ask(4, "one", "tools/call", call)).text
        other = await ask(2, "two", "tools/call", call)
        assert "the session is another caller's" in other.text
        assert '"text":"emit"' in (await ask(3, "one", "tools/call", call)).text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_first_client_that_is_refused_ends_nothing(hostile):
    async with served(hostile("strict")) as url, httpx2.AsyncClient(timeout=20) as http:

        async def listed(name):
            own = "io.modelcontextprotocol"
            meta = {
                f"{own}/protocolVersion": "2026-07-28",
                f"{own}/clientInfo": {"name": name, "version": "1"},
                f"{own}/clientCapabilities": {},
            }
            headers = {
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/list",
            }
            message = {"id": 1, "method": "tools/list", "params": {"_meta": meta}}
            return await http.post(url, json={"jsonrpc": "2.0", **message}, headers=headers)

        assert "did not complete the handshake" in (await listed("")).text
        assert "emit" in (await listed("somebody")).text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_those_that_end_slowly_are_bounded_too(upstreams, tmp_path):
    source = (
        "import runpy, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0])\n"
        "time.sleep(60)"
    )
    args = ("-c", source, str(HOSTILE), str(tmp_path / "starts"), upstreams.token)
    upstream = UpstreamConfig(command=sys.executable, args=args, start_timeout_s=20.0)
    most = 0
    async with served(upstream, max_upstreams=2) as url:
        for _ in range(10):
            try:
                async with mcp.Client(url, mode="legacy") as client:
                    await client.call_tool("emit", {})
            except (MCPError, ExceptionGroup):
                pass
            most = max(most, len(upstreams.running()))
    assert 1 < most <= 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_upstream_with_a_call_that_waits_is_not_idle(upstreams):
    upstream = upstreams.full(mode="legacy")
    async with served(upstream, two_principals(), max_upstreams=1) as url:

        @asynccontextmanager
        async def client_of(word):
            headers = {"authorization": f"Bearer {word}"}
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                Notes().client(streamable_http_client(url, http_client=http), "auto") as client,
            ):
                yield client

        async with client_of("one") as one:
            call = one.session.call_tool
            first = await call("ask", {}, allow_input_required=True)
            (key,) = first.input_requests
            with pytest.raises((MCPError, ExceptionGroup)):
                async with client_of("two") as two:
                    await two.call_tool("pid", {})
            given = {key: {"action": "accept", "content": {"name": "x"}}}
            again = {"input_responses": given, "request_state": first.request_state}
            assert "'x'" in said(await call("ask", {}, allow_input_required=True, **again))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_clients_do_not_see_what_it_wrote_to_standard_error(tmp_path, upstreams):
    flag = tmp_path / "flag"
    source = (
        "import pathlib, runpy, sys\n"
        "flag = pathlib.Path(sys.argv[1])\n"
        "if flag.exists():\n"
        "    sys.exit('/srv/private is missing')\n"
        "flag.touch()\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0])"
    )
    args = ("-c", source, str(flag), str(HOSTILE), str(tmp_path / "starts"), upstreams.token)
    upstream = UpstreamConfig(command=sys.executable, args=args, start_timeout_s=20.0)
    async with served(upstream) as url, mcp.Client(url, mode="legacy"):
        with pytest.raises((MCPError, ExceptionGroup)) as raised:
            async with mcp.Client(url, mode="legacy"):
                pytest.fail("it was let in")
        error = raised.value
        while isinstance(error, ExceptionGroup):
            (error,) = error.exceptions
        assert "ended with exit code 1" in error.message
        assert "private" not in error.message


@pytest.mark.parametrize(
    "settings",
    [
        {"command": "x", "env": {"KEY": b"s3cret"}},
        {"command": "x", "args": (b"s3cret",)},
        {"command": "x", "args": "s3cret"},
        {"url": "https://x.example/", "headers": {"authorization": b"s3cret"}},
        {"url": b"https://x.example/?key=s3cret"},
    ],
)
async def test_a_setting_that_is_no_text_is_not_shown(settings):
    kind = HttpUpstreamConfig if "url" in settings else UpstreamConfig
    with pytest.raises(TypeError) as raised:
        kind(**settings)
    assert "s3cret" not in repr(raised.value)
