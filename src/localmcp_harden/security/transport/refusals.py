"""What requests are refused for, each with its status; none quotes what was sent."""

from collections.abc import Mapping
from types import MappingProxyType

from ...core.model import Decision, deny

__all__ = ("COUNTED_STATUSES", "REFUSALS", "app_refusal", "refusal", "status_of")

_OVERLOAD_WAIT_S = 1.0

_KNOWN: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "host_refused": (421, "this server is not reached by the host that the request names"),
        "origin_refused": (403, "pages of this origin may not call this server"),
        "headers_too_large": (431, "the request's headers are too many or too large"),
        "invalid_headers": (400, "a header is there twice, contradicts another, or is malformed"),
        "invalid_http": (400, "this is no request of HTTP/1.1"),
        "method_not_allowed": (405, "this method is not taken"),
        "unsupported_media_type": (415, "bodies of this content type are not taken"),
        "body_too_large": (413, "the body is too large"),
        "body_too_slow": (408, "the body did not come fast enough"),
        "invalid_json": (400, "the body is not one JSON message that is taken here"),
        "request_id_in_use": (409, "a request of this id is under way in this session"),
        "overloaded": (503, "too much is under way; try again"),
        "rate_limited": (429, "too many refused requests from this address"),
        "unauthenticated": (401, "credentials are required"),
    }
)

REFUSALS: Mapping[str, Decision] = MappingProxyType(
    {
        code: deny(code, reason, retry_after_s=_OVERLOAD_WAIT_S if code == "overloaded" else None)
        for code, (_, reason) in _KNOWN.items()
    }
)
"""Every refusal of the guard, by code."""

# What an application behind the guard refuses, as far as its status tells.
_BY_STATUS: Mapping[int, str] = MappingProxyType(
    {
        401: "unauthenticated",
        403: "forbidden",
        404: "not_found",
        405: "method_not_allowed",
        406: "not_acceptable",
        408: "body_too_slow",
        413: "body_too_large",
        415: "unsupported_media_type",
        421: "host_refused",
        429: "rate_limited",
        431: "headers_too_large",
        503: "overloaded",
    }
)

COUNTED_STATUSES: frozenset[int] = frozenset({400, 401, 404, 408, 409, 413, 415, 431})
"""Refusals that an address has only so many of.

Not those of a foreign host or origin, which a page in the browser of an honest user can
bring about and which cost nothing; nor those of methods that clients try out.
"""


def refusal(code: str, reason: str = "", retry_after_s: float | None = None) -> Decision:
    """Return a refusal of the guard, with another reason or waiting time where given."""
    known = REFUSALS[code]
    if not reason and retry_after_s is None:
        return known
    return deny(code, reason or known.reason, retry_after_s=retry_after_s or known.retry_after_s)


def status_of(decision: Decision) -> int:
    """Return the status that a refusal of the guard is answered with."""
    return _KNOWN[decision.code][0]


def app_refusal(status: int) -> Decision:
    """Return what an application's status of the 400s, or 503, says that it refused."""
    return deny(_BY_STATUS.get(status, "bad_request"), "the application refused the request")
