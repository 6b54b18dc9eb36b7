"""The rules of a `PolicyGate` that is made from rules.

`make(rules)` returns a gate with these rules and no others. A gate of its own mind is
checked with `any_policy_gate`; one that can be edited also with `editable_policy_gate`.
"""

import itertools
from typing import Protocol

from ...core.model import Call, CallKind
from ...protocols.security import PolicyGate, Rule
from .kit import ContractKit, expect
from .rules import CALL, allowing, call_to, context, denying, facts_of

__all__ = ("MakePolicyGate", "policy_gate")


class MakePolicyGate(Protocol):
    """Makes the gate that is to be checked."""

    def __call__(self, rules: tuple[Rule, ...], /) -> PolicyGate:
        """Return a gate with these rules."""
        ...


policy_gate: ContractKit[MakePolicyGate] = ContractKit("PolicyGate")


@policy_gate.rule("PG1")
async def denies_by_default(make: MakePolicyGate) -> None:
    """What no rule speaks of is denied, with a code and a reason and no rule."""
    for rules in ((), (allowing(tools=("other",)),)):
        decision = make(rules).enforce_policy(call_to())
        expect(not decision.allowed, "a call went through that no rule allows")
        expect(decision.code == "policy_denied", f"code is {decision.code!r}")
        expect(decision.reason, "the reason is empty")
        expect(decision.rules == (), f"rules are {decision.rules}")


@policy_gate.rule("PG2")
async def allows_what_a_rule_allows(make: MakePolicyGate) -> None:
    """A matching allow rule lets the call through and is named."""
    decision = make((allowing("a", tools=("read",)),)).enforce_policy(call_to())
    expect(decision.allowed, "the call was denied")
    expect(decision.rules == ("a",), f"rules are {decision.rules}")


@policy_gate.rule("PG3")
async def deny_wins(make: MakePolicyGate) -> None:
    """A matching deny rule wins over any number of allow rules, in any order and however broad."""
    exact = {"tools": ("read",), "actions": (CALL,), "roles": ("r",), "resources": ("/a/b",)}
    for broad in ("tools", "actions", "roles", "resources"):
        parts = {name: value for name, value in exact.items() if name == broad}
        rules = (allowing("a1", **exact), denying("d", **parts), allowing("a2"))
        for order in itertools.permutations(rules):
            decision = make(order).enforce_policy(call_to(resource="file:///a/b", roles=("r",)))
            expect(not decision.allowed, f"an allow rule won over a deny rule by {broad}")
            expect(decision.rules == ("d",), f"rules are {decision.rules}")


@policy_gate.rule("PG4")
async def names_all_deciding_rules(make: MakePolicyGate) -> None:
    """A decision names every rule that made it, once, and none of those that lost."""
    allows = (
        allowing("a1"),
        allowing("a2", tools=("read",), roles=("r", "s")),
        allowing("a3", resources=("/a", "/a/b")),
        allowing("no", roles=("t",)),
    )
    denies = (denying("d1", resources=("/a",)), denying("d2", roles=("r", "s")))
    call = call_to(resource="file:///a/b/c", roles=("r", "s"))
    for rules, wanted in (
        (allows, ["a1", "a2", "a3"]),
        (allows + denies, ["d1", "d2"]),
    ):
        decision = make(rules).enforce_policy(call)
        expect(sorted(decision.rules) == wanted, f"rules are {decision.rules}, not {wanted}")


@policy_gate.rule("PG5")
async def prefixes_are_whole_segments(make: MakePolicyGate) -> None:
    """A resource matches its own prefix and what lies below it, and no name that begins alike."""
    gate = make((allowing(resources=("file:///srv/notes", "note://box/one")),))
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
        seen = gate.enforce_policy(call_to(resource=resource)).allowed
        expect(seen is wanted, f"{resource!r} was {'allowed' if seen else 'denied'}")


