"""The commands put together, and the one way in which all of them end."""

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, final

from ..core.errors import HardenError
from . import audit, describe, doctor, tokens, wrap
from .demo import command as demo
from .exits import PROGRAM, ExitCode, exit_code_of, failure_line, unwrapped
from .terminal import TyperGroup, say, typer

__all__ = ("OneLineGroup", "app", "run")


@final
class OneLineGroup(TyperGroup):
    """A command group that tells every failure in one line and ends with its code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except typer.Abort:
            code = ExitCode.INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the last place that can tell it
            code = self._tell(error)
        sys.exit(int(code) if isinstance(code, int) else 0)

    @staticmethod
    def _tell(error: Exception) -> ExitCode:
        told = unwrapped(error)
        if isinstance(told, HardenError):
            return _fail(exit_code_of(told), str(told), told.code)
        as_usage = getattr(error, "format_message", None)
        if callable(as_usage):
            context = getattr(error, "ctx", None)
            command = getattr(context, "command_path", PROGRAM)
            return _fail(ExitCode.USAGE, f"{as_usage()} See `{command} --help`.", "usage")
        if isinstance(told, OSError):
            place = f": {told.filename}" if isinstance(told.filename, str) else ""
            return _fail(
                ExitCode.ENVIRONMENT, f"{told.strerror or told}{place}", type(told).__name__
            )
        traceback.print_exception(error)
        return _fail(
            ExitCode.FAULT, "a fault in this program; please report the traceback", "fault"
        )


def _fail(code: ExitCode, message: str, name: str) -> ExitCode:
    say(failure_line(message, name))
    return code


app: typer.Typer = typer.Typer(
    name=PROGRAM,
    cls=OneLineGroup,
    help="Harden MCP servers: wrap one, look at its guards, check this machine, see a demo.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command(
    "wrap", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False}
)(wrap.wrap)
app.command("describe")(describe.describe)
app.command("doctor")(doctor.doctor)
app.command("token")(tokens.token)
app.add_typer(audit.app, name="audit")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer calls
    if wanted:
        typer.echo(f"{PROGRAM} {version('localmcp-harden')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: The command line without the program; `sys.argv` when None.
    """
    try:
        app(None if arguments is None else list(arguments), prog_name=PROGRAM)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else ExitCode.FAULT
    return ExitCode.OK
