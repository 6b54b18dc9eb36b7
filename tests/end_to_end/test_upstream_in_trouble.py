"""A hardened server whose tool asks a web service that is in trouble, and a real client.

The service listens on loopback and hangs, resets, turns away and slows down on command;
everything between it and the client is real: sockets, HTTP, the SDK, the chain.
"""

import functools
import time
from contextlib import asynccontextmanager, suppress

import anyio
import httpx2
import mcp
import pytest
from mcp.server import MCPServer

from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.compose.resilient import resilient
from localmcp_harden.core.events import BreakerStateChanged, RetryEnded
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.mcp_sdk import harden
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.tokens import TokenEntry, generate_token, hash_token
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeAuditLog, FakeLoggingService, RecordingSink

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsunny"
TOKEN = generate_token()


@pytest.fixture
def anyio_backend():
    return "asyncio"  # uvicorn serves the hardened server


def turned_away(status, wait):
    lines = (f"HTTP/1.1 {status}", f"retry-after: {wait}", "content-length: 0", "connection: close")
    return "\r\n".join((*lines, "", "")).encode()


class Weather:
    """The service: what it does to the next requests, and how often it was asked."""

    def __init__(self):
        self.plan = []
        self.asked = 0

    async def answer(self, stream):
        self.asked += 1
        what = self.plan.pop(0) if self.plan else "ok"
        # A client that is cut off goes away whenever it likes.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            await self.do(what, stream)

    async def do(self, what, stream):
        async with stream:
            await stream.receive(65_536)
            if what == "hang":
                await anyio.sleep_forever()
            elif what == "slow":
                for part in (OK[:20], OK[20:]):
                    await anyio.sleep(0.05)
                    await stream.send(part)
            elif what == "ok":
                await stream.send(OK)
            elif what != "reset":
                await stream.send(what)


class World:
    def __init__(self, weather, address, sink, client):
        self.weather = weather
        self.address = address
        self.sink = sink
        self.client = client

    async def ask(self):
        began = time.monotonic()
        result = await self.client.call_tool("weather", {})
        text = result.content[0].text
        return result.is_error, text, time.monotonic() - began

    def ends(self):
        return [(each.outcome, each.attempts) for each in self.sink.of(RetryEnded)]


@pytest.fixture
async def world():
    weather, sink = Weather(), RecordingSink()
    async with weather_service(weather) as address:
        server = MCPServer("forecast", log_level="CRITICAL")
        ask = resilient(
            name="weather",
            deadline=DeadlineConfig(timeout_s=3.0),
            retry=RetryConfig(
                base_s=0.01,
                attempt_timeout_s=0.3,
                retry_on=(httpx2.TransportError, httpx2.HTTPStatusError, TimeoutError),
            ),
            breaker=BreakerConfig(window_calls=6, minimum_calls=6, failure_rate=0.5, open_s=0.5),
            sink=sink,
        )

        @ask
        async def fetch():
            async with httpx2.AsyncClient(trust_env=False) as web:
                answer = await web.get(address)
                answer.raise_for_status()
                return answer.text

        @server.tool(name="weather")
        async def tool() -> str:
            return await fetch()

        hardening = Hardening(
            HardenConfig(
                policy=PolicyConfig(rules=(Rule(id="all", effect=Effect.ALLOW),)),
                authentication=AuthenticationConfig(
                    tokens=(TokenEntry(sha256=hash_token(TOKEN), client="test"),)
                ),
                # The tool's own circuit would open beside the one before its service.
                disabled=("rate_limit", "breaker"),
            ),
            audit=FakeAuditLog(),
            logs=FakeLoggingService(),
            sinks=[sink],
        )
        harden(server, hardening)
        async with serving(server) as port:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(headers=headers, trust_env=False) as web:
                transport = mcp.client.streamable_http.streamable_http_client(
                    f"http://127.0.0.1:{port}/mcp", http_client=web
                )
                async with mcp.Client(transport) as client:
                    yield World(weather, address, sink, client)


@asynccontextmanager
async def weather_service(weather):
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, weather.answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's
        yield f"http://127.0.0.1:{port}/"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(server):
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(
            functools.partial(serve_http, server, port=0, handle_signals=False)
        )
        yield port
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "plan",
    [
        ["reset"],
        ["hang"],
        ["slow"],
        [turned_away("503 Service Unavailable", 0)],
        [turned_away("429 Too Many Requests", 0), "reset"],
    ],
    ids=["reset", "hang", "slow", "503", "429-then-reset"],
)
async def test_passing_trouble_is_ridden_out(world, plan):
    world.weather.plan = list(plan)
    is_error, text, took_s = await world.ask()

    assert (is_error, text) == (False, "sunny")
    assert took_s < 3.0
    troubles = [each for each in plan if each != "slow"]
    assert world.weather.asked == len(troubles) + 1
    assert world.ends() == ([("recovered", len(troubles) + 1)] if troubles else [])


async def test_who_asks_for_a_second_is_given_it(world):
    world.weather.plan = [turned_away("503 Service Unavailable", 1)]
    is_error, text, took_s = await world.ask()

    assert (is_error, text) == (False, "sunny")
    assert took_s >= 1.0


async def test_who_asks_for_a_minute_is_not_asked_again(world):
    world.weather.plan = [turned_away("429 Too Many Requests", 60)] * 3
    is_error, _, took_s = await world.ask()

    assert is_error
    assert took_s < 3.0
    assert world.weather.asked == 1
    assert world.ends() == [("asked_wait", 1)]


async def test_lasting_trouble_opens_the_circuit_and_the_end_of_it_closes_it(world):
    world.weather.plan = ["hang"] * 6
    for _ in range(2):
        assert (await world.ask())[0]
    asked = world.weather.asked
    is_error, _, took_s = await world.ask()

    assert asked == 6
    assert is_error
    assert took_s < 0.3
    assert world.weather.asked == asked, "an open circuit leaves the service in peace"

    with anyio.fail_after(10):
        while (await world.ask())[0]:  # noqa: ASYNC110 - the circuit opens again by itself
            await anyio.sleep(0.05)
    states = [each.current for each in world.sink.of(BreakerStateChanged)]
    assert states[0] == "open"
    assert states[-1] == "closed"


async def test_every_call_leaves_one_record_whatever_the_service_does(world):
    world.weather.plan = ["reset", "hang", "ok", turned_away("503 Service Unavailable", 60)]
    before = len([each for each in world.sink.records if each.method == "tools/call"])
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(world.ask)
    after = [each for each in world.sink.records if each.method == "tools/call"]

    assert len(after) - before == 20
    assert len({each.call_id for each in after}) == len(after)
