"""verify_folder: every way of tampering is named, and the first bad entry with it."""

import hashlib
import os
import sqlite3

import anyio
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from localmcp_harden.core.errors import StoreError
from localmcp_harden.protocols.security import AuditEntry, AuditHead
from localmcp_harden.security.audit.chain import FIRST_PREV, make_body
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog
from localmcp_harden.security.audit.verify import ProblemKind, read_entries, verify_folder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def write(folder, count, logs=1):
    """Write `count` entries to each of `logs` files; return their heads."""

    async def fill():
        opened = [SqliteAuditLog(AuditConfig(folder=folder)) for _ in range(logs)]
        for log in opened:
            await log.__aenter__()
        for log in opened:
            for number in range(count):
                log.reserve().record(AuditEntry(kind="outcome", data={"number": number}))
        for log in opened:
            await log.__aexit__(None, None, None)
        return [log.get_head() for log in opened]

    return anyio.run(fill)


def tamper(folder, *statements, file=None):
    file = file or next(iter(sorted(folder.glob("audit-*.db"))))
    with sqlite3.connect(file) as connection:
        for sql, *values in statements:
            connection.execute(sql, values)
    connection.close()


def first_problem(folder, **options):
    report = verify_folder(folder, **options)
    assert not report.ok
    (bad,) = [found for found in report.writers if found.problem]
    return bad.problem.sequence, bad.problem.kind, bad.entries


def body_of(folder, sequence):
    file = next(iter(sorted(folder.glob("audit-*.db"))))
    connection = sqlite3.connect(file)
    ((body,),) = connection.execute("SELECT body FROM entries WHERE sequence=?", (sequence,))
    connection.close()
    return body


def test_a_whole_log_holds(folder):
    (head,) = write(folder, 50)
    report = verify_folder(folder, expected_heads=[head])
    assert report.ok
    assert report.entries == 50
    assert report.writers[0].head == head


def test_an_empty_folder_holds_unless_heads_were_expected(folder):
    folder.mkdir()
    assert verify_folder(folder).ok
    head = AuditHead(writer="w", sequence=7, hash="0" * 64)
    assert first_problem(folder, expected_heads=[head]) == (1, ProblemKind.TRUNCATED, 0)


def test_a_folder_that_is_not_there_is_an_error(folder):
    with pytest.raises(StoreError):
        verify_folder(folder)
    with pytest.raises(StoreError):
        list(read_entries(folder))


def test_an_edited_body(folder):
    write(folder, 9)
    body = body_of(folder, 4).replace(b'"number":3', b'"number":4')
    tamper(folder, ("UPDATE entries SET body=? WHERE sequence=4", body))
    assert first_problem(folder) == (4, ProblemKind.EDITED, 3)


def test_a_body_that_is_edited_with_its_hash(folder):
    write(folder, 9)
    body = body_of(folder, 4).replace(b'"number":3', b'"number":4')
    digest = hashlib.sha256(body).digest()
    tamper(folder, ("UPDATE entries SET body=?, hash=? WHERE sequence=4", body, digest))
    assert first_problem(folder) == (4, ProblemKind.EDITED, 3)


def test_the_last_entry_edited_with_its_hash_needs_a_head(folder):
    (head,) = write(folder, 9)
    body = body_of(folder, 9).replace(b'"number":8', b'"number":7')
    digest = hashlib.sha256(body).digest()
    tamper(folder, ("UPDATE entries SET body=?, hash=? WHERE sequence=9", body, digest))
    assert verify_folder(folder).ok
    assert first_problem(folder, expected_heads=[head]) == (9, ProblemKind.EDITED, 8)


