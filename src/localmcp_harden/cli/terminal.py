"""What commands read and print with: typer, rich, and one shape for JSON.

The only place that imports them, so that one error names the extra that brings them.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

try:
    import typer
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    from typer.core import TyperGroup
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("cli", "the command line") from _missing

__all__ = (
    "AsJson",
    "ConfigFile",
    "Console",
    "Table",
    "Text",
    "TyperGroup",
    "make_console",
    "print_json",
    "say",
    "typer",
)

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The TOML file with the settings."),
]
"""The option `--config`; no file is looked for where none is named."""

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output instead.")
]
"""The option `--json`."""

_PIPE_WIDTH = 140


def make_console(*, stderr: bool = False) -> Console:
    """Return a console: colors on a terminal only, wide lines in a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, soft_wrap=False)


def print_json(document: Any) -> None:
    """Print a document to standard output, indented, one at a time."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def say(message: str) -> None:
    """Print a line to standard error: what is not the command's answer."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
