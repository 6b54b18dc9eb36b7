"""SqliteAuditLog: the contract, and what is its own."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import pytest

from localmcp_harden.core.errors import AuditUnavailableError, StoreError
from localmcp_harden.core.events import StoreFailed
from localmcp_harden.protocols.security import AuditEntry
from localmcp_harden.security.audit import chain
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog
from localmcp_harden.security.audit.verify import read_entries, verify_folder
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.audit_log import audit_log
from localmcp_harden.testing.doubles.audit_log import FakeAuditLog
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


@pytest.fixture
def make_sqlite():
    with tempfile.TemporaryDirectory() as root:

        def make(*, max_queued):
            return SqliteAuditLog(AuditConfig(folder=Path(root) / "audit", max_queued=max_queued))

        yield make


@pytest.mark.parametrize("rule", audit_log.rules, ids=str)
@pytest.mark.parametrize("which", ["sqlite", "fake"])
async def test_contract(make_sqlite, which, rule):
    await rule.check(make_sqlite if which == "sqlite" else FakeAuditLog)


async def test_the_fake_breaks_and_mends_on_command(entry):
    fake = FakeAuditLog()
    ticket = fake.reserve()
    fake.broken = True
    ticket.record(entry(1))
    with pytest.raises(AuditUnavailableError):
        await fake.append(entry(2))
    with pytest.raises(AuditUnavailableError):
        fake.reserve()
    assert fake.entries == []
    fake.mend()
    await fake.append(entry(3))
    assert [kept.call_id for kept in fake.entries] == ["1", "3"]
    assert hashlib.sha256(fake.bodies[-1]).hexdigest() == fake.get_head().hash


async def test_what_is_stored(folder, make_log, entry):
    async with make_log() as log:
        receipt = await log.append(entry(7, word="tea"))
        second = await log.append(entry(8))
    (file,) = folder.glob("audit-*.db")
    database = chain.open_audit_file(file, read_only=True, immutable=True)
    rows = database.read("SELECT sequence, hash, body FROM entries ORDER BY sequence")
    database.close()
    (sequence, digest, body), (_, _, following) = rows
    facts = json.loads(body)
    assert (sequence, digest.hex()) == (1, receipt.hash)
    assert hashlib.sha256(body).hexdigest() == receipt.hash
    assert facts["writer"] == receipt.writer == chain.writer_of(file)
    assert facts["prev"] == "0" * 64
    assert (facts["seq"], facts["kind"], facts["call_id"]) == (1, "outcome", "7")
    assert facts["data"] == {"number": 7, "word": "tea"}
    assert json.loads(following)["prev"] == receipt.hash
    assert body == json.dumps(facts, separators=(",", ":"), sort_keys=True).encode()
    assert log.get_head().hash == second.hash


async def test_files_are_for_their_owner_alone(folder, make_log, entry):
    old = os.umask(0)
    try:
        async with make_log() as log:
            await log.append(entry())
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(old)


async def test_a_file_is_taken_over_when_its_process_is_gone(folder, make_log, entry):
    async with make_log() as log:
        first = await log.append(entry(1))
    async with make_log() as log:
        assert log.get_head().hash == first.hash
        second = await log.append(entry(2))
    assert (second.writer, second.sequence) == (first.writer, 2)
    assert len(list(folder.glob("audit-*.db"))) == 1
    assert verify_folder(folder).ok


async def test_two_logs_on_one_folder_write_a_file_each(folder, make_log, entry):
    async with make_log() as one, make_log() as two:

        async def fill(log, name):
            for number in range(50):
                await log.append(entry(number, name=name))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fill, one, "one")
            tasks.start_soon(fill, two, "two")
            tasks.start_soon(anyio.lowlevel.checkpoint)
        report = verify_folder(folder)
        assert report.ok
    assert [found.entries for found in report.writers] == [50, 50]
    assert one.get_head().writer != two.get_head().writer


@pytest.mark.parametrize("how", ["torn", "edited", "moved", "renamed"])
async def test_a_file_that_does_not_hold_together_is_left_alone(folder, make_log, entry, how):
    async with make_log() as log:
        await log.append(entry(1))
    (file,) = folder.glob("audit-*.db")
    database = chain.open_audit_file(file)
    if how == "torn":
        database.execute("UPDATE entries SET body = ?", (b"{}",))
    elif how == "edited":
        ((body,),) = database.read("SELECT body FROM entries")
        edited = body.replace(b'"number":1', b'"number":2')
        database.execute("UPDATE entries SET body = ?", (edited,))
    elif how == "moved":
        database.execute("UPDATE entries SET sequence = 7")
    database.close()
    if how == "renamed":
        file.rename(folder / "audit-20200101T000000Z-00.db")
    async with make_log() as log:
        receipt = await log.append(entry(2))
    assert receipt.sequence == 1
    assert not verify_folder(folder).ok


async def test_a_file_of_a_newer_release_is_left_alone(folder, make_log, entry):
    async with make_log() as log:
        await log.append(entry(1))
    (file,) = folder.glob("audit-*.db")
    database = chain.open_audit_file(file)
    database.execute("PRAGMA user_version=99")
    database.close()
    async with make_log() as log:
        assert (await log.append(entry(2))).sequence == 1
    (newer, _) = sorted(verify_folder(folder).writers, key=lambda found: found.entries)
    assert newer.problem.kind == "newer"


async def test_entering_says_when_the_folder_can_not_be_used(tmp_path, entry):
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    sink = RecordingSink()
    log = SqliteAuditLog(AuditConfig(folder=blocked / "audit"), sink=sink)
    with pytest.raises(StoreError, match="folder can not be made"):
        async with log:
            pass
    with pytest.raises(AuditUnavailableError):
        await log.append(entry())
    blocked.unlink()
    async with log:
        assert (await log.append(entry())).sequence == 1


async def test_it_opens_by_itself_when_nobody_enters_it(folder, make_log, entry):
    log = make_log()
    ticket = log.reserve()
    ticket.record(entry(1))
    receipt = await log.append(entry(2))
    assert receipt.sequence == 2
    await log.__aexit__(None, None, None)
    assert verify_folder(folder).entries == 2


async def test_a_lazy_log_on_a_bad_folder_refuses(tmp_path, entry):
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    log = SqliteAuditLog(AuditConfig(folder=blocked / "audit", retry_wait_s=0.001))
    with pytest.raises(AuditUnavailableError):
        await log.append(entry())
    blocked.unlink()
    await until_it_works(log, entry)
    await log.__aexit__(None, None, None)


def test_what_is_queued_is_written_at_the_interpreters_end(folder):
    code = f"""
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog
from localmcp_harden.protocols.security import AuditEntry
log = SqliteAuditLog(AuditConfig(folder={str(folder)!r}))
for number in range(100):
    log.reserve().record(AuditEntry(kind="outcome"))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert verify_folder(folder).entries == 100


