"""Reads how long a target asks to be left alone, from an error or from an HTTP field.

All times are seconds. What is read was written by the target, so it is bounded, and
what makes no sense is as if it were not there.
"""

import math
from email.utils import parsedate_to_datetime

__all__ = ("asked_wait_s", "parse_retry_after")

_FIELD = "retry-after"
_LONGEST_VALUE = 64
_MOST_DIGITS = 10


def parse_retry_after(value: str, *, wall_s: float) -> float | None:
    """Return the seconds that a `Retry-After` field asks for, None when it makes no sense.

    Both forms of RFC 9110, section 10.2.3: whole seconds and an HTTP date.

    Args:
        value: The field's value.
        wall_s: The time, seconds since the Unix epoch.
    """
    text = value.strip()
    if len(text) > _LONGEST_VALUE:
        return None
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else None
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def asked_wait_s(error: BaseException, *, wall_s: float) -> float:
    """Return how long an error asks to be left alone, 0 when it does not say.

    Its `retry_after_s` counts; without one, the `Retry-After` field of the response it
    carries (`response.headers`, as httpx and requests have it, or `headers`).

    Args:
        error: The error, no group.
        wall_s: The time, seconds since the Unix epoch.

    Raises:
        Exception: Whatever a property of the error raises.
    """
    asked: object = getattr(error, "retry_after_s", None)
    if asked is None:
        asked = _field_s(error, wall_s)
    if isinstance(asked, bool) or not isinstance(asked, (int, float)) or math.isnan(asked):
        return 0.0
    return max(0.0, float(asked))


def _field_s(error: BaseException, wall_s: float) -> float | None:
    source: object = getattr(error, "response", None)
    headers: object = getattr(error if source is None else source, "headers", None)
    get = getattr(headers, "get", None)
    if not callable(get):
        return None
    value: object = get(_FIELD) or get("Retry-After")
    return parse_retry_after(value, wall_s=wall_s) if isinstance(value, str) else None
