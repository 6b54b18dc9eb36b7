"""What the story plays in: a scratch folder, two git repositories, two configurations.

Nothing of the user's own is touched: git runs with an empty configuration, without
hooks and templates, in a home of its own.
"""

import os
import secrets
import shutil
import subprocess  # nosec B404
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from attrs import field, frozen

from ...core.errors import HardenError
from ...security.access.tokens import generate_token, hash_token
from ..exits import MissingComponentError
from .configurations import (
    FILES_CONFIGURATION,
    GIT_CONFIGURATION,
    NOTES_CONFIGURATION,
    quoted,
)
from .story import Caller

__all__ = ("Scenery", "build_scenery", "find_program", "git_environment")

_GIT_SERVER = "mcp-server-git"
_FILE_SERVER = "mcp-server-filesystem"
_INSTALL = {
    _GIT_SERVER: "pip install mcp-server-git",
    "git": "install git, for example: apt-get install git",
}
_GIT_TIMEOUT_S = 20.0
_OVERSIZED_CHARS = 200_000


@final
@frozen(kw_only=True)
class Scenery:
    """Where everything is.

    Args:
        root: The scratch folder, without symbolic links on the way.
        git_server: The program of the git server.
        file_server: The program of the file server, which is written for Node.js; None
            where it is not installed, and its act is left out then.
        tokens: The bearer token of each caller over HTTP.
        password: The secret that a writer puts into an argument.
    """

    root: Path
    git_server: Path
    file_server: Path | None = None
    tokens: Mapping[Caller, str] = field(repr=False)
    password: str = field(repr=False)

    @property
    def servers(self) -> tuple[str, ...]:
        """Return the names of the servers that play."""
        return ("git", "notes") if self.file_server is None else ("git", "files", "notes")

    @property
    def repository(self) -> Path:
        """Return the repository that the agent may read."""
        return self.root / "workspace" / "project"

    @property
    def private(self) -> Path:
        """Return the repository that it may not."""
        return self.root / "private"

    @property
    def link(self) -> Path:
        """Return the symbolic link in the workspace that leads to the private one."""
        return self.root / "workspace" / "shortcut"

    def configuration(self, server: str) -> Path:
        """Return the configuration file of a server."""
        return self.root / f"{server}.toml"

    def records(self, server: str) -> Path:
        """Return the file that a server's log lines go to."""
        return self.root / "logs" / f"{server}.jsonl"

    def audit(self, server: str) -> Path:
        """Return the folder of a server's audit log."""
        return self.root / "audit" / server

    def errors(self, server: str) -> Path:
        """Return the file that a server's standard error goes to."""
        return self.root / "logs" / f"{server}.stderr"

    def names(self) -> dict[str, str]:
        """Return what the names in the story stand for."""
        return {
            "repository": str(self.repository),
            "private": str(self.private),
            "link": str(self.link),
            "plan": str(self.repository / "docs" / "plan.md"),
            "salaries": str(self.private / "salaries.txt"),
            "oversized": "x" * _OVERSIZED_CHARS,
            "password": self.password,
        }

    def secrets(self) -> tuple[str, ...]:
        """Return every secret that must stand in no record."""
        return (self.password, *self.tokens.values())


def find_program(name: str) -> Path:
    """Return a program beside the running interpreter or on the path.

    Raises:
        MissingComponentError: It is in neither place.
    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=str(beside)) or shutil.which(name)
    if found is None:
        remedy = _INSTALL.get(name, "install it")
        raise MissingComponentError(
            f"{name} is neither beside this Python nor on the path; {remedy}"
        )
    return Path(found)


@contextmanager
def build_scenery(*, keep: bool = False) -> Generator[Scenery]:
    """Make the scenery, and take it down again.

    Args:
        keep: Whether to leave the scratch folder behind.

    Raises:
        MissingComponentError: git or the git server is not here.
        HardenError: git did not do what it was asked for.
    """
    git, git_server = find_program("git"), find_program(_GIT_SERVER)
    try:
        file_server = find_program(_FILE_SERVER)
    except MissingComponentError:
        file_server = None
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="localmcp-demo-")))
    try:
        scenery = Scenery(
            root=root,
            git_server=git_server,
            file_server=file_server,
            tokens={
                caller: generate_token()
                for caller in (Caller.READER, Caller.WRITER, Caller.STRANGER)
            },
            password=secrets.token_urlsafe(18),
        )
        audit = [f"audit/{server}" for server in scenery.servers]
        for folder in ("home", "logs", "audit", *audit, "workspace"):
            (root / folder).mkdir(mode=0o700)
        environment = git_environment(root)
        _repository(git, scenery.repository, environment, _PROJECT)
        _repository(git, scenery.private, environment, _PRIVATE)
        scenery.link.symlink_to(scenery.private, target_is_directory=True)
        _write_configurations(scenery)
        yield scenery
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


def git_environment(root: Path) -> dict[str, str]:
    """Return an environment in which git knows nothing of the user."""
    return {
        "HOME": str(root / "home"),
        "XDG_CONFIG_HOME": str(root / "home"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CEILING_DIRECTORIES": str(root),
    }


_PROJECT: tuple[tuple[str, str, str], ...] = (
    ("README.md", "A project that an agent may read.\n", "Begin the project"),
    ("docs/plan.md", "Ship it with guards.\n", "Add the plan"),
)
_PRIVATE: tuple[tuple[str, str, str], ...] = (
    ("salaries.txt", "Nobody outside may read this.\n", "Note the salaries"),
)


def _repository(
    git: Path, folder: Path, environment: Mapping[str, str], commits: tuple[Any, ...]
) -> None:
    folder.mkdir(parents=True)
    run = _Git(git, folder, environment)
    run("init", "--quiet", "--template=", "--initial-branch=main")
    for name, text, message in commits:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        run("add", "--", name)
        run("commit", "--quiet", f"--message={message}")


@final
class _Git:
    """Runs git in one folder, with nothing of the user's settings."""

    _SETTINGS = (
        "user.name=Demo",
        "user.email=demo@localhost",
        "commit.gpgSign=false",
        f"core.hooksPath={os.devnull}",
    )

    def __init__(self, program: Path, folder: Path, environment: Mapping[str, str]) -> None:
        settings = [part for setting in self._SETTINGS for part in ("-c", setting)]
        self._command = [str(program), "-C", str(folder), *settings]
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **environment}

    def __call__(self, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603  # nosec B603
            [*self._command, *arguments],
            env=self._environment,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_GIT_TIMEOUT_S,
        )
        if done.returncode:
            raise HardenError(f"git {arguments[0]} failed: {done.stderr.strip()}")


def _write_configurations(scenery: Scenery) -> None:
    templates = {
        "git": GIT_CONFIGURATION,
        "files": FILES_CONFIGURATION,
        "notes": NOTES_CONFIGURATION,
    }
    for server in scenery.servers:
        template = templates[server]
        scenery.configuration(server).write_text(
            template.substitute(
                workspace=quoted(scenery.root / "workspace"),
                project=quoted(scenery.repository),
                dotgit=quoted(scenery.repository / ".git"),
                audit=quoted(scenery.audit(server)),
                records=quoted(scenery.records(server)),
                reader=hash_token(scenery.tokens[Caller.READER]),
                writer=hash_token(scenery.tokens[Caller.WRITER]),
            ),
            encoding="utf-8",
        )
        scenery.configuration(server).chmod(0o600)
