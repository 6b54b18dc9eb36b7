"""The rules of a `PolicyGate`, and those of an `EditablePolicyGate` beside them.

`make(rules)` returns a gate with these rules and no others. An editable gate
obeys both kits.
"""

import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...core.errors import ConfigError
from ...core.model import Call, CallKind, Decision, Effect, Principal, SecurityContext
from ...protocols.security import EditablePolicyGate, PolicyGate, Rule
from .kit import ContractKit, expect

__all__ = (
    "MakeEditablePolicyGate",
    "MakePolicyGate",
    "editable_policy_gate",
    "policy_gate",
)


class MakePolicyGate(Protocol):
    """Makes the gate that is to be checked."""

    def __call__(self, rules: tuple[Rule, ...], /) -> PolicyGate:
        """Return a gate with these rules."""
        ...


class MakeEditablePolicyGate(Protocol):
    """Makes the editable gate that is to be checked."""

    def __call__(self, rules: tuple[Rule, ...], /) -> EditablePolicyGate:
        """Return a gate with these rules."""
        ...


policy_gate: ContractKit[MakePolicyGate] = ContractKit("PolicyGate")
editable_policy_gate: ContractKit[MakeEditablePolicyGate] = ContractKit("EditablePolicyGate")

_CALL = "tools/call"


def _allow(rule_id: str = "allow", **parts: Any) -> Rule:
    return Rule(id=rule_id, effect=Effect.ALLOW, **parts)


def _deny(rule_id: str = "deny", **parts: Any) -> Rule:
    return Rule(id=rule_id, effect=Effect.DENY, **parts)


def _security(action: str, resource: str = "", roles: tuple[str, ...] = ()) -> SecurityContext:
    user = Principal(client="kit", subject="ann", roles=frozenset(roles))
    return SecurityContext(user=user, action=action, resource=resource)


def _call(
    name: str = "read",
    resource: str = "",
    *,
    roles: tuple[str, ...] = (),
    action: str = _CALL,
    kind: CallKind = CallKind.TOOL,
) -> Call:
    security = _security(action, resource, roles)
    return Call(id="1", kind=kind, method=action, name=name, security=security)


@policy_gate.rule("PG1")
async def denies_by_default(make: MakePolicyGate) -> None:
    """What no rule speaks of is denied, with a code and a reason and no rule."""
    for rules in ((), (_allow(tools=("other",)),)):
        decision = make(rules).enforce_policy(_call())
        expect(not decision.allowed, "a call went through that no rule allows")
        expect(decision.code == "policy_denied", f"code is {decision.code!r}")
        expect(decision.reason, "the reason is empty")
        expect(decision.rules == (), f"rules are {decision.rules}")


@policy_gate.rule("PG2")
async def allows_what_a_rule_allows(make: MakePolicyGate) -> None:
    """A matching allow rule lets the call through and is named."""
    decision = make((_allow("a", tools=("read",)),)).enforce_policy(_call())
    expect(decision.allowed, "the call was denied")
    expect(decision.rules == ("a",), f"rules are {decision.rules}")


@policy_gate.rule("PG3")
async def deny_wins(make: MakePolicyGate) -> None:
    """A matching deny rule wins over any number of allow rules, in any order and however broad."""
    exact = {"tools": ("read",), "actions": (_CALL,), "roles": ("r",), "resources": ("/a/b",)}
    for broad in ("tools", "actions", "roles", "resources"):
        parts = {name: value for name, value in exact.items() if name == broad}
        rules = (_allow("a1", **exact), _deny("d", **parts), _allow("a2"))
        for order in itertools.permutations(rules):
            decision = make(order).enforce_policy(_call(resource="file:///a/b", roles=("r",)))
            expect(not decision.allowed, f"an allow rule won over a deny rule by {broad}")
            expect(decision.rules == ("d",), f"rules are {decision.rules}")


@policy_gate.rule("PG4")
async def names_all_deciding_rules(make: MakePolicyGate) -> None:
    """A decision names every rule that made it, once, and none of those that lost."""
    allows = (
        _allow("a1"),
        _allow("a2", tools=("read",), roles=("r", "s")),
        _allow("a3", resources=("/a", "/a/b")),
        _allow("no", roles=("t",)),
    )
    denies = (_deny("d1", resources=("/a",)), _deny("d2", roles=("r", "s")))
    call = _call(resource="file:///a/b/c", roles=("r", "s"))
    for rules, wanted in (
        (allows, ["a1", "a2", "a3"]),
        (allows + denies, ["d1", "d2"]),
    ):
        decision = make(rules).enforce_policy(call)
        expect(sorted(decision.rules) == wanted, f"rules are {decision.rules}, not {wanted}")