def test_one_log_serves_one_loop_after_another(folder, make_log, entry):
    log = make_log()

    async def use():
        async with log:
            return (await log.append(entry())).sequence

    assert [anyio.run(use, backend=name) for name in ("asyncio", "trio", "asyncio")] == [1, 2, 3]


async def test_large_data_is_replaced_by_its_size_and_hash(folder, make_log):
    async with make_log(max_data_bytes=256) as log:
        await log.append(AuditEntry(kind="k" * 1_000, call_id="c" * 1_000, data={"a": "x" * 500}))
    (kept,) = read_entries(folder)
    digest = hashlib.sha256(b'{"a":"' + b"x" * 500 + b'"}').hexdigest()
    assert kept.data == {"too_large": {"bytes": 508, "sha256": digest}}
    assert (len(kept.kind), len(kept.call_id)) == (64, 256)


async def test_odd_data_breaks_no_link(folder, make_log):
    async with make_log() as log:
        for value in ({"a": "\ud800"}, {1: object()}, {"a": 1 << 5_000}):
            await log.append(AuditEntry(kind="outcome", call_id="7", data={"odd": value}))
    assert verify_folder(folder).ok
    kept = list(read_entries(folder))
    assert [found.call_id for found in kept] == ["7", "7", "7"]
    assert kept[0].data == {"odd": {"a": "\\ud800"}}


