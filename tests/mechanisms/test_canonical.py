"""One encoding of records: the same bytes every time, and always some."""

import json
from types import MappingProxyType

import pytest
from attrs import frozen
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.canonical import canonical_bytes


def test_keys_are_sorted_and_nothing_is_added():
    assert canonical_bytes({"b": 1, "a": {"d": [1, 2.5], "c": None}}) == (
        b'{"a":{"c":null,"d":[1,2.5]},"b":1}'
    )


def test_text_is_utf8_and_not_escaped():
    assert canonical_bytes({"a": "\u20ac"}) == '{"a":"\u20ac"}'.encode()


def test_mappings_are_objects():
    assert canonical_bytes(MappingProxyType({"a": MappingProxyType({"b": 1})})) == b'{"a":{"b":1}}'


class Rude:
    def __repr__(self):
        raise RuntimeError("no")


class RudeMapping(dict):
    def items(self):
        raise RuntimeError("no")


@frozen
class Secret:
    word: str


def looped():
    loop = []
    loop.append(loop)
    return loop


def deep():
    value = []
    for _ in range(50_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": object()}, b'{"a":"<object>"}'),
        ({"a": Rude()}, b'{"a":"<Rude>"}'),
        ({"a": "x\ud800"}, b'{"a":"x\\\\ud800"}'),
        ({"a": float("nan")}, b'{"a":null}'),
        ({1: "a"}, b'{"1":"a"}'),
        ({None: "a"}, b'{"<NoneType>":"a"}'),
        ({"\ud800": "a"}, b'{"\\\\ud800":"a"}'),
        ({"\ud800": "\ud800", "n": 1 << 70}, b'{"\\\\ud800":"\\\\ud800","n":"<int of 71 bits>"}'),
        ({"\ud800": float("inf")}, b'{"\\\\ud800":"inf"}'),
        ({"\ud800": (True, None, b"x")}, b'{"\\\\ud800":[true,null,"<bytes of 1>"]}'),
    ],
)
def test_what_json_lacks_is_described(value, expected):
    assert canonical_bytes(value) == expected


def test_what_has_no_end_is_cut():
    assert b"<beyond the bound>" in canonical_bytes({"a": looped()})
    value = deep()
    assert b"<beyond the bound>" in canonical_bytes({"a": value})
    while value:
        value = value.pop()
    many = {"\ud800": [0] * 1_000_000}
    assert len(canonical_bytes(many)) < 100_000


def test_rude_containers_are_described():
    assert canonical_bytes({"\ud800": RudeMapping(a=1)}) == b'{"\\\\ud800":"<RudeMapping>"}'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda part: st.lists(part) | st.dictionaries(st.text() | st.integers(), part),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), values))
def test_it_always_encodes_and_always_the_same(value):
    encoded = canonical_bytes(value)
    json.loads(encoded)
    backwards = dict(reversed(list(value.items())))
    assert canonical_bytes(backwards) == encoded
