"""probe_database: reads, and never makes a file."""

import pytest

from localmcp_harden.core.errors import StoreError
from localmcp_harden.mechanisms.database import Database
from localmcp_harden.mechanisms.database_probe import probe_database


def test_a_file_that_is_open_and_written_is_well(tmp_path):
    path = tmp_path / "a b%.db"
    database = Database(path, kind=1, migrations=["CREATE TABLE t (a)"])
    with database.transaction():
        database.execute("INSERT INTO t VALUES (1)")
        assert probe_database(path, deep=False) == ""
        assert probe_database(path, deep=True) == ""
    database.close()


def test_a_missing_file_stays_missing(tmp_path):
    path = tmp_path / "gone.db"
    with pytest.raises(StoreError, match=r"gone\.db could not be read \(CantOpenError\)"):
        probe_database(path, deep=True)
    assert not path.exists()
