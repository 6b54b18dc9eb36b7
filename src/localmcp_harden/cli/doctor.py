"""`localmcp-harden doctor`: what is installed, what holds here, what to fix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs

from ..compose.config import HardenConfig
from ..compose.loading import LoadedConfig, load_config
from ..core.errors import ConfigError
from .addresses import parse_address
from .checks.finding import Finding, Level, failed
from .checks.installed import check_installed, collect_versions
from .checks.machine import check_machine
from .checks.settings import check_address, check_settings
from .exits import ExitCode
from .folders import audit_folder
from .terminal import AsJson, ConfigFile, Text, make_console, print_json, typer

__all__ = ("doctor", "examine")

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    *,
    config: ConfigFile = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Also judge listening on this address."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, which guarantees hold on this machine, and what to fix.

    Exits with 1 when something fails; warnings alone exit with 0.
    """
    address = None if http is None else parse_address(http)
    findings = tuple(examine(config, address))
    fails = any(finding.level is Level.FAIL for finding in findings)
    if as_json:
        print_json(
            {
                "ok": not fails,
                "versions": collect_versions(),
                "findings": [attrs.asdict(finding) for finding in findings],
            }
        )
    else:
        _print(findings)
    raise typer.Exit(ExitCode.FAILED if fails else ExitCode.OK)


def examine(file: Path | None, address: tuple[str, int] | None = None) -> Iterator[Finding]:
    """Yield every finding.

    Args:
        file: The configuration to judge; the defaults when None.
        address: Where a server would listen, or None.
    """
    yield from check_installed()
    try:
        loaded = load_config(file)
    except ConfigError as error:
        yield failed("config.valid", str(error), "correct the setting it names")
        loaded = LoadedConfig(config=HardenConfig())
    else:
        yield from check_settings(loaded)
        if address is not None:
            yield from check_address(loaded.config, *address)
    yield from check_machine(audit_folder(loaded.config), loaded.config.audit)


def _print(findings: tuple[Finding, ...]) -> None:
    console = make_console()
    for finding in findings:
        line = Text(f"{finding.level.value:>4}  ", style=_STYLES[finding.level])
        line.append(f"{finding.id}  ", style="bold")
        line.append(finding.sentence, style="default")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"      fix: {finding.remedy}"), soft_wrap=True)
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    console.print(
        f"{counts[Level.OK]} ok, {counts[Level.WARN]} warnings, {counts[Level.FAIL]} failures"
    )
