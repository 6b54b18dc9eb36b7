"""What is installed: the interpreter, this package, and what it stands on."""

import importlib
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from .finding import Finding, failed, good, warned

__all__ = ("check_installed", "collect_versions")

_OLDEST = (3, 11)
_TESTED = ((3, 11), (3, 12), (3, 13))
# Each distribution, the module it brings, and what it is for.
_NEEDED = (
    ("anyio", "anyio", "waiting"),
    ("apsw", "apsw", "the audit log"),
    ("attrs", "attrs", "every record"),
    ("cattrs", "cattrs", "reading the configuration"),
    ("google-re2", "re2", "patterns in bounded time"),
    ("jsonschema-rs", "jsonschema_rs", "checking arguments"),
    ("msgspec", "msgspec", "encoding records"),
    ("platformdirs", "platformdirs", "finding the state folder"),
    ("stamina", "stamina", "retries"),
)
_EXTRAS = (
    ("mcp", "mcp", "mcp", "hardening servers of the official SDK, and wrapping"),
    ("uvicorn", "uvicorn", "cli", "serving over HTTP"),
)
# Before it, a commit and a checkpoint of two connections could lose a transaction (the
# "WAL-reset" fault): https://sqlite.org/wal.html
_SQLITE_SOUND = (3, 51, 3)
_SQLITE_WITHDRAWN = (3, 52)


def check_installed() -> Iterator[Finding]:
    """Look at the interpreter and at every distribution that is used."""
    yield _python()
    yield good("installed.localmcp-harden", f"localmcp-harden {version('localmcp-harden')}")
    for distribution, module, purpose in _NEEDED:
        fault = _fault(module)
        if fault:
            yield failed(
                f"installed.{distribution}",
                f"{distribution}, needed for {purpose}, can not be used: {fault}",
                f"pip install --force-reinstall {distribution}",
            )
        else:
            yield good(f"installed.{distribution}", f"{distribution} {_version(distribution)}")
    for distribution, module, extra, purpose in _EXTRAS:
        fault = _fault(module)
        if fault:
            yield warned(
                f"installed.{distribution}",
                f"{distribution}, needed for {purpose}, can not be used: {fault}",
                f"pip install 'localmcp-harden[{extra}]'",
            )
        else:
            yield good(f"installed.{distribution}", f"{distribution} {_version(distribution)}")
    yield from _sqlite()


def collect_versions() -> dict[str, str | None]:
    """Return each distribution's version, None where it is not installed."""
    names = ["localmcp-harden", *(row[0] for row in _NEEDED), *(row[0] for row in _EXTRAS)]
    found = {name: _version(name) for name in names}
    found["sqlite"] = _sqlite_version()
    found["python"] = ".".join(map(str, sys.version_info[:3]))
    return found


def _python() -> Finding:
    here = sys.version_info[:2]
    text = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}"
    if here in _TESTED:
        return good("installed.python", text)
    tested = ", ".join(".".join(map(str, each)) for each in _TESTED)
    if here < _OLDEST:
        return failed("installed.python", f"{text} is too old", f"use one of {tested}")
    return warned(
        "installed.python", f"{text} is newer than what is tested", f"use one of {tested}"
    )


def _fault(module: str) -> str:
    try:
        importlib.import_module(module)
    except ImportError as error:
        return "it is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
    return ""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _sqlite_version() -> str | None:
    try:
        apsw = importlib.import_module("apsw")
    except ImportError:
        return None
    return str(apsw.sqlite_lib_version())


def _sqlite() -> Iterator[Finding]:
    text = _sqlite_version()
    if text is None:
        return
    parts = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    if parts < _SQLITE_SOUND or parts[:2] == _SQLITE_WITHDRAWN:
        yield failed(
            "installed.sqlite",
            f"SQLite {text} can lose a committed transaction in WAL mode",
            "pip install --upgrade apsw",
        )
    else:
        yield good("installed.sqlite", f"SQLite {text}")
