"""Which client of a wrapped server gets which upstream, over HTTP."""

from contextlib import asynccontextmanager
from hashlib import sha256

import anyio
import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.proxy import Sharing, WrapConfig, wrap
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.tokens import TokenEntry

from .wrapping import Notes, guards, said, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(90),
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@asynccontextmanager
async def served(upstream, hardening=None, **config):
    server = wrap(upstream, hardening or guards(), config=WrapConfig(**config))
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status):
            await serve_http(server, port=0, task_status=task_status, handle_signals=False)

        port = await tasks.start(serve)
        with anyio.fail_after(60):
            yield f"http://127.0.0.1:{port}/mcp"
        tasks.cancel_scope.cancel()


def two_principals():
    tokens = tuple(
        TokenEntry(sha256=sha256(word.encode()).hexdigest(), client=word) for word in ("one", "two")
    )
    return guards(authentication=AuthenticationConfig(tokens=tokens))


async def test_each_session_has_its_own_and_leaves_it(upstreams):
    async with served(upstreams.full()) as url:
        ones, twos = Notes(), Notes()
        async with ones.client(url, "legacy") as one:
            async with twos.client(url, "legacy") as two:
                first = said(await one.call_tool("pid", {}))
                second = said(await two.call_tool("pid", {}))
                assert first != second
                assert said(await one.call_tool("pid", {})) == first
                await one.call_tool("change", {})
                await until(lambda: "notifications/tools/list_changed" in ones.methods())
                assert twos.methods() == []
                assert len((await two.list_tools()).tools) == 12
                assert set(upstreams.running()) == {int(first), int(second)}
            await until(lambda: upstreams.running() == [int(first)])


async def test_over_http_a_session_is_asked_and_told(upstreams):
    notes = Notes()
    async with served(upstreams.full()) as url, notes.client(url, "legacy") as client:
        assert said(await client.call_tool("ask", {})) == "[['accept', {'name': 'me'}]]"
        assert said(await client.call_tool("sample", {})) == "sampled"
        await client.call_tool("log", {})
        await client.call_tool("progress", {"count": 9}, progress_callback=notes.on_progress)
        await until(lambda: len(notes.logged) == 3 and len(notes.progress) == 9)


async def test_without_sessions_each_principal_has_its_own(upstreams):
    hardening = two_principals()
    async with served(upstreams.full(), hardening) as url:

        @asynccontextmanager
        async def client_of(word):
            headers = {"authorization": f"Bearer {word}"}
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                mcp.Client(streamable_http_client(url, http_client=http)) as client,
            ):
                yield client

        async with client_of("one") as one, client_of("one") as same, client_of("two") as two:
            assert one.protocol_version == "2026-07-28"
            pids = [said(await each.call_tool("pid", {})) for each in (one, same, two)]
            assert pids[0] == pids[1] != pids[2]
            assert len(upstreams.running()) == 2


async def test_one_that_nobody_uses_gives_way_and_is_closed_in_time(upstreams):
    hardening = two_principals()
    async with served(
        upstreams.server("both"), hardening, max_upstreams=1, upstream_idle_s=0.5
    ) as url:
        for word in ("one", "two"):
            headers = {"authorization": f"Bearer {word}"}
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                mcp.Client(streamable_http_client(url, http_client=http)) as client,
            ):
                await client.call_tool("echo", {})
        await until(lambda: not upstreams.running())


async def test_more_sessions_than_upstreams_are_refused_by_name(upstreams):
    async with served(upstreams.server("both"), max_upstreams=1) as url:
        async with mcp.Client(url, mode="legacy") as one:
            with pytest.raises((MCPError, ExceptionGroup)) as raised:
                async with mcp.Client(url, mode="legacy"):
                    pytest.fail("it was let in")
            error = raised.value
            while isinstance(error, ExceptionGroup):
                (error,) = error.exceptions
            assert error.data == {"code": "upstream_unavailable"}
            assert "which is the limit" in error.message
            assert (await one.call_tool("echo", {})).is_error is False
        await until(lambda: not upstreams.running())
        async with mcp.Client(url, mode="legacy") as three:
            assert (await three.call_tool("echo", {})).is_error is False


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_is_shared_tells_nobody_whose_it_is(upstreams, mode):
    notes, others = Notes(), Notes()
    async with (
        served(upstreams.full(mode="legacy"), sharing=Sharing.SHARED) as url,
        notes.client(url, mode) as client,
        others.client(url, mode) as other,
    ):
        assert client.server_capabilities.logging is None
        assert said(await client.call_tool("pid", {})) == said(await other.call_tool("pid", {}))
        seen = (await client.call_tool("seen", {})).structured_content
        assert seen["can"] == {}
        assert seen["seen"][2] == "localmcp-harden"
        with pytest.raises(MCPError, match="nobody can tell which of them is meant"):
            await client.call_tool("ask", {})
        meta = {"io.modelcontextprotocol/logLevel": "info"} if mode == "auto" else None
        await client.call_tool("log", {}, meta=meta)
        await client.call_tool("progress", {"count": 5}, progress_callback=notes.on_progress)
        await until(lambda: len(notes.progress) == 5)
        if mode == "legacy":
            await client.subscribe_resource("test://one")
            await other.call_tool("change", {})
            await until(lambda: notes.updated() == ["test://one"])
            await until(lambda: "notifications/tools/list_changed" in others.methods())
            assert others.updated() == []
        assert notes.logged == others.logged == []
        assert others.progress == []


@pytest.mark.parametrize("sharing", ["own", "shared"])
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_fifty_clients_at_once(upstreams, sharing, mode):
    # Of the newer era they are one principal, since nobody has said who they are.
    expected = 50 if (sharing, mode) == ("own", "legacy") else 1
    seen = []
    count = {"in": 0}
    all_in = anyio.Event()
    async with served(upstreams.server("both"), sharing=sharing, max_upstreams=50) as url:

        async def one(number):
            async with mcp.Client(url, mode=mode) as client:
                for _ in range(3):
                    result = await client.call_tool("echo", {"number": number})
                    seen.append(result.structured_content["arguments"]["number"])
                count["in"] += 1
                if count["in"] == 50:
                    assert len(upstreams.running()) == expected
                    all_in.set()
                await all_in.wait()

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)
    assert sorted(seen) == sorted(list(range(50)) * 3)