@policy_gate.rule("PG5")
async def prefixes_are_whole_segments(make: MakePolicyGate) -> None:
    """A resource matches its own prefix and what lies below it, and no name that begins alike."""
    gate = make((_allow(resources=("file:///srv/notes", "note://box/one")),))
    for resource, wanted in {
        "file:///srv/notes": True,
        "file:///srv/notes/a/b": True,
        "file:///srv/notes2": False,
        "file:///srv/note": False,
        "file:///srv": False,
        "note://box/one": True,
        "note://box/one/a": True,
        "note://box/one?all=1": True,
        "note://box/oneself": False,
        "note://box": False,
        "": False,
    }.items():
        seen = gate.enforce_policy(_call(resource=resource)).allowed
        expect(seen is wanted, f"{resource!r} was {'allowed' if seen else 'denied'}")


@policy_gate.rule("PG6")
async def paths_are_short_for_file_uris(make: MakePolicyGate) -> None:
    """`/a`, `/a/`, `file:///a` and `file:///a/` in a rule mean the same; `/` means all files."""
    inside, outside = _call(resource="file:///a/b"), _call(resource="note://a/b")
    for resource in ("/a", "/a/", "file:///a", "file:///a/", "/", "file:///"):
        gate = make((_allow(resources=(resource,)),))
        expect(gate.enforce_policy(inside).allowed, f"{resource!r} did not match")
        expect(not gate.enforce_policy(outside).allowed, f"{resource!r} matched another scheme")


@policy_gate.rule("PG7")
async def roles_are_needed(make: MakePolicyGate) -> None:
    """`*` matches any caller, also one without roles; a named role only who has it."""
    for rule, roles, wanted in (
        (_allow(), (), True),
        (_allow(), ("r",), True),
        (_allow(roles=("r",)), (), False),
        (_allow(roles=("r",)), ("rr", "*"), False),
        (_allow(roles=("r", "s")), ("x", "s"), True),
    ):
        seen = make((rule,)).enforce_policy(_call(roles=roles)).allowed
        expect(seen is wanted, f"a caller with {roles} met a rule for {rule.roles}: {seen}")


@policy_gate.rule("PG8")
async def named_tools_match_tool_calls_only(make: MakePolicyGate) -> None:
    """A rule for a tool says nothing of a prompt, a resource or a stage of the same name."""
    gate = make((_allow("a", tools=("read",)), _deny("d", tools=("write",))))
    expect(gate.enforce_policy(_call()).allowed, "the tool's own call was denied")
    for kind in set(CallKind) - {CallKind.TOOL}:
        decision = gate.enforce_policy(_call(kind=kind, action="any/thing"))
        expect(not decision.allowed, f"a {kind} of the tool's name was allowed")
        decision = gate.enforce_policy(_call("write", kind=kind, action="any/thing"))
        expect(decision.rules == (), f"a {kind} of the tool's name met {decision.rules}")


@policy_gate.rule("PG9")
async def actions_are_whole_names(make: MakePolicyGate) -> None:
    """A named action matches itself only; `*` matches every action."""
    named, every = make((_allow(actions=(_CALL,)),)), make((_allow(),))
    expect(named.enforce_policy(_call()).allowed, "the named action was denied")
    for action in ("tools/calls", "tools", "resources/read", "*"):
        call = _call(action=action)
        expect(not named.enforce_policy(call).allowed, f"{action!r} was allowed")
        expect(every.enforce_policy(call).allowed, f"{action!r} was denied by a rule for all")


@policy_gate.rule("PG10")
async def odd_calls_are_decided(make: MakePolicyGate) -> None:
    """Whatever a call holds is decided and never raised about; odd things match no named part."""
    gate = make((_allow(tools=("read",), roles=("r",), resources=("/a",), actions=(_CALL,)),))
    odd = ("", "*", "\x00", "\ud800", "%", "..", "/", "file://", "a" * 100_000, "/" * 5_000, "🜁")
    for text in odd:
        for call in (
            _call(text, "file:///a", roles=("r",)),
            _call(resource=text, roles=("r",)),
            _call(resource=f"file:///{text}", roles=("r",)),
            _call(roles=(text,)),
            _call(action=text, resource="file:///a", roles=("r",)),
        ):
            decision = gate.enforce_policy(call)
            expect(not decision.allowed, f"an odd call with {text[:20]!r} was allowed")
        gate.permitted(_security(text, text, (text,)), text, odd)
        gate.permitted(_security("resources/read"), "resources/read", odd)


