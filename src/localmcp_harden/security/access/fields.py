"""Validators of the settings in this folder; their errors name a value's shape, never the value.

The validators of attrs print what they refuse, and here that may be a token.
"""

import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ...mechanisms.shape import shape_of

if TYPE_CHECKING:
    from attrs import Attribute

    _Attribute: TypeAlias = Attribute[Any]

__all__ = ("is_digest", "is_moment", "is_name", "is_name_or_none", "is_names")

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def is_name(_owner: object, attribute: "_Attribute", value: object) -> None:
    """Refuse what is no string, or an empty one."""
    if not isinstance(value, str) or not value:
        raise _wrong(attribute, "a string that is not empty", value)


def is_name_or_none(owner: object, attribute: "_Attribute", value: object) -> None:
    """Refuse what is neither None nor a string with something in it."""
    if value is not None:
        is_name(owner, attribute, value)


def is_names(_owner: object, attribute: "_Attribute", value: object) -> None:
    """Refuse what is no tuple or frozenset of strings with something in them."""
    if not isinstance(value, tuple | frozenset):
        raise _wrong(attribute, "a tuple or frozenset of strings", value)
    for name in cast("tuple[object, ...] | frozenset[object]", value):
        if not isinstance(name, str) or not name:
            raise _wrong(attribute, "made of strings that are not empty", name)


def is_digest(_owner: object, attribute: "_Attribute", value: object) -> None:
    """Refuse what is no SHA-256 in lower-case hexadecimal: a token put here by mistake."""
    if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
        raise _wrong(attribute, "64 lower-case hexadecimal digits, as hash_token gives", value)


def is_moment(_owner: object, attribute: "_Attribute", value: object) -> None:
    """Refuse what is neither None nor a time since the Unix epoch in seconds."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 < cast("float", value) < math.inf:
        raise _wrong(attribute, "seconds since the Unix epoch, above 0", value)


def _wrong(attribute: "_Attribute", wanted: str, value: object) -> ValueError:
    return ValueError(f"{attribute.name} must be {wanted}, not {shape_of(value)}")