def test_all_of_it_written_anew_needs_a_head(folder):
    (head,) = write(folder, 3)
    prev, rows = FIRST_PREV, []
    for seq in range(1, 4):
        forged = (AuditEntry(kind="outcome", data={"number": 9}), 1.0)
        body = make_body(forged, writer=head.writer, seq=seq, prev=prev, max_bytes=10_000)
        digest = hashlib.sha256(body)
        prev = digest.hexdigest()
        rows.append(
            ("UPDATE entries SET body=?, hash=? WHERE sequence=?", body, digest.digest(), seq)
        )
    tamper(folder, *rows)
    assert verify_folder(folder).ok
    assert first_problem(folder, expected_heads=[head]) == (3, ProblemKind.EDITED, 2)


def test_entries_swapped(folder):
    write(folder, 9)
    tamper(
        folder,
        ("UPDATE entries SET sequence=-4 WHERE sequence=4",),
        ("UPDATE entries SET sequence=4 WHERE sequence=6",),
        ("UPDATE entries SET sequence=6 WHERE sequence=-4",),
    )
    assert first_problem(folder) == (4, ProblemKind.REORDERED, 3)


@pytest.mark.parametrize("sequence", [1, 5])
def test_an_entry_removed(folder, sequence):
    write(folder, 9)
    tamper(folder, ("DELETE FROM entries WHERE sequence=?", sequence))
    assert first_problem(folder) == (sequence, ProblemKind.MISSING, sequence - 1)


def test_an_entry_removed_and_the_rest_moved_up(folder):
    write(folder, 9)
    tamper(
        folder,
        ("DELETE FROM entries WHERE sequence=5",),
        ("UPDATE entries SET sequence=-sequence WHERE sequence>5",),
        ("UPDATE entries SET sequence=-sequence-1 WHERE sequence<0",),
    )
    assert first_problem(folder) == (5, ProblemKind.REORDERED, 4)


def test_all_entries_moved(folder):
    write(folder, 3)
    tamper(folder, ("UPDATE entries SET sequence=sequence+10",))
    assert first_problem(folder) == (1, ProblemKind.MISSING, 0)


def test_a_cut_tail_needs_a_head(folder):
    (head,) = write(folder, 9)
    tamper(folder, ("DELETE FROM entries WHERE sequence>6",))
    assert verify_folder(folder).ok
    assert first_problem(folder, expected_heads=[head]) == (7, ProblemKind.TRUNCATED, 6)


def test_a_file_removed_needs_a_head(folder):
    heads = write(folder, 3, logs=2)
    next(iter(sorted(folder.glob("audit-*.db")))).unlink()
    assert verify_folder(folder).ok
    sequence, kind, _ = first_problem(folder, expected_heads=heads)
    assert (sequence, kind) == (1, ProblemKind.TRUNCATED)


def test_a_file_renamed_to_another_writers(folder):
    write(folder, 3)
    file = next(iter(folder.glob("audit-*.db")))
    file.rename(folder / "audit-20200101T000000Z-00.db")
    assert first_problem(folder) == (1, ProblemKind.REORDERED, 0)


def test_a_first_entry_that_names_one_before(folder):
    (head,) = write(folder, 1)
    forged = (AuditEntry(kind="outcome"), 1.0)
    body = make_body(forged, writer=head.writer, seq=1, prev="1" * 64, max_bytes=10_000)
    digest = hashlib.sha256(body).digest()
    tamper(folder, ("UPDATE entries SET body=?, hash=?", body, digest))
    assert first_problem(folder) == (1, ProblemKind.EDITED, 0)


def test_a_body_that_is_no_record(folder):
    write(folder, 5)
    digest = hashlib.sha256(b"torn").digest()
    tamper(folder, ("UPDATE entries SET body=?, hash=? WHERE sequence=3", b"torn", digest))
    assert first_problem(folder) == (3, ProblemKind.TORN, 2)
    with pytest.raises(StoreError, match="entry 3"):
        list(read_entries(folder))


@pytest.mark.parametrize("keep", [0, 10, 100, 5_000])
def test_a_torn_file(folder, keep):
    write(folder, 500)
    file = next(iter(folder.glob("audit-*.db")))
    os.truncate(file, keep)
    _, kind, entries = first_problem(folder)
    assert kind is ProblemKind.TORN
    assert entries < 500


