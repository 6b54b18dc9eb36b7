"""Tries what goes beyond single methods: what holds before parsing, and around a tool.

Each probe is given a fresh server and a client in its session, and answers in a word.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio

from localmcp_harden import ToolConfig
from localmcp_harden.core.events import OutcomeKind
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.retry import RetryConfig
from localmcp_harden.security.transport.config import HttpConfig

from .probe import World
from .servers import fastmcp_server, guarded, sdk_server, wrapped_server
from .wire import LEGACY, Connection

YES, NO = "yes", "no"
_TOO_MANY_BYTES = 5 * 1024 * 1024
_TOO_DEEP = 1_000

ENTRANCES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "MCPServer": sdk_server,
        "MCPServer, guarded": guarded(sdk_server),
        "FastMCP": fastmcp_server,
        "FastMCP, guarded": guarded(fastmcp_server),
        "`wrap`": wrapped_server,
        "`wrap`, guarded": guarded(wrapped_server),
    }
)
"""The ways in over HTTP, by the column's title; guarded means by `AsgiGuard`."""


class Scene(NamedTuple):
    """What a probe has to work with."""

    world: World
    client: Connection

    async def call(self, tool: str, **arguments: Any) -> Mapping[str, Any]:
        """Call a tool, and return what came back."""
        return await self.client.request("tools/call", {"name": tool, "arguments": arguments})

    @property
    def last(self) -> Any:
        """Return the newest record of a tool call, None when there is none."""
        return next(reversed(self.world.records("tools/call")), None)


Probe = Callable[[Scene], Awaitable[str]]


def _calling(arguments: str) -> bytes:
    """Return a tool call whose arguments are this text, as it stands."""
    head = '{"jsonrpc":"2.0","id":"probe","method":"tools/call","params":{"name":"echo",'
    return f'{head}"arguments":{arguments}}}}}'.encode()


def _before_parsing(body: bytes) -> Probe:
    async def probe(scene: Scene) -> str:
        answer = await scene.client.send(body)
        record = scene.last
        if record is None:
            return YES if answer["status"] in range(400, 500) else NO
        return "after parsing" if record.outcome is OutcomeKind.REFUSED else NO

    return probe


def _by_header(**headers: str) -> Probe:
    async def probe(scene: Scene) -> str:
        message = scene.client.message("ping", {})
        answer = await scene.client.send(message, **headers)
        return YES if answer["status"] in range(400, 500) else NO

    return probe


async def _early_record(scene: Scene) -> str:
    await scene.client.send(b"{")
    return YES if len(scene.world.sink.records) == 1 else NO


async def _forwarded(scene: Scene) -> str:
    message = scene.client.message("tools/call", {"name": "echo", "arguments": {"text": "hello"}})
    await scene.client.send(message, x_forwarded_for="203.0.113.7")
    return YES if scene.last.ip_address == "203.0.113.7" else NO


async def _ending_a_session(scene: Scene) -> str:
    scene.world.begin("authenticate")
    answer = await scene.client.send(b"", method="DELETE")
    return YES if answer["status"] == HTTPStatus.UNAUTHORIZED else NO


async def _lists(scene: Scene) -> str:
    scene.world.gate.shown = frozenset({"echo"})
    answer = await scene.client.request("tools/list", {})
    scene.world.gate.shown = None
    return YES if [tool["name"] for tool in answer["result"]["tools"]] == ["echo"] else NO


async def _schema(scene: Scene) -> str:
    await scene.call("echo", text=7)
    return YES if scene.last.code == "invalid_arguments" else NO


async def _deadline(scene: Scene) -> str:
    with anyio.fail_after(10):
        await scene.call("slow")
    return YES if scene.last.code == "deadline_exceeded" else NO


async def _repeats(scene: Scene) -> str:
    await scene.call("flaky")
    return YES if scene.last.attempts > 1 else "only where the host says so"


async def _circuit(scene: Scene) -> str:
    for _ in range(3):
        await scene.call("broken")
    return YES if scene.last.code == "circuit_open" else NO


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "A body of 5 MiB is refused before it is parsed": _before_parsing(
            _calling(json.dumps({"text": "x" * _TOO_MANY_BYTES}))
        ),
        "Nesting of 1,000 levels is": _before_parsing(
            _calling('{"text":' + "[" * _TOO_DEEP + "]" * _TOO_DEEP + "}")
        ),
        "A key that stands twice is": _before_parsing(_calling('{"text":"a","text":"b"}')),
        "A number that is none (`NaN`) is": _before_parsing(_calling('{"text":"a","extra":NaN}')),
        "A foreign `Host` is refused": _by_header(host="evil.example"),
        "A foreign `Origin` is refused": _by_header(origin="https://evil.example"),
        "What is refused before MCP begins leaves a record": _early_record,
        "The client's address is known behind declared proxies": _forwarded,
        "Lists show what their reader may use": _lists,
        "Arguments are checked against the tool's schema": _schema,
        "A tool is cut off at its deadline": _deadline,
        "A tool that says it only reads is repeated when it fails": _repeats,
        "A tool that keeps failing is left in peace": _circuit,
        # The last one, for it may end the session.
        "Without credentials nobody ends a session": _ending_a_session,
    }
)
"""What is tried, by the row's title."""


async def all_found(make: Callable[[Any], Any]) -> dict[str, str]:
    """Return what every probe finds at an entrance, by the row's title."""
    world = World(
        tools={"slow": ToolConfig(deadline_s=0.1)},
        breaker=BreakerConfig(window_calls=2, minimum_calls=2, failure_rate=0.5),
        retry=RetryConfig(base_s=0.001),
        http=HttpConfig(trusted_proxies=("127.0.0.1",)),
    )
    found: dict[str, str] = {}
    async with Connection(make(world.hardening), LEGACY) as client:
        await client.shake_hands()
        for title, probe in PROBES.items():
            world.begin()
            found[title] = await probe(Scene(world, client))
    return found
