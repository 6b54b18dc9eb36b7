"""A wrapped server of either kind that dies, stays away or comes back: nobody waits in vain."""

import anyio
import mcp
import pytest
from mcp.shared.exceptions import MCPError

from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.integrations.proxy import UPSTREAM_ERROR_CODE, HttpUpstreamConfig, wrap
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeLoggingService

from .conftest import hostile_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def hardening():
    rules = (Rule(id="all", effect=Effect.ALLOW),)
    return Hardening(
        HardenConfig(
            policy=PolicyConfig(rules=rules),
            disabled=("audit", "rate_limit", "retry", "breaker"),
        ),
        logs=FakeLoggingService(),
    )


async def outcomes_of(client, name, count):
    """Return how many calls at once end."""
    endings = []

    async def one():
        try:
            endings.append((await client.call_tool(name, {})).content[0].text)
        except MCPError as error:
            endings.append(error.code)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return endings


async def test_a_child_that_dies_with_fifty_calls_in_flight(upstreams):
    server = wrap(upstreams.server(restart_delay_s=0.05), hardening())
    with anyio.fail_after(40):
        async with mcp.Client(server) as client, anyio.create_task_group() as tasks:
            endings = []

            async def many():
                endings.extend(await outcomes_of(client, "never", 49))

            tasks.start_soon(many)
            await anyio.wait_all_tasks_blocked()
            (ending,) = await outcomes_of(client, "exit", 1)
            while len(endings) < 49:  # noqa: ASYNC110 - whoever calls this bounds the time
                await anyio.sleep(0.01)
            assert [*endings, ending] == [UPSTREAM_ERROR_CODE] * 50
            assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_a_server_over_http_is_wrapped_in_either_era(either):
    server = wrap(either.config(), hardening())
    with anyio.fail_after(30):
        async with mcp.Client(server) as client:
            assert (await client.call_tool("echo", {})).content[0].text == "echo"
            assert (await client.list_tools()).tools[0].name == "echo"
    assert {each.headers.get("authorization") for each in either.seen} == {None}


async def test_a_server_that_drops_its_session_is_greeted_anew(legacy):
    async def drop(exchange):
        legacy.on.pop("drop")
        await exchange.reply(status="404 Not Found")

    legacy.on["drop"] = drop
    server = wrap(legacy.config(), hardening())
    with anyio.fail_after(30):
        async with mcp.Client(server, mode="legacy") as client:
            assert await outcomes_of(client, "drop", 1) == [UPSTREAM_ERROR_CODE]
            assert await outcomes_of(client, "drop", 2) == ["echo", "echo"]
    assert len(legacy.having("initialize")) == 2


async def test_a_server_over_http_that_comes_back_is_spoken_to_again(upstreams):
    """Gone it is refused at once; back on its port it answers after the wait."""
    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:
            first = anyio.CancelScope()
            ready = anyio.Event()
            made = []

            async def serve():
                with first:
                    async with hostile_server("both") as server:
                        made.append(server)
                        ready.set()
                        await anyio.sleep_forever()

            tasks.start_soon(serve)
            await ready.wait()
            settings = {"restart_delay_s": 0.05, "restart_max_delay_s": 0.1, "restart_limit": 1_000}
            server = wrap(made[0].config(**settings), hardening())
            async with mcp.Client(server) as client:
                assert await outcomes_of(client, "echo", 1) == ["echo"]
                first.cancel()
                for _ in range(5):
                    assert await outcomes_of(client, "echo", 10) == [UPSTREAM_ERROR_CODE] * 10
                async with hostile_server("both", port=made[0].port):
                    while await outcomes_of(client, "echo", 1) != ["echo"]:  # noqa: ASYNC110
                        await anyio.sleep(0.02)


async def test_a_server_over_http_that_is_not_there_is_named(upstreams):
    config = HttpUpstreamConfig(url="http://127.0.0.1:1/")
    with anyio.fail_after(30), pytest.raises((UpstreamError, ExceptionGroup)) as raised:
        async with mcp.Client(wrap(config, hardening())):
            pytest.fail("it was greeted")
    leaf = raised.value
    while isinstance(leaf, ExceptionGroup):
        leaf = leaf.exceptions[0]
    assert "no connection could be made" in str(leaf)
