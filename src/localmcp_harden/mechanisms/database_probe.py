"""Asks a SQLite file whether it is well, without writing to it.

With the SQLite that `mechanisms.database` uses and no other: two libraries in one process
do not know of each other's locks, and closing a file in one drops those of the other
(sqlite.org, "How To Corrupt An SQLite Database File", 2.2.1).
"""

from pathlib import Path
from typing import Any

from ..core.errors import StoreError

__all__ = ("probe_database",)

_BUSY_MS = 1_000


def probe_database(path: Path, *, deep: bool) -> str:
    """Return what is wrong with the file, `""` when nothing is.

    Args:
        path: The file.
        deep: Whether every page is looked at (`PRAGMA quick_check`, time in proportion to
            the file's size) and not the header and the schema only.

    Raises:
        StoreError: The file is missing, can not be read, or is no database.
    """
    import apsw  # noqa: PLC0415 - it loads a library of megabytes

    try:
        connection: Any = apsw.Connection(
            f"{path.absolute().as_uri()}?mode=ro",
            flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY,
        )
        try:
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            if not deep:
                return ""
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            return "" if found == "ok" else "quick_check found damage"
        finally:
            connection.close()
    except apsw.Error as error:
        kind = type(error).__name__
        raise StoreError(f"{path.name} could not be read ({kind})") from error
