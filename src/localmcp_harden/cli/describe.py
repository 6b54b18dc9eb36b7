"""`localmcp-harden describe`: the chain as a configuration makes it."""

import attrs

from ..compose.describe import Description
from ..compose.hardening import Hardening
from ..compose.loading import LoadedConfig, load_config
from .terminal import AsJson, ConfigFile, print_json, typer

__all__ = ("describe", "general_settings")

_GENERAL = ("mode", "project", "base_folder", "trust_annotations", "disabled")


def describe(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print the chain in its order, every setting, and where each came from."""
    loaded = load_config(config)
    description = Hardening(loaded).describe()
    if as_json:
        print_json(_document(description, loaded))
        return
    typer.echo(f"file: {loaded.file or 'none'}")
    for setting in general_settings(loaded):
        typer.echo(f"{setting['path']} = {setting['value']}  [{setting['source']}]")
    typer.echo(str(description))


def general_settings(loaded: LoadedConfig) -> list[dict[str, str]]:
    """Return the settings that belong to no single stage."""
    found: list[dict[str, str]] = []
    for path in _GENERAL:
        value = getattr(loaded.config, path)
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        missing = value is None or value in ("", ())
        found.append(
            {
                "path": path,
                "value": "none" if missing else text,
                "source": loaded.source_of(path),
            }
        )
    return found


def _document(description: Description, loaded: LoadedConfig) -> dict[str, object]:
    return {
        "file": None if loaded.file is None else str(loaded.file),
        "general": general_settings(loaded),
        **attrs.asdict(description),
    }
