"""`localmcp-harden demo`: real servers behind guards, to watch."""

from pathlib import Path
from typing import Annotated

from ..exits import ExitCode
from ..terminal import AsJson, typer
from .script import STORY

__all__ = ("demo",)

_REPORT = Path("demo-report")


def demo(
    *,
    report: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the report goes; made if need be.")
    ] = _REPORT,
    as_json: AsJson = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the scratch folder behind, to look around.")
    ] = False,
) -> None:
    """Protect a real MCP server and one of our own, and watch what the guards do.

    Exits with 1 when anything goes otherwise than the story says.
    """
    # The SDK takes more than a second to import; the other commands do without it.
    from .run import run_demo  # noqa: PLC0415

    passed = run_demo(STORY, report, as_json=as_json, keep=keep)
    raise typer.Exit(ExitCode.OK if passed else ExitCode.FAILED)
