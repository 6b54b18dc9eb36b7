"""The rules that any `PolicyGate` obeys, whether it is made from rules or of its own mind.

`make()` returns a gate. A gate made from rules is checked with `policy_gate`, too.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ...core.model import Call, CallKind, Decision, Principal, SecurityContext
from ...protocols.security import PolicyGate
from .kit import ContractKit, expect

__all__ = ("MakeAnyPolicyGate", "any_policy_gate")

MakeAnyPolicyGate = Callable[[], PolicyGate]

any_policy_gate: ContractKit[MakeAnyPolicyGate] = ContractKit("any PolicyGate")

_USERS = (
    Principal(),
    Principal(client="kit", subject="ann"),
    Principal(client="kit", subject="bob", roles=frozenset({"admin", "owner", "writer"})),
)
_NAMES = ("read", "write", "file:///a/b", "", "\x00", "\ud800", "a" * 10_000)
_METHODS = (
    (CallKind.TOOL, "tools/call"),
    (CallKind.RESOURCE, "resources/read"),
    (CallKind.PROMPT, "prompts/get"),
    (CallKind.ADMIN, "admin/reload"),
    (CallKind.STAGE, "stage/index"),
)


def _calls() -> Iterator[Call]:
    for user, (kind, method), name in itertools.product(_USERS, _METHODS, _NAMES):
        resource = name if kind is CallKind.RESOURCE else ""
        security = SecurityContext(user=user, action=method, resource=resource)
        yield Call(id="1", kind=kind, method=method, name=name, security=security)


@any_policy_gate.rule("AG1")
async def decides_and_never_raises(make: MakeAnyPolicyGate) -> None:
    """Every call gets a decision, however odd it is."""
    gate = make()
    for call in _calls():
        try:
            decision: Any = gate.enforce_policy(call)
        except Exception as error:  # noqa: BLE001 - a gate that raises breaks the rule
            expect(False, f"{call.method} raised {type(error).__name__}")  # noqa: FBT003
        else:
            expect(isinstance(decision, Decision), f"{call.method} got a {type(decision)}")


@any_policy_gate.rule("AG2")
async def denials_are_coded_and_readable(make: MakeAnyPolicyGate) -> None:
    """A denial has a code and a reason, and the reason names no rule."""
    gate = make()
    for call in _calls():
        decision = gate.enforce_policy(call)
        if not decision.allowed:
            expect(decision.code and decision.reason, f"{call.method}: no code or no reason")
            told = [rule for rule in decision.rules if rule in decision.reason.split()]
            expect(not told, f"the reason names the rules {told}")


@any_policy_gate.rule("AG3")
async def lists_hide_nothing_allowed(make: MakeAnyPolicyGate) -> None:
    """No name is left out of `permitted` with which the call would be allowed."""
    gate = make()
    for call in _calls():
        shown = gate.permitted(call.security, call.method, [call.name, "bystander"])
        expect(shown <= {call.name, "bystander"}, "permitted made names up")
        if gate.enforce_policy(call).allowed:
            expect(call.name in shown, f"{call.method} is allowed and was hidden")


@any_policy_gate.rule("AG4")
async def decisions_repeat(make: MakeAnyPolicyGate) -> None:
    """The same call gets the same decision again, whatever was asked in between."""
    gate = make()
    calls = list(_calls())
    first = [_facts(gate.enforce_policy(call)) for call in calls]
    again = [_facts(gate.enforce_policy(call)) for call in reversed(calls)]
    expect(first == again[::-1], "a decision changed though nothing had")


@any_policy_gate.rule("AG5")
async def the_server_stays_open(make: MakeAnyPolicyGate) -> None:
    """A known caller gets through the handshake and sees lists: `CallKind.PROTOCOL`."""
    gate = make()
    for method in ("initialize", "server/discover", "ping", "tools/list"):
        security = SecurityContext(user=_USERS[2], action=method)
        call = Call(id="1", kind=CallKind.PROTOCOL, method=method, security=security)
        expect(gate.enforce_policy(call).allowed, f"{method} is denied to everybody")


def _facts(decision: Decision) -> tuple[object, ...]:
    return (decision.effect, decision.code, decision.reason, decision.rules)
