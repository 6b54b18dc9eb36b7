"""Makes the configuration tree: defaults < file < environment < keyword.

Every value knows where it came from, and every error names the source, the
field's path, the shape of what was found, and what would be right.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from attrs import field, frozen

from ..core.errors import ConfigError
from ..mechanisms.toml_lines import line_numbers
from .config import HardenConfig
from .structure import structure

__all__ = ("ENVIRONMENT_PREFIX", "LoadedConfig", "load_config")

ENVIRONMENT_PREFIX = "LOCALMCP_HARDEN__"
"""`LOCALMCP_HARDEN__RATE_LIMIT__BURST=20` sets `rate_limit.burst`."""

_MAX_FILE_BYTES = 16 * 1024 * 1024
_SHOWN_PROBLEMS = 5
_MAX_DEPTH = 16


@final
@frozen(kw_only=True)
class LoadedConfig:
    """A configuration, and where each value came from.

    Args:
        config: The configuration.
        sources: By dotted path: `harden.toml:12`, `environment NAME` or `keyword`.
            What is not named is a default.
        file: The file that was read, None when there was none.
        load_again: Reads the same sources again, in the same order; None for a
            configuration that was not read.
    """

    config: HardenConfig
    sources: Mapping[str, str] = field(default=MappingProxyType({}))
    file: Path | None = None
    load_again: Callable[[], "LoadedConfig"] | None = field(default=None, eq=False, repr=False)

    def source_of(self, path: str) -> str:
        """Return where the value at `path` came from, `default` when nobody set it."""
        return self.sources.get(path, "default")


def load_config(
    file: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> LoadedConfig:
    """Read the configuration.

    Args:
        file: A TOML file, or None.
        environ: The environment; the process's own when None.
        settings: Nested settings that win over file and environment.

    Raises:
        ConfigError: The file can not be read, or a value is unknown, mistyped or out
            of range. The first five problems are named.
    """
    layers = _Layers()
    path = None if file is None else Path(file)
    if path is not None:
        read, places = _read(path)
        layers.add(read, path.name, places)
    for name, keys, value in _from_environment(os.environ if environ is None else environ):
        layers.add(_nested(keys, value), f"environment {name}")
    if settings:
        layers.add(settings, "keyword")
    _note_rule_sources(layers.data, layers.sources)
    config, problems = structure(layers.data, HardenConfig)
    if config is None:
        raise _as_error(problems, layers.sources)
    return LoadedConfig(
        config=config,
        sources=layers.sources,
        file=path,
        load_again=partial(load_config, file, environ=environ, settings=settings),
    )


def _read(path: Path) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError("is larger than 16 MiB; split what is generated", "", str(path))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"can not be read: {reason}", "", str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", "", str(path)) from None
    try:
        return tomllib.loads(text), line_numbers(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", "", str(path)) from None
    except ValueError:
        # A number of thousands of digits: Python refuses to read it.
        raise ConfigError("holds a number that is too long", "", str(path)) from None
    except RecursionError:
        raise ConfigError("is nested too deeply", "", str(path)) from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, list[str], Any]]:
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            if not all(keys) or len(keys) > _MAX_DEPTH:
                raise ConfigError(
                    f"name the setting, for example {ENVIRONMENT_PREFIX}RATE_LIMIT__BURST",
                    "",
                    f"environment {name}",
                )
            yield name, keys, _environment_value(environ[name])


def _environment_value(raw: str) -> Any:
    # A value is TOML where it is TOML (`5`, `true`, `["a"]`), and text otherwise.
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        return raw


def _nested(keys: list[str], value: Any) -> Mapping[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value  # type: ignore[no-any-return]


class _Layers:
    """Settings laid over one another, with the source of each."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(
        self, layer: Mapping[str, Any], source: str, places: Mapping[str, int] | None = None
    ) -> None:
        """Lay settings over those that are there: tables merge, everything else replaces."""
        self._merge(self.data, layer, "", lambda path: _place(source, path, places or {}), 0)

    def _merge(
        self,
        into: dict[str, Any],
        layer: Mapping[str, Any],
        path: str,
        source_of: Callable[[str], str],
        depth: int,
    ) -> None:
        if depth > _MAX_DEPTH:
            raise ConfigError("is nested too deeply", "", source_of(path))
        for key, value in layer.items():
            here = f"{path}.{key}" if path else key
            self.sources[here] = source_of(here)
            if isinstance(value, Mapping):
                below = into.get(key)
                if not isinstance(below, dict):
                    below = into[key] = {}
                self._merge(below, value, here, source_of, depth + 1)
                continue
            into[key] = value
            if isinstance(value, list):
                for index, item in enumerate(value):
                    element = f"{here}[{index}]"
                    self.sources[element] = source_of(element)
                    for inner in item if isinstance(item, Mapping) else ():
                        self.sources[f"{element}.{inner}"] = source_of(f"{element}.{inner}")


def _place(source: str, path: str, places: Mapping[str, int]) -> str:
    while path:
        if path in places:
            return f"{source}:{places[path]}"
        path = _parent(path)
    return source


def _parent(path: str) -> str:
    return path[: max(path.rfind("."), path.rfind("["), 0)]


def _note_rule_sources(data: dict[str, Any], sources: Mapping[str, str]) -> None:
    """Tell every policy rule where it was written, so that a decision can say so."""
    policy = data.get("policy")
    if not isinstance(policy, dict):
        return
    rules = policy.get("rules")
    if isinstance(rules, list):
        policy["rules"] = [
            {"source": _nearest(sources, f"policy.rules[{index}]") or "", **rule}
            if isinstance(rule, dict)
            else rule
            for index, rule in enumerate(rules)
        ]


def _nearest(sources: Mapping[str, str], path: str) -> str | None:
    while path:
        if path in sources:
            return sources[path]
        path = _parent(path)
    return None


def _as_error(problems: list[tuple[str, str]], sources: Mapping[str, str]) -> ConfigError:
    path, message = problems[0]
    others = [
        f"{_nearest(sources, other) or 'default'}: {other}: {wrong}"
        for other, wrong in problems[1:_SHOWN_PROBLEMS]
    ]
    if len(problems) > _SHOWN_PROBLEMS:
        others.append(f"{len(problems) - _SHOWN_PROBLEMS} more")
    if others:
        message = f"{message} (also: {'; '.join(others)})"
    return ConfigError(message, path, _nearest(sources, path) or "")
