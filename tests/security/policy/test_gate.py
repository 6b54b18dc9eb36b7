"""IndexedPolicyGate: the contracts, and what is its own."""

import pytest

from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.model import (
    ALLOW,
    Annotations,
    Call,
    CallKind,
    Decision,
    Effect,
    Principal,
    SecurityContext,
    deny,
)
from localmcp_harden.mechanisms.paths import canonical_path
from localmcp_harden.protocols.security import Rule
from localmcp_harden.security.policy import gate as gate_module
from localmcp_harden.security.policy.gate import (
    DEFAULT_OPEN_ACTIONS,
    IndexedPolicyGate,
    PolicyConfig,
)
from localmcp_harden.testing.contracts.editable_policy_gate import editable_policy_gate
from localmcp_harden.testing.contracts.policy_gate import policy_gate
from localmcp_harden.testing.doubles.policy_gate import FakePolicyGate

pytestmark = pytest.mark.anyio


def make_gate(rules=(), **options):
    return IndexedPolicyGate(PolicyConfig(rules=tuple(rules)), **options)


@pytest.mark.parametrize("rule", policy_gate.rules + editable_policy_gate.rules, ids=str)
@pytest.mark.parametrize("make", [make_gate, FakePolicyGate], ids=["indexed", "fake"])
async def test_contract(make, rule):
    await rule.check(make)


def allow(rule_id="a", **parts):
    return Rule(id=rule_id, effect=Effect.ALLOW, **parts)


def denying(rule_id="d", **parts):
    return Rule(id=rule_id, effect=Effect.DENY, **parts)


def call(action="tools/call", name="t", resource="", *, kind=CallKind.TOOL, roles=(), method=None):
    security = SecurityContext(
        user=Principal(client="c", roles=frozenset(roles)), action=action, resource=resource
    )
    return Call(id="1", kind=kind, method=method or action, name=name, security=security)


def protocol(action):
    return call(action, "", kind=CallKind.PROTOCOL)


@pytest.mark.parametrize(
    "action",
    [action for action in DEFAULT_OPEN_ACTIONS if not action.endswith("*")]
    + ["notifications/initialized", "notifications/cancelled"],
)
def test_the_conversation_needs_no_rule(action):
    assert make_gate().enforce_policy(protocol(action)) is ALLOW
    refusal = make_gate([denying(actions=(action,))]).enforce_policy(protocol(action))
    assert refusal.rules == ("d",)


@pytest.mark.parametrize(
    "action",
    ["tools/call", "resources/read", "prompts/get", "notifications", "initialized", "tools/lists"],
)
def test_what_acts_needs_a_rule(action):
    assert not make_gate().enforce_policy(protocol(action)).allowed


def test_open_actions_can_be_closed():
    gate = IndexedPolicyGate(PolicyConfig(open_actions=()))
    assert not gate.enforce_policy(protocol("initialize")).allowed


@pytest.mark.parametrize(
    "action",
    [
        "*",
        "/*",
        "",
        "tools/call",
        "tools/*",
        "resources/*",
        "resources/read",
        "prompts/get",
        "prompts/*",
        "admin/*",
        "admin/reload",
        "stage/*",
        "to*",
    ],
)
def test_default_deny_can_not_be_opened(action):
    with pytest.raises(ValueError, match="open_actions"):
        PolicyConfig(open_actions=(action,))


def test_an_action_that_is_not_said_is_the_method():
    gate = make_gate([allow(), denying(actions=("tools/call",))])
    assert gate.enforce_policy(call(action="", method="tools/call")).rules == ("d",)


def test_a_prompt_without_a_resource_is_judged_by_its_name():
    gate = make_gate([allow(), denying(resources=("prompt:private",))])
    prompt = call("prompts/get", "private", kind=CallKind.PROMPT)
    assert gate.enforce_policy(prompt).rules == ("d",)


@pytest.mark.parametrize(
    "resource",
    ["file:///a/../b", "file:///a/..", "note:..", "note://x/..?q", "file:///" + "a" * 4096],
)
def test_a_resource_that_is_not_canonical_is_denied(resource):
    assert not make_gate([allow()]).enforce_policy(call(resource=resource)).allowed


