"""The default `Redactor`: hides what stands under a telling key, and what looks like a token.

It judges by names and by forms. What neither names itself nor looks like a secret
passes; `docs/explanation/redaction.md` says what is found and what is not.
"""

import re
import unicodedata
from collections.abc import Mapping
from itertools import islice
from typing import Any, Protocol, cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le

from .plain import clean_text, describe, plain_number
from .secret_forms import REDACTED, SENSITIVE_WORDS, hide_tokens, may_hold_token
from .shape import shape_of

__all__ = ("KeyRedactor", "RedactionConfig")

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST_PHRASE = 3
_NAMING_KEYS = ("name", "key", "header", "field", "Name", "Key", "Header")
_VALUE_KEYS = frozenset({"value", "values", "Value", "Values"})
_BEYOND = "<beyond the bound>"

_PHRASE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _are_phrases(_owner: object, attribute: Any, value: object) -> None:
    """Refuse what is no frozenset of words; the error names no element."""
    if not isinstance(value, frozenset):
        raise TypeError(f"{attribute.name} must be a frozenset of strings, not {shape_of(value)}")
    for phrase in cast("frozenset[object]", value):
        if not isinstance(phrase, str) or not _PHRASE.fullmatch(phrase):
            raise ValueError(
                f"{attribute.name} must be made of words of letters, digits, `_` and `-`, "
                f"not {shape_of(phrase)}"
            )


def _bound(default: int, low: int, high: int) -> Any:
    return field(default=default, validator=[instance_of(int), and_(ge(low), le(high))])


@final
@frozen(kw_only=True)
class RedactionConfig:
    """What is hidden, and how much is copied.

    Args:
        sensitive_words: Words, or words joined by `_`, that make a key sensitive when
            they stand in it as whole words: `api_key` hits `X-Api-Key` and `apiKey`.
        extra_words: Further such words of your own, beside the default ones.
        max_depth: How many levels are copied (1 to 64; 8, deeper than tools nest).
        max_parts: How many keys and items are copied in all (1 to 100,000; 512).
        max_text_chars: How long one text may be (16 to 1,000,000; 2,048).
        max_total_chars: How long all texts together may be (16 to 10,000,000; 32,768).
        max_cached_keys: For how many keys the verdict is remembered (1 to 1,000,000;
            1,024, more than the argument names of most servers).
    """

    sensitive_words: frozenset[str] = field(default=SENSITIVE_WORDS, validator=_are_phrases)
    extra_words: frozenset[str] = field(factory=frozenset[str], validator=_are_phrases)
    max_depth: int = _bound(8, 1, 64)
    max_parts: int = _bound(512, 1, 100_000)
    max_text_chars: int = _bound(2_048, 16, 1_000_000)
    max_total_chars: int = _bound(32_768, 16, 10_000_000)
    max_cached_keys: int = _bound(1_024, 1, 1_000_000)


_MAX_KEY_CHARS = 128
_MAX_CACHED_KEY_CHARS = 64


