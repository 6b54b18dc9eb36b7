"""One encoding of records: JSON with sorted keys, no spaces, UTF-8, the same bytes every time.

The order of keys is that of their code points; a `msgspec.Struct` keeps that of its
fields. What JSON cannot hold becomes a short description of its type, never its value, so
that encoding always succeeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from .plain import clean_text, describe, plain_number

__all__ = ("canonical_bytes",)

_MAX_DEPTH = 32
_MAX_PARTS = 10_000
_MAX_KEY_CHARS = 256
_BEYOND = "<beyond the bound>"


def canonical_bytes(value: object) -> bytes:
    """Return the canonical JSON of `value`; it never fails.

    Numbers that are not finite become null or their name. A structure with a part that
    JSON cannot hold (a key that is no string, half of a surrogate pair, a loop) is cut at
    32 levels and 10,000 parts.
    """
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001 - hostile objects may raise anything, and this is total
        return _encode(_Plain().of(value, 0))


def _hook(value: Any) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return describe(value)


_encode = msgspec.json.Encoder(enc_hook=_hook, order="deterministic").encode


class _Plain:
    """Copies a value into what JSON can hold, within bounds of depth and parts."""

    def __init__(self) -> None:
        self._left = _MAX_PARTS

    def of(self, value: object, depth: int) -> object:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            return _BEYOND
        try:
            return self._copy(value, depth)
        except Exception:  # noqa: BLE001 - a hostile container may raise on being read
            return describe(value)

    def _copy(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return clean_text(str.__str__(value))
        if isinstance(value, int | float):
            return plain_number(value)
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, Mapping):
            copy: dict[str, object] = {}
            for key, part in cast("Mapping[object, object]", value).items():
                if self._left <= 0:
                    break
                copy[_key(key)] = self.of(part, depth + 1)
            return copy
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            parts = cast("Sequence[object]", value)[: max(0, self._left)]
            return [self.of(part, depth + 1) for part in parts]
        return describe(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return clean_text(str.__str__(key)[:_MAX_KEY_CHARS])
    return str(key) if type(key) is int else describe(key)
