"""KeyRedactor: the contract, which keys and forms it knows, and that nothing gets past it."""

import json

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.redact import KeyRedactor, RedactionConfig
from localmcp_harden.mechanisms.secret_forms import REDACTED, hide_tokens, may_hold_token
from localmcp_harden.testing.contracts.redactor import redactor

pytestmark = pytest.mark.anyio

SECRET = "zq9-planted-zq9"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"  # pragma: allowlist secret
PEM = "-----BEGIN PRIVATE KEY-----\n"  # pragma: allowlist secret


@pytest.mark.parametrize("rule", redactor.rules, ids=str)
async def test_contract(rule):
    await rule.check(KeyRedactor)


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "dbPassword", "password1", "user-password",
        "secret", "clientSecret", "token", "accessToken", "access_token", "accesstoken",
        "X-Api-Key", "apiKey", "APIKey", "apikey", "api_key_id", "Authorization", "auth",
        "cookie", "Set-Cookie", "credential", "credentials", "private_key", "privateKeyPem",
        "SSH-Key", "connectionString", "oauth2_token",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
    ],
)  # fmt: skip
def test_sensitive_keys(key):
    assert KeyRedactor().is_sensitive(key)


@pytest.mark.parametrize(
    "key",
    [
        "tokenizer", "max_tokens", "maxTokens", "tokens", "author", "authority", "passenger",
        "compass", "monkey", "key", "public_key", "primaryKey", "keyboard", "secretary",
        "path", "", "1", "é", "api", "cookiecutter",
    ],
)  # fmt: skip
def test_harmless_keys(key):
    assert not KeyRedactor().is_sensitive(key)


def test_extra_words_add_and_sensitive_words_replace():
    extra = KeyRedactor(RedactionConfig(extra_words=frozenset({"badge_number"})))
    assert extra.is_sensitive("BadgeNumber")
    assert extra.is_sensitive("password")
    assert not KeyRedactor(RedactionConfig(sensitive_words=frozenset({"x"}))).is_sensitive("token")


def test_configure_forgets_old_verdicts():
    mine = KeyRedactor()
    assert mine.redact({"badge": "1"}) == {"badge": "1"}
    mine.configure(RedactionConfig(extra_words=frozenset({"badge"})))
    assert mine.redact({"badge": "1"}) == {"badge": REDACTED}


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}", f"authorization = Basic {SECRET}",
        f"bearer {SECRET}", f"BEARER {SECRET}", "Basic enE5LXBsYW50ZWQtenE5OnBhc3M=",
        f"password={SECRET}", f"PASSWORD: {SECRET}", f"DB_PASSWORD='{SECRET} b'",
        f"x?api_key={SECRET}&b=1", f"accessToken={SECRET}", f'{{"client_secret": "{SECRET}"}}',
        f'{{\\"token\\": \\"{SECRET}\\"}}', f"Cookie: a={SECRET}; b={SECRET}",
        f"https://ann:{SECRET}@host/x",  # pragma: allowlist secret
        f"postgres://ann:p@{SECRET}@host/x",  # pragma: allowlist secret
        f"https://{SECRET}@host", f"run --password {SECRET}", f"run --db-token '{SECRET}'",
        f"-password {SECRET}", f"run -password {SECRET}", "ASIA" + "ZQ9PLANTEDZQ9ZQ9",
        f"lmh_{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n",  # pragma: allowlist secret
        f"{PEM}{SECRET}\n-----END PRIVATE KEY-----",
        f"sk-{SECRET}{SECRET}", f"xoxb-{SECRET}", "ghp_zq9plantedzq9zq9plantedzq9",
        JWT.replace("c2lnbmF0dXJl", SECRET), "AKIA" + "ZQ9PLANTEDZQ9ZQ9",
    ],
)  # fmt: skip
def test_tokens_in_text(text):
    seen = KeyRedactor().redact_text(text)
    assert REDACTED in seen
    assert "planted" not in seen.lower()


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8080/x", "src/a-b.py:12", "max_tokens=5", "tokenizer: bpe",
        "the bearer of news", "2026-11-22T10:00:00", "a@b.com wrote: hello", "x = y", "{}",
        "git commit -m message", "key: value", "https://host/path?page=2#at", "Basic skills",
    ],
)  # fmt: skip
def test_plain_text_stays(text):
    assert KeyRedactor().redact_text(text) == text


