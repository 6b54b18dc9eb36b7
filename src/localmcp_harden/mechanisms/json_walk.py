"""Bounds of JSON values: a walk that finds the first part beyond a bound.

It does not recurse, looks at no more than `max_parts` values, and describes what it
found by place and shape, never by value.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias, final

from attrs import frozen

from .shape import shape_of

__all__ = ("JsonExcess", "JsonLimits", "find_excess", "path_text")

_SHOWN_KEY = re.compile(r"[A-Za-z_][A-Za-z_-]{0,31}")
_MAX_PATH_CHARS = 120
_SCALAR_BYTES = 8

_Place: TypeAlias = tuple[Any, int, "_Place | None"]
"""A container, its depth, and the place of the container that holds it."""


@final
@frozen(kw_only=True)
class JsonLimits:
    """How large a JSON value may be.

    Args:
        max_bytes: UTF-8 bytes of strings and keys together, and 8 for every other scalar.
        max_depth: Objects and arrays within each other.
        max_parts: Values, containers included.
        max_string_chars: Characters of one string.
        max_key_chars: Characters of one key.
        max_integer_bits: Bits of one integer's magnitude.
    """

    max_bytes: int
    max_depth: int
    max_parts: int
    max_string_chars: int
    max_key_chars: int
    max_integer_bits: int


@final
@frozen
class JsonExcess:
    """The first part that passes a bound.

    Args:
        reason: One sentence with the place, what stands there, and the bound.
        too_large: Whether it is a matter of size, and not of a value JSON cannot hold.
    """

    reason: str
    too_large: bool = True


def find_excess(value: object, limits: JsonLimits, root: str) -> JsonExcess | None:  # noqa: C901, PLR0911, PLR0912
    """Return the first part of `value` beyond `limits`, None when there is none.

    Args:
        value: An object or an array of JSON values.
        limits: The bounds.
        root: What the value is called in the reason, for example `arguments`.
    """
    # One loop with every common type inline: this runs on each call.
    max_string, max_key = limits.max_string_chars, limits.max_key_chars
    top = 1 << limits.max_integer_bits
    max_parts = limits.max_parts
    size, parts = 0, 1
    stack: list[_Place] = [(value, 1, None)]
    while stack:
        place = stack.pop()
        container, depth, _ = place
        parts += len(container)
        if parts > max_parts:
            return JsonExcess(f"{root} has more than {max_parts} parts")
        form: type[object] = type(container)
        # The exact types first: asking an abstract class costs as much as the whole loop.
        if form is dict or (form is not list and isinstance(container, Mapping)):
            for key in container:
                if type(key) is not str:
                    return _impossible(place, root, "has a key that is no string")
                if len(key) > max_key:
                    return _excess(
                        place, root, f"has a key of {len(key)} characters", f"{max_key} are allowed"
                    )
                if key.isascii():
                    size += len(key)
                elif (length := _utf8(key)) < 0:
                    return _impossible(place, root, "has a key with half of a surrogate pair")
                else:
                    size += length
            items: Any = container.values()
        else:
            items = container
        for item in items:
            kind: type[object] = type(item)
            if kind is str or isinstance(item, str):
                if len(item) > max_string:
                    return _excess(
                        (item, 0, place), root, f"is {shape_of(item)}", f"{max_string} are allowed"
                    )
                if item.isascii():
                    size += len(item)
                    continue
                length = _utf8(item)
                if length < 0:
                    return _impossible((item, 0, place), root, "holds half of a surrogate pair")
                size += length
                if size > limits.max_bytes:
                    break
            elif kind is bool or item is None:
                size += _SCALAR_BYTES
            elif isinstance(item, int):
                size += _SCALAR_BYTES
                if not -top < item < top:
                    return _excess(
                        (item, 0, place),
                        root,
                        f"is a whole number of {item.bit_length()} bits",
                        f"{limits.max_integer_bits} are allowed",
                    )
            elif isinstance(item, float):
                size += _SCALAR_BYTES
                if not math.isfinite(item):
                    return _impossible((item, 0, place), root, "is a number that is not finite")
            elif kind is dict or kind is list or isinstance(item, Mapping | list | tuple):
                if depth >= limits.max_depth:
                    return _excess(
                        (item, 0, place),
                        root,
                        "is nested too deep",
                        f"{limits.max_depth} levels are allowed",
                    )
                stack.append((item, depth + 1, place))
            else:
                return _impossible((item, 0, place), root, f"is {shape_of(item)}, which JSON lacks")
        if size > limits.max_bytes:
            return JsonExcess(f"{root} has more than {limits.max_bytes} bytes")
    return None


def path_text(root: str, path: list[object], known: frozenset[str] | None = None) -> str:
    """Return a place as text, for example `arguments.items[3]`, in at most 120 characters.

    Args:
        root: What the path starts at.
        path: Keys and positions.
        known: The keys that may be shown; None for all that look like plain words. A key
            that a caller made up may itself be a secret.
    """
    text = root
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif isinstance(step, str) and _may_show(step, known):
            text += f".{step}"
        else:
            text += f".<a key of {len(str(step))} characters>"
        if len(text) > _MAX_PATH_CHARS:
            return text[: _MAX_PATH_CHARS - 3] + "..."
    return text


def _may_show(key: str, known: frozenset[str] | None) -> bool:
    if known is not None:
        return key in known and key.isprintable()
    return _SHOWN_KEY.fullmatch(key) is not None


def _utf8(text: str) -> int:
    """Return the size of `text` in UTF-8, -1 when it has none."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


def _excess(place: _Place, root: str, what: str, bound: str) -> JsonExcess:
    return JsonExcess(f"{_where(place, root)} {what}; {bound}")


def _impossible(place: _Place, root: str, what: str) -> JsonExcess:
    return JsonExcess(f"{_where(place, root)} {what}", too_large=False)


def _where(place: _Place, root: str) -> str:
    path: list[object] = []
    part, _, holder = place
    while holder is not None:
        path.append(_step(holder[0], part))
        part, _, holder = holder
    path.reverse()
    return path_text(root, path)


def _step(container: Any, part: object) -> object:
    """Return the key or position of `part`, found by identity: nothing else is compared."""
    pairs: Any = container.items() if isinstance(container, Mapping) else enumerate(container)
    for step, item in pairs:
        if item is part:
            return step
    return "?"
