"""Opaque tokens: their making, their table, and that they are never shown."""

import math

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import ConfigError
from localmcp_harden.security.access.tokens import (
    MAX_TOKEN_LENGTH,
    Lookup,
    TokenEntry,
    TokenTable,
    generate_token,
    hash_token,
    is_generated_token,
)
from localmcp_harden.testing.clock import FakeClock


def entry(text="secret", **changes):
    return TokenEntry(sha256=hash_token(text), client="c", **changes)


def test_generated_tokens_are_long_known_by_their_form_and_different():
    tokens = {generate_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert token.startswith("lmh_")
        assert len(token) == 4 + 43 + 6
        assert is_generated_token(token)


def test_a_generated_token_holds_256_bits(monkeypatch):
    asked = []
    monkeypatch.setattr("secrets.randbits", lambda bits: asked.append(bits) or (1 << bits) - 1)
    assert is_generated_token(generate_token())
    assert asked == [256]


@given(place=st.integers(0, 52), other=st.sampled_from("0aZ_ "))
def test_a_mistyped_token_is_seen(place, other):
    token = generate_token()
    changed = token[:place] + other + token[place + 1 :]
    assert is_generated_token(changed) is (changed == token)


@pytest.mark.parametrize("text", ["", "lmh_", "lmh_" + "0" * 48, "lmh_" + "0" * 50, "x"])
def test_other_texts_are_no_tokens(text):
    assert not is_generated_token(text)


def test_lookup_is_by_hash_and_by_the_wall_clock():
    clock = FakeClock()
    table = TokenTable([entry(), entry("brief", expires_at=clock.wall() + 1)], clock=clock)
    assert len(table) == 2
    assert table.lookup("secret").client == "c"
    assert table.lookup("brief") is not Lookup.EXPIRED
    assert table.lookup("other") is Lookup.UNKNOWN
    assert table.lookup(hash_token("secret")) is Lookup.UNKNOWN
    clock.step_wall(1)
    assert table.lookup("brief") is Lookup.EXPIRED
    clock.step_wall(1e9)
    assert table.lookup("secret").client == "c"


@pytest.mark.parametrize("bearer", ["", "\ud800", "x" * (MAX_TOKEN_LENGTH + 1)])
def test_what_can_be_no_token_is_malformed(bearer):
    assert TokenTable([entry()]).lookup(bearer) is Lookup.MALFORMED


def test_two_entries_for_one_token_are_refused():
    with pytest.raises(ConfigError, match="same hash") as caught:
        TokenTable([entry(), entry("x"), entry()])
    assert caught.value.path == "tokens[2].sha256"
    assert hash_token("secret") not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "lmh_a-token-put-here-by-mistake"),
        ("sha256", hash_token("x").upper()),
        ("sha256", hash_token("x") + "\n"),
        ("sha256", None),
        ("client", ""),
        ("client", None),
        ("subject", None),
        ("roles", "admin"),
        ("roles", frozenset({""})),
        ("scopes", frozenset({1})),
        ("expires_at", math.nan),
        ("expires_at", math.inf),
        ("expires_at", 0),
        ("expires_at", True),
        ("expires_at", "tomorrow"),
    ],
)
def test_nonsense_is_refused_and_not_repeated(field, value):
    settings = {"sha256": hash_token("x"), "client": "c", field: value}
    with pytest.raises((ValueError, TypeError), match=field) as caught:
        TokenEntry(**settings)
    if isinstance(value, str) and value:
        assert value not in str(caught.value)


def test_an_entry_does_not_show_its_hash():
    assert hash_token("secret") not in repr(entry())