def test_a_file_that_is_no_database(folder):
    folder.mkdir()
    (folder / "audit-x.db").write_bytes(b"hello" * 1_000)
    with sqlite3.connect(folder / "audit-y.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    kinds = [found.problem.kind for found in verify_folder(folder).writers]
    assert kinds == [ProblemKind.TORN, ProblemKind.TORN]


def test_cells_of_another_type(folder):
    write(folder, 3)
    tamper(
        folder,
        ("CREATE TABLE other AS SELECT * FROM entries",),
        ("DROP TABLE entries",),
        ("ALTER TABLE other RENAME TO entries",),
        ("UPDATE entries SET body='text' WHERE sequence=2",),
    )
    assert first_problem(folder) == (2, ProblemKind.EDITED, 1)


def test_one_bad_writer_hides_no_other(folder):
    write(folder, 3, logs=2)
    tamper(folder, ("DELETE FROM entries WHERE sequence=1",))
    report = verify_folder(folder)
    assert [found.problem is None for found in report.writers] == [False, True]
    assert report.entries == 3


def test_verifying_leaves_nothing_behind(folder):
    write(folder, 3, logs=2)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert verify_folder(folder).ok
    assert list(read_entries(folder))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_copy_without_locks_verifies(folder, tmp_path):
    write(folder, 3)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.glob("*.db"):
        (copy / file.name).write_bytes(file.read_bytes())
    assert verify_folder(copy).entries == 3
    assert len(list(copy.iterdir())) == 1


async def test_a_live_writer_is_read_and_not_disturbed(make_log, folder, entry):
    async with make_log() as log:
        for number in range(20):
            receipt = await log.append(entry(number))
            report = verify_folder(folder)
            assert report.ok
            assert report.writers[0].head.hash == receipt.hash
        reading = read_entries(folder)
        next(reading)
        await log.append(entry())
        assert verify_folder(folder).entries == 21
        reading.close()


async def test_a_file_that_is_being_read_is_not_taken_over(make_log, folder, entry):
    async with make_log() as log:
        first = await log.append(entry(1))
        await log.append(entry(2))
    reading = read_entries(folder)
    next(reading)
    async with make_log() as log:
        assert (await log.append(entry(3))).writer != first.writer
    assert next(reading).sequence == 2
    reading.close()


async def test_reading_can_start_later_and_name_a_writer(make_log, folder, entry):
    async with make_log() as one, make_log() as two:
        for number in range(5):
            await one.append(entry(number))
        await two.append(entry(9))
    found = list(read_entries(folder, writer=one.get_head().writer, after=3))
    assert [kept.sequence for kept in found] == [4, 5]
    assert [kept.data["number"] for kept in found] == [3, 4]
    assert found[-1].hash == one.get_head().hash
    assert "number" not in repr(found[0])
    assert len(list(read_entries(folder))) == 6


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("audit")
    (head,) = write(folder, 5)
    sequence = data.draw(st.integers(1, 5))
    body = bytearray(body_of(folder, sequence))
    # Times make bodies of different lengths, so the draw must not depend on the length.
    place = data.draw(st.integers(0, 9_999)) % len(body)
    body[place] ^= data.draw(st.integers(1, 255))
    consistent = data.draw(st.booleans())
    digest = hashlib.sha256(body).digest()
    if consistent:
        tamper(
            folder,
            ("UPDATE entries SET body=?, hash=? WHERE sequence=?", bytes(body), digest, sequence),
        )
    else:
        tamper(folder, ("UPDATE entries SET body=? WHERE sequence=?", bytes(body), sequence))
    report = verify_folder(folder, expected_heads=[head])
    assert not report.ok
    # The bad entry itself, or the one before it when the change hit the link to it.
    assert report.writers[0].problem.sequence in {sequence, sequence - 1 or 1}
