"""encode_line: one line, nothing raw in it, whatever the fields hold."""

import json
import re

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.lines import encode_line
from localmcp_harden.mechanisms.plain import describe, plain_number

DANGEROUS = [
    *map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029", "\u202a", "\u202e",
    "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\ufeff", "\U000e0041",
]  # fmt: skip
RAW = re.compile(f"[{''.join(map(re.escape, DANGEROUS))}\ud800-\udfff]")


@pytest.mark.parametrize("character", DANGEROUS, ids=ascii)
def test_dangerous_characters_are_escaped_and_survive(character):
    fields = {"m": f"a{character}b", f"k{character}": 1}
    line = encode_line(fields).decode()
    assert not RAW.search(line)
    assert json.loads(line) == fields


def test_other_text_is_written_as_it_is():
    assert encode_line({"m": "größe 😀 日本"}) == '{"m":"größe 😀 日本"}'.encode()


class Raising:
    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


class LyingClass:
    @property
    def __class__(self):
        raise RuntimeError


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "\ud800", 10**5_000, Raising(), nested(3_000), {"a", "b"}, b"x", 2**64,
        {1: "a"}, {Raising(): 1}, float("nan"), type, nested,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_hostile_values_do_not_break_a_line(value):
    line = encode_line({"m": "kept", "v": value, "after": 1})
    assert json.loads(line)["m"] == "kept"
    assert not RAW.search(line.decode())


def test_a_value_that_lies_about_its_class_does_not_break_a_line():
    assert json.loads(encode_line({"m": "kept", "v": LyingClass()}))["m"] == "kept"


def test_a_cycle_ends():
    value = {}
    value["self"] = value
    assert json.loads(encode_line({"v": value, "x": Raising()}))["v"]


def test_the_slow_path_is_bounded():
    huge = {str(number): "x" * 1_000 for number in range(10_000)}
    assert len(encode_line({"v": huge, "x": Raising()})) < 200_000


def test_fields_that_are_no_mapping_give_a_line_too():
    assert json.loads(encode_line(Raising())) is not None


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.binary(),
        st.text(st.characters(codec=None)),
        st.text(st.sampled_from([*DANGEROUS, "\ud800", "\udfff", "a", '"', "\\"])),
        st.builds(Raising),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(codec=None)), anything, max_size=5))
def test_no_line_holds_a_raw_control_or_direction_mark(fields):
    line = encode_line(fields).decode()
    assert not RAW.search(line)
    assert isinstance(json.loads(line), dict)


@given(anything)
def test_descriptions_are_short_text(value):
    assert len(describe(value).encode()) <= 1_200


@pytest.mark.parametrize(
    ("number", "plain"),
    [
        (2**63 - 1, 2**63 - 1), (2**63, "<int of 64 bits>"), (-(2**63) + 1, -(2**63) + 1),
        (1.5, 1.5), (float("nan"), "nan"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_numbers_beyond_every_reader_become_text(number, plain):
    assert plain_number(number) == plain
