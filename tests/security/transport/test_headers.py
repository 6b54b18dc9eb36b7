import pytest
from hypothesis import given, strategies as st

from localmcp_harden.security.transport.headers import read_headers


def read(*lines, max_headers=64, max_bytes=16_384):
    return read_headers(lines, max_headers=max_headers, max_bytes=max_bytes)


def code(*lines, **bounds):
    refusal = read(*lines, **bounds).refusal
    return None if refusal is None else refusal.code


def test_what_is_needed_is_found():
    found = read((b"host", b"a"), (b"content-length", b"12"), (b"accept", b"x"), (b"accept", b"y"))
    assert found.refusal is None
    assert found.length == 12
    assert not found.chunked
    assert not found.marked
    assert found.single == {b"host": b"a", b"content-length": b"12"}
    assert found.text(b"host", 10) == "a"
    assert found.text(b"origin", 10) is None


@pytest.mark.parametrize(
    "name",
    [b"host", b"content-length", b"content-type", b"origin", b"authorization", b"mcp-session-id",
     b"mcp-protocol-version", b"transfer-encoding"],
)  # fmt: skip
def test_what_must_be_there_once_is_refused_twice(name):
    value = b"chunked" if name == b"transfer-encoding" else b"1"
    assert code((name, value)) is None
    assert code((name, value), (name, value)) == "invalid_headers"


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"1 ", b"0x1", b"1,1", b"1e3", b"9" * 16])
def test_a_length_that_is_no_number_is_refused(length):
    assert code((b"content-length", length)) == "invalid_headers"


def test_two_ways_to_end_a_body_are_refused():
    chunked = (b"transfer-encoding", b"Chunked")
    assert read(chunked).chunked
    assert code(chunked, (b"content-length", b"1")) == "invalid_headers"
    assert code((b"transfer-encoding", b"gzip, chunked")) == "invalid_headers"


def test_number_and_size_are_bounded():
    line = (b"x", b"y" * 95)
    assert code(*[line] * 3, max_headers=3) is None
    assert code(*[line] * 4, max_headers=3) == "headers_too_large"
    assert code(*[line] * 4, max_bytes=400) is None
    assert code(*[line] * 4, max_bytes=399) == "headers_too_large"


@pytest.mark.parametrize("name", [b"forwarded", b"x-forwarded-for", b"traceparent", b"baggage"])
def test_what_others_claim_is_marked(name):
    assert read((name, b"x")).marked


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=80))
def test_any_headers_are_read_or_refused(lines):
    found = read(*lines, max_headers=10, max_bytes=200)
    if found.refusal is None:
        assert len(lines) <= 10
        assert sum(len(name) + len(value) for name, value in lines) <= 200
