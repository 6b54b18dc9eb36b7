"""Says how a server is hardened: each stage with its block, its settings and their sources.

For people as text, for tests as frozen records: assert your wiring, not our engine.
"""

from collections.abc import Collection
from enum import Enum, IntEnum
from typing import Any, final

import attrs
from attrs import frozen

from ..protocols.chain import Stage
from .config import HardenConfig
from .loading import LoadedConfig

__all__ = ("Description", "SettingDescription", "StageDescription", "describe")

_SECTIONS: dict[str, tuple[str, ...]] = {
    "record": ("redaction", "logging", "metrics", "audit", "http"),
    "authenticate": ("authentication", "roles"),
    "rate_limit": ("rate_limit",),
    "bounds": ("bounds",),
    "schema": ("schema",),
    "canonicalise": ("tools",),
    "policy": ("policy",),
    "deadline": ("deadline",),
    "retry": ("retry",),
    "breaker": ("breaker",),
}


@final
@frozen(kw_only=True)
class SettingDescription:
    """One setting: its dotted path, its value as text, and where it came from."""

    path: str
    value: str
    source: str


@final
@frozen(kw_only=True)
class StageDescription:
    """One stage: its name, `check` or `around`, the class behind it, its settings."""

    name: str
    kind: str
    implementation: str
    settings: tuple[SettingDescription, ...] = ()


@final
@frozen(kw_only=True)
class Description:
    """The whole chain, outermost first."""

    mode: str
    version: int
    disabled: tuple[str, ...]
    stages: tuple[StageDescription, ...]

    def __str__(self) -> str:
        """Return it as text, a line a stage and a line a setting."""
        lines = [f"mode: {self.mode} (configuration {self.version})"]
        if self.disabled:
            lines.append(f"DISABLED: {', '.join(self.disabled)}")
        for position, stage in enumerate(self.stages, start=1):
            lines.append(f"{position:>2}. {stage.name:<14} {stage.implementation} ({stage.kind})")
            lines.extend(
                f"      {setting.path} = {setting.value}  [{setting.source}]"
                for setting in stage.settings
            )
        return "\n".join(lines)


def describe(stages: tuple[Stage, ...], loaded: LoadedConfig, version: int) -> Description:
    """Describe a compiled chain."""
    config = loaded.config
    outermost = StageDescription(
        name="record",
        kind="around",
        implementation="Recorder",
        settings=_settings("record", config, loaded),
    )
    described = tuple(
        StageDescription(
            name=stage.name,
            kind="check" if stage.check is not None else "around",
            implementation=_implementation(stage),
            settings=_settings(stage.name, config, loaded),
        )
        for stage in stages
    )
    return Description(
        mode=config.mode.value,
        version=version,
        disabled=tuple(config.disabled),
        stages=(outermost, *described),
    )


def _implementation(stage: Stage) -> str:
    subject = stage.subject
    if subject is None:
        return "-"
    return type(subject).__qualname__


def _settings(
    name: str, config: HardenConfig, loaded: LoadedConfig
) -> tuple[SettingDescription, ...]:
    return tuple(
        SettingDescription(path=path, value=text, source=loaded.source_of(path))
        for section in _SECTIONS.get(name, ())
        for path, text in _leaves(section, getattr(config, section))
    )


def _leaves(path: str, value: Any) -> list[tuple[str, str]]:
    if attrs.has(type(value)):
        return [
            leaf
            for field in attrs.fields(type(value))
            if not callable(getattr(value, field.name))
            for leaf in _leaves(f"{path}.{field.name}", getattr(value, field.name))
        ]
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves(f"{path}.{key}", value[key])]
    if isinstance(value, tuple) and value and attrs.has(type(value[0])):
        return [(path, f"{len(value)} entries")]
    if isinstance(value, Enum):
        # As a file would say it: levels by name, everything else by value.
        shown = value.name.lower() if isinstance(value, IntEnum) else str(value.value)
        return [(path, shown)]
    if isinstance(value, (frozenset, tuple)):
        return [(path, _listed(value))]
    return [(path, "none" if value is None else str(value))]


def _listed(items: Collection[Any]) -> str:
    shown = [item.__name__ if isinstance(item, type) else str(item) for item in items]
    if isinstance(items, frozenset):
        # It has no order of its own, and two descriptions of one server must be equal.
        shown.sort()
    return ", ".join(shown) or "none"