@pytest.mark.parametrize("resource", ["file:///a/..b/c", "file:///a/b..", "file:///...", "x:a..b"])
def test_two_dots_in_a_name_are_a_name(resource):
    assert make_gate([allow()]).enforce_policy(call(resource=resource)).allowed


def test_the_first_reason_in_the_policys_order_is_told():
    rules = [denying("z"), denying("y", reason="first"), denying("a", reason="second")]
    decision = make_gate(rules).enforce_policy(call())
    assert decision.reason == "first"
    assert decision.rules == ("z", "y", "a")


def test_an_updated_rule_keeps_its_place():
    gate = make_gate([denying("b", reason="one"), denying("a", reason="two")])
    gate.update_rule(denying("b", reason="three"))
    assert [rule.id for rule in gate.get_rules()] == ["b", "a"]
    assert gate.enforce_policy(call()).reason == "three"


def test_rules_are_given_back_as_written_and_changes_are_numbered():
    first, second = allow(resources=("/srv/",)), denying()
    gate = make_gate([first])
    version = gate.get_version()
    gate.add_rule(second)
    assert gate.get_rules() == (first, second)
    assert gate.get_version() == version + 1
    with pytest.raises(ConfigError):
        gate.add_rule(second)
    assert gate.get_version() == version + 1
    gate.update_rule(second)
    gate.remove_rule(second.id)
    assert gate.get_version() == version + 3
    assert gate.get_rules() == (first,)


def test_edits_leave_what_an_index_of_the_same_rules_has():
    rules = [
        allow(f"a{n}", tools=(f"t{n % 3}",), roles=(f"r{n % 2}",), resources=(f"/p{n % 4}", "/q"))
        for n in range(20)
    ]
    edited = make_gate(rules[:10])
    for rule in rules[10:]:
        edited.add_rule(rule)
    for rule in rules[::2]:
        edited.remove_rule(rule.id)
    fresh = make_gate(rules[1::2])
    for n in range(4):
        for tool in ("t0", "t1", "t2"):
            probe = call(name=tool, resource=f"file:///p{n}/x", roles=("r0", "r1"))
            assert edited.enforce_policy(probe) == fresh.enforce_policy(probe)
    assert edited._now.index.size == fresh._now.index.size
    for rule in rules[1::2]:
        edited.remove_rule(rule.id)
    assert edited._now.index._tools == {}
    assert edited._now.index.size == 0


def test_templates_are_shown_where_a_resource_could_be_read():
    gate = make_gate([allow(actions=("resources/read",), resources=("note://box",))])
    names = ["note://{id}", "note://box/{id}", "note://other"]
    shown = gate.permitted(call().security, "resources/read", names)
    assert shown == {"note://{id}", "note://box/{id}"}
    nothing = make_gate([allow(tools=("t",))])
    assert not nothing.permitted(call().security, "resources/read", names)


def test_open_lists_show_all_that_no_rule_denies():
    gate = make_gate([denying(roles=("guest",))])
    assert gate.permitted(call().security, "logging/setLevel", ["x"]) == {"x"}
    assert not gate.permitted(call(roles=("guest",)).security, "logging/setLevel", ["x"])


def test_a_rule_for_a_tool_hides_no_name_of_another_action():
    gate = make_gate([allow(actions=("x/y",)), denying(tools=("t",))])
    stage = call("x/y", "t", kind=CallKind.STAGE)
    assert gate.enforce_policy(stage).allowed
    assert gate.permitted(stage.security, "x/y", ["t"]) == {"t"}
    assert not gate.permitted(stage.security, "tools/call", ["t"])


