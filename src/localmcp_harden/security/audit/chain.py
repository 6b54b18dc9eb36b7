"""The form of an audit file, and the store that appends to it.

One SQLite file a writer, `audit-<utc>-<token>.db`, with one row an entry. The body is
canonical JSON that holds its sequence, its writer and the hash of the body before; the
hash is SHA-256 of the body's bytes as stored. The first body's `prev` is 64 zeros.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, final, overload

import msgspec

from ...core.errors import StoreError
from ...core.ports import Clock, Random
from ...mechanisms.canonical import canonical_bytes
from ...mechanisms.database import Database, Value, is_sync_failure
from ...protocols.security import AuditEntry, AuditHead, AuditReceipt

__all__ = (
    "FIRST_PREV",
    "UNREADABLE",
    "ChainStore",
    "Link",
    "Queued",
    "audit_files",
    "link_bytes",
    "lock_path",
    "make_body",
    "open_audit_file",
    "read_link",
    "writer_of",
)

FIRST_PREV: Final = "0" * 64
"""What the first entry of a chain names as the hash before it."""

_KIND: Final = 0x4C6D4841  # "LmHA"
_MIGRATIONS: Final = (
    """
    CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY,
        hash BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT
    """,
)
_PREFIX: Final = "audit-"
_SUFFIX: Final = ".db"
_NAME: Final = re.compile(rf"{_PREFIX}[0-9A-Za-z_-]{{1,100}}\{_SUFFIX}")
_MAX_KIND_CHARS: Final = 64
_MAX_ID_CHARS: Final = 256
_ROWS_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)


Queued: TypeAlias = tuple[AuditEntry | Callable[[], AuditEntry], float]
"""An entry on its way, or what makes it, with when it was handed over (Unix seconds)."""


@final
class _Body(msgspec.Struct, frozen=True, gc=False):
    """A body to be encoded; the fields stand in the order of their names."""

    at: float
    call_id: str
    data: Mapping[str, Any]
    kind: str
    prev: str
    seq: int
    writer: str


@final
class Link(msgspec.Struct, frozen=True, gc=False):
    """What makes a body a link of its chain."""

    writer: str
    seq: int
    prev: str


read_link: Callable[[bytes], Link] = msgspec.json.Decoder(Link).decode
"""Decode the link in a body; raises one of `UNREADABLE`."""


def link_bytes(prev: str, seq: int, writer: str) -> bytes:
    """Return the end of a body with this link."""
    return b',"prev":"%b","seq":%d,"writer":"%b"}' % (prev.encode(), seq, writer.encode())


UNREADABLE: Final = (msgspec.MsgspecError, ValueError, TypeError)
"""What decoding raises: not JSON, not UTF-8, not even bytes."""


def writer_of(path: Path) -> str:
    """Return the id of the writer whose chain a file holds."""
    return path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)


def lock_path(path: Path) -> Path:
    """Return the file whose lock says that a process writes `path`."""
    return path.with_suffix(".lock")


def audit_files(folder: Path) -> list[Path]:
    """Return the audit files of a folder, oldest first.

    Raises:
        StoreError: The folder can not be read.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise StoreError(f"the audit folder can not be read ({type(error).__name__})") from error
    return [folder / name for name in sorted(names) if _NAME.fullmatch(name)]


def open_audit_file(path: Path, *, read_only: bool = False, immutable: bool = False) -> Database:
    """Open an audit file.

    Raises:
        StoreVersionError: A newer release wrote it.
        StoreError: It can not be opened, or is no audit file.
    """
    return Database(
        path, kind=_KIND, migrations=_MIGRATIONS, read_only=read_only, immutable=immutable
    )


