"""`localmcp-harden wrap`: a third-party server behind our guards.

On stdio, standard output belongs to the protocol: every message goes to standard error.
"""

import os
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
from .upstreams import LimitOptions, UrlOptions, make_child, make_environment, make_remote

__all__ = ("load_settings", "wrap")

# A default that is a choice, not an oversight: no word of it at every start.
_FOR_THE_DOCTOR = frozenset({"config.audit_intent"})


def wrap(
    *,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND [ARGS]...", help="The server to start, unchanged."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server's address, instead of a command."),
    ] = None,
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
    shared: Annotated[
        bool,
        typer.Option("--shared", help="Let all clients share one server, instead of one each."),
    ] = False,
    header_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADER=VARIABLE",
            help="A header for --url, with the value of a variable. May be repeated.",
        ),
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option("--plain-http", help="Let --url be http to another machine, unprotected."),
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may vouch for the host of --url, as PEM."),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Address space of the server, like 512M. Not for Node."),
    ] = None,
    max_cpu: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Processor time of the server's life.")
    ] = None,
    max_open_files: Annotated[
        int | None, typer.Option(metavar="N", help="Files the server may have open.")
    ] = None,
    max_processes: Annotated[
        int | None, typer.Option(metavar="N", help="Processes of the whole user. Not for root.")
    ] = None,
    nice: Annotated[
        int, typer.Option(metavar="N", help="How much the server steps back behind others.")
    ] = 0,
    end_with_parent: Annotated[
        bool,
        typer.Option("--end-with-parent", help="Kill the server when we are killed. Linux."),
    ] = False,
) -> None:
    """Put a server behind the guards and serve it, over stdio or HTTP.

    The server is a command that is started, or an address (--url). A command sees
    of our environment only where things are and how to write (PATH, HOME, LANG and
    the like) and what --env names.
    """
    # The SDK takes more than a second to import; the other commands do without it.
    from ..integrations.http_server import serve_http  # noqa: PLC0415
    from ..integrations.proxy import Sharing, WrapConfig, wrap as put_behind  # noqa: PLC0415
    from ..integrations.stdio import serve_stdio  # noqa: PLC0415

    limits = LimitOptions(
        max_memory=max_memory,
        max_cpu=max_cpu,
        max_open_files=max_open_files,
        max_processes=max_processes,
        nice=nice,
        end_with_parent=end_with_parent,
    )
    remote = UrlOptions(header_env=header_env or (), plain_http=plain_http, ca_file=ca_file)
    _require_one(command, url)
    if url is None and remote.are_given():
        raise ConfigError("are for --url", "--header-env, --plain-http and --ca-file")
    if url is not None and (cwd or env or limits.are_given()):
        raise ConfigError("are for a command, not for --url", "--cwd, --env and limits")
    address = None if http is None else parse_address(http)
    if cwd is not None and not cwd.is_dir():
        raise ConfigError("is not a folder", f"--cwd {cwd}")
    if address is not None and not is_loopback(address[0]) and not allow_host:
        raise ConfigError(
            "other machines can reach this address; listen on 127.0.0.1, or say with "
            "--allow-host by which names they do",
            "--http",
        )
    upstream = (
        make_remote(url, remote, os.environ)
        if url is not None
        else make_child(
            command or (), env=make_environment(env or (), os.environ), cwd=cwd, options=limits
        )
    )
    loaded = load_settings(config, observe=observe)
    _point_out(loaded, address)
    hardening = Hardening(loaded)
    server = put_behind(
        upstream,
        hardening,
        # What the file says of it counts; without a word there, a foreign server has none.
        trust_annotations="trust_annotations" in loaded.sources,
        config=WrapConfig(sharing=Sharing.SHARED if shared else Sharing.OWN),
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


def _require_one(command: list[str] | None, url: str | None) -> None:
    """Refuse a command line that names no server, or two.

    Raises:
        ConfigError: It does.
    """
    if not command and url is None:
        raise ConfigError("name the server: -- COMMAND, or --url", "COMMAND")
    if command and url is not None:
        raise ConfigError("a command and --url are two servers; name one", "--url")


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
