"""Checking of rules: what is refused, where the error points, and what becomes of the rest."""

import pytest

from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.model import Effect
from localmcp_harden.protocols.security import Rule
from localmcp_harden.security.policy.rules import check_rule, check_rules


def rule(**parts):
    return Rule(**{"id": "mine", "effect": Effect.ALLOW, "source": "harden.toml:3", **parts})


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("/srv/x", "file:///srv/x"),
        ("/srv/x/", "file:///srv/x"),
        ("//srv/x", "file:///srv/x"),
        ("/", "file://"),
        ("file:///", "file://"),
        ("file:/srv", "file:///srv"),
        ("/srv/my notes", "file:///srv/my%20notes"),
        ("/srv/100%", "file:///srv/100%25"),
        ("/app/[id]", "file:///app/%5Bid%5D"),
        ("NOTE://Box/a", "note://box/a"),
        ("https://example.org:443/a/", "https://example.org/a"),
        ("https://", "https:"),
        ("prompt:say hello", "prompt:say hello"),
        ("prompt:", "prompt:"),
        ("*", "*"),
    ],
)
def test_resources_become_prefixes(written, kept):
    assert check_rule(rule(resources=(written,)), 0).normal.resources == (kept,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, ()) for field in ("actions", "tools", "roles", "resources")),
        *((field, ["a"]) for field in ("actions", "tools", "roles", "resources")),
        *((field, "tools/call") for field in ("actions", "tools", "roles", "resources")),
        *((field, (1,)) for field in ("actions", "tools", "roles", "resources")),
        *((field, ("",)) for field in ("actions", "tools", "roles", "resources")),
        *((field, ("a*",)) for field in ("actions", "tools", "roles")),
        *((field, ("a\n",)) for field in ("actions", "tools", "roles")),
        *((field, (" a",)) for field in ("actions", "tools", "roles")),
        *((field, ("a" * 257,)) for field in ("actions", "tools", "roles")),
        ("roles", ("\ud800",)),
        ("effect", "maybe"),
        ("effect", None),
        ("reason", "two\nlines"),
        ("reason", "x" * 501),
        ("reason", None),
        ("resources", ("/a/../b",)),
        ("resources", ("/a/./b",)),
        ("resources", ("file:///a/%2e%2e/b",)),
        ("resources", ("file:///a/%252e%252e/b",)),
        ("resources", ("note://a/..",)),
        ("resources", ("/a/*",)),
        ("resources", ("/a/?",)),
        ("resources", ("/a/{x}",)),
        ("resources", ("relative/path",)),
        ("resources", ("~/notes",)),
        ("resources", ("/a\x00",)),
        ("resources", ("file://host/a",)),
        ("resources", ("https://user:pa55@example.org/",)),  # pragma: allowlist secret
        ("resources", ("prompt:a*",)),
        ("resources", ("/" + "a" * 5000,)),
    ],
)
def test_a_wrong_field_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as caught:
        check_rule(rule(**{field: value}), 0)
    assert caught.value.path == f"rules.mine.{field}"
    assert caught.value.source == "harden.toml:3"
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["", "a b", "-x", "x" * 129, "a\n", "é", None, 7])
def test_a_wrong_id_is_refused_by_place(wrong):
    with pytest.raises(ConfigError) as caught:
        check_rules([rule(), rule(id=wrong)])
    assert caught.value.path == "rules[1].id"


def test_ids_are_unique():
    with pytest.raises(ConfigError, match="unique") as caught:
        check_rules([rule(), rule(id="other"), rule(effect=Effect.DENY)])
    assert caught.value.path == "rules.mine.id"


def test_effects_in_words_are_effects():
    assert check_rule(rule(effect="deny"), 0).normal.effect is Effect.DENY


def test_named_tools_need_an_action_that_calls_one():
    with pytest.raises(ConfigError, match="never match"):
        check_rule(rule(tools=("t",), actions=("resources/read", "tools/list")), 0)
    check_rule(rule(tools=("t",), actions=("resources/read", "tools/call")), 0)
    check_rule(rule(tools=("*",), actions=("resources/read",)), 0)


def test_the_product_is_bounded():
    names = tuple(f"n{n}" for n in range(100))
    check_rule(rule(tools=names, roles=names), 0)
    with pytest.raises(ConfigError, match="20000 combinations"):
        check_rule(rule(tools=names, roles=names, actions=("tools/call", "x/y")), 0)


def test_doubles_and_what_a_star_makes_needless_go():
    normal = check_rule(rule(tools=("a", "a"), roles=("x", "*"), resources=("/a", "/a/")), 0).normal
    assert (normal.tools, normal.roles, normal.resources) == (("a",), ("*",), ("file:///a",))