@final
class KeyRedactor:
    """Redacts by key and by the form of a text; total and bounded.

    Under a sensitive key everything goes but None and booleans. A mapping such as
    `{"name": "Authorization", "value": ...}`, a pair `["Cookie", ...]` and what
    follows a flag like `--password` in a list are treated as keys and values too.
    """

    def __init__(self, config: RedactionConfig | None = None) -> None:
        self.configure(config or RedactionConfig())

    def configure(self, config: RedactionConfig, /) -> None:
        """Put another configuration in force."""
        self.config: RedactionConfig = config
        words = config.sensitive_words | config.extra_words
        self._phrases = frozenset("".join(_words_of(word)) for word in words)
        # A key's safe form, and whether what stands under it is to be hidden.
        self._verdicts: dict[str, tuple[str, bool]] = {}

    def redact(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return a bounded copy with every secret it recognizes replaced. Never raises."""
        budget = [self.config.max_parts, self.config.max_total_chars]
        try:
            return self._mapping(arguments, self.config.max_depth, budget)
        except Exception:  # noqa: BLE001 - any object at all may come here, and this is total
            return {"unreadable": describe(arguments)}

    def redact_text(self, text: str, /) -> str:
        """Return a bounded copy of `text` with what looks like a token replaced. Never raises."""
        try:
            return self._text(str.__str__(text), self.config.max_text_chars)
        except Exception:  # noqa: BLE001 - any object at all may come here, and this is total
            return describe(text)

    def is_sensitive(self, key: str, /) -> bool:
        """Return whether what stands under `key` is hidden."""
        return self._verdict(key)[1]

    def _mapping(self, source: Mapping[Any, Any], depth: int, budget: list[int]) -> dict[str, Any]:
        hide_value = False
        if "value" in source or "Value" in source or "values" in source:
            hide_value = self._names_a_secret(source)
        verdicts = self._verdicts
        longest = self.config.max_text_chars
        copy: dict[str, Any] = {}
        value: object
        for key, value in islice(source.items(), max(0, budget[0])):
            budget[0] -= 1
            # A key of another type could answer the lookup as it likes.
            verdict = verdicts.get(key) if type(key) is str else None
            if verdict is None:
                verdict = self._verdict(key)
            name, hide = verdict
            if value is None or value is True or value is False:
                copy[name] = value
            elif hide or (hide_value and key in _VALUE_KEYS):
                copy[name] = REDACTED
            elif (
                type(value) is str
                and len(value) <= longest
                and len(value) <= budget[1]
                and value.isascii()
                and not may_hold_token(value)
            ):
                budget[1] -= len(value)
                copy[name] = value
            else:
                copy[name] = self._value(value, depth - 1, budget)
        return copy

    def _value(self, value: object, depth: int, budget: list[int]) -> Any:
        try:
            if isinstance(value, str):
                limit = min(self.config.max_text_chars, max(0, budget[1]))
                text = self._text(str.__str__(value), limit)
                budget[1] -= len(text)
                return text
            if value is None or isinstance(value, bool | int | float):
                return value if value is None or isinstance(value, bool) else plain_number(value)
            if _has_parts(value):
                return self._container(value, depth, budget)
        except Exception:  # noqa: BLE001, S110  # nosec B110 - a hostile part is described
            pass
        return describe(value)

    def _container(self, value: Any, depth: int, budget: list[int]) -> Any:
        if depth <= 0 or budget[0] <= 0:
            return _BEYOND
        copy = self._mapping if _is_mapping(value) else self._items
        return copy(value, depth, budget)

    def _items(self, source: "_Sized", depth: int, budget: list[int]) -> list[Any]:
        copy: list[Any] = []
        pair = len(source) == 2  # noqa: PLR2004 - a name and its value
        hide_next = False
        for item in islice(source, max(0, budget[0])):
            budget[0] -= 1
            if hide_next and item is not None and not isinstance(item, bool):
                copy.append(REDACTED)
                hide_next = False
                continue
            hide_next = (
                isinstance(item, str)
                and (pair or item.startswith("-"))
                and "=" not in item
                and self._verdict(item)[1]
            )
            copy.append(self._value(item, depth - 1, budget))
        return copy

    def _names_a_secret(self, source: Mapping[Any, Any]) -> bool:
        return any(
            isinstance(named := source.get(key), str) and self._verdict(named)[1]
            for key in _NAMING_KEYS
        )

    def _text(self, text: str, limit: int) -> str:
        if len(text) <= limit and not may_hold_token(text):
            return clean_text(text)
        text = hide_tokens(clean_text(text[:limit]), cut=len(text) > limit)
        return text[:limit]

    def _verdict(self, key: Any) -> tuple[str, bool]:
        if not isinstance(key, str):
            # A number is a harmless key; anything else is named by its type.
            named = plain_number(key) if isinstance(key, int | float) else describe(key)
            return str(named), False
        key = str.__str__(key)
        verdict = self._verdicts.get(key)
        if verdict is None:
            cut = key[:_MAX_KEY_CHARS]
            verdict = (self._text(cut, _MAX_KEY_CHARS), self._judge(cut))
            if len(key) <= _MAX_CACHED_KEY_CHARS:
                if len(self._verdicts) >= self.config.max_cached_keys:
                    # Whoever floods with new keys pays by recomputing; memory stays bounded.
                    self._verdicts.clear()
                self._verdicts[key] = verdict
        return verdict

    def _judge(self, key: str) -> bool:
        words = _words_of(key if key.isascii() else unicodedata.normalize("NFKC", key))
        return any(
            "".join(words[start : start + length]) in self._phrases
            for length in range(1, _LONGEST_PHRASE + 1)
            for start in range(len(words) - length + 1)
        )


class _Sized(Protocol):
    """What has a length and items: list, tuple, set."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


def _has_parts(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _words_of(key: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(key)]
