import pytest

from localmcp_harden.security.transport.trace_context import (
    TraceParent,
    parse_traceparent,
    without_trace_context,
)

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traceparent_is_read():
    expected = TraceParent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert parse_traceparent(GOOD) == expected
    assert parse_traceparent(b"cc" + GOOD[2:] + b"-what-comes") == expected


@pytest.mark.parametrize(
    "header",
    [b"", b"ff" + GOOD[2:], GOOD + b"-x", GOOD.upper(), GOOD[:-1], GOOD + b"\n",
     b"00-" + b"0" * 32 + GOOD[35:], GOOD[:36] + b"0" * 16 + b"-01", GOOD.replace(b"-", b"_")],
)  # fmt: skip
def test_what_is_not_well_formed_is_not_there(header):
    assert parse_traceparent(header) is None


def test_the_context_in_a_message_is_taken_out_and_nothing_else():
    meta = {"traceparent": "a", "tracestate": "b", "baggage": "c", "progressToken": 1}
    message = {"id": 1, "params": {"name": "x", "_meta": meta}}
    assert without_trace_context(message) == {
        "id": 1,
        "params": {"name": "x", "_meta": {"progressToken": 1}},
    }
    assert meta["traceparent"] == "a"


@pytest.mark.parametrize(
    "message", [{}, {"params": None}, {"params": {"_meta": 1}}, {"params": {"_meta": {"a": 1}}}]
)
def test_a_message_without_it_stays_as_it_is(message):
    assert without_trace_context(message) is None