@policy_gate.rule("PG6")
async def paths_are_short_for_file_uris(make: MakePolicyGate) -> None:
    """`/a`, `/a/`, `file:///a` and `file:///a/` in a rule mean the same; `/` means all files."""
    inside, outside = call_to(resource="file:///a/b"), call_to(resource="note://a/b")
    for resource in ("/a", "/a/", "file:///a", "file:///a/", "/", "file:///"):
        gate = make((allowing(resources=(resource,)),))
        expect(gate.enforce_policy(inside).allowed, f"{resource!r} did not match")
        expect(not gate.enforce_policy(outside).allowed, f"{resource!r} matched another scheme")


@policy_gate.rule("PG7")
async def roles_are_needed(make: MakePolicyGate) -> None:
    """`*` matches any caller, also one without roles; a named role only who has it."""
    for rule, roles, wanted in (
        (allowing(), (), True),
        (allowing(), ("r",), True),
        (allowing(roles=("r",)), (), False),
        (allowing(roles=("r",)), ("rr", "*"), False),
        (allowing(roles=("r", "s")), ("x", "s"), True),
    ):
        seen = make((rule,)).enforce_policy(call_to(roles=roles)).allowed
        expect(seen is wanted, f"a caller with {roles} met a rule for {rule.roles}: {seen}")


@policy_gate.rule("PG8")
async def named_tools_match_tool_calls_only(make: MakePolicyGate) -> None:
    """A rule for a tool says nothing of a prompt, a resource or a stage of the same name."""
    gate = make((allowing("a", tools=("read",)), denying("d", tools=("write",))))
    expect(gate.enforce_policy(call_to()).allowed, "the tool's own call was denied")
    for kind in set(CallKind) - {CallKind.TOOL}:
        decision = gate.enforce_policy(call_to(kind=kind, action="any/thing"))
        expect(not decision.allowed, f"a {kind} of the tool's name was allowed")
        decision = gate.enforce_policy(call_to("write", kind=kind, action="any/thing"))
        expect(decision.rules == (), f"a {kind} of the tool's name met {decision.rules}")


@policy_gate.rule("PG9")
async def actions_are_whole_names(make: MakePolicyGate) -> None:
    """A named action matches itself only; `*` matches every action."""
    named, every = make((allowing(actions=(CALL,)),)), make((allowing(),))
    expect(named.enforce_policy(call_to()).allowed, "the named action was denied")
    for action in ("tools/calls", "tools", "resources/read", "*"):
        call = call_to(action=action)
        expect(not named.enforce_policy(call).allowed, f"{action!r} was allowed")
        expect(every.enforce_policy(call).allowed, f"{action!r} was denied by a rule for all")


@policy_gate.rule("PG10")
async def odd_calls_are_decided(make: MakePolicyGate) -> None:
    """Whatever a call holds is decided and never raised about; odd things match no named part."""
    gate = make((allowing(tools=("read",), roles=("r",), resources=("/a",), actions=(CALL,)),))
    odd = ("", "*", "\x00", "\ud800", "%", "..", "/", "file://", "a" * 100_000, "/" * 5_000, "🜁")
    for text in odd:
        for call in (
            call_to(text, "file:///a", roles=("r",)),
            call_to(resource=text, roles=("r",)),
            call_to(resource=f"file:///{text}", roles=("r",)),
            call_to(roles=(text,)),
            call_to(action=text, resource="file:///a", roles=("r",)),
        ):
            decision = gate.enforce_policy(call)
            expect(not decision.allowed, f"an odd call with {text[:20]!r} was allowed")
        gate.permitted(context(text, text, (text,)), text, odd)
        gate.permitted(context("resources/read"), "resources/read", odd)


@policy_gate.rule("PG11")
async def refusals_teach_nothing(make: MakePolicyGate) -> None:
    """A denial tells the rule's own reason, or one that names neither rule nor resource nor role.

    Without a reason of its own, a deny rule sounds like no rule at all, or a caller could
    tell where the rules are.
    """
    told = make((allowing(), denying("secret-id", reason="ask the owner")))
    expect(told.enforce_policy(call_to()).reason == "ask the owner", "the rule's reason is lost")
    silent = make((allowing(), denying("secret-id", roles=("hidden",), resources=("/vault",))))
    decision = silent.enforce_policy(call_to(resource="file:///vault/x", roles=("hidden",)))
    nothing = make(()).enforce_policy(call_to())
    expect(decision.rules == ("secret-id",), "the call was not denied by the rule")
    expect(decision.reason == nothing.reason, "a silent rule can be told from none")
    for word in ("secret-id", "hidden", "vault", "read"):
        expect(word not in decision.reason, f"the reason gives away {word!r}")


