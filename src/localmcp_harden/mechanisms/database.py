"""One SQLite file that holds state: opened safely, migrated forward, written durably.

WAL with `synchronous=FULL`: when a transaction has returned, power may fail. A file of a
newer version is refused. apsw is used, since its SQLite is its own and recent.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from ..core.errors import StoreError, StoreVersionError

__all__ = ("Database", "Value", "is_sync_failure")

Value: TypeAlias = int | float | str | bytes | None
"""What a cell holds."""

_BUSY_MS: Final = 5_000
_JOURNAL_BYTES: Final = 16 * 1024 * 1024


@final
class Database:
    """An open SQLite file. Used by one thread at a time.

    Args:
        path: The file.
        kind: A number that tells this kind of file from others (`application_id`).
        migrations: SQL scripts; the n-th one makes version n out of version n - 1.
        read_only: Whether to open for reading only.
        immutable: With `read_only`: nobody writes the file, so that no lock, no shared
            memory and no file beside it is needed.

    Raises:
        StoreVersionError: The file is of a newer version.
        StoreError: The file can not be opened, or is of another kind.
    """

    def __init__(
        self,
        path: Path,
        *,
        kind: int,
        migrations: Sequence[str],
        read_only: bool = False,
        immutable: bool = False,
    ) -> None:
        # Imported here: it loads a library of megabytes, and not every host keeps state.
        import apsw  # noqa: PLC0415

        self.path: Path = path
        flags = apsw.SQLITE_OPEN_URI
        flags |= (
            apsw.SQLITE_OPEN_READONLY
            if read_only
            else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )
        query = "?mode=ro" if read_only else ""
        if immutable:
            query += "&immutable=1"
        self._error: Any = apsw.Error
        self._connection: Any = None
        self._watched: list[tuple[str, int, int]] = []
        with self._translated("opened"):
            if not read_only:
                # Made with its final rights, before anything is in it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = apsw.Connection(f"{path.absolute().as_uri()}{query}", flags=flags)
        try:
            self._prepare(kind, migrations, read_only=read_only)
        except BaseException:
            self.close()
            raise

    def read(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """Return the rows of one query.

        Raises:
            StoreError: The file can not be read.
        """
        with self._translated("read"):
            rows: list[tuple[Value, ...]] = self._connection.execute(sql, values).fetchall()
            return rows

    def execute(self, sql: str, values: Sequence[Value] = ()) -> None:
        """Run one statement, inside or outside a transaction.

        Raises:
            StoreError: The file can not be written.
        """
        with self._translated("written"):
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make the body's statements one transaction, durable when the context ends.

        Raises:
            StoreError: It could not be made durable, or the file is no longer where it was.
        """
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(StoreError):
                self.execute("ROLLBACK")
            raise
        self._check_place()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._error):
                connection.close()

    def _prepare(self, kind: int, migrations: Sequence[str], *, read_only: bool) -> None:
        with self._translated("opened"):
            self._connection.set_busy_timeout(_BUSY_MS)
        ((found,),) = self.read("PRAGMA application_id")
        ((version,),) = self.read("PRAGMA user_version")
        if not isinstance(version, int) or version > len(migrations):
            raise StoreVersionError(
                f"{self.path.name} is of version {version!r}, this release knows up to "
                f"{len(migrations)}: use a newer release, or another file"
            )
        if found != kind and (found or version):
            raise StoreError(f"{self.path.name} is a database of another kind")
        if read_only:
            if not version:
                raise StoreError(f"{self.path.name} holds nothing yet")
            return
        self.read("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        if version < len(migrations):
            self._migrate(kind, migrations)
        _sync_folder(self.path.parent)
        self._watch()

    def _migrate(self, kind: int, migrations: Sequence[str]) -> None:
        with self.transaction():
            # Read again under the lock: another process may have migrated meanwhile.
            ((version,),) = self.read("PRAGMA user_version")
            for script in migrations[int(version or 0) :]:
                self.execute(script)
            self.execute(f"PRAGMA application_id={kind}")
            self.execute(f"PRAGMA user_version={len(migrations)}")

    def _watch(self) -> None:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                found = Path(f"{self.path}{suffix}").stat()
                self._watched.append((f"{self.path}{suffix}", found.st_dev, found.st_ino))

    def _check_place(self) -> None:
        """Refuse to call durable what went into a file that has been removed."""
        for path, device, inode in self._watched:
            try:
                found = os.stat(path)  # noqa: PTH116 - half the cost of Path.stat, on each batch
            except OSError as error:
                raise StoreError(f"{self.path.name} was removed while it was open") from error
            if (found.st_dev, found.st_ino) != (device, inode):
                raise StoreError(f"{self.path.name} was replaced while it was open")

    @contextmanager
    def _translated(self, what: str) -> Generator[None]:
        if what != "opened" and self._connection is None:
            raise StoreError(f"{self.path.name} is closed")
        try:
            yield
        except (self._error, OSError) as error:
            raise StoreError(
                f"{self.path.name} could not be {what} ({type(error).__name__})"
            ) from error


def is_sync_failure(error: BaseException | None) -> bool:
    """Return whether `error` says that data may not have reached the disk, now or ever.

    After a failed fsync the system may hold pages for clean that are not on the disk
    (PostgreSQL's "fsyncgate", 2018), so that a second fsync proves nothing.
    """
    import apsw  # noqa: PLC0415

    failures = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}
    while error is not None:
        if getattr(error, "extendedresult", None) in failures:
            return True
        error = error.__cause__
    return False


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
