"""Describes a value without quoting it, for error messages."""

from collections.abc import Mapping

__all__ = ("shape_of",)


def shape_of(value: object) -> str:
    """Return the kind and size of a value, for example `a string of 5 characters`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    return _shape_of_container(value)


def _shape_of_container(value: object) -> str:
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"a list of {len(value)} items"
    return f"a {type(value).__name__}"