@policy_gate.rule("PG11")
async def refusals_teach_nothing(make: MakePolicyGate) -> None:
    """A denial tells the rule's own reason, or one that names neither rule nor resource nor role.

    Without a reason of its own, a deny rule sounds like no rule at all, or a caller could
    tell where the rules are.
    """
    told = make((_allow(), _deny("secret-id", reason="ask the owner")))
    expect(told.enforce_policy(_call()).reason == "ask the owner", "the rule's reason is lost")
    silent = make((_allow(), _deny("secret-id", roles=("hidden",), resources=("/vault",))))
    decision = silent.enforce_policy(_call(resource="file:///vault/x", roles=("hidden",)))
    nothing = make(()).enforce_policy(_call())
    expect(decision.rules == ("secret-id",), "the call was not denied by the rule")
    expect(decision.reason == nothing.reason, "a silent rule can be told from none")
    for word in ("secret-id", "hidden", "vault", "read"):
        expect(word not in decision.reason, f"the reason gives away {word!r}")


@policy_gate.rule("PG12")
async def permitted_hides_nothing_allowed(make: MakePolicyGate) -> None:
    """No name is left out of `permitted` with which some call would be allowed."""
    rules = (
        _allow("a1", tools=("read",), roles=("r",)),
        _allow("a2", tools=("write",), resources=("/a",), actions=(_CALL,)),
        _allow("a3", actions=("resources/read",), resources=("/a", "note://box")),
        _allow("a4", actions=("prompts/get",), resources=("prompt:greet",)),
        _allow("a5", roles=("root",)),
        _deny("d1", tools=("write",), resources=("/a/b",)),
        _deny("d2", roles=("guest",), tools=("read",)),
        _deny("d3", resources=("/a/secret",)),
    )
    gate = make(rules)
    resources = ("", "file:///a", "file:///a/b/c", "file:///a/secret", "note://box/1", "note://x")
    role_sets: tuple[tuple[str, ...], ...] = ((), ("r",), ("root",), ("r", "guest"), ("root", "r"))
    for roles in role_sets:
        for name, resource in itertools.product(("read", "write", "other"), resources):
            _compare(gate, _call(name, resource, roles=roles), name)
        for uri in resources[1:]:
            call = _call(uri, uri, roles=roles, action="resources/read", kind=CallKind.RESOURCE)
            _compare(gate, call, uri)
        for name in ("greet", "greeting"):
            call = _call(
                name, f"prompt:{name}", roles=roles, action="prompts/get", kind=CallKind.PROMPT
            )
            _compare(gate, call, name)


def _compare(gate: PolicyGate, call: Call, name: str) -> None:
    shown = gate.permitted(call.security, call.security.action, [name, "bystander"])
    if gate.enforce_policy(call).allowed:
        expect(name in shown, f"{call.security.action} {name!r} is allowed and was hidden")


@policy_gate.rule("PG13")
async def permitted_hides_what_is_denied_as_a_whole(make: MakePolicyGate) -> None:
    """A name that no rule allows, or that a rule denies on every resource, is left out."""
    gate = make(
        (
            _allow("a", tools=("read", "write", "list")),
            _deny("d1", tools=("write",)),
            _deny("d2", tools=("list",), resources=("/a",)),
            _deny("d3", roles=("guest",)),
        )
    )
    names = ["read", "write", "list", "other"]
    seen = gate.permitted(_security(_CALL), _CALL, names)
    expect(seen == frozenset({"read", "list"}), f"saw {sorted(seen)}")
    seen = gate.permitted(_security(_CALL, roles=("guest",)), _CALL, names)
    expect(not seen, f"a guest saw {sorted(seen)}")
    # A rule for all tools does not bring back the one that is denied by its name.
    broad = make((_allow(), _deny(tools=("write",))))
    seen = broad.permitted(_security(_CALL), _CALL, names)
    expect(seen == frozenset({"read", "list", "other"}), f"saw {sorted(seen)}")


@policy_gate.rule("PG14")
async def permitted_judges_resources_and_prompts(make: MakePolicyGate) -> None:
    """Resource URIs are judged by their prefixes, prompts as `prompt:NAME`."""
    gate = make(
        (
            _allow("a1", actions=("resources/read",), resources=("note://box",)),
            _deny("d", resources=("note://box/private",)),
            _allow("a2", actions=("prompts/get",), resources=("prompt:greet",)),
        )
    )
    action = "resources/read"
    uris = ["note://box/1", "note://box/private/1", "note://boxes"]
    seen = gate.permitted(_security(action), action, uris)
    expect(seen == frozenset({"note://box/1"}), f"saw {sorted(seen)}")
    seen = gate.permitted(_security("prompts/get"), "prompts/get", ["greet", "greeting"])
    expect(seen == frozenset({"greet"}), f"saw {sorted(seen)}")


@policy_gate.rule("PG15")
async def decisions_repeat(make: MakePolicyGate) -> None:
    """The same call gets the same decision again, whatever was asked in between."""
    gate = make((_allow("a", resources=("/a",)), _deny("d", resources=("/a/b",))))
    calls = [_call(resource=resource) for resource in ("file:///a", "file:///a/b", "file:///c")]
    first = [_facts(gate.enforce_policy(call)) for call in calls]
    again = [_facts(gate.enforce_policy(call)) for call in reversed(calls)]
    expect(first == again[::-1], "a decision changed though nothing had")