@policy_gate.rule("PG12")
async def permitted_hides_nothing_allowed(make: MakePolicyGate) -> None:
    """No name is left out of `permitted` with which some call would be allowed."""
    rules = (
        allowing("a1", tools=("read",), roles=("r",)),
        allowing("a2", tools=("write",), resources=("/a",), actions=(CALL,)),
        allowing("a3", actions=("resources/read",), resources=("/a", "note://box")),
        allowing("a4", actions=("prompts/get",), resources=("prompt:greet",)),
        allowing("a5", roles=("root",)),
        denying("d1", tools=("write",), resources=("/a/b",)),
        denying("d2", roles=("guest",), tools=("read",)),
        denying("d3", resources=("/a/secret",)),
    )
    gate = make(rules)
    resources = ("", "file:///a", "file:///a/b/c", "file:///a/secret", "note://box/1", "note://x")
    role_sets: tuple[tuple[str, ...], ...] = ((), ("r",), ("root",), ("r", "guest"), ("root", "r"))
    for roles in role_sets:
        for name, resource in itertools.product(("read", "write", "other"), resources):
            _compare(gate, call_to(name, resource, roles=roles), name)
        for uri in resources[1:]:
            call = call_to(uri, uri, roles=roles, action="resources/read", kind=CallKind.RESOURCE)
            _compare(gate, call, uri)
        for name in ("greet", "greeting"):
            call = call_to(
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
            allowing("a", tools=("read", "write", "list")),
            denying("d1", tools=("write",)),
            denying("d2", tools=("list",), resources=("/a",)),
            denying("d3", roles=("guest",)),
        )
    )
    names = ["read", "write", "list", "other"]
    seen = gate.permitted(context(CALL), CALL, names)
    expect(seen == frozenset({"read", "list"}), f"saw {sorted(seen)}")
    seen = gate.permitted(context(CALL, roles=("guest",)), CALL, names)
    expect(not seen, f"a guest saw {sorted(seen)}")
    # A rule for all tools does not bring back the one that is denied by its name.
    broad = make((allowing(), denying(tools=("write",))))
    seen = broad.permitted(context(CALL), CALL, names)
    expect(seen == frozenset({"read", "list", "other"}), f"saw {sorted(seen)}")


@policy_gate.rule("PG14")
async def permitted_judges_resources_and_prompts(make: MakePolicyGate) -> None:
    """Resource URIs are judged by their prefixes, prompts as `prompt:NAME`."""
    gate = make(
        (
            allowing("a1", actions=("resources/read",), resources=("note://box",)),
            denying("d", resources=("note://box/private",)),
            allowing("a2", actions=("prompts/get",), resources=("prompt:greet",)),
        )
    )
    action = "resources/read"
    uris = ["note://box/1", "note://box/private/1", "note://boxes"]
    seen = gate.permitted(context(action), action, uris)
    expect(seen == frozenset({"note://box/1"}), f"saw {sorted(seen)}")
    seen = gate.permitted(context("prompts/get"), "prompts/get", ["greet", "greeting"])
    expect(seen == frozenset({"greet"}), f"saw {sorted(seen)}")


@policy_gate.rule("PG15")
async def decisions_repeat(make: MakePolicyGate) -> None:
    """The same call gets the same decision again, whatever was asked in between."""
    gate = make((allowing("a", resources=("/a",)), denying("d", resources=("/a/b",))))
    calls = [call_to(resource=resource) for resource in ("file:///a", "file:///a/b", "file:///c")]
    first = [facts_of(gate.enforce_policy(call)) for call in calls]
    again = [facts_of(gate.enforce_policy(call)) for call in reversed(calls)]
    expect(first == again[::-1], "a decision changed though nothing had")
