"""Which guarantees hold on this machine: files, the file system below them, the process."""

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
from attrs import evolve

from ...core.errors import HardenError
from ...protocols.security import AuditEntry
from ...security.audit.log import AuditConfig, SqliteAuditLog
from ...security.audit.verify import verify_folder
from .finding import Finding, failed, good, warned

__all__ = ("check_machine", "file_system_of", "nearest_folder")

_REMOTE = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)
_MEMORY = frozenset({"tmpfs", "ramfs"})
_DEBUGGABLE = (3, 14)


def check_machine(folder: Path, config: AuditConfig) -> Iterator[Finding]:
    """Look at the folder that holds the audit log, and at this process.

    Args:
        folder: Where the audit log is kept; it need not exist yet.
        config: The audit log's settings, for the trial entry.
    """
    yield from _folder(folder)
    yield _file_system(folder)
    yield _trial(folder, config)
    yield _user()
    yield _remote_debugging()


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    for candidate in (path, *path.parents):
        if candidate.is_dir():
            return candidate
    return Path(path.anchor or ".")


def file_system_of(path: Path, mounts: str | None = None) -> str | None:
    """Return the type of the file system that holds a path, None where that is not known.

    Args:
        path: An absolute path.
        mounts: The text of `/proc/self/mountinfo`; read from there when None.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split()
        kind = right.split()[:1]
        if not separator or len(fields) < 5 or not kind:  # noqa: PLR2004 - the fifth is the mount point
            continue
        point = Path(fields[4].encode().decode("unicode_escape"))
        # The last of equals covers those before it.
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), kind[0])
    return None if found is None else found[1]


def _folder(folder: Path) -> Iterator[Finding]:
    existing = nearest_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        yield failed(
            "audit.folder",
            f"{existing} can not be written, so calls that ask for an audit entry are refused",
            "give this user write permission there, or set audit.folder",
        )
        return
    yield good("audit.folder", f"{folder} can be written")
    if existing != folder:
        return
    facts = folder.stat()
    if facts.st_uid not in {os.geteuid(), 0}:
        yield failed(
            "audit.owner",
            f"{folder} belongs to another user, who can replace what is in it",
            f"use a folder of your own, or: chown {os.geteuid()} {folder}",
        )
    if stat.S_IMODE(facts.st_mode) & 0o077:
        yield failed(
            "audit.permissions",
            f"{folder} is open to other users (mode {stat.S_IMODE(facts.st_mode):04o})",
            f"chmod 700 {folder}",
        )
    else:
        yield good("audit.permissions", "only its owner can reach the audit folder")


def _file_system(folder: Path) -> Finding:
    kind = file_system_of(nearest_folder(folder).resolve())
    if kind is None:
        return warned(
            "audit.file_system",
            "the type of the file system below the audit folder is not known",
            "make sure that it is a local disk: SQLite's locks do not hold on network shares",
        )
    if kind in _REMOTE:
        return failed(
            "audit.file_system",
            f"the audit folder is on {kind}, a network share, where SQLite's locks do not hold",
            "set audit.folder to a local disk",
        )
    if kind in _MEMORY:
        return warned(
            "audit.file_system",
            f"the audit folder is on {kind}: its entries are gone after a restart of the machine",
            "set audit.folder to a local disk",
        )
    return good("audit.file_system", f"the audit folder is on {kind}, a local file system")


def _trial(folder: Path, config: AuditConfig) -> Finding:
    """Write one entry beside the real log, the way the log does, and verify it."""
    existing = nearest_folder(folder)
    try:
        trial = Path(tempfile.mkdtemp(prefix=".localmcp-doctor-", dir=existing))
    except OSError as error:
        return failed(
            "audit.durability",
            f"no trial entry could be written: {error.strerror or type(error).__name__}",
            "see audit.folder",
        )
    started = time.monotonic()
    try:
        anyio.run(_append, evolve(config, folder=trial))
        verified = verify_folder(trial).ok
    except HardenError as error:
        return failed("audit.durability", f"a trial entry failed: {error}", "see audit.folder")
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    spent = (time.monotonic() - started) * 1e3
    if not verified:
        return failed(
            "audit.durability",
            "a trial entry was written and does not verify",
            "check the disk; do not rely on the audit log of this machine",
        )
    return good(
        "audit.durability",
        f"a trial entry was synced to disk (synchronous=FULL) and verified in {spent:.0f} ms",
    )


async def _append(config: AuditConfig) -> None:
    async with SqliteAuditLog(config) as log:
        await log.append(AuditEntry(kind="doctor"))


def _user() -> Finding:
    if os.geteuid() == 0:
        return warned(
            "process.user",
            "this runs as root, and so would a wrapped server",
            "run it as a user of its own",
        )
    return good("process.user", "not run as root")


def _remote_debugging() -> Finding:
    if sys.version_info < _DEBUGGABLE:
        return good("process.remote_debugging", "this Python has no remote debugging")
    enabled = getattr(sys, "is_remote_debug_enabled", lambda: True)()
    if not enabled:
        return good("process.remote_debugging", "remote debugging of Python is off")
    return warned(
        "process.remote_debugging",
        "another process of this user can run code in this one (Python's remote debugging)",
        "set PYTHON_DISABLE_REMOTE_DEBUG=1 where the server is started",
    )