def _facts(decision: Decision) -> tuple[object, ...]:
    return (decision.effect, decision.code, decision.reason, decision.rules)


@editable_policy_gate.rule("EPG1")
async def an_added_rule_is_in_force(make: MakeEditablePolicyGate) -> None:
    """A rule counts as soon as it is added, allow and deny alike."""
    gate = make(())
    gate.add_rule(_allow("a"))
    expect(gate.enforce_policy(_call()).rules == ("a",), "the added allow rule does not count")
    gate.add_rule(_deny("d", resources=("/a",)))
    decision = gate.enforce_policy(_call(resource="file:///a/b"))
    expect(decision.rules == ("d",), "the added deny rule does not count")
    expect(gate.enforce_policy(_call()).allowed, "the added deny rule counts where it should not")


@editable_policy_gate.rule("EPG2")
async def a_removed_rule_is_gone(make: MakeEditablePolicyGate) -> None:
    """A removed rule counts no more; those that share its place stay."""
    gate = make((_allow("a1"), _allow("a2"), _deny("d1"), _deny("d2", tools=("read", "write"))))
    for rule_id, wanted in (("d1", ("d2",)), ("d2", ("a1", "a2")), ("a1", ("a2",)), ("a2", ())):
        gate.remove_rule(rule_id)
        seen = gate.enforce_policy(_call()).rules
        expect(sorted(seen) == sorted(wanted), f"without {rule_id}: {seen}, not {wanted}")
    expect(not gate.enforce_policy(_call()).allowed, "a call is allowed though no rule is left")
    gate.add_rule(_allow("a1"))
    expect(gate.enforce_policy(_call()).rules == ("a1",), "a freed id can not be used again")


@editable_policy_gate.rule("EPG3")
async def an_updated_rule_is_replaced(make: MakeEditablePolicyGate) -> None:
    """After an update the new rule counts and nothing of the old one."""
    gate = make((_allow("x", tools=("read", "list")),))
    gate.update_rule(_allow("x", tools=("write",)))
    expect(not gate.enforce_policy(_call("read")).allowed, "the old rule still counts")
    expect(gate.enforce_policy(_call("write")).rules == ("x",), "the new rule does not count")
    gate.update_rule(_deny("x"))
    expect(gate.enforce_policy(_call("write")).rules == ("x",), "the new effect does not count")
    expect(not gate.enforce_policy(_call("write")).allowed, "the old effect still counts")


@editable_policy_gate.rule("EPG4")
async def ids_are_unique(make: MakeEditablePolicyGate) -> None:
    """Adding an id twice, and changing one that there is not, is refused and changes nothing."""
    gate = make((_allow("a"),))
    _refused(lambda: gate.add_rule(_deny("a")), "a second rule with the same id")
    _refused(lambda: gate.update_rule(_deny("b")), "an update of an unknown id")
    _refused(lambda: gate.remove_rule("b"), "the removal of an unknown id")
    expect(gate.enforce_policy(_call()).rules == ("a",), "a refused change changed something")


@editable_policy_gate.rule("EPG5")
async def rules_that_never_match_are_refused(make: MakeEditablePolicyGate) -> None:
    """A rule with an empty part or a dot-dot segment is refused and changes nothing."""
    gate = make((_allow("a"),))
    for part in ("actions", "tools", "roles", "resources"):
        never: dict[str, tuple[str, ...]] = {part: ()}
        _refused(partial(gate.add_rule, _deny("b", **never)), f"a rule with empty {part}")
        _refused(partial(gate.update_rule, _deny("a", **never)), f"an update to empty {part}")
    _refused(lambda: gate.add_rule(_deny("b", resources=("/a/../b",))), "a dot-dot segment")
    expect(gate.enforce_policy(_call()).rules == ("a",), "a refused change changed something")


def _refused(change: Callable[[], None], what: str) -> None:
    try:
        change()
    except ConfigError:
        return
    raise AssertionError(f"{what} was taken")


@editable_policy_gate.rule("EPG6")
async def a_change_is_atomic(make: MakeEditablePolicyGate) -> None:
    """While a rule is replaced in another thread, every call meets the old one or the new one."""
    gate = make((_allow("x"),))
    call = _call()
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def replace() -> None:
        for number in range(300):
            roles = ("*",) if number % 2 else ("*", "r")
            gate.update_rule(_allow("x", roles=roles, tools=("read", f"t{number}")))
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set() and thread.is_alive():
        seen.add(gate.enforce_policy(call).rules)
    thread.join()
    seen.add(gate.enforce_policy(call).rules)
    expect(seen == {("x",)}, f"a call met {sorted(seen)} in mid-change")
