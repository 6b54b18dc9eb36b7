"""The headers that every answer gets: what a browser may do with it, and the id of its record."""

from collections.abc import Iterable
from typing import TypeAlias, final

__all__ = ("AnswerHeaders", "preflight_headers")

_Headers: TypeAlias = list[tuple[bytes, bytes]]

_GRANT = b"access-control-"
_ID = b"x-request-id"
_CACHE = b"cache-control"
_EXPOSED = b"mcp-session-id, x-request-id, retry-after, www-authenticate"
_TAKEN = (
    b"accept, authorization, content-type, last-event-id, mcp-method, mcp-name, "
    b"mcp-protocol-version, mcp-session-id"
)
_FIXED: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_NO_STORE = (_CACHE, b"no-store")
_MAX_AGE = b"600"


@final
class AnswerHeaders:
    """Adds to the headers of an answer.

    Args:
        hsts_s: For how long browsers shall use TLS only; 0 says nothing.
    """

    def __init__(self, *, hsts_s: int = 0) -> None:
        self._fixed = _FIXED
        if hsts_s:
            said = (b"strict-transport-security", b"max-age=%d" % hsts_s)
            self._fixed = (*_FIXED, said)
        self._names = frozenset(name for name, _ in self._fixed)

    def dress(
        self, headers: Iterable[tuple[bytes, bytes]], request_id: str, readable_by: bytes | None
    ) -> _Headers:
        """Return an application's headers with ours.

        What an application says itself of one of these is kept, its grants to other
        origins excepted. What it asks caches to check again they may not keep at all.

        Args:
            headers: The application's.
            request_id: The id of the record.
            readable_by: The origin whose pages may read the answer.
        """
        dressed: _Headers = []
        said: set[bytes] = set()
        caches = False
        for name, value in headers:
            key = name.lower()
            if key.startswith(_GRANT) or key == _ID:
                continue
            if key in self._names:
                said.add(key)
            elif key == _CACHE:
                caches = True
                if b"no-cache" in value and b"no-store" not in value:
                    dressed.append((name, value + b", no-store"))
                    continue
            dressed.append((name, value))
        if said:
            dressed.extend(each for each in self._fixed if each[0] not in said)
        else:
            dressed.extend(self._fixed)
        if not caches:
            dressed.append(_NO_STORE)
        dressed.append((_ID, request_id.encode("latin-1", "replace")))
        if readable_by is not None:
            dressed.extend(_grant(readable_by))
        return dressed


def preflight_headers() -> _Headers:
    """Return the headers of the answer to a browser that asks whether a page may call."""
    return [
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-allow-headers", _TAKEN),
        (b"access-control-max-age", _MAX_AGE),
    ]


def _grant(origin: bytes) -> _Headers:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]