def test_links_in_rules_are_followed_where_the_host_says_so(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rule = allow(resources=(str(tmp_path / "link"),))
    real = call(resource=canonical_path("real/x", base=str(tmp_path)))

    assert not make_gate([rule]).enforce_policy(real).allowed
    gate = make_gate([rule], resolve_path=lambda path: canonical_path(path, base="/"))
    assert gate.enforce_policy(real).allowed
    gate.update_rule(allow(resources=((tmp_path / "link").as_uri(),)))
    assert gate.enforce_policy(real).allowed


def test_a_changed_link_does_not_keep_a_rule_from_going(tmp_path):
    (tmp_path / "link").symlink_to("one")
    gate = make_gate([], resolve_path=lambda path: canonical_path(path, base="/"))
    gate.add_rule(allow(resources=(str(tmp_path / "link"),)))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    gate.remove_rule("a")
    assert gate._now.index.size == 0


def test_the_whole_policy_is_bounded(monkeypatch):
    monkeypatch.setattr(gate_module, "_MAX_ENTRIES", 4)
    with pytest.raises(ConfigError, match="at most 4"):
        make_gate([allow("a", tools=("x", "y", "z")), allow("b", tools=("x", "y"))])
    gate = make_gate([allow("a", tools=("x", "y", "z"))])
    with pytest.raises(ConfigError, match="at most 4"):
        gate.add_rule(allow("b", tools=("x", "y")))
    with pytest.raises(ConfigError, match="at most 4"):
        gate.update_rule(allow("a", tools=tuple("vwxyz")))
    gate.update_rule(allow("a", tools=tuple("wxyz")))


def test_config_takes_rules_only():
    with pytest.raises(TypeError, match="rules"):
        PolicyConfig(rules=({"id": "x"},))


class TestFake:
    def test_scripted_decisions_come_first(self):
        fake = FakePolicyGate((allow(),))
        fake.decisions = [deny("policy_denied", "one"), deny("policy_denied", "two")]
        assert [fake.enforce_policy(call()).reason for _ in range(3)] == ["one", "two", ""]
        fake.answer = Decision(effect=Effect.DENY, reason="all")
        assert fake.enforce_policy(call()).reason == "all"
        assert len(fake.calls) == 4

    def test_names_can_be_scripted(self):
        fake = FakePolicyGate()
        fake.shown = frozenset({"x", "y"})
        assert fake.permitted(call().security, "tools/call", ["y", "z"]) == {"y"}
        assert fake.get_version() == 1
        assert fake.get_rules() == ()


def test_what_is_remembered_of_a_tool_ends_with_the_rules():
    gate = make_gate([allow(tools=("t",))])
    assert gate.enforce_policy(call()).rules == ("a",)
    assert gate.enforce_policy(call()).rules == ("a",)
    gate.add_rule(denying(tools=("t",)))
    assert not gate.enforce_policy(call()).allowed
    gate.remove_rule("d")
    assert gate.enforce_policy(call()).allowed
    gate.update_rule(allow("a", tools=("other",)))
    assert not gate.enforce_policy(call()).allowed


def test_what_is_remembered_is_of_this_action_tool_role_and_no_resource():
    gate = make_gate([
        allow(tools=("t",), actions=("tools/call",), roles=("r",)),
        denying(resources=("note://a",)),
    ])  # fmt: skip
    assert gate.enforce_policy(call(roles=("r",))).allowed
    others = [
        call(),
        call(roles=("s",)),
        call(name="u", roles=("r",)),
        call("tools/other", roles=("r",)),
        call(resource="note://a", roles=("r",)),
    ]
    assert not any(gate.enforce_policy(other).allowed for other in others)
    assert gate.enforce_policy(call(roles=("r",))).allowed


def test_little_is_remembered_whoever_calls():
    gate = make_gate([allow(tools=("t",))])
    for number in range(3 * gate_module._MAX_KNOWN):
        gate.enforce_policy(call(roles=(f"r{number}",)))
        assert len(gate._now.known) <= gate_module._MAX_KNOWN
    before = len(gate._now.known)
    gate.enforce_policy(call(name="n" * 1_000))
    unknown = call(name="invented")
    gate.enforce_policy(unknown.with_annotations(Annotations(known=False)))
    assert len(gate._now.known) == before
