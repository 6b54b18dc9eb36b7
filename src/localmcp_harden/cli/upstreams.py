"""Makes the settings of a wrapped server of what the command line says."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from ..core.errors import ConfigError

if TYPE_CHECKING:
    from ..integrations.upstream.child import UpstreamConfig
    from ..integrations.upstream.http_config import HttpUpstreamConfig

__all__ = (
    "LimitOptions",
    "UrlOptions",
    "make_child",
    "make_environment",
    "make_headers",
    "make_remote",
    "parse_size",
)

_SIZE = re.compile(r"(\d{1,9})([KMGT]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@frozen(kw_only=True)
class LimitOptions:
    """What a command may use, as the command line says it."""

    max_memory: str | None = None
    max_cpu: int | None = None
    max_open_files: int | None = None
    max_processes: int | None = None
    nice: int = 0
    end_with_parent: bool = False

    def are_given(self) -> bool:
        """Return whether anything is limited."""
        return self != LimitOptions()


@frozen(kw_only=True)
class UrlOptions:
    """How a server is reached over HTTP, as the command line says it."""

    header_env: Sequence[str] = ()
    plain_http: bool = False
    ca_file: Path | None = None

    def are_given(self) -> bool:
        """Return whether anything is said."""
        return bool(self.header_env or self.plain_http or self.ca_file)


def make_child(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, options: LimitOptions
) -> "UpstreamConfig":
    """Return the settings of a command.

    Raises:
        ConfigError: An option is out of range.
    """
    from ..integrations.upstream.child import UpstreamConfig  # noqa: PLC0415
    from ..integrations.upstream.limits import ChildLimits  # noqa: PLC0415

    limits = None
    if options.are_given():
        size = options.max_memory
        try:
            limits = ChildLimits(
                memory_bytes=None if size is None else parse_size(size, "--max-memory"),
                cpu_s=options.max_cpu,
                open_files=options.max_open_files,
                processes=options.max_processes,
                nice=options.nice,
                end_with_parent=options.end_with_parent,
            )
        except ValueError as error:
            raise ConfigError(str(error.args[0]), "the limits") from None
    return UpstreamConfig(command=command[0], args=command[1:], env=env, cwd=cwd, limits=limits)


def make_remote(url: str, options: UrlOptions, environ: Mapping[str, str]) -> "HttpUpstreamConfig":
    """Return the settings of a server that is reached over HTTP.

    Raises:
        ConfigError: The URL or a header will not do; the message shows neither.
    """
    from ..integrations.upstream.http_config import HttpUpstreamConfig  # noqa: PLC0415

    if options.ca_file is not None and not options.ca_file.is_file():
        raise ConfigError("is not a file", f"--ca-file {options.ca_file}")
    try:
        return HttpUpstreamConfig(
            url=url,
            headers=make_headers(options.header_env, environ),
            plain_http=options.plain_http,
            ca_file=options.ca_file,
        )
    except ValueError as error:
        text = str(error)
        option = "--url" if text.startswith("'url'") else "--header-env"
        text = text.replace("'url' ", "", 1).replace("'plain_http'", "--plain-http")
        raise ConfigError(text.replace("in 'headers'", "with --header-env"), option) from None


def make_headers(entries: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that `--header-env` names.

    Args:
        entries: `HEADER=VARIABLE`; the variable holds the whole value.
        environ: Our own environment.

    Raises:
        ConfigError: An entry has another form, or names a variable that is not set.
    """
    found: dict[str, str] = {}
    for entry in entries:
        header, _, variable = entry.partition("=")
        if not header or not variable:
            raise ConfigError("must be HEADER=VARIABLE", "--header-env")
        if variable not in environ:
            # What is not there may be a secret that was put in the place of its name.
            raise ConfigError("names a variable that is not set here", f"--header-env {header}")
        found[header] = environ[variable].strip()
    return found


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


def parse_size(text: str, option: str) -> int:
    """Return the bytes of `512M`, `2G` and the like.

    Raises:
        ConfigError: It is no such size.
    """
    match = _SIZE.fullmatch(text.strip().upper().removesuffix("B").removesuffix("I"))
    if match is None:
        raise ConfigError("must be a size like 512M or 2G", option)
    return int(match[1]) * _UNITS[match[2]]