def make_body(queued: Queued, *, writer: str, seq: int, prev: str, max_bytes: int) -> bytes:
    """Return the canonical body of an entry.

    Data that is larger than `max_bytes` is replaced by its size and its hash.
    """
    entry, at = _made(queued[0]), queued[1]
    kind, call_id = entry.kind[:_MAX_KIND_CHARS], entry.call_id[:_MAX_ID_CHARS]
    encoded = canonical_bytes(_Body(at, call_id, entry.data, kind, prev, seq, writer))
    if len(encoded) > max_bytes:
        data = canonical_bytes(entry.data)
        if len(data) > max_bytes:
            digest = hashlib.sha256(data).hexdigest()
            short = {"too_large": {"bytes": len(data), "sha256": digest}}
            encoded = canonical_bytes(_Body(at, call_id, short, kind, prev, seq, writer))
    return encoded


def _made(entry: AuditEntry | Callable[[], AuditEntry]) -> AuditEntry:
    if isinstance(entry, AuditEntry):
        return entry
    try:
        return entry()
    except Exception as error:  # noqa: BLE001 - one entry that can not be made must not stop all
        return AuditEntry(kind="unreadable", data={"error": type(error).__name__})


@final
class _Receipts(Sequence[AuditReceipt]):
    """The receipts of entries in a row, made when they are asked for: few are."""

    def __init__(self, writer: str, first: int, hashes: list[str]) -> None:
        self._writer = writer
        self._first = first
        self.hashes = hashes

    def __len__(self) -> int:
        return len(self.hashes)

    @overload
    def __getitem__(self, index: int) -> AuditReceipt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[AuditReceipt]: ...

    def __getitem__(self, index: int | slice) -> AuditReceipt | Sequence[AuditReceipt]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return AuditReceipt(
            writer=self._writer, sequence=self._first + index, hash=self.hashes[index]
        )


