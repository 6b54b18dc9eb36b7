"""Verifies audit files: nothing was edited, reordered, removed, torn, or cut off.

Reads only, beside live writers too. What a chain alone cannot show is that its tail was
cut or that all of it was written anew: hand in heads that were kept elsewhere.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, final

import msgspec
from attrs import field, frozen

from ...core.errors import StoreError, StoreVersionError
from ...mechanisms.database import Database
from ...protocols.security import AuditHead
from .chain import (
    FIRST_PREV,
    UNREADABLE,
    audit_files,
    link_bytes,
    lock_path,
    open_audit_file,
    read_link,
    writer_of,
)

__all__ = (
    "AuditProblem",
    "AuditReport",
    "ProblemKind",
    "StoredEntry",
    "WriterReport",
    "read_entries",
    "verify_folder",
)

_ROWS = 2_000
"""Rows of one read: short reads, so that a live writer's file does not grow meanwhile."""


class ProblemKind(StrEnum):
    """What is wrong with an entry."""

    EDITED = "edited"
    """Its body is not what was hashed, or not what the next entry was chained to."""
    REORDERED = "reordered"
    """It stands at another place than its own, or in another writer's file."""
    MISSING = "missing"
    """It is not there, and later ones are."""
    TORN = "torn"
    """It, or the file from there on, can not be read."""
    TRUNCATED = "truncated"
    """It was there when the expected head was kept, and nothing is after it."""
    NEWER = "newer"
    """A newer release wrote the file; this one can not judge it."""


@final
@frozen(kw_only=True)
class AuditProblem:
    """The first bad entry of a writer.

    Args:
        sequence: Its sequence.
        kind: What is wrong.
        detail: One sentence.
    """

    sequence: int
    kind: ProblemKind
    detail: str


@final
@frozen(kw_only=True)
class WriterReport:
    """What was found in one writer's file.

    Args:
        writer: The writer.
        entries: How many entries hold, from the first one on.
        head: The newest of them.
        problem: The first bad entry, None when there is none.
    """

    writer: str
    entries: int
    head: AuditHead | None = None
    problem: AuditProblem | None = None


@final
@frozen(kw_only=True)
class AuditReport:
    """What was found in a folder.

    Args:
        writers: One report a file, in the order of the files' names.
    """

    writers: tuple[WriterReport, ...]

    @property
    def ok(self) -> bool:
        """Return whether no entry is bad. An empty folder is, unless heads were expected."""
        return all(report.problem is None for report in self.writers)

    @property
    def entries(self) -> int:
        """Return how many entries hold, over all writers."""
        return sum(report.entries for report in self.writers)


@final
@frozen(kw_only=True)
class StoredEntry:
    """An entry as it is stored.

    Args:
        writer: Whose file it is in.
        sequence: Its place, from 1.
        at: When it was handed over, seconds since the Unix epoch.
        kind: `intent`, `outcome`, or a rare event's name.
        call_id: The call it speaks of.
        data: JSON values.
        hash: Hexadecimal SHA-256 of its body.
    """

    writer: str
    sequence: int
    at: float
    kind: str
    call_id: str
    data: Mapping[str, Any] = field(repr=False)
    hash: str


def verify_folder(path: Path, *, expected_heads: Iterable[AuditHead] = ()) -> AuditReport:
    """Verify every audit file of a folder.

    Args:
        path: The folder.
        expected_heads: Heads that were kept elsewhere. Each must still be in its chain.

    Raises:
        StoreError: The folder can not be read.
    """
    expected: dict[str, dict[int, str]] = {}
    for head in expected_heads:
        expected.setdefault(head.writer, {})[head.sequence] = head.hash
    reports = [_verify_file(file, expected.pop(writer_of(file), {})) for file in audit_files(path)]
    for writer, heads in expected.items():
        problem = AuditProblem(
            sequence=1,
            kind=ProblemKind.TRUNCATED,
            detail=f"the whole file is gone; it had at least {max(heads)} entries",
        )
        reports.append(WriterReport(writer=writer, entries=0, problem=problem))
    return AuditReport(writers=tuple(sorted(reports, key=lambda report: report.writer)))


def read_entries(path: Path, *, writer: str | None = None, after: int = 0) -> Iterator[StoredEntry]:
    """Yield the entries of a folder, writer by writer, in order, without verifying them.

    Args:
        path: The folder.
        writer: Only this writer's.
        after: Only those with a greater sequence.

    Raises:
        StoreError: The folder or a file can not be read.
    """
    for file in audit_files(path):
        if writer is not None and writer_of(file) != writer:
            continue
        for rows in _rows(file, after):
            for sequence, digest, body in rows:
                try:
                    yield _stored(sequence, digest, _decode(body))
                except UNREADABLE as error:
                    raise StoreError(f"entry {sequence} of {file.name} can not be read") from error