async def test_the_time_is_that_of_the_clock(folder, entry):
    clock = FakeClock()
    async with SqliteAuditLog(AuditConfig(folder=folder), clock=clock) as log:
        await log.append(entry())
        clock.advance(60)
        await log.append(entry())
    one, two = read_entries(folder)
    assert two.at - one.at == 60
    assert one.writer.startswith("20270115T080000Z-")


async def test_a_forgotten_ticket_gives_its_place_back(make_log):
    async with make_log(max_queued=1) as log:
        for _ in range(3):
            log.reserve()


async def test_refusals_are_coded_and_say_when_to_come_back(make_log, entry):
    async with make_log(max_queued=1, retry_wait_s=2.5) as log:
        held = log.reserve()
        with pytest.raises(AuditUnavailableError, match="1 entries waiting") as caught:
            await log.append(entry())
        assert caught.value.retry_after_s == 2.5
        held.discard()


async def until_it_works(log, entry):
    """Append until it is taken; the writer tries the store again by itself."""
    with anyio.fail_after(20):
        while True:
            try:
                return await log.append(entry("after"))
            except AuditUnavailableError:
                await anyio.sleep(0.001)


def break_disk(monkeypatch, error=None):
    """Let every commit fail until the returned function is called."""
    real = chain.Database.execute

    def execute(self, sql, values=()):
        if sql == "COMMIT":
            raise StoreError("the disk is full") from error
        real(self, sql, values)

    monkeypatch.setattr(chain.Database, "execute", execute)
    return lambda: monkeypatch.setattr(chain.Database, "execute", real)


async def test_a_full_disk_refuses_and_loses_nothing(folder, make_log, entry, monkeypatch):
    sink = RecordingSink()
    async with make_log(sink=sink) as log:
        before = await log.append(entry("before"))
        ticket = log.reserve()
        mend = break_disk(monkeypatch, OSError())
        with pytest.raises(AuditUnavailableError):
            await log.append(entry("refused"))
        with pytest.raises(AuditUnavailableError):
            log.reserve()
        ticket.record(entry("kept"))
        assert log.get_head().hash == before.hash
        mend()
        await until_it_works(log, entry)
        assert len(sink.of(StoreFailed)) == 1
    kept = list(read_entries(folder))
    assert [(e.kind, e.call_id) for e in kept] == [
        ("outcome", "before"),
        ("audit_recovered", ""),
        ("outcome", "kept"),
        ("outcome", "after"),
    ]
    assert kept[1].data == {"error": "OSError"}
    assert verify_folder(folder).ok
    assert sink.of(StoreFailed)[0].error_type == "OSError"


async def test_after_a_failed_sync_it_goes_on_in_another_file(folder, make_log, entry, monkeypatch):
    import apsw

    failed = apsw.IOError("disk I/O error")
    failed.extendedresult = apsw.SQLITE_IOERR_FSYNC
    async with make_log() as log:
        before = await log.append(entry("before"))
        mend = break_disk(monkeypatch, failed)
        with pytest.raises(AuditUnavailableError):
            await log.append(entry("refused"))
        mend()
        after = await until_it_works(log, entry)
        assert after.writer != before.writer
        async with make_log() as other:
            # The suspected file stays locked: nobody builds on it.
            assert (await other.append(entry())).writer not in {before.writer, after.writer}
    assert verify_folder(folder, expected_heads=[log.get_head()]).ok


