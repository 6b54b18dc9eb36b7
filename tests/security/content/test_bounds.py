"""DefaultInputBounds: the contract, and what is its own."""

import json
from enum import IntEnum
from types import MappingProxyType

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.security.content.bounds import BoundsConfig, DefaultInputBounds
from localmcp_harden.testing.contracts.input_bounds import input_bounds
from localmcp_harden.testing.doubles.input_bounds import FakeInputBounds

pytestmark = pytest.mark.anyio


def make_default(*, max_bytes, max_depth, max_parts):
    return DefaultInputBounds(
        BoundsConfig(max_bytes=max_bytes, max_depth=max_depth, max_parts=max_parts)
    )


@pytest.mark.parametrize("rule", input_bounds.rules, ids=str)
@pytest.mark.parametrize("make", [make_default, FakeInputBounds], ids=["default", "fake"])
async def test_contract(make, rule):
    await rule.check(make)


def test_the_fake_refuses_on_command():
    fake = FakeInputBounds()
    assert fake.check_bounds({"a": 1}).allowed
    fake.refuse = True
    assert fake.check_bounds({}).code == "input_too_large"
    assert fake.checked == [{"a": 1}, {}]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"items": [1, 2, 3, "x" * 11]},
            "arguments.items[3] is a string of 11 characters; 10 are allowed",
        ),
        ({"a": {"b": [[1]]}}, "arguments.a.b[0] is nested too deep; 3 levels are allowed"),
        ({"n": 1 << 64}, "arguments.n is a whole number of 65 bits; 64 are allowed"),
        ({"n": -(1 << 64)}, "arguments.n is a whole number of 65 bits; 64 are allowed"),
        ({"a": list(range(20))}, "arguments has more than 20 parts"),
        ({"a": ["xxxxxxxxxx"] * 13}, "arguments has more than 128 bytes"),
        ({"a": ["\u20ac" * 10] * 5}, "arguments has more than 128 bytes"),
        ({"k" * 17: 1}, "arguments has a key of 17 characters; 16 are allowed"),
        ({"a": {"k" * 17: 1}}, "arguments.a has a key of 17 characters; 16 are allowed"),
        ({"a": [float("inf")]}, "arguments.a[0] is a number that is not finite"),
        ({"a": "\ud800"}, "arguments.a holds half of a surrogate pair"),
        ({"a": {"\ud800": 1}}, "arguments.a has a key with half of a surrogate pair"),
        ({"a": {1: 2}}, "arguments.a has a key that is no string"),
        ({"a": b"x"}, "arguments.a is a bytes, which JSON lacks"),
    ],
)
def test_reasons_name_place_shape_and_bound(arguments, reason):
    guard = DefaultInputBounds(
        BoundsConfig(
            max_bytes=128, max_depth=3, max_parts=20, max_string_chars=10, max_key_chars=16
        )
    )
    decision = guard.check_bounds(arguments)
    assert decision.reason == reason
    impossible = ("finite", "surrogate", "no string", "lacks")
    expected = "invalid_arguments" if reason.endswith(impossible) else "input_too_large"
    if "half" in reason:
        expected = "invalid_arguments"
    assert decision.code == expected


@pytest.mark.parametrize("number", [(1 << 64) - 1, -(1 << 64) + 1, 0, True])
def test_integers_up_to_the_bound_pass(number):
    assert DefaultInputBounds().check_bounds({"n": number}).allowed


def test_keys_that_may_be_secrets_are_not_shown():
    decision = DefaultInputBounds().check_bounds({"sk_live_51Habc": {"plain": float("nan")}})
    assert "sk_live" not in decision.reason
    assert decision.reason.startswith("arguments.<a key of 14 characters>.plain")


def test_a_long_path_is_cut():
    value = float("nan")
    for _ in range(20):
        value = {"a-rather-long-property-name": value}
    reason = DefaultInputBounds().check_bounds(value).reason
    assert len(reason) < 200
    assert "..." in reason


def test_subclasses_of_json_types_are_taken_for_what_they_are():
    class Text(str):
        __slots__ = ()

    class Number(IntEnum):
        ONE = 1

    arguments = MappingProxyType(
        {"a": Text("x"), "b": Number.ONE, "c": (1, 2), "d": MappingProxyType({})}
    )
    assert DefaultInputBounds().check_bounds(arguments).allowed
    long = DefaultInputBounds(BoundsConfig(max_string_chars=3))
    assert not long.check_bounds({"a": Text("xxxx")}).allowed


class Counted(dict):
    """Tells how many of its values were looked at."""

    seen = 0

    def values(self):
        for value in super().values():
            Counted.seen += 1
            yield value


def test_the_walk_stops_at_the_first_bound():
    Counted.seen = 0
    guard = DefaultInputBounds(BoundsConfig(max_parts=100))
    assert not guard.check_bounds({"a": Counted.fromkeys(map(str, range(1_000)))}).allowed
    assert Counted.seen == 0
    assert not guard.check_bounds(
        {"a": Counted({"x": float("nan"), **dict.fromkeys(map(str, range(50)))})}
    ).allowed
    assert Counted.seen == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 1},
        {"max_depth": 0},
        {"max_parts": 0},
        {"max_string_chars": 0},
        {"max_key_chars": 0},
        {"max_integer_bits": 1},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BoundsConfig(**wrong)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda part: (
        st.lists(part, max_size=5) | st.dictionaries(st.text(max_size=5), part, max_size=5)
    ),
    max_leaves=30,
)


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def parts_of(value):
    if isinstance(value, dict | list):
        return 1 + sum(map(parts_of, value.values() if isinstance(value, dict) else value))
    return 1


@given(arguments=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), json_values))
def test_the_bounds_are_those_of_a_plain_recursive_count(arguments):
    depth, parts = max(1, depth_of(arguments)), parts_of(arguments)
    json.dumps(arguments).encode()
    exact = DefaultInputBounds(BoundsConfig(max_depth=depth, max_parts=parts))
    try:
        str(arguments).encode()
    except UnicodeEncodeError:
        return
    assert exact.check_bounds(arguments).allowed
    if depth > 1:
        assert (
            not make_default(max_bytes=10**6, max_depth=depth - 1, max_parts=parts)
            .check_bounds(arguments)
            .allowed
        )
    if parts > 1:
        assert (
            not make_default(max_bytes=10**6, max_depth=depth, max_parts=parts - 1)
            .check_bounds(arguments)
            .allowed
        )
