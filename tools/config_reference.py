"""Writes docs/reference/configuration.md from the configuration classes and their docstrings.

    python tools/config_reference.py --write

Without `--write` it prints the page.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attrs

from localmcp_harden.compose.config import HardenConfig
from localmcp_harden.compose.structure import is_for_code_only

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

PREAMBLE = """\
# Configuration

One TOML file, given as `Hardening.from_file("harden.toml")` or with `--config` on the
command line. Defaults are overridden by the file, the file by the environment, the
environment by keywords (`settings=` in code). `localmcp-harden describe` prints every
setting with the place it came from.

A variable `LOCALMCP_HARDEN__RATE_LIMIT__BURST=20` sets `rate_limit.burst`: two
underscores stand for a dot, and the value is TOML where it is TOML (`20`, `true`,
`["a"]`), and text otherwise.

Nothing is coerced (`"20"` is not a number), an unknown key is an error that names the
nearest known one, and the first five mistakes are told at once, each with its line.
A default of None can be given in code only. Relative paths start at the working folder.

This page is written by `nox -s reference` from the classes themselves.

## A file with a bit of everything

```toml
# harden.toml
version = 1
project = "notes"

[[authentication.tokens]]      # made with: localmcp-harden token
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
client = "ci"
roles = ["reader"]

[roles.writer]
includes = ["reader"]
scopes = ["notes:write"]

[[policy.rules]]
id = "readers-search"
effect = "allow"
actions = ["tools/call"]
tools = ["search"]
roles = ["reader"]
resources = ["/srv/notes"]

[[policy.rules]]
id = "private-stays-private"
effect = "deny"
resources = ["/srv/notes/private"]
reason = "this folder is private; ask its owner"

[tools.search]
paths = ["folder"]
read_only = true
deadline_s = 5

[rate_limit]
rate_per_s = 5
burst = 10

[audit]
before_acting = "writes"
```

`load_config` returns a `LoadedConfig`: the `config`, the `sources` of its values by
dotted path, the `file` it was read from, and `load_again`, which reads the same sources
once more; `reload` uses it.

```python
from localmcp_harden import load_config

config = load_config("harden.toml", environ={}).config
assert config.tools["search"].deadline_s == 5
```
"""


def main(arguments: list[str]) -> int:
    """Print the page, or write it."""
    if arguments == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
    return 0


def page() -> str:
    """Return the page."""
    parts = [PREAMBLE, *_section("", HardenConfig)]
    for name, kind in _sections():
        parts.extend(_section(name, kind))
    return "\n".join(parts)


def _sections() -> Iterator[tuple[str, type]]:
    """Yield every table there can be, with its class."""
    yield from _tables("", HardenConfig)


def _tables(path: str, kind: type) -> Iterator[tuple[str, type]]:
    hints = get_type_hints(kind)
    for field in attrs.fields(kind):
        hint = hints[field.name]
        here = f"{path}.{field.name}".lstrip(".")
        inner = hint
        if isinstance(hint, type) and attrs.has(hint):
            pass
        elif get_origin(hint) is not None and attrs.has(get_args(hint)[-1]):
            inner = get_args(hint)[-1]
            here += ".NAME"
        elif get_origin(hint) is tuple and attrs.has(get_args(hint)[0]):
            inner = get_args(hint)[0]
            here += "[]"
        else:
            continue
        yield here, inner
        yield from _tables(here, inner)


def _section(name: str, kind: type) -> list[str]:
    title = f"`[{name}]`" if name else "Top level"
    if name.endswith("[]"):
        title = f"`[[{name[:-2]}]]`"
    hints = get_type_hints(kind)
    meanings = _meanings(kind)
    rows = [
        f"| `{field.name}` | {_kind(hints[field.name])} | {_default(field)} "
        f"| {meanings[field.name]} |"
        for field in attrs.fields(kind)
        if not is_for_code_only(hints[field.name])
    ]
    summary = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
    head = ["| key | kind | default | meaning |", "| --- | --- | --- | --- |"]
    return [f"## {title}", "", summary, "", *head, *rows, ""]


def _meanings(kind: type) -> Mapping[str, str]:
    """Return what the docstring's Args say of each field."""
    document = inspect.getdoc(kind) or ""
    arguments = document.partition("\nArgs:\n")[2]
    meanings: dict[str, list[str]] = {}
    name = ""
    for line in arguments.splitlines():
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name = entry[1]
            meanings[name] = [entry[2]]
        elif line.startswith("        ") and name:
            meanings[name].append(line.strip())
        elif line and not line.startswith(" "):
            break
    return {name: " ".join(lines).replace("|", "\\|") for name, lines in meanings.items()}


def _kind(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is None:
        return _plain_kind(hint)
    if origin in (tuple, frozenset):
        return f"list of {_plural(_kind(inside[0]))}"
    if "Literal" in str(origin):
        return " or ".join(f"`{choice}`" for choice in inside)
    if "Mapping" in str(origin):
        return f"{_plural(_kind(inside[1]))} by name"
    return " or ".join(_kind(part) for part in inside if part is not type(None))


def _plain_kind(hint: Any) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "boolean", Path: "path"}
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return " or ".join(f"`{member.name.lower()}`" for member in hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{member.value}`" for member in hint)
    return names.get(hint, "table")


def _plural(word: str) -> str:
    return word if word == "text" or "`" in word else f"{word}s"


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default
    if value is None or attrs.has(type(value)):
        return "—"
    if isinstance(value, IntEnum):
        return f"`{value.name.lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, (tuple, list, frozenset, dict)):
        shown = ", ".join(f"`{item}`" for item in sorted(map(str, value))[:4])
        return (f"{shown}, …" if len(value) > 4 else shown) or "none"  # noqa: PLR2004
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "—"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
