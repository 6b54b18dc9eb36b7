"""Judges the JSON of a body before anything else parses it.

Two parsers may disagree on what a text means when it repeats a key, names a number that
is not finite, or is no UTF-8. Such a text is refused, so that what is judged is what is run.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, final

from attrs import frozen

from ...core.errors import InputTooLargeError
from ...core.model import Decision
from ...mechanisms.json_bounds import check_json_text
from .refusals import refusal

__all__ = ("JsonBody", "is_json", "judge_content_type", "judge_json")

_NOT_UTF8 = refusal("invalid_json", "the body is not UTF-8")
_NOT_JSON = refusal("invalid_json", "the body is not well-formed JSON")
_TWICE = refusal("invalid_json", "an object of the body has a key twice")
_NOT_FINITE = refusal("invalid_json", "a number of the body is not finite")
_NO_OBJECT = refusal("invalid_json", "the body must be one JSON object; batches are not taken")
_BAD_TYPE = refusal("unsupported_media_type")


@final
@frozen
class JsonBody:
    """A body that passed.

    Args:
        value: What it says.
        method: The method of a JSON-RPC request or notification, else `""`.
        request_id: The id of a JSON-RPC request as text, else None.
    """

    value: Any
    method: str = ""
    request_id: str | None = None


class _RefusedTextError(ValueError):
    """A text that is JSON to some, and is refused here."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


def judge_content_type(header: bytes | None, allowed: frozenset[str]) -> str | Decision:
    """Return the media type of a body, or why it is not taken: another type, or not UTF-8."""
    if header is None or not header.isascii():
        return _BAD_TYPE
    media, _, parameters = header.decode("ascii").lower().partition(";")
    media = media.strip()
    if media not in allowed:
        return _BAD_TYPE
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8"}:
            return _BAD_TYPE
    return media


def is_json(media: str) -> bool:
    """Return whether a media type is one of JSON."""
    return media == "application/json" or media.endswith("+json")


def judge_json(
    data: bytes, *, max_bytes: int, max_depth: int, max_parts: int, arrays: bool
) -> JsonBody | Decision:
    """Return what a body says, or why it is refused."""
    try:
        check_json_text(data, max_bytes=max_bytes, max_depth=max_depth, max_parts=max_parts)
        value = _DECODER.decode(data.decode("utf-8"))
        _check_entries(value, data)
    except InputTooLargeError as error:
        return refusal("invalid_json", error.reason)
    except UnicodeDecodeError:
        return _NOT_UTF8
    except _RefusedTextError as error:
        return error.decision
    except (ValueError, RecursionError):
        return _NOT_JSON
    if not isinstance(value, dict):
        return JsonBody(value) if arrays and isinstance(value, list) else _NO_OBJECT
    return _message(value)


def _message(value: Mapping[str, Any]) -> JsonBody:
    method = value.get("method")
    if not isinstance(method, str):
        return JsonBody(value)
    request_id = value.get("id")
    known = isinstance(request_id, (int, str)) and not isinstance(request_id, bool)
    return JsonBody(value, method, str(request_id) if known else None)


def _check_entries(value: Any, data: bytes) -> None:
    """Refuse a text in which a key is there twice, or a number is not finite.

    Looking afterwards spares the decoder a hook for each object, and with it its slow path.
    """
    entries = 0
    stack = [value]
    while stack:
        part = stack.pop()
        if type(part) is dict:
            entries += len(part)
            part = part.values()
        elif type(part) is not list:
            part = (part,)
        for item in part:
            kind = type(item)
            if kind is dict or kind is list:
                stack.append(item)
            elif kind is float and math.isinf(item):
                raise _RefusedTextError(_NOT_FINITE)
    # Each pair of a text has a colon: with as many entries as colons none is there twice.
    if entries != data.count(b":") and entries != _colons(data):
        raise _RefusedTextError(_TWICE)


def _colons(data: bytes) -> int:
    """Return how many colons of a well-formed text stand outside strings."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return sum(piece.count(b":") for piece in data.split(b'"')[::2])


def _constant(_: str) -> NoReturn:
    raise _RefusedTextError(_NOT_FINITE)


# Made once: `json.loads` makes one for every text that it is given hooks for.
_DECODER = json.JSONDecoder(parse_constant=_constant)