def test_what_follows_and_precedes_a_secret_stays():
    assert (
        KeyRedactor().redact_text("before password=x after") == f"before password={REDACTED} after"
    )
    url = "GET https://{}@c/d"
    assert KeyRedactor().redact_text(url.format("a:b")) == url.format(REDACTED)


@pytest.mark.parametrize(
    "pair",
    [
        {"name": "Authorization", "value": SECRET}, {"key": "X-Api-Key", "value": SECRET},
        {"header": "Cookie", "values": [SECRET]}, {"Name": "token", "Value": {"a": SECRET}},
        ["Cookie", SECRET], ("password", SECRET), ["--token", SECRET], ["a", "-password", SECRET],
    ],
)  # fmt: skip
def test_names_and_values_apart(pair):
    assert SECRET not in json.dumps(KeyRedactor().redact({"headers": [pair]}))


@pytest.mark.parametrize(
    "pair", [{"name": "Accept", "value": "x"}, ["Accept", "x"], ["--out=token", "x"], ["a", "-v"]]
)
def test_harmless_pairs_stay(pair):
    assert KeyRedactor().redact({"headers": pair}) == {"headers": pair}


def test_none_and_booleans_say_nothing_of_a_secret():
    given_ = {"password": None, "token": True, "secret": ""}
    assert KeyRedactor().redact(given_) == {"password": None, "token": True, "secret": REDACTED}


@pytest.mark.parametrize(
    "secret",
    [
        lambda fill: f"{fill}https://ann:{SECRET * 20}@host",
        lambda fill: f"{fill} password={SECRET * 20}",
        lambda fill: f"{fill} {JWT}{SECRET * 20}",
        lambda fill: f"{fill} {PEM}{SECRET * 20}",
    ],
)
@pytest.mark.parametrize("room", range(60, 130, 7))
def test_a_cut_through_a_secret_shows_none_of_it(secret, room):
    mine = KeyRedactor(RedactionConfig(max_text_chars=200))
    text = secret("x" * (200 - room))
    assert SECRET[:9] not in mine.redact_text(text)
    assert SECRET[:9] not in mine.redact({"a": text})["a"]


def test_bounds_hold():
    config = RedactionConfig(max_depth=2, max_parts=5, max_text_chars=16, max_total_chars=40)
    mine = KeyRedactor(config)
    assert mine.redact({"a": {"b": {"c": 1}}}) == {"a": {"b": "<beyond the bound>"}}
    assert len(mine.redact({str(number): 1 for number in range(9)})) == 5
    assert mine.redact({"a": "x" * 17}) == {"a": "x" * 16}
    assert sum(map(len, mine.redact({"a": ["x" * 16] * 4})["a"])) == 40


def test_half_surrogate_pairs_are_written_out():
    seen = KeyRedactor().redact({"a": "\ud800", "\udfff": ["\ud800"]})
    assert seen == {"a": "\\ud800", "\\udfff": ["\\ud800"]}


def test_parts_are_counted_over_all_levels():
    mine = KeyRedactor(RedactionConfig(max_parts=10))
    seen = mine.redact({str(number): {"a": [1, 2, 3]} for number in range(9)})
    assert json.dumps(seen).count("1") <= 3
    assert sum(len(inner["a"]) + 2 for inner in seen.values() if isinstance(inner, dict)) <= 10


