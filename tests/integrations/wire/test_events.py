"""Server-sent events: the same events however the bytes are cut, and no more than is allowed."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import InputTooLargeError
from localmcp_harden.integrations.wire.events import EventSplitter, ServerEvent


def read(data, max_bytes=10_000):
    return EventSplitter(max_bytes).feed(data)


def test_an_event_has_data_a_kind_an_id_and_a_time_to_wait():
    assert read(b"event: message\nid: 7\nretry: 1500\ndata: {}\n\n") == [
        ServerEvent(b"{}", b"message", b"7", 1.5)
    ]


def test_lines_of_data_are_joined_and_one_blank_is_taken_off():
    (event,) = read(b"data:a\ndata:  b\ndata\n\n")
    assert event.data == b"a\n b\n"


def test_comments_and_unknown_fields_make_no_event():
    assert read(b": ping\n\nfield: x\n\n\n\n") == []


def test_what_is_no_usable_id_or_time_is_ignored():
    ids = (b"\x00", b"\xff", b"x" * 1_025, b"\x1b[31m")
    for value in ids:
        (event,) = read(b"id: " + value + b"\ndata: x\n\n")
        assert event.id is None
    for value in (b"-1", b"1.5", b"9" * 10, b"\xc2\xb2"):
        (event,) = read(b"retry: " + value + b"\ndata: x\n\n")
        assert event.retry_s is None


def test_a_mark_of_byte_order_is_taken_off_the_first_line_only():
    assert [
        each.data for each in read(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n")
    ] == [
        b"a",
        b"c",
    ]


def test_an_event_does_not_inherit_from_the_one_before():
    _, second = read(b"event: e\nid: 1\nretry: 1\ndata: a\n\ndata: b\n\n")
    assert second == ServerEvent(b"b", b"", None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"data: " + b"x" * 100,
        b"data: " + b"x" * 100 + b"\n",
        (b"data: " + b"x" * 50 + b"\n") * 2,
        b"data\n" * 100,
        b": " + b"x" * 100,
    ],
)
def test_what_is_too_large_is_refused_before_it_is_whole(data):
    with pytest.raises(InputTooLargeError, match="more than 64 bytes"):
        read(data, max_bytes=64)


def test_many_small_events_are_not_one_large_one():
    assert len(read(b"data: x\n\n" * 1_000, max_bytes=64)) == 1_000


lines = st.lists(
    st.sampled_from(
        [b"data: a", b"data", b"id: 1", b"event: e", b"retry: 5", b": c", b"", b"", b"x: y"]
    ),
    max_size=30,
)
ends = st.sampled_from([b"\n", b"\r\n"])


@given(lines=lines)
def test_returns_alone_end_lines_too(lines):
    plain = b"".join(line + b"\n" for line in lines)
    assert read(plain.replace(b"\n", b"\r")) == read(plain)


@given(
    lines=lines, ends=st.lists(ends, min_size=31, max_size=31), cuts=st.sets(st.integers(0, 400))
)
def test_neither_the_ends_of_lines_nor_the_cuts_matter(lines, ends, cuts):
    plain = b"".join(line + b"\n" for line in lines)
    mixed = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    expected = read(plain)

    splitter = EventSplitter(10_000)
    found = []
    places = [0, *sorted(cut for cut in cuts if cut < len(mixed)), len(mixed)]
    for start, end in pairwise(places):
        found += splitter.feed(mixed[start:end])
    assert found == expected


def test_a_return_and_its_newline_may_come_apart():
    splitter = EventSplitter(100)
    data = b"event: e\r\ndata: a\r\n\r\ndata: b\r\n\r\n"
    found = [event for byte in data for event in splitter.feed(bytes([byte]))]
    assert found == [ServerEvent(b"a", b"e", None, None), ServerEvent(b"b", b"", None, None)]


@given(st.binary(max_size=2_000))
def test_any_bytes_are_taken(data):
    for event in read(data):
        assert len(event.data) <= len(data)
