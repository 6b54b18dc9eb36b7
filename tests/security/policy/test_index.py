"""The index beside a brute-force oracle that knows nothing of it."""

import re

from hypothesis import given, settings, strategies as st

from localmcp_harden.core.model import Call, CallKind, Effect, Principal, SecurityContext
from localmcp_harden.protocols.security import Rule
from localmcp_harden.security.policy.gate import IndexedPolicyGate, PolicyConfig
from localmcp_harden.security.policy.index import _prefixes

TOOLS = ["t", "u", "t2"]
ROLES = ["r", "s", "rs"]
ACTIONS = ["tools/call", "resources/read", "x/y"]
PREFIXES = [
    "/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "note://a", "note://a/b", "note:x", "https://",
    "prompt:p", "file:///a/b/c/d",
]  # fmt: skip
RESOURCES = [
    "", "file:///", "file:///a", "file:///ab", "file:///a/b", "file:///a/bc", "file:///a/b/c/d/e",
    "note://a", "note://ab", "note://a/b?q=1", "note://a?q", "note://a#f", "note:x", "note:x/y",
    "note:xy", "https://h/a", "http://h", "prompt:p", "prompt:p/q", "prompt:pq", "*", "file:", "/a",
    "note://a/", "note:x#/y",
]  # fmt: skip


def some(values):
    return st.one_of(
        st.just(("*",)), st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple)
    )


rules_of = st.lists(
    st.builds(
        Rule,
        id=st.just("x"),
        effect=st.sampled_from(Effect),
        # `x/y` besides, or a rule for a named tool could be one that never matches.
        actions=some(ACTIONS).map(lambda actions: actions if "*" in actions else (*actions, "x/y")),
        tools=some(TOOLS),
        roles=some(ROLES),
        resources=some(PREFIXES),
    ),
    max_size=12,
).map(lambda rules: tuple(Rule(
    id=f"r{n}", effect=r.effect, actions=r.actions, tools=r.tools, roles=r.roles,
    resources=r.resources) for n, r in enumerate(rules)))  # fmt: skip

calls = st.builds(
    lambda kind, action, name, roles, resource: Call(
        id="1",
        kind=kind,
        method=action,
        name=name,
        security=SecurityContext(
            user=Principal(roles=frozenset(roles)), action=action, resource=resource
        ),
    ),
    st.sampled_from([CallKind.TOOL, CallKind.TOOL, CallKind.RESOURCE, CallKind.STAGE]),
    st.sampled_from([*ACTIONS, "other", "*"]),
    st.sampled_from([*TOOLS, "other", "*", ""]),
    st.lists(st.sampled_from([*ROLES, "other", "*"]), max_size=4),
    st.sampled_from(RESOURCES),
)


def within(resource, prefix):
    """Whether `resource` is `prefix` or below it, by cutting both into segments."""
    if prefix == "*":
        return True
    if prefix.startswith("/"):
        prefix = "file://" + prefix
    scheme, _, place = prefix.partition(":")
    wanted = [part for part in re.split("[/?#]", place) if part]
    if not resource.startswith(scheme + ":"):
        return False
    rest = resource[len(scheme) + 1 :]
    if place.startswith("//"):
        if not rest.startswith("//"):
            return False
        # Three slashes: no host; then the first segment is empty.
        if place.startswith("///") != rest.startswith("///"):
            return False
    elif rest.startswith("/") or not wanted:
        return False
    return [part for part in re.split("[/?#]", rest) if part][: len(wanted)] == wanted


def matches(rule, call):
    return (
        any(action in ("*", call.security.action) for action in rule.actions)
        and any(
            tool == "*" or (call.kind is CallKind.TOOL and tool == call.name) for tool in rule.tools
        )
        and any(role == "*" or role in call.security.user.roles for role in rule.roles)
        and any(within(call.security.resource, prefix) for prefix in rule.resources)
    )


def expected(rules, call):
    found = [rule for rule in rules if matches(rule, call)]
    denies = [rule.id for rule in found if rule.effect is Effect.DENY]
    allows = [rule.id for rule in found if rule.effect is Effect.ALLOW]
    return (not denies and bool(allows), tuple(denies or allows))


@given(rules=rules_of, asked=st.lists(calls, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_agrees_with_a_linear_search(rules, asked):
    gate = IndexedPolicyGate(PolicyConfig(rules=rules))
    for call in asked:
        decision = gate.enforce_policy(call)
        assert (decision.allowed, decision.rules) == expected(rules, call)


@given(rules=rules_of, call=calls, data=st.data())
@settings(max_examples=200, deadline=None)
def test_agrees_after_any_edits(rules, call, data):
    gate = IndexedPolicyGate(PolicyConfig(rules=rules))
    kept = {rule.id: rule for rule in rules}
    for number, rule in enumerate(data.draw(rules_of)):
        edit = data.draw(st.sampled_from(["add", "remove", "update"]))
        if edit == "add" or not kept:
            new = f"new{number}"
            kept[new] = Rule(id=new, effect=rule.effect, tools=rule.tools, roles=rule.roles)
            gate.add_rule(kept[new])
        elif edit == "remove":
            gone = data.draw(st.sampled_from(sorted(kept)))
            del kept[gone]
            gate.remove_rule(gone)
        else:
            old = data.draw(st.sampled_from(sorted(kept)))
            kept[old] = Rule(id=old, effect=rule.effect, resources=rule.resources, roles=rule.roles)
            gate.update_rule(kept[old])
    decision = gate.enforce_policy(call)
    assert (decision.allowed, decision.rules) == expected(tuple(kept.values()), call)
    assert gate.get_rules() == tuple(kept.values())


@given(rules=rules_of, call=calls)
@settings(max_examples=1500, deadline=None)
def test_permitted_never_hides_what_would_be_allowed(rules, call):
    gate = IndexedPolicyGate(PolicyConfig(rules=rules))
    action = call.security.action
    if action == "tools/call" and call.kind is not CallKind.TOOL:
        return
    if action == "resources/read" and call.kind is not CallKind.RESOURCE:
        return
    name = call.security.resource if action == "resources/read" else call.name
    if gate.enforce_policy(call).allowed:
        assert name in gate.permitted(call.security, action, [name])


def test_the_cost_of_a_deep_resource_is_bounded_by_the_rules():
    deep = "note://" + "a/" * 2000
    assert len(_prefixes(deep, 3)) == 4
    assert len(_prefixes(deep + "?q", 3)) == 4
    assert _prefixes("file:///a/b/c", 3) == ["file://", "file:///a"]
    assert _prefixes("file:///a", 9) == ["file://", "file:///a"]
