"""Says why arguments do not fit a schema: place, what was expected, the shape of what came.

Never the value. The engine's own messages quote it, so each sentence is built here from
the kind of the error, from the schema, and from sizes.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ...mechanisms.json_walk import path_text
from ...mechanisms.shape import shape_of

__all__ = ("explain",)

_MAX_WORD_CHARS = 40
_MAX_CHOICES = 8
_MAX_SENTENCE_CHARS = 240


def explain(errors: Iterable[Any], names: frozenset[str], max_errors: int) -> str:
    """Return at most `max_errors` sentences, joined; bounded in length.

    Args:
        errors: The engine's errors.
        names: The property names that the schema speaks of; no other name is shown.
        max_errors: How many are explained, at least 1.
    """
    sentences: list[str] = []
    more = 0
    for error in errors:
        if len(sentences) == max_errors:
            more += 1
            continue
        sentence = _sentence(error, names)
        if sentence not in sentences:
            sentences.append(sentence)
    text = "; ".join(sentences) or "the arguments do not fit the tool's schema"
    return f"{text}; and {more} more" if more else text


def _sentence(error: Any, names: frozenset[str]) -> str:
    place = path_text("arguments", list(error.instance_path), names)
    keyword = str(error.kind.name)
    say = _SENTENCES.get(type(error.kind).__name__)
    what = (
        f"does not satisfy `{_word(keyword)}`" if say is None else say(error.kind, error.instance)
    )
    return f"{place} {what}"[:_MAX_SENTENCE_CHARS]


def _word(value: object) -> str:
    """Return a word of the schema, bounded and printable."""
    text = json.dumps(value) if not isinstance(value, str) else json.dumps(value)[1:-1]
    return text if len(text) <= _MAX_WORD_CHARS else text[: _MAX_WORD_CHARS - 3] + "..."


def _choices(options: Any) -> str:
    members = list(options)
    if len(members) > _MAX_CHOICES or any(isinstance(option, dict | list) for option in members):
        return f"one of the {len(members)} values the schema allows"
    return "one of " + ", ".join(_word(option) for option in members)


def _limit(what: str, unit: str = "") -> Callable[[Any, Any], str]:
    def say(kind: Any, instance: Any) -> str:
        return f"must {what} {_word(kind.limit)}{unit}, and is {shape_of(instance)}"

    return say


def _plain(text: str) -> Callable[[Any, Any], str]:
    def say(_kind: Any, instance: Any) -> str:
        return text.format(shape=shape_of(instance))

    return say


def _unexpected(kind: Any, _instance: Any) -> str:
    lengths = sorted(len(name) for name in kind.unexpected)[:_MAX_CHOICES]
    sizes = ", ".join(map(str, lengths))
    return (
        f"has {len(kind.unexpected)} properties that the schema does not name "
        f"(names of {sizes} characters)"
    )


_SENTENCES: Final[Mapping[str, Callable[[Any, Any], str]]] = {
    "Type": lambda kind, instance: (
        f"must be {' or '.join(map(_word, kind.types))}, not {shape_of(instance)}"
    ),
    "Required": lambda kind, _: f"lacks the required property `{_word(kind.property)}`",
    "AdditionalProperties": _unexpected,
    "UnevaluatedProperties": _unexpected,
    "AdditionalItems": _limit("have no items beyond the first"),
    "UnevaluatedItems": _plain("has items that the schema does not allow"),
    "Enum": lambda kind, instance: f"must be {_choices(kind.options)}, not {shape_of(instance)}",
    "Constant": lambda kind, instance: (
        f"must be {_word(kind.expected_value)}, not {shape_of(instance)}"
    ),
    "Minimum": _limit("be at least"),
    "Maximum": _limit("be at most"),
    "ExclusiveMinimum": _limit("be above"),
    "ExclusiveMaximum": _limit("be below"),
    "MultipleOf": lambda kind, _: f"must be a multiple of {_word(str(kind.multiple_of))}",
    "MinLength": _limit("have at least", " characters"),
    "MaxLength": _limit("have at most", " characters"),
    "MinItems": _limit("have at least", " items"),
    "MaxItems": _limit("have at most", " items"),
    "MinProperties": _limit("have at least", " properties"),
    "MaxProperties": _limit("have at most", " properties"),
    "UniqueItems": _plain("must not hold the same item twice, and is {shape}"),
    "Contains": _plain("lacks an item that the schema asks for, and is {shape}"),
    "Pattern": lambda kind, instance: (
        f"must match the pattern {_word(kind.pattern)}, and is {shape_of(instance)}"
    ),
    "Format": lambda kind, instance: (
        f"must have the format {_word(kind.format)}, and is {shape_of(instance)}"
    ),
    "AnyOf": lambda kind, instance: (
        f"fits none of the {len(kind.context)} forms the schema allows, and is {shape_of(instance)}"
    ),
    "OneOfNotValid": lambda kind, instance: (
        f"fits none of the {len(kind.context)} forms the schema allows, and is {shape_of(instance)}"
    ),
    "OneOfMultipleValid": _plain(
        "fits several forms of which the schema allows one, and is {shape}"
    ),
    "Not": _plain("has a form that the schema forbids, and is {shape}"),
    "FalseSchema": _plain("is, or holds, something that the schema forbids"),
    "PropertyNames": _plain("has a property whose name the schema does not allow"),
}
