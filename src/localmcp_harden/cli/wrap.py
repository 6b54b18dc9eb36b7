"""`localmcp-harden wrap`: a third-party server behind our guards.

On stdio, standard output belongs to the protocol: every message goes to standard error.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio

from ..compose.chain import Mode
from ..compose.hardening import Hardening
from ..compose.loading import LoadedConfig, load_config
from ..core.errors import ConfigError
from .addresses import parse_address
from .checks.finding import Level
from .checks.settings import check_address, check_settings, is_loopback
from .exits import PROGRAM
from .quiet import silence_retry_hooks
from .terminal import ConfigFile, say, typer

__all__ = ("load_settings", "make_environment", "wrap")

# A default that is a choice, not an oversight: no word of it at every start.
_FOR_THE_DOCTOR = frozenset({"config.audit_intent"})


def wrap(
    *,
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND [ARGS]...", help="The server to start, unchanged."),
    ],
    config: ConfigFile = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve over HTTP there, instead of stdio."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PORT",
            help="How clients name this server where other machines reach it. May be repeated.",
        ),
    ] = None,
    observe: Annotated[
        bool,
        typer.Option("--observe", help="Let every guard decide and none refuse, for this run."),
    ] = False,
    cwd: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder that the server starts in.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="A variable for the server: NAME alone hands on our own. May be repeated.",
        ),
    ] = None,
) -> None:
    """Start a server behind the guards and serve it, over stdio or HTTP.

    The server sees of our environment only where things are and how to write
    (PATH, HOME, LANG and the like) and what --env names.
    """
    # The SDK takes more than a second to import; the other commands do without it.
    from ..integrations.http_server import serve_http  # noqa: PLC0415
    from ..integrations.proxy import UpstreamConfig, wrap as put_behind  # noqa: PLC0415
    from ..integrations.stdio import serve_stdio  # noqa: PLC0415

    address = None if http is None else parse_address(http)
    if cwd is not None and not cwd.is_dir():
        raise ConfigError("is not a folder", f"--cwd {cwd}")
    if address is not None and not is_loopback(address[0]) and not allow_host:
        raise ConfigError(
            "other machines can reach this address; listen on 127.0.0.1, or say with "
            "--allow-host by which names they do",
            "--http",
        )
    loaded = load_settings(config, observe=observe)
    _point_out(loaded, address)
    hardening = Hardening(loaded)
    server = put_behind(
        UpstreamConfig(
            command=command[0],
            args=command[1:],
            env=make_environment(env or (), os.environ),
            cwd=cwd,
        ),
        hardening,
        # What the file says of it counts; without a word there, a foreign server has none.
        trust_annotations="trust_annotations" in loaded.sources,
    )

    silence_retry_hooks()

    async def serve() -> None:
        if address is None:
            await serve_stdio(server)
        else:
            async with anyio.create_task_group() as tasks:
                host, port = address
                listens: int = await tasks.start(
                    partial(
                        serve_http,
                        server,
                        host=host,
                        port=port,
                        allow_remote=bool(allow_host),
                        allowed_hosts=tuple(allow_host or ()),
                    )
                )
                shown = f"[{host}]" if ":" in host else host
                say(f"{PROGRAM}: listening on http://{shown}:{listens}/mcp")

    anyio.run(serve)


def load_settings(file: Path | None, *, observe: bool) -> LoadedConfig:
    """Return the settings, with those that the command line names on top.

    Raises:
        ConfigError: A setting is wrong.
    """
    settings: dict[str, Any] = {"mode": Mode.OBSERVE.value} if observe else {}
    return load_config(file, settings=settings)


def make_environment(entries: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `--env` names.

    Args:
        entries: `NAME=VALUE`, or `NAME` for the value in `environ`.
        environ: Our own environment.

    Raises:
        ConfigError: An entry has no name, or names a variable that is not set.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, has_value, value = entry.partition("=")
        if not name:
            raise ConfigError("must be NAME=VALUE or NAME", "--env")
        if not has_value:
            if name not in environ:
                raise ConfigError("is not set here; write NAME=VALUE", f"--env {name}")
            value = environ[name]
        found[name] = value
    return found


def _point_out(loaded: LoadedConfig, address: tuple[str, int] | None) -> None:
    """Say on standard error what weakens the guards; refuse what takes them away.

    Raises:
        ConfigError: Anonymous callers of other machines would be let in.
    """
    findings = list(check_settings(loaded))
    if address is not None:
        findings += check_address(loaded.config, *address)
    for finding in findings:
        if finding.level is Level.OK or finding.id in _FOR_THE_DOCTOR:
            continue
        if finding.id == "http.anonymous":
            raise ConfigError(f"{finding.sentence}; {finding.remedy}", "--http")
        say(f"{PROGRAM}: {finding.level.value}: {finding.sentence}; {finding.remedy}")
