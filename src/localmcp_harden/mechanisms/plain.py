"""Turns anything into what JSON can hold, without running code of the value where it can help it.

Nothing here raises, whatever it is given: an object whose `__repr__` raises, a class
that lies about itself, an integer of a million digits, half of a surrogate pair.
"""

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from uuid import UUID

__all__ = ("clean_text", "describe", "plain_number")

_NAMED_BY_TEXT = (datetime, date, time, timedelta, Decimal, UUID, PurePath)
_MAX_NAME_CHARS = 64
_MAX_TEXT_CHARS = 256
_MAX_INT_BITS = 63


def describe(value: object) -> str:
    """Return a short text for a value that JSON has no form for; never its repr.

    A repr may hold a secret, may be endless, and may raise. Only types whose text is
    their value (times, decimals, UUIDs, paths) are written out.
    """
    try:
        kind = type(value)
        if kind in _NAMED_BY_TEXT or isinstance(value, PurePath):
            return clean_text(str(value)[:_MAX_TEXT_CHARS])
        name = str.__str__(kind.__name__)[:_MAX_NAME_CHARS]
        if isinstance(value, bytes | bytearray):
            return f"<{name} of {len(value)}>"
        return clean_text(f"<{name}>")
    except Exception:  # noqa: BLE001 - a hostile class may raise anything, and this is total
        return "<unreadable>"


def plain_number(value: float) -> int | float | str:
    """Return a number that every JSON reader takes, or its description as text.

    Integers beyond 63 bits and floats that are not finite have no portable form.
    """
    if isinstance(value, int):
        # Unbound, so that a subclass can not answer with something else.
        number = int.__add__(value, 0)
        bits = number.bit_length()
        return number if bits <= _MAX_INT_BITS else f"<int of {bits} bits>"
    level = float.__add__(value, 0.0)
    return level if math.isfinite(level) else str(level)


def clean_text(text: str) -> str:
    """Return `text` with half surrogate pairs written out, so that it has a UTF-8 form."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
