"""Turns plain data into the configuration tree, strictly, by cattrs.

Nothing is coerced, nothing unknown is ignored. Settings that only code can give
(a predicate, exception types) are not part of a file and unknown there.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs
from cattrs import BaseValidationError, ClassValidationError, Converter, IterableValidationError
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from ..core.errors import ConfigError
from ..mechanisms.shape import shape_of

__all__ = ("Problem", "is_for_code_only", "structure")

T = TypeVar("T")
Problem = tuple[str, str]
"""A dotted path and what is wrong there."""

_MAX_BITS = 64
_NAMED = re.compile(r"^'(\w+)' ")


def structure(data: Mapping[str, Any], kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Return the object and no problems, or no object and every problem found."""
    try:
        return _CONVERTER.structure(data, kind), []
    except BaseValidationError as error:
        return None, list(_problems(error, ""))
    except ConfigError as error:
        return None, [(error.path, error.message)]


class _WrongShapeError(ValueError):
    """A value of another kind than the field's."""


def _expect(kinds: type | tuple[type, ...], name: str) -> Callable[[Any, Any], Any]:
    allows_bool = kinds is bool

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and not allows_bool):
            raise _WrongShapeError(f"must be {name}, not {shape_of(value)}")
        return value

    return check


def _to_int(value: Any, _: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongShapeError(f"must be a whole number, not {shape_of(value)}")
    if value.bit_length() > _MAX_BITS:
        # Before a validator tries to print it: Python refuses to, beyond 4,300 digits.
        raise _WrongShapeError("must be a whole number of at most 64 bits")
    return value


def _to_member(value: Any, kind: Any) -> Any:
    return _choose(value, {member.value: member for member in kind})


def _to_level(value: Any, kind: Any) -> Any:
    # A number means nothing to the reader of a file: levels are given by name.
    return _choose(value, {member.name.lower(): member for member in kind})


def _to_literal(value: Any, kind: Any) -> Any:
    return _choose(value, {str(choice): choice for choice in get_args(kind)})


def _choose(value: Any, choices: Mapping[str, Any]) -> Any:
    if isinstance(value, Enum) and value in choices.values():
        return value
    if isinstance(value, str) and value in choices:
        return choices[value]
    close = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise _WrongShapeError(f"must be one of {', '.join(map(repr, choices))}{hint}")


def _to_path(value: Any, _: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\x00" in value:
        raise _WrongShapeError(f"must be a path, not {shape_of(value)}")
    return Path(value).expanduser()


def is_for_code_only(hint: Any) -> bool:
    """Return whether a field's type is one that no file can give: a function, a class."""
    return get_origin(hint) is not None and (
        "Callable" in str(hint) or "Exception" in str(hint) or "type[" in str(hint)
    )


def _attrs_hook(kind: type, converter: Converter) -> Callable[[Any, Any], Any]:
    hints = get_type_hints(kind)
    overrides: dict[str, Any] = {
        field.name: override(omit=True)
        for field in attrs.fields(kind)
        if is_for_code_only(hints[field.name])
    }
    inner: Any = make_dict_structure_fn(
        kind,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **overrides,
    )

    def hook(value: Any, target: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise _WrongShapeError(f"must be a table, not {shape_of(value)}")
        return inner(value, target)

    return hook


def _sequence_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    build: Any = get_origin(kind)
    item = get_args(kind)[0]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise _WrongShapeError(f"must be a list, not {shape_of(value)}")
        return build(converter.structure(list(value), list[item]))  # type: ignore[valid-type]

    return hook


def _mapping_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    _, item = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _WrongShapeError(f"must be a table, not {shape_of(value)}")
        return converter.structure(dict(value), dict[str, item])  # type: ignore[valid-type]

    return hook


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(bool, _expect(bool, "true or false"))
    converter.register_structure_hook(int, _to_int)
    converter.register_structure_hook(float, _expect((int, float), "a number"))
    converter.register_structure_hook(str, _expect(str, "a string"))
    converter.register_structure_hook(Path, _to_path)
    # By their own bases, or they would be taken for the strings and numbers they are, too.
    converter.register_structure_hook(StrEnum, _to_member)
    converter.register_structure_hook(IntEnum, _to_level)
    converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _to_literal)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _attrs_hook(kind, converter))
    converter.register_structure_hook_factory(
        lambda kind: _origin(kind) in (tuple, frozenset),
        lambda kind: _sequence_hook(kind, converter),
    )
    converter.register_structure_hook_factory(
        lambda kind: get_origin(kind) is not None and "Mapping[" in str(kind),
        lambda kind: _mapping_hook(kind, converter),
    )
    return converter


_CONVERTER = _make_converter()


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    """Walk cattrs' tree of errors down to its leaves."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        placed, others = error.group_exceptions()
        for inner, note in placed:
            step = getattr(note, "name", None)
            if step is None:
                index: Any = getattr(note, "index", "?")
                below = f"{path}.{index}" if isinstance(index, str) else f"{path}[{index}]"
            else:
                below = f"{path}.{step}"
            yield from _problems(inner, below.lstrip("."))
        for other in others:
            yield from _problems(other, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            yield f"{path}.{key}".lstrip("."), _unknown(key, known)
    elif isinstance(error, KeyError):
        yield path, "is missing"
    elif isinstance(error, ConfigError):
        yield f"{path}.{error.path}".strip("."), error.message
    else:
        yield _from_validator(str(error), path)


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"is not a known key; did you mean {close[0]!r}?"
    return f"is not a known key; known are {', '.join(sorted(known))}"


def _from_validator(message: str, path: str) -> Problem:
    """Split attrs' own message, which begins with the quoted name of the field."""
    named = _NAMED.match(message)
    if named:
        return f"{path}.{named[1]}".lstrip("."), message[named.end() :]
    return path, message
