"""Sends one method in four worlds: allowed, and refused by each of three guards.

A guard holds for a method when its refusal is what the caller gets, and when the one
record of the call says so.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import anyio
from mcp_types import methods

from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.core.events import CallRecord, OutcomeKind
from localmcp_harden.core.model import Principal, deny
from localmcp_harden.testing import (
    FakeAuditLog,
    FakeAuthenticator,
    FakeLoggingService,
    FakePolicyGate,
    FakeRateLimiter,
    RecordingSink,
)

from .wire import LEGACY, MODERN, Connection, greeting

Make = Callable[[Hardening], Any]
_RECORDED_WITHIN_S = 1.0

PARAMS: Mapping[str, Mapping[str, Any]] = {
    "initialize": greeting(),
    "tools/call": {"name": "echo", "arguments": {"text": "hello"}},
    "resources/read": {"uri": "note://all"},
    "resources/subscribe": {"uri": "note://all"},
    "resources/unsubscribe": {"uri": "note://all"},
    "prompts/get": {"name": "greet", "arguments": {}},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "greet"},
        "argument": {"name": "name", "value": "y"},
    },
    "logging/setLevel": {"level": "info"},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True}},
    "notifications/cancelled": {"requestId": 4711, "reason": "changed my mind"},
    "notifications/progress": {"progressToken": "t", "progress": 1},
}


class Method(NamedTuple):
    """A method of one era."""

    name: str
    version: str

    @property
    def is_request(self) -> bool:
        """Return whether it is answered."""
        return not self.name.startswith("notifications/")


def all_methods() -> list[Method]:
    """Return every method that clients send in the newest version of either era."""
    known = {*methods.CLIENT_REQUESTS, *methods.CLIENT_NOTIFICATIONS}
    return sorted(Method(*each) for each in known if each[1] in (LEGACY, MODERN))


_INITIALIZE = Method("initialize", LEGACY)


class World:
    """A hardening whose guards can be told to refuse."""

    def __init__(self, **config: Any) -> None:
        self.sink = RecordingSink()
        self.who = FakeAuthenticator()
        self.who.principal = Principal(issuer="test", client="matrix")
        self.limits = FakeRateLimiter()
        self.gate = FakePolicyGate((Rule(id="all", effect=Effect.ALLOW),))
        self.hardening = Hardening(
            HardenConfig(**config),
            authenticator=self.who,
            rate_limiter=self.limits,
            policy=self.gate,
            audit=FakeAuditLog(),
            logs=FakeLoggingService(),
            sinks=[self.sink],
        )

    def begin(self, guard: str = "") -> None:
        """Forget what was seen, and let one guard refuse everything, or none."""
        self.sink.events.clear()
        for seen in (self.who.seen, self.limits.calls, self.gate.calls):
            seen.clear()
        self.who.refuse_because = "scripted" if guard == "authenticate" else None
        self.limits.refuse_after_s = 1.0 if guard == "rate_limit" else None
        refusal = deny("policy_denied", "scripted")
        self.gate.answer = refusal if guard == "policy" else None

    def records(self, method: str) -> list[CallRecord]:
        """Return the records of a method."""
        return [each for each in self.sink.records if each.method == method]


_CODES = {
    "authenticate": "unauthenticated",
    "rate_limit": "rate_limited",
    "policy": "policy_denied",
}


async def all_faults(make: Make, version: str) -> dict[Method, list[str]]:
    """Return for each method of an era what does not hold in an integration."""
    found: dict[Method, list[str]] = {}
    world = World()
    async with Connection(make(world.hardening), version) as connection:
        await connection.shake_hands()
        for method in all_methods():
            if method.version == version and method.name != "initialize":
                found[method] = [
                    fault
                    for guard in ("", *_CODES)
                    for fault in await _faults(world, connection, method, guard)
                ]
    if version == LEGACY:
        found[_INITIALIZE] = await _first_faults(make)
    return found


async def _first_faults(make: Make) -> list[str]:
    """Return what does not hold for the message that begins a session."""
    found = []
    for guard in ("", *_CODES):
        world = World()
        async with Connection(make(world.hardening), LEGACY) as connection:
            found.extend(await _faults(world, connection, _INITIALIZE, guard))
    return found


async def _faults(world: World, connection: Connection, method: Method, guard: str) -> list[str]:
    world.begin(guard)
    params = PARAMS.get(method.name, {})
    answer: Mapping[str, Any] = {}
    if method.is_request:
        answer = await connection.request(method.name, params)
    else:
        await connection.notify(method.name, params)
    with anyio.move_on_after(_RECORDED_WITHIN_S):
        while not world.records(method.name):  # noqa: ASYNC110 - a sink has no event
            await anyio.sleep(0.005)
    records = world.records(method.name)
    if len(records) != 1:
        return [f"recorded {len(records)} times"]
    if not guard:
        seen = {call.method for call in (*world.gate.calls, *world.limits.calls)}
        return [] if method.name in seen and world.who.seen else ["not judged"]
    record = records[0]
    if record.outcome is not OutcomeKind.REFUSED or record.code != _CODES[guard]:
        return [f"not refused by {guard}"]
    if method.is_request and not _is_refusal(answer):
        return [f"answered in spite of {guard}"]
    return []


def _is_refusal(answer: Mapping[str, Any]) -> bool:
    return "error" in answer or answer.get("result", {}).get("isError") is True
