"""Reads the trace context of a request (W3C Trace Context, level 1): well-formed, or not there."""

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ("TRACE_HEADERS", "TraceParent", "parse_traceparent", "without_trace_context")

TRACE_HEADERS: frozenset[bytes] = frozenset({b"traceparent", b"tracestate", b"baggage"})
"""The headers that carry it."""

_KEYS = ("traceparent", "tracestate", "baggage")
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)
_VERSION_0_BYTES = 55


class TraceParent(NamedTuple):
    """The trace and the span that a request says it belongs to, in hexadecimal."""

    trace_id: str
    span_id: str


def parse_traceparent(header: bytes) -> TraceParent | None:
    """Return what a `traceparent` says; None when it is not well-formed."""
    found = _TRACEPARENT.fullmatch(header)
    if found is None or (header.startswith(b"00") and len(header) != _VERSION_0_BYTES):
        return None
    return TraceParent(found[1].decode(), found[2].decode())


def without_trace_context(message: Mapping[str, object]) -> dict[str, object] | None:
    """Return a message without the trace context of its `params._meta`; None where it has none."""
    params = message.get("params")
    if not isinstance(params, dict):
        return None
    meta = params.get("_meta")
    if not isinstance(meta, dict) or not any(key in meta for key in _KEYS):
        return None
    kept = {key: value for key, value in meta.items() if key not in _KEYS}
    return {**message, "params": {**params, "_meta": kept}}
