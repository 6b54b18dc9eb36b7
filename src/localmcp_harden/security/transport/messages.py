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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedTextError(_TWICE)
    return found


def _constant(_: str) -> NoReturn:
    raise _RefusedTextError(_NOT_FINITE)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedTextError(_NOT_FINITE)
    return number


# Made once: `json.loads` makes one for every text that it is given hooks for.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
