"""Reads a request's headers once, bounded; refuses what is there twice or contradicts itself."""

from collections.abc import Iterable
from typing import Final, final

from attrs import define

from ...core.model import Decision
from .refusals import REFUSALS
from .trace_context import TRACE_HEADERS

__all__ = ("FORWARDED_HEADERS", "RequestHeaders", "read_headers")

FORWARDED_HEADERS: frozenset[bytes] = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""What proxies say of the request they forward."""

_ONCE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"last-event-id",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"origin",
        b"traceparent",
        b"transfer-encoding",
        b"user-agent",
    }
)
_MANY: Final = TRACE_HEADERS | FORWARDED_HEADERS
# Most lines are neither, and are passed by at one look.
_WANTED: Final = _ONCE | _MANY
_LINE_OVERHEAD = 4
_MAX_DIGITS = 15
_INVALID = REFUSALS["invalid_headers"]
_TOO_LARGE = REFUSALS["headers_too_large"]


@final
@define
class RequestHeaders:
    """What the guard needs of a request's headers.

    Args:
        single: Those that may be there once, by name.
        length: The declared size of the body, None where none is.
        chunked: Whether a body comes without a declared size.
        marked: Whether there is trace context, or the word of a proxy.
        refusal: Why they are refused, None where they are not.
    """

    single: dict[bytes, bytes]
    length: int | None = None
    chunked: bool = False
    marked: bool = False
    refusal: Decision | None = None

    def text(self, name: bytes, limit: int) -> str | None:
        """Return at most `limit` characters of a header, None where there is none."""
        value = self.single.get(name)
        return value[:limit].decode("latin-1") if value else None


def read_headers(
    headers: Iterable[tuple[bytes, bytes]], *, max_headers: int, max_bytes: int
) -> RequestHeaders:
    """Read headers as ASGI gives them, names in lower case.

    Reading stops at the bounds, and what was read by then is there for the record.
    """
    single: dict[bytes, bytes] = {}
    found = RequestHeaders(single)
    lines = size = 0
    for name, value in headers:
        lines += 1
        size += len(name) + len(value) + _LINE_OVERHEAD
        if lines > max_headers or size > max_bytes:
            found.refusal = _TOO_LARGE
            return found
        if name not in _WANTED:
            continue
        if name in _MANY:
            found.marked = True
        if name in _ONCE:
            if name in single:
                found.refusal = _INVALID
            else:
                single[name] = value
    _read_length(found)
    return found


def _read_length(found: RequestHeaders) -> None:
    length = found.single.get(b"content-length")
    coding = found.single.get(b"transfer-encoding")
    if coding is not None:
        # Both at once is how a request is smuggled past a proxy (RFC 9112, 6.3).
        if length is not None or coding.strip().lower() != b"chunked":
            found.refusal = _INVALID
        found.chunked = True
    elif length is not None:
        if not length.isdigit() or len(length) > _MAX_DIGITS:
            found.refusal = _INVALID
        else:
            found.length = int(length)
