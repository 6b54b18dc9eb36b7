"""One record as one line of JSON that can not be forged, broken or made to act on a terminal.

JSON writers escape what the format demands and let pass what terminals and editors
obey: the 8-bit control sequences, DEL, line separators, and the characters that turn
the direction of text. Here each of them is escaped as well, so that a line is one line
and reads as it is written. Any JSON reader gives the original text back.
"""

import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, TypeAlias, cast

import msgspec

from .plain import clean_text, describe, plain_number

__all__ = ("UNSAFE_CHARACTERS", "encode_line")

UNSAFE_CHARACTERS: str = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
    "\U000e0000-\U000e007f"
)
"""The body of a character class: controls, separators, marks of direction, invisible tags."""

_UNSAFE = re.compile(f"[{UNSAFE_CHARACTERS}]")
_ENCODE = msgspec.json.Encoder().encode
_MAX_DEPTH = 12
_MAX_PARTS = 1_000
_MAX_CHARS = 65_536
_BEYOND = "<beyond the bound>"

_Container: TypeAlias = (
    Mapping[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]
)


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """Return `fields` as one JSON object, without a line end. Never raises.

    What msgspec can not write is written by a slower path that bounds depth, parts and
    text and describes what JSON has no form for.
    """
    try:
        line = _ENCODE(fields)
    except Exception:  # noqa: BLE001 - any value at all may come here, and this is total
        line = _encode_slowly(fields)
    if line.isascii() and b"\x7f" not in line:
        # A JSON writer leaves no control character below space in its output.
        return line
    return _UNSAFE.sub(_escape, line.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    # Beyond the first plane JSON spells a character as a pair of surrogates.
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _encode_slowly(fields: Mapping[str, Any]) -> bytes:
    try:
        plain = _plain(fields, _MAX_DEPTH, [_MAX_PARTS, _MAX_CHARS])
        return json.dumps(plain, separators=(",", ":")).encode()
    except Exception:  # noqa: BLE001 - the last resort must not fail either
        return b'{"message":"a line could not be written"}'


def _plain(value: object, depth: int, budget: list[int]) -> object:
    """Return a bounded copy that `json` can write; `budget` is parts and characters left."""
    try:
        return _copy(value, depth, budget)
    except Exception:  # noqa: BLE001 - one hostile part must not take the line with it
        return describe(value)


def _copy(value: object, depth: int, budget: list[int]) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value if value is None or isinstance(value, bool) else plain_number(value)
    if isinstance(value, str):
        text = clean_text(str.__str__(value)[: max(0, budget[1])])
        budget[1] -= len(text)
        return text
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _copy_container(cast("_Container", value), depth, budget)
    return describe(value)


def _copy_container(value: "_Container", depth: int, budget: list[int]) -> object:
    if depth == 0 or budget[0] <= 0:
        return _BEYOND
    if isinstance(value, Mapping):
        copy: dict[str, object] = {}
        for key, part in islice(value.items(), budget[0]):
            budget[0] -= 1
            name = _copy(key, 0, budget) if isinstance(key, str) else describe(key)
            copy[str(name)] = _plain(part, depth - 1, budget)
        return copy
    parts: list[object] = []
    for part in islice(value, budget[0]):
        budget[0] -= 1
        parts.append(_plain(part, depth - 1, budget))
    return parts