@final
class ChainStore:
    """Appends entries to a file of its own; a `BatchStore`.

    It takes over the newest file of the folder that no live process holds, so that
    processes that come and go do not leave a file each.
    """

    def __init__(self, folder: Path, *, max_data_bytes: int, clock: Clock, random: Random) -> None:
        self._folder = folder
        self._max_data_bytes = max_data_bytes
        self._clock = clock
        self._random = random
        self._database: Database | None = None
        self._lock: int | None = None
        self._suspects: list[int] = []
        self._attempt: tuple[Sequence[Queued], _Receipts] | None = None
        self._reached: dict[int, tuple[Queued, AuditReceipt]] = {}
        self._writer = ""
        self._prev = FIRST_PREV
        self.head: AuditHead | None = None
        """The newest durable entry of the file in use."""

    def open(self) -> None:
        """Take over a file, or make one.

        Raises:
            StoreError: The folder can not be used.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the audit folder can not be made ({type(error).__name__})"
            ) from error
        for path in reversed(audit_files(self._folder)):
            # A file of a newer release, or one that does not hold together, is left alone.
            with suppress(StoreError):
                if self._take(path):
                    return
        stamp = datetime.fromtimestamp(self._clock.wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self._folder / f"{_PREFIX}{stamp}-{self._random.token(8)}{_SUFFIX}"
        _make_file(path)
        if not self._take(path):
            raise StoreError("another process took the audit file that was just made")

    def write(self, items: Sequence[Queued], /) -> Sequence[AuditReceipt]:
        """Append entries as one durable transaction.

        Raises:
            StoreError: They are not durable.
        """
        database = self._database
        if database is None:
            raise StoreError("the audit file is closed")
        self._settle_attempt()
        if not self._reached:
            return self._append(database, items)
        # What a failed commit did write after all is not written again.
        rest = [queued for queued in items if id(queued) not in self._reached]
        receipts = iter(self._append(database, rest))
        return [
            self._reached.pop(id(queued))[1] if id(queued) in self._reached else next(receipts)
            for queued in items
        ]

    def close(self) -> None:
        """Close the file and let others take it over."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _append(self, database: Database, items: Sequence[Queued]) -> _Receipts:
        rows: list[Value] = []
        hashes: list[str] = []
        prev, seq = self._prev, 0 if self.head is None else self.head.sequence
        receipts = _Receipts(self._writer, seq + 1, hashes)
        for queued in items:
            seq += 1
            body = make_body(
                queued,
                writer=self._writer,
                seq=seq,
                prev=prev,
                max_bytes=self._max_data_bytes,
            )
            digest = hashlib.sha256(body).digest()
            prev = digest.hex()
            rows += (seq, digest, body)
            hashes.append(prev)
        self._attempt = (items, receipts) if hashes else None
        try:
            with database.transaction():
                for values in _chunks(rows):
                    places = ",".join(["(?,?,?)"] * (len(values) // 3))
                    database.execute(f"INSERT INTO entries VALUES {places}", values)  # noqa: S608  # nosec B608
        except StoreError as error:
            if is_sync_failure(error) and self._lock is not None:
                # The file may never hold what it seems to hold: go on in another one, and
                # keep the lock, so that nobody else builds on it.
                self._suspects.append(self._lock)
                self._lock = self._attempt = None
            raise
        self._attempt = None
        if hashes:
            self._prev = prev
            self.head = AuditHead(writer=self._writer, sequence=seq, hash=prev)
        return receipts

    def _take(self, path: Path) -> bool:
        """Lock and open `path`; return False when another process holds it."""
        try:
            lock = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the audit folder can not be written ({type(error).__name__})"
            ) from error
        database = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            database = open_audit_file(path)
            head = _read_head(database, writer_of(path))
        except OSError:
            os.close(lock)
            return False
        except BaseException:
            if database is not None:
                database.close()
            os.close(lock)
            raise
        self._database, self._lock = database, lock
        self._writer = writer_of(path)
        self._prev = FIRST_PREV if head is None else head.hash
        self.head = head
        return True

    def _settle_attempt(self) -> None:
        """Find out whether the last attempt, which failed, did reach the file after all."""
        attempt, self._attempt = self._attempt, None
        if attempt is None or self.head is None:
            return
        items, receipts = attempt
        if self.head.hash == receipts.hashes[-1]:
            made = zip(items, receipts, strict=True)
            self._reached.update((id(queued), (queued, receipt)) for queued, receipt in made)


def _make_file(path: Path) -> None:
    """Make an audit file that holds no entry; it appears whole or not at all.

    Raises:
        StoreError: It can not be made.
    """
    unfinished = path.with_name(f".{path.name}.new")
    try:
        open_audit_file(unfinished).close()
        unfinished.rename(path)
    except OSError as error:
        raise StoreError(f"an audit file can not be made ({type(error).__name__})") from error
    finally:
        # A disk that stays full must not fill with attempts.
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{unfinished}{suffix}").unlink()


def _read_head(database: Database, writer: str) -> AuditHead | None:
    """Return the newest entry, None when there is none.

    Raises:
        StoreError: It does not hold together: nothing must be built on it.
    """
    rows: list[tuple[Any, ...]] = database.read(
        "SELECT sequence, hash, body FROM entries ORDER BY sequence DESC LIMIT 1"
    )
    for sequence, digest, body in rows:
        try:
            facts = read_link(body)
        except UNREADABLE as error:
            raise StoreError(f"the newest entry of {database.path.name} is torn") from error
        whole = hashlib.sha256(body).digest() == digest
        if not whole or facts.seq != sequence or facts.writer != writer:
            raise StoreError(f"the newest entry of {database.path.name} was changed")
        return AuditHead(writer=writer, sequence=sequence, hash=digest.hex())
    return None


def _chunks(rows: list[Value]) -> Iterator[list[Value]]:
    """Cut rows into a few sizes, so that the same few statements stay prepared.

    Many rows go into one statement, since the interpreter's lock changes hands at each
    one: beside a busy event loop that is what a batch would wait for.
    """
    start = 0
    for size in _ROWS_AT_ONCE:
        width = 3 * size
        while len(rows) - start >= width:
            yield rows[start : start + width]
            start += width
