"""What was acknowledged survives kill -9 and a full disk."""

import random
import signal
import subprocess
import sys

import pytest

from localmcp_harden.security.audit.verify import read_entries, verify_folder

WRITER = """
import sys, anyio
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog
from localmcp_harden.protocols.security import AuditEntry

async def main():
    async with SqliteAuditLog(AuditConfig(folder=sys.argv[1])) as log:
        async def one(lane):
            number = 0
            while True:
                entry = AuditEntry(kind="outcome", data={"lane": lane, "number": number})
                receipt = await log.append(entry)
                sys.stdout.write(f"{receipt.sequence} {receipt.hash}\\n")
                sys.stdout.flush()
                number += 1
        async with anyio.create_task_group() as tasks:
            for lane in range(20):
                tasks.start_soon(one, lane)
anyio.run(main, backend=sys.argv[2])
"""


def run_and_kill(folder, backend, lines):
    """Run the writer, kill it after it acknowledged `lines` entries; return those it did."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), backend], stdout=subprocess.PIPE, text=True
    )
    acknowledged = []
    with process:
        for line in process.stdout:
            acknowledged.append(line.split())
            if len(acknowledged) == lines:
                process.send_signal(signal.SIGKILL)
        # What was on its way through the pipe was acknowledged too.
    return [(int(number), digest) for number, digest in (a for a in acknowledged if len(a) == 2)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_acknowledged_entry_is_lost_under_kill(folder, backend):
    chance = random.Random(7)  # noqa: S311
    acknowledged = {}
    for _ in range(6):
        found = run_and_kill(folder, backend, chance.randint(1, 400))
        acknowledged.update({number: digest for number, digest in found if len(digest) == 64})
        report = verify_folder(folder)
        assert report.ok, report
        stored = {kept.sequence: kept.hash for kept in read_entries(folder)}
        assert acknowledged.items() <= stored.items()
    # Every process took over the file of the one before.
    assert len(report.writers) == 1


FULL = """
import resource, signal, sys, anyio
from localmcp_harden.core.errors import AuditUnavailableError
from localmcp_harden.core.events import StoreFailed
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog
from localmcp_harden.protocols.security import AuditEntry
from localmcp_harden.testing.recording import RecordingSink

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

async def main():
    sink = RecordingSink()
    config = AuditConfig(folder=sys.argv[1], retry_wait_s=0.01)
    async with SqliteAuditLog(config, sink=sink) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        number = 0
        ticket = log.reserve()
        while True:
            number += 1
            try:
                receipt = await log.append(AuditEntry(kind="outcome", data={"x": "y" * 500}))
            except AuditUnavailableError:
                break
            print(receipt.sequence, receipt.hash)
        try:
            log.reserve()
        except AuditUnavailableError:
            pass
        else:
            raise SystemExit("a place was given while the disk was full")
        ticket.record(AuditEntry(kind="outcome", call_id="kept"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        with anyio.fail_after(30):
            while True:
                try:
                    receipt = await log.append(AuditEntry(kind="outcome", call_id="after"))
                except AuditUnavailableError:
                    await anyio.sleep(0.001)
                else:
                    break
        print(receipt.sequence, receipt.hash)
        assert [type(event) for event in sink.events] == [StoreFailed], sink.events
anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_disk_that_is_really_full(folder, backend):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), backend],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    acknowledged = dict(line.split() for line in done.stdout.splitlines())
    assert len(acknowledged) > 10
    assert verify_folder(folder).ok
    kept = list(read_entries(folder))
    assert set(acknowledged.values()) <= {entry.hash for entry in kept}
    assert [entry.call_id for entry in kept if entry.call_id] == ["kept", "after"]
    assert [entry.kind for entry in kept].count("audit_recovered") == 1


def test_two_processes_on_one_folder(folder):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), "asyncio"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    acknowledged = set()
    try:
        for process in processes:
            for _ in range(100):
                acknowledged.add(process.stdout.readline().split()[1])
            # Both are alive and writing while the folder is verified.
            assert verify_folder(folder).ok
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    report = verify_folder(folder)
    assert report.ok
    assert len(report.writers) == 2
    assert acknowledged <= {kept.hash for kept in read_entries(folder)}