def test_replacing_does_not_make_a_text_longer_than_its_bound():
    mine = KeyRedactor(RedactionConfig(max_text_chars=64))
    assert len(mine.redact_text("pwd=a&" * 10)) == 64
    assert len(mine.redact({"a": "pwd=a&" * 10})["a"]) == 64


def test_keys_are_redacted_and_cut_too():
    seen = KeyRedactor().redact({f"lmh_{SECRET}": 1, "x" * 1_000: 2, 3: 4, ("a",): 5})
    assert SECRET not in json.dumps(seen)
    assert list(seen.values()) == [1, 2, 4, 5]
    assert max(map(len, seen)) <= 128


def test_the_verdict_cache_is_bounded():
    mine = KeyRedactor(RedactionConfig(max_cached_keys=10))
    for number in range(1_000):
        mine.redact({f"key{number}": 1, "k" * 70 + str(number): 2})
    assert len(mine._verdicts) <= 10


def test_values_without_a_json_form_are_described_not_shown():
    class Holder:
        def __repr__(self):
            return SECRET

    seen = KeyRedactor().redact({"a": Holder(), "b": b"abc", "c": 2**70, "d": float("inf")})
    assert seen == {"a": "<Holder>", "b": "<bytes of 3>", "c": "<int of 71 bits>", "d": "inf"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_depth": 0}, {"max_parts": 0}, {"max_text_chars": 1}, {"max_cached_keys": 0},
        {"extra_words": frozenset({""})}, {"sensitive_words": frozenset({"a b"})},
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RedactionConfig(**wrong)


def test_words_must_be_a_set():
    with pytest.raises(TypeError, match="extra_words"):
        RedactionConfig(extra_words="password")


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=9),
    st.text(st.characters(codec=None)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=30,
)


@given(trees)
def test_whatever_it_is_given_the_copy_is_json(tree):
    mine = KeyRedactor()
    once = mine.redact({"tree": tree})
    json.dumps(once, allow_nan=False, ensure_ascii=False).encode()
    assert mine.redact(once) == once


@given(
    around=trees,
    key=st.sampled_from(["password", "api_key", "accessToken", "X-Auth-Token", "cookie"]),
    path=st.lists(st.sampled_from(["key", "list", "pair", "named"]), max_size=6),
    value=st.one_of(st.just(SECRET), st.just([SECRET]), st.just({"a": (SECRET,)})),
)
def test_no_planted_secret_comes_through(around, key, path, value):
    planted = {key: value}
    for step in path:
        planted = {
            "key": lambda inner: {"k": inner},
            "list": lambda inner: [around, inner],
            "pair": lambda inner: (inner, around),
            "named": lambda inner: [{"name": key, "value": SECRET}, inner],
        }[step](planted)
    assert SECRET not in json.dumps(KeyRedactor().redact({"around": around, "planted": planted}))


@given(st.text())
def test_the_quick_look_misses_nothing(text):
    if not may_hold_token(text):
        clean = text.encode("utf-8", "replace").decode()
        assert hide_tokens(clean + "\x00", cut=True).removesuffix("\x00") == clean


@given(st.lists(st.sampled_from(
    ["bearer", "Bearer", " ", "Basic", "eyJ", ".", "abcdefghijklm", "AKIA", "ASIA", "--", "-",
     "token", "password", "\t", "\n", "=", ":", "://", "@", "sk-", "xoxb-", "ghp_", "lmh_", '"'],
), max_size=8))  # fmt: skip
def test_the_quick_look_misses_no_combination_of_marks(parts):
    text = "".join(parts)
    if not may_hold_token(text):
        from localmcp_harden.mechanisms import secret_forms

        assert secret_forms._automaton().search(text) is None


@pytest.mark.parametrize("length", [11, 12, 13])
def test_a_key_id_of_letters_and_digits_alone_is_hidden_from_its_length_on(length):
    text = "AKIA" + "Z" * length
    assert may_hold_token(text) is (length >= 12)
    assert KeyRedactor().redact_text(text) == (text if length < 12 else REDACTED)
