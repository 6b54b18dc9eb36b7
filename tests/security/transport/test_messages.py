import json

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.model import Decision
from localmcp_harden.security.transport.messages import (
    JsonBody,
    is_json,
    judge_content_type,
    judge_json,
)


def judge(data, *, arrays=False, max_bytes=1_000_000, max_depth=32, max_parts=1_000):
    return judge_json(
        data, max_bytes=max_bytes, max_depth=max_depth, max_parts=max_parts, arrays=arrays
    )


def reason(data, **bounds):
    judged = judge(data, **bounds)
    assert isinstance(judged, Decision)
    assert judged.code == "invalid_json"
    return judged.reason


def test_a_message_is_read():
    judged = judge(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":[1.5,null]}}')
    assert judged == JsonBody(
        {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"a": [1.5, None]}},
        "tools/call",
        "7",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"id":1}', ("", None)), ('{"method":"a"}', ("a", None)), ('{"method":1,"id":1}', ("", None)),
     ('{"method":"a","id":true}', ("a", None)), ('{"method":"a","id":"1"}', ("a", "1"))],
)  # fmt: skip
def test_what_kind_of_message_it_is_is_known(text, expected):
    judged = judge(text.encode())
    assert (judged.method, judged.request_id) == expected


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', '{"a":{"b":1,"\\u0062":2}}', '[{"a":1,"a":2}]', '{"":1,"":2}'],
)
def test_a_key_that_is_there_twice_is_refused(text):
    assert "twice" in reason(text.encode(), arrays=True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused(number):
    assert "finite" in reason(f'{{"a":[{number}]}}'.encode())


@pytest.mark.parametrize("data", [b"\xff", b'{"a":"\xc3"}', '{"a":1}'.encode("utf-16-le")[1:]])
def test_what_is_no_utf8_is_refused(data):
    assert reason(data)


@pytest.mark.parametrize(
    "data", [b"", b" ", b"{", b"{}{}", b"\xef\xbb\xbf{}", b"{'a':1}", b"{a:1}"]
)
def test_what_is_no_json_is_refused(data):
    assert "well-formed" in reason(data)


def test_a_number_that_python_will_not_read_is_refused():
    assert "well-formed" in reason(b'{"a":' + b"9" * 5_000 + b"}")


@pytest.mark.parametrize("data", [b"[]", b'[{"method":"a"}]', b"1", b'"a"', b"null", b"true"])
def test_a_batch_or_a_bare_value_is_refused(data):
    assert "batches" in reason(data)


def test_arrays_are_taken_where_they_are_allowed():
    assert judge(b"[1]", arrays=True).value == [1]
    assert "batches" in reason(b"1", arrays=True)


def test_depth_size_and_number_are_bounded_before_parsing():
    assert "deeper" in reason(b'{"a":' * 1_000_000, max_bytes=10_000_000, max_parts=10_000_000)
    assert "deeper" in reason(b"[" * 1_000_000, max_bytes=10_000_000, max_parts=10_000_000)
    assert "parts" in reason(b'{"a":[' + b"1," * 2_000 + b"1]}")
    assert "bytes" in reason(b'{"a":1}', max_bytes=6)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(exclude_categories=("Cs",)), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner,
    max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), _values))
def test_every_well_formed_object_is_what_it_says(value):
    judged = judge(json.dumps(value).encode())
    assert isinstance(judged, JsonBody)
    assert judged.value == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    judged = judge(data)
    assert isinstance(judged, JsonBody) or judged.code == "invalid_json"


# Keys and strings full of what makes up the text around them.
marks = st.text(st.sampled_from(list('a":\\{},[')), max_size=4)
written = st.recursive(
    st.one_of(marks.map(json.dumps), st.sampled_from(["1", "-1.5", "1e999", "null", "NaN"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(marks.map(json.dumps), inner), max_size=3).map(
            lambda pairs: f"{{{','.join(f'{key}: {part}' for key, part in pairs)}}}"
        ),
    ),
    max_leaves=12,
)


def strict(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


@given(st.lists(st.tuples(marks.map(json.dumps), written), max_size=3))
def test_it_takes_what_a_decoder_takes_that_looks_at_every_object(pairs):
    text = f"{{{','.join(f'{key}:{part}' for key, part in pairs)}}}"
    try:
        expected = json.loads(text, object_pairs_hook=strict)
        json.dumps(expected, allow_nan=False)
    except ValueError:
        assert reason(text.encode())
    else:
        assert judge(text.encode()).value == expected


JSON = frozenset({"application/json"})


@pytest.mark.parametrize(
    "header",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8",
     b'application/json;charset="UTF-8"', b"application/json; x=y"],
)  # fmt: skip
def test_json_is_taken_in_its_spellings(header):
    assert judge_content_type(header, JSON) == "application/json"


@pytest.mark.parametrize(
    "header",
    [None, b"", b"text/plain", b"application/jsonp", b"application/json, text/plain",
     b"application/json; charset=utf-16", b"text/plain; application/json", b"\xe4"],
)  # fmt: skip
def test_other_types_are_refused(header):
    assert judge_content_type(header, JSON).code == "unsupported_media_type"


def test_which_types_are_json():
    assert is_json("application/json")
    assert is_json("application/problem+json")
    assert not is_json("text/plain")
