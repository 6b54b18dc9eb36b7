"""One SQLite file: opened safely, migrated forward, durable or not at all."""

import sqlite3
import stat

import pytest

from localmcp_harden.core.errors import StoreError, StoreVersionError
from localmcp_harden.mechanisms.database import Database, is_sync_failure

ONE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) STRICT"
TWO = "ALTER TABLE t ADD COLUMN c TEXT"


def opened(path, *migrations, kind=7, **options):
    return Database(path, kind=kind, migrations=migrations or (ONE,), **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state 100%?.db"


def test_a_transaction_is_whole_or_nothing(path):
    database = opened(path)
    with database.transaction():
        database.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(ZeroDivisionError), database.transaction():  # noqa: PT012
        database.execute("INSERT INTO t VALUES (2, 'y')")
        raise ZeroDivisionError
    assert database.read("SELECT * FROM t") == [(1, "x")]
    assert database.read("SELECT b FROM t WHERE a=?", (1,)) == [("x",)]
    database.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_an_acknowledgement_rests_on(path):
    database = opened(path)
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA synchronous") == [(2,)]
    assert database.read("PRAGMA busy_timeout") != [(0,)]
    database.close()


def test_it_migrates_forward_and_keeps_what_is_there(path):
    database = opened(path)
    database.execute("INSERT INTO t VALUES (1, 'x')")
    database.close()
    database = opened(path, ONE, TWO)
    assert database.read("SELECT * FROM t") == [(1, "x", None)]
    assert database.read("PRAGMA user_version") == [(2,)]
    database.close()
    with pytest.raises(StoreVersionError, match="of version 2, this release knows up to 1"):
        opened(path)


def test_a_migration_that_fails_leaves_the_old_version(path):
    opened(path).close()
    with pytest.raises(StoreError):
        opened(path, ONE, TWO, "nonsense")
    database = opened(path)
    assert len(database.read("PRAGMA table_info(t)")) == 2
    database.close()


def test_a_file_of_another_kind_is_refused(path):
    opened(path).close()
    with pytest.raises(StoreError, match="another kind"):
        opened(path, kind=8)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="could not be"):
        opened(path)


def test_a_foreign_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "foreign.db") as connection:
        connection.execute("PRAGMA user_version=1")
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    with pytest.raises(StoreError, match="another kind"):
        opened(tmp_path / "foreign.db")


@pytest.mark.parametrize("immutable", [False, True])
def test_reading_only_writes_nothing(path, immutable):
    opened(path).close()
    database = opened(path, read_only=True, immutable=immutable)
    assert database.read("SELECT * FROM t") == []
    with pytest.raises(StoreError, match="could not be written"):
        database.execute("INSERT INTO t VALUES (1, 'x')")
    database.close()


def test_reading_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StoreError):
        opened(tmp_path / "none.db", read_only=True)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="holds nothing yet"):
        opened(tmp_path / "empty.db", read_only=True)


def test_a_closed_database_says_so(path):
    database = opened(path)
    database.close()
    database.close()
    with pytest.raises(StoreError, match="is closed"):
        database.read("SELECT 1")
    with pytest.raises(StoreError, match="is closed"):
        database.execute("SELECT 1")


def test_errors_show_no_values_and_no_folder(path):
    database = opened(path)
    database.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(StoreError) as caught:
        database.execute("INSERT INTO t VALUES (?, ?)", (1, "sesame"))
    database.close()
    assert "sesame" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_what_went_into_a_removed_file_is_not_durable(path, suffix):
    database = opened(path)
    path.with_name(path.name + suffix).unlink()
    with pytest.raises(StoreError, match="was removed"), database.transaction():
        database.execute("INSERT INTO t VALUES (1, 'x')")
    database.close()


def test_an_existing_file_is_watched_too(path):
    opened(path).close()
    database = opened(path)
    path.with_name(path.name + "-wal").unlink()
    with pytest.raises(StoreError, match="was removed"), database.transaction():
        database.execute("INSERT INTO t VALUES (1, 'x')")
    database.close()


def test_a_full_file_is_a_store_error_and_nothing_is_half_written(path):
    database = opened(path)
    database.read("PRAGMA max_page_count=4")
    with pytest.raises(StoreError, match="FullError"), database.transaction():  # noqa: PT012
        for number in range(1_000):
            database.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 1_000))
    assert database.read("SELECT count(*) FROM t") == [(0,)]
    database.read("PRAGMA max_page_count=1000000")
    with database.transaction():
        database.execute("INSERT INTO t VALUES (1, 'x')")
    database.close()


def test_sync_failures_are_told_from_others():
    import apsw

    failed = apsw.IOError("disk")
    failed.extendedresult = apsw.SQLITE_IOERR_FSYNC
    wrapped = StoreError("x")
    wrapped.__cause__ = failed
    assert is_sync_failure(wrapped)
    other = apsw.FullError("full")
    other.extendedresult = apsw.SQLITE_FULL
    wrapped.__cause__ = other
    assert not is_sync_failure(wrapped)
    assert not is_sync_failure(None)
