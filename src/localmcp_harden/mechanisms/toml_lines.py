"""Finds the lines on which the values of a TOML document stand.

`tomllib` gives values without places. This reads only keys and headers, and only
to say where a value came from: what it misses (a key inside an inline table) is
reported at the line of the table that holds it.
"""

import re
from collections.abc import Mapping

__all__ = ("line_numbers",)

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"^[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?[ \t]*(?:#.*)?$")
_KEY = re.compile(rf"^[ \t]*({_DOTTED})[ \t]*=")
_SPLIT = re.compile(_PART)
_TRIPLE = re.compile(r"\"\"\"|'''")


def line_numbers(text: str) -> Mapping[str, int]:
    """Return the line, from 1, of each dotted path of a valid TOML document.

    An element of an array of tables is numbered: `rules[0].effect`.
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    closing: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if closing is not None:
            # Inside a string over several lines nothing is a key.
            if closing in line:
                closing = None
            continue
        header = _HEADER.match(line)
        if header:
            table = _resolve(header[2], counts, new_element=header[1] == "[[")
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            path = _join(table, [_unquote(part) for part in _SPLIT.findall(key[1])])
            lines.setdefault(path, number)
        opened = _TRIPLE.findall(line)
        if len(opened) % 2:
            closing = opened[-1]
    return lines


def _resolve(dotted: str, counts: dict[str, int], *, new_element: bool) -> str:
    """Return the path of a header, with the numbers of the array elements it is in."""
    path = ""
    parts = [_unquote(part) for part in _SPLIT.findall(dotted)]
    for position, part in enumerate(parts):
        path = _join(path, [part])
        if new_element and position == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = f"{path}[{counts[path]}]"
    return path


def _join(table: str, parts: list[str]) -> str:
    return ".".join(part for part in [table, *parts] if part)


def _unquote(part: str) -> str:
    return part[1:-1] if part[0] in "\"'" else part