async def test_a_commit_that_did_reach_the_file_is_not_written_twice(
    folder, make_log, entry, monkeypatch
):
    real = chain.Database.execute
    broken = True

    def execute(self, sql, values=()):
        real(self, sql, values)
        if sql == "COMMIT" and broken:
            raise StoreError("so it seemed")

    async with make_log() as log:
        await log.append(entry("before"))
        ticket = log.reserve()
        monkeypatch.setattr(chain.Database, "execute", execute)
        ticket.record(entry("kept"))
        with anyio.fail_after(20):
            while True:
                try:
                    log.reserve().discard()
                except AuditUnavailableError:
                    break
                await anyio.sleep(0.001)
        broken = False
        await until_it_works(log, entry)
    assert [e.call_id for e in read_entries(folder)].count("kept") == 1
    assert verify_folder(folder).ok


async def test_a_folder_that_vanishes_is_noticed(folder, make_log, entry):
    async with make_log() as log:
        await log.append(entry("before"))
        shutil.rmtree(folder)
        with pytest.raises(AuditUnavailableError):
            await log.append(entry("into the void"))
        await until_it_works(log, entry)
        assert "after" in [kept.call_id for kept in read_entries(folder)]
        assert verify_folder(folder).ok


async def test_a_file_that_is_replaced_is_noticed(folder, make_log, entry):
    async with make_log() as log:
        await log.append(entry("before"))
        (file,) = folder.glob("audit-*.db")
        file.rename(folder / "elsewhere")
        shutil.copy(folder / "elsewhere", file)
        with pytest.raises(AuditUnavailableError):
            await log.append(entry("into the void"))


async def test_entries_that_are_lost_are_told(make_log, entry, monkeypatch):
    sink = RecordingSink()
    async with make_log(sink=sink) as log:
        tickets = [log.reserve() for _ in range(3)]
        break_disk(monkeypatch)
        for ticket in tickets:
            ticket.record(entry())
        late = None
    await anyio.lowlevel.checkpoint()
    assert late is None
    assert sink.events[-1].error_type == "EntriesLost"
    assert sink.events[-1].detail.startswith("3 entries")


async def test_leaving_while_cancelled_still_writes(folder, make_log, entry):
    with anyio.CancelScope() as scope:
        async with make_log() as log:
            for number in range(10):
                log.reserve().record(entry(number))
            scope.cancel()
            await anyio.sleep_forever()
    assert verify_folder(folder).entries == 10


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


async def test_nothing_leaks(make_log, entry):
    import threading

    async def use():
        async with make_log() as log:
            await log.append(entry())

    await use()
    threads, files = threading.active_count(), open_files()
    for _ in range(5):
        await use()
    assert threading.active_count() <= threads
    assert open_files() <= files


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_queued": 0},
        {"max_batch": 0},
        {"max_data_bytes": 1},
        {"retry_wait_s": 0.0},
        {"close_wait_s": 0.0},
        {"before_acting": "sometimes"},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AuditConfig(**wrong)


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    from localmcp_harden.mechanisms.platform import state_folder

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("audit").name == "audit"
    assert "localmcp-harden" in str(state_folder("audit"))


async def test_a_disk_that_stays_full_is_not_filled_with_attempts(
    folder, make_log, entry, monkeypatch
):
    mend = break_disk(monkeypatch)
    log = make_log()
    for _ in range(3):
        with pytest.raises(AuditUnavailableError):
            await log.append(entry())
        await anyio.sleep(0.005)
    assert list(folder.glob("audit-*")) == []
    mend()
    await until_it_works(log, entry)
    await log.__aexit__(None, None, None)
    assert len(list(folder.iterdir())) == 2
    assert verify_folder(folder).ok


async def test_an_entry_may_be_made_later_and_one_that_can_not_be_stops_nothing(
    folder, make_log, entry
):
    async with make_log() as log:
        for make in (lambda: entry(1), lambda: {}["absent"], lambda: entry(3)):
            log.reserve().record_later(make)
        await log.append(entry(4))
    (file,) = folder.glob("audit-*.db")
    database = chain.open_audit_file(file, read_only=True, immutable=True)
    bodies = [json.loads(row[0]) for row in database.read("SELECT body FROM entries")]
    database.close()
    assert [body["call_id"] for body in bodies] == ["1", "", "3", "4"]
    assert (bodies[1]["kind"], bodies[1]["data"]) == ("unreadable", {"error": "KeyError"})
