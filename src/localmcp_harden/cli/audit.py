"""`localmcp-harden audit`: whether the audit log holds, and what to keep elsewhere."""

from pathlib import Path
from typing import Annotated, Any

from ..compose.loading import load_config
from ..core.errors import AuditVerificationError, ConfigError
from ..protocols.security import AuditHead
from ..security.audit.verify import AuditReport, WriterReport, verify_folder
from .exits import ExitCode, failure_line
from .folders import audit_folder
from .terminal import AsJson, ConfigFile, print_json, say, typer

__all__ = ("app", "format_head", "parse_head")

_HASH_DIGITS = 64

app: typer.Typer = typer.Typer(
    help="Verify the audit log, and print the heads to keep elsewhere.",
    rich_markup_mode=None,
)

_Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]", help="The folder of the audit log; that of the configuration."
    ),
]


@app.command("verify")
def verify(
    *,
    folder: _Folder = None,
    config: ConfigFile = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD",
            help="A head that was kept elsewhere, WRITER:SEQUENCE:HASH. May be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every file of an audit log, and name the first bad entry of each.

    Exits with 1 when an entry is bad, when one is missing that an expected head names,
    and when there is no audit file at all.
    """
    heads = [parse_head(text) for text in expect or ()]
    where = _resolve(folder, config)
    report = verify_folder(where, expected_heads=heads)
    if as_json:
        print_json(_document(where, report))
    else:
        for writer in report.writers:
            typer.echo(_line(writer))
        verdict = "verifies" if _holds(report) else "DOES NOT VERIFY"
        count = len(report.writers)
        typer.echo(f"{where}: {count} writers, {report.entries} entries: {verdict}")
    if not _holds(report):
        bad = [writer for writer in report.writers if writer.problem is not None]
        message = _line(bad[0]) if bad else f"{where}: there is no audit file in it"
        say(failure_line(message, AuditVerificationError.code))
        raise typer.Exit(ExitCode.FAILED)


@app.command("head")
def head(
    *,
    folder: _Folder = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the newest entry of each writer, to keep elsewhere and hand to `--expect`.

    Exits with 1 when the log does not verify: such heads are not worth keeping.
    """
    where = _resolve(folder, config)
    report = verify_folder(where)
    heads = [writer.head for writer in report.writers if writer.head is not None]
    if _holds(report) and as_json:
        print_json({"folder": str(where), "heads": [format_head(each) for each in heads]})
    elif _holds(report):
        for each in heads:
            typer.echo(format_head(each))
    else:
        message = "the log does not verify; see `audit verify`"
        say(failure_line(message, AuditVerificationError.code))
        raise typer.Exit(ExitCode.FAILED)


def format_head(head: AuditHead) -> str:
    """Return `WRITER:SEQUENCE:HASH`."""
    return f"{head.writer}:{head.sequence}:{head.hash}"


def parse_head(text: str) -> AuditHead:
    """Return the head that `format_head` wrote.

    Raises:
        ConfigError: It is no such text.
    """
    writer, _, rest = text.strip().partition(":")
    sequence, _, digest = rest.partition(":")
    is_number = sequence.isascii() and sequence.isdecimal() and len(sequence) < 20  # noqa: PLR2004
    is_hash = len(digest) == _HASH_DIGITS and not set(digest) - set("0123456789abcdef")
    if not writer or not is_number or not is_hash:
        raise ConfigError("must be WRITER:SEQUENCE:HASH, as `audit head` prints it", "--expect")
    return AuditHead(writer=writer, sequence=int(sequence), hash=digest)


def _resolve(folder: Path | None, config: Path | None) -> Path:
    where = folder or audit_folder(load_config(config).config)
    if not where.is_dir():
        raise ConfigError("is not a folder; name the one with the audit files", str(where))
    return where


def _holds(report: AuditReport) -> bool:
    # A folder without files verifies, but whoever asked has most likely mistyped it.
    return report.ok and bool(report.writers)


def _line(report: WriterReport) -> str:
    if report.problem is not None:
        problem = report.problem
        return (
            f"{report.writer}: entry {problem.sequence} is {problem.kind.value}: {problem.detail}"
        )
    newest = "empty" if report.head is None else f"head {format_head(report.head)}"
    return f"{report.writer}: {report.entries} entries, {newest}"


def _document(folder: Path, report: AuditReport) -> dict[str, Any]:
    return {
        "ok": _holds(report),
        "folder": str(folder),
        "entries": report.entries,
        "writers": [
            {
                "writer": each.writer,
                "entries": each.entries,
                "head": None if each.head is None else format_head(each.head),
                "problem": None
                if each.problem is None
                else {
                    "sequence": each.problem.sequence,
                    "kind": each.problem.kind.value,
                    "detail": each.problem.detail,
                },
            }
            for each in report.writers
        ],
    }
