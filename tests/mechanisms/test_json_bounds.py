"""The scan of JSON text before it is parsed."""

import json

import pytest
from hypothesis import example, given, strategies as st

from localmcp_harden.core.errors import InputTooLargeError
from localmcp_harden.mechanisms import json_bounds
from localmcp_harden.mechanisms.json_bounds import check_json_text

MIB = 1 << 20


def passes(data, *, max_depth, max_parts=None):
    try:
        check_json_text(data, max_bytes=64 * MIB, max_depth=max_depth, max_parts=max_parts)
    except InputTooLargeError:
        return False
    return True


def deepest(text):
    """The depth by a plain reading, character by character."""
    depth = top = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            top = max(top, depth)
        elif character in "]}":
            depth -= 1
    return top


def test_size_is_bounded():
    check_json_text(b"[]", max_bytes=2, max_depth=1)
    with pytest.raises(InputTooLargeError, match="3 bytes; 2 are allowed"):
        check_json_text(b"[ ]", max_bytes=2, max_depth=1)


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 9, 63, 64, 65, 1_000, 100_000])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_exact(depth, left, right):
    text = left * depth + b"1" + right * depth
    assert passes(text, max_depth=depth)
    if depth > 1:
        assert not passes(text, max_depth=depth - 1)


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"[" * 1000 + b'"',
        b'["\\"[[[[[[[[[["]',
        b'["\\\\"]',
        b'["\\\\\\"[[[[[["]',
        b'{"[[[[":"]]]]"}',
        b'"' + b"\\\\" * 500 + b'"',
    ],
)
def test_brackets_in_strings_do_not_count(text):
    json.loads(text)
    assert passes(text, max_depth=1)


def test_an_escape_at_the_edge_of_a_window(monkeypatch):
    monkeypatch.setattr(json_bounds, "_WINDOW", 8)
    for padding in range(20):
        text = b'["' + b"a" * padding + b'\\"[[[[\\\\","' + b"\\" * 6 + b'[[[[[["]'
        json.loads(text)
        assert passes(text, max_depth=1), padding
        assert not passes(b"[[" + text, max_depth=2)


def test_parts_are_bounded():
    text = json.dumps({"a": [1, 2, "x,[,y"], "b": {}}).encode()
    # Three containers and three commas.
    assert passes(text, max_depth=9, max_parts=6)
    assert not passes(text, max_depth=9, max_parts=5)


def test_utf16_hides_no_depth():
    text = ("[" * 100 + "]" * 100).encode("utf-16")
    assert json.loads(text) is not None
    assert not passes(text, max_depth=50)
    quoted = '["\u2200",' + "[" * 100 + "]" * 100 + "]"
    assert not passes(quoted.encode("utf-16-le"), max_depth=50)


@pytest.mark.parametrize(
    "text",
    [
        b"[]" * (8 * MIB),
        (b"[" * 64 + b"]" * 64) * (MIB // 8),
        b'"' * (16 * MIB),
        b"\\" * (16 * MIB),
        b'{"a":{"b":[1,2]}},' * (MIB - 1),
    ],
    ids=["flat", "waves", "quotes", "escapes", "objects"],
)
def test_sixteen_mebibytes_are_scanned_at_once(text):
    assert passes(text, max_depth=64)


json_texts = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=40,
).map(json.dumps)


@given(text=json_texts | st.text('[]{}"\\,:a', max_size=200), window=st.integers(1, 20))
@example(text='"\\\\"[[', window=2)
@example(text="]" * 9 + "[" * 9, window=4)
def test_the_scan_agrees_with_a_plain_reading(text, window):
    # The depth that counts is that of a parser, which stops at the first error: where a
    # backslash stands outside a string, both readings are beyond it.
    outside = False
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character == "\\":
            outside = True
    if outside:
        return
    depth = max(1, deepest(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_bounds, "_WINDOW", window)
        assert passes(text.encode(), max_depth=depth)
        if depth > 1:
            assert not passes(text.encode(), max_depth=depth - 1)
