"""Lines out of chunks, and what an unread message says of itself."""

import json

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.integrations.wire.envelope import OpenRequests, read_envelope
from localmcp_harden.integrations.wire.framing import HEAD_BYTES, TAIL_BYTES, Line, LineSplitter

TEXT = st.binary(max_size=200).map(lambda data: data.replace(b"x", b"\n"))
IDS = st.integers(-(10**18), 10**18) | st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "method", 'i"d', "a\\"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(TEXT, st.lists(st.integers(1, 50), max_size=20), st.integers(1, 300))
def test_lines_do_not_depend_on_how_they_arrive(data, sizes, max_bytes):
    splitter = LineSplitter(max_bytes)
    lines, start = [], 0
    for size in [*sizes, len(data)]:
        lines += splitter.feed(data[start : start + size])
        start += size
    rest = splitter.finish()

    *whole, last = data.split(b"\n")
    expected = [*whole, last] if last else whole
    found = lines if rest is None else [*lines, rest]
    assert [line.too_long for line in found] == [len(each) > max_bytes for each in expected]
    for line, each in zip(found, expected, strict=True):
        if line.too_long:
            assert each.startswith(line.data)
            assert each.endswith(line.tail)
        else:
            assert line == Line(each)


def test_of_a_line_that_is_too_long_only_the_ends_are_kept():
    splitter = LineSplitter(10_000)
    assert splitter.feed(b"a" * 9_000) == []
    assert not splitter.overflowing
    for _ in range(1_000):
        assert splitter.feed(b"b" * 10_000) == []
    assert splitter.overflowing
    kept = sum(len(part) for part in (*splitter._parts, splitter._head, splitter._tail))
    assert kept == HEAD_BYTES + TAIL_BYTES
    (line,) = splitter.feed(b"end\n")
    assert line.too_long
    assert line.data == b"a" * HEAD_BYTES
    assert line.tail.endswith(b"bend")
    assert splitter.feed(b"next\n") == [Line(b"next")]


@given(st.permutations(["jsonrpc", "id", "method", "params"]), IDS, VALUES)
def test_the_id_of_a_request_is_found_wherever_it_stands(order, request_id, params):
    members = {"jsonrpc": "2.0", "id": request_id, "method": "x", "params": params}
    text = json.dumps({name: members[name] for name in order}).encode()
    found = read_envelope(text)
    assert found.is_request
    assert found.has_id
    assert found.id == request_id
    assert type(found.id) is type(request_id)


@given(VALUES, st.integers(1, 60))
def test_an_id_further_in_is_none(params, cut):
    text = json.dumps({"method": "x", "params": params}).encode()
    for head in (text, text[:-cut]):
        found = read_envelope(head, text[-TAIL_BYTES:])
        assert found.id is None
        assert not found.is_request


@pytest.mark.parametrize(
    ("head", "tail", "request_id"),
    [
        (b'{"method":"x","params":{"a":"', b'zzz"},"id":7}', 7),
        (b'{"method":"x","params":{"a":"', b'zzz"}, "id" : "a b" } \r', "a b"),
        (b'{"method":"x","params":{"a":"', b'zzz","id":7}}', None),
        (b'{"method":"x","params":{"a":"', b'zzz\\"id":7}', None),
        (b'{"method":"x","id":12', b"34}", None),
        (b'{"method":"x","id":12,', b"34}", 12),
        (b'{"params":{"a":"', b'zzz"},"id":7}', None),
        (b'{"method":"x","id":1.5,', b"", None),
        (b'{"method":"x","id":true,', b"", None),
        (b'{"method":"x","id":"\\ud800",', b"", None),
        (b'{"method":"x","id":99999999999999999999999,', b"", None),
    ],
)
def test_an_id_counts_where_it_is_certain(head, tail, request_id):
    assert read_envelope(head, tail).id == request_id


def test_an_answer_is_no_request():
    found = read_envelope(b'{"jsonrpc":"2.0","id":3,"result":{"method":"x"')
    assert (found.id, found.is_request, found.is_response) == (3, False, True)
    found = read_envelope(b'{"id":3,"error":{},"method":"x"')
    assert (found.is_request, found.is_response) == (False, True)


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data):
    read_envelope(data, data)


def test_open_requests_are_bounded_and_single():
    requests = OpenRequests(2)
    assert requests.open(1)
    assert not requests.open("1")
    assert requests.is_open("1")
    assert requests.open("a")
    assert not requests.open(2)
    requests.close("1")
    requests.close([1])
    assert requests.open(2)
    assert len(requests) == 2


def test_what_is_no_id_closes_no_request():
    requests = OpenRequests(10)
    for name in ("[1]", "None", "True", "1.5"):
        requests.open(name)
    for value in ([1], None, True, 1.5):
        requests.close(value)
    assert len(requests) == 4