def _verify_file(file: Path, expected: Mapping[int, str]) -> WriterReport:
    writer = writer_of(file)
    seq, last = 0, FIRST_PREV
    problem: AuditProblem | None = None
    try:
        for rows in _rows(file, 0):
            seq, last, problem = _verify_rows(rows, seq, last, writer, expected)
            if problem is not None:
                break
    except StoreVersionError as error:
        problem = AuditProblem(sequence=1, kind=ProblemKind.NEWER, detail=str(error))
    except StoreError as error:
        problem = AuditProblem(sequence=seq + 1, kind=ProblemKind.TORN, detail=str(error))
    except (TypeError, ValueError):
        detail = "a cell of its row is of another type"
        problem = AuditProblem(sequence=seq + 1, kind=ProblemKind.TORN, detail=detail)
    if problem is None and expected and max(expected) > seq:
        problem = AuditProblem(
            sequence=seq + 1,
            kind=ProblemKind.TRUNCATED,
            detail=f"there were at least {max(expected)} entries, {seq} are left",
        )
    entries = seq if problem is None else min(seq, problem.sequence - 1)
    head = AuditHead(writer=writer, sequence=seq, hash=last) if seq and entries == seq else None
    return WriterReport(writer=writer, entries=entries, head=head, problem=problem)


def _verify_rows(
    rows: list[Any], seq: int, last: str, writer: str, expected: Mapping[int, str]
) -> tuple[int, str, AuditProblem | None]:
    """Follow the chain through `rows`; return how far it holds, and what is wrong after that."""
    sha256 = hashlib.sha256
    for sequence, digest, body in rows:
        # The fields of the link stand last in a body, so that whole bodies need no decoding.
        try:
            hashed = sha256(body).digest()
            whole = hashed == digest and body.endswith(link_bytes(last, seq + 1, writer))
        except TypeError:
            hashed, whole = b"", False
        if not whole or sequence != seq + 1:
            before = AuditHead(writer=writer, sequence=seq, hash=last)
            return seq, last, _judge(before, sequence, body, is_whole=hashed == digest)
        seq, last = sequence, hashed.hex()
        if expected and expected.get(seq, last) != last:
            detail = "it is not the entry that the expected head names"
            return (
                seq,
                last,
                AuditProblem(sequence=seq, kind=ProblemKind.EDITED, detail=detail),
            )
    return seq, last, None


def _judge(after: AuditHead, sequence: int, body: bytes, *, is_whole: bool) -> AuditProblem:
    """Name what is wrong with the entry at `sequence`, which follows `after`."""
    try:
        facts = read_link(body)
    except UNREADABLE:
        facts = None
    following = after.sequence + 1
    kind = ProblemKind.EDITED
    if sequence != following:
        kind, detail = ProblemKind.MISSING, f"the next entry that is there is {sequence}"
    elif not is_whole:
        detail = "its body does not have the hash that is stored with it"
    elif facts is None:
        kind, detail = ProblemKind.TORN, "its body is no record"
    elif facts.writer != after.writer:
        kind, detail = ProblemKind.REORDERED, "it belongs to another writer"
    elif facts.seq != sequence:
        kind, detail = ProblemKind.REORDERED, f"it is the entry {facts.seq}"
    elif not after.sequence:
        detail = "it names an entry before it, and is the first"
    else:
        # Its own hash holds, and so does that of the entry before: one of them was written
        # anew with a fitting hash. The later one is what was chained on.
        detail = f"its hash is not the one that entry {sequence} was chained to"
        following = after.sequence
    return AuditProblem(sequence=following, kind=kind, detail=detail)


@final
class _Content(msgspec.Struct, frozen=True):
    """A whole body, as it is read back."""

    writer: str
    at: float
    kind: str
    call_id: str
    data: dict[str, Any]


_decode = msgspec.json.Decoder(_Content).decode


def _stored(sequence: int, digest: bytes, content: _Content) -> StoredEntry:
    return StoredEntry(
        writer=content.writer,
        sequence=sequence,
        at=content.at,
        kind=content.kind,
        call_id=content.call_id,
        data=content.data,
        hash=digest.hex(),
    )


def _rows(file: Path, after: int) -> Iterator[list[Any]]:
    with _opened(file) as database:
        while True:
            rows: list[Any] = database.read(
                "SELECT sequence, hash, body FROM entries WHERE sequence > ?"
                " ORDER BY sequence LIMIT ?",
                (after, _ROWS),
            )
            yield rows
            if len(rows) < _ROWS:
                return
            after = rows[-1][0]


@contextmanager
def _opened(file: Path) -> Generator[Database]:
    """Open a file for reading without leaving anything beside it.

    SQLite makes shared memory beside a WAL file that it reads. That is right beside a
    live writer, who has it anyway. When nobody writes (its lock is free, and is held here
    while reading) and no WAL is left, the file is all there is and is read as it stands.
    """
    lock: int | None = None
    try:
        try:
            lock = os.open(lock_path(file), os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            idle = True
        except FileNotFoundError:
            idle = True
        except OSError:
            idle = False
        wal = Path(f"{file}-wal")
        has_wal = wal.exists() and wal.stat().st_size > 0
        database = open_audit_file(file, read_only=True, immutable=idle and not has_wal)
        try:
            yield database
        finally:
            database.close()
    finally:
        if lock is not None:
            os.close(lock)
