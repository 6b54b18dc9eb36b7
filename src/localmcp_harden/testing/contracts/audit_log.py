"""The rules of an `AuditLog`.

`make(*, max_queued)` returns a fresh log, not yet entered, with that many places.
"""

from typing import Any, Protocol

import anyio
import anyio.lowlevel

from ...core.errors import AuditUnavailableError
from ...protocols.security import AuditEntry, AuditLog, AuditReceipt
from .kit import ContractKit, expect

__all__ = ("MakeAuditLog", "audit_log")

_HASH_CHARS = 64


class MakeAuditLog(Protocol):
    """Makes the log that is to be checked."""

    def __call__(self, *, max_queued: int) -> AuditLog:
        """Return a log with `max_queued` places."""
        ...


audit_log: ContractKit[MakeAuditLog] = ContractKit("AuditLog")


def _entry(number: int = 0, **data: Any) -> AuditEntry:
    return AuditEntry(kind="outcome", call_id=str(number), data={"number": number, **data})


def _sequence(log: AuditLog) -> int:
    head = log.get_head()
    return 0 if head is None else head.sequence


@audit_log.rule("AL1")
async def receipts_tell_the_place(make: MakeAuditLog) -> None:
    """Each receipt has the writer, the next sequence, and a hash of its own."""
    async with make(max_queued=10) as log:
        receipts = [await log.append(_entry(number)) for number in range(3)]
    expect(len({receipt.writer for receipt in receipts}) == 1, "several writers")
    sequences = [receipt.sequence for receipt in receipts]
    expect(sequences == list(range(sequences[0], sequences[0] + 3)), f"sequences are {sequences}")
    hashes = {receipt.hash for receipt in receipts}
    expect(len(hashes) == 3, "two entries have one hash")
    expect(all(len(found) == _HASH_CHARS for found in hashes), "a hash is no hexadecimal SHA-256")


@audit_log.rule("AL2")
async def the_head_is_the_newest(make: MakeAuditLog) -> None:
    """`get_head` is None at first, and then the newest durable entry."""
    async with make(max_queued=10) as log:
        expect(log.get_head() is None, "a fresh log has a head")
        for number in range(3):
            receipt = await log.append(_entry(number))
            head = log.get_head()
            expect(head is not None, "there is no head")
            if head is not None:
                seen = (head.writer, head.sequence, head.hash)
                expect(seen == (receipt.writer, receipt.sequence, receipt.hash), f"head is {seen}")


@audit_log.rule("AL3")
async def equal_entries_differ(make: MakeAuditLog) -> None:
    """The same entry twice has two hashes: each is chained to the one before."""
    async with make(max_queued=10) as log:
        one, two = await log.append(_entry()), await log.append(_entry())
    expect(one.hash != two.hash, "the hash does not depend on the place")


@audit_log.rule("AL4")
async def tickets_keep_their_place(make: MakeAuditLog) -> None:
    """When every place is taken, more is refused; who has a ticket can still record."""
    async with make(max_queued=3) as log:
        tickets = [log.reserve() for _ in range(3)]
        for _ in range(2):
            try:
                log.reserve()
            except AuditUnavailableError:
                continue
            expect(condition=False, message="a fourth place was given")
        try:
            await log.append(_entry())
        except AuditUnavailableError:
            pass
        else:
            expect(condition=False, message="an entry without a place was taken")
        for number, ticket in enumerate(tickets):
            ticket.record(_entry(number))
    expect(_sequence(log) == 3, f"{_sequence(log)} of 3 entries were written")


@audit_log.rule("AL5")
async def places_are_given_back_once(make: MakeAuditLog) -> None:
    """`discard` gives the place back, once, and not after `record`; `record` writes once."""
    async with make(max_queued=1) as log:
        ticket = log.reserve()
        ticket.discard()
        ticket.discard()
        ticket.record(_entry())
        used = log.reserve()
        try:
            log.reserve()
        except AuditUnavailableError:
            pass
        else:
            expect(condition=False, message="a place was given back twice")
        used.record(_entry())
        used.record(_entry())
        used.discard()
    expect(_sequence(log) == 1, f"{_sequence(log)} entries instead of 1")


@audit_log.rule("AL6")
async def many_append_at_once(make: MakeAuditLog) -> None:
    """Fifty tasks that append at once get fifty places in a row."""
    receipts: list[AuditReceipt] = []

    async with make(max_queued=100) as log:

        async def one(number: int) -> None:
            receipts.append(await log.append(_entry(number)))

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)
    sequences = sorted(receipt.sequence for receipt in receipts)
    expect(sequences == list(range(1, 51)), f"sequences are {sequences}")


@audit_log.rule("AL7")
async def leaving_writes_what_is_queued(make: MakeAuditLog) -> None:
    """Entries recorded just before leaving are written; entering again goes on after them."""
    log = make(max_queued=100)
    async with log:
        for number in range(20):
            log.reserve().record(_entry(number))
    expect(_sequence(log) == 20, f"{_sequence(log)} of 20 entries were written")
    async with log:
        receipt = await log.append(_entry())
    expect(receipt.sequence == 21, f"the next one has the sequence {receipt.sequence}")


@audit_log.rule("AL8")
async def a_closed_log_refuses(make: MakeAuditLog) -> None:
    """After leaving, nothing is taken any more, and what a late ticket records raises nothing."""
    log = make(max_queued=10)
    async with log:
        late = log.reserve()
    late.record(_entry())
    try:
        log.reserve()
    except AuditUnavailableError:
        pass
    else:
        expect(condition=False, message="a closed log gave a place")
    try:
        await log.append(_entry())
    except AuditUnavailableError:
        return
    expect(condition=False, message="a closed log took an entry")


@audit_log.rule("AL9")
async def whatever_is_handed_over_is_kept(make: MakeAuditLog) -> None:
    """Data that JSON has no form for is described, not refused."""
    loop: list[Any] = []
    loop.append(loop)
    odd: dict[str, Any] = {
        "object": object(),
        "half": "\ud800",
        "nan": float("nan"),
        "keys": {1: 2, None: 3},
        "loop": loop,
        "huge": 1 << 5_000,
        "long": "x" * 1_000_000,
    }
    async with make(max_queued=10) as log:
        for number, (name, value) in enumerate(odd.items()):
            receipt = await log.append(_entry(number, **{name: value}))
            expect(receipt.sequence == number + 1, f"{name} was not kept")


@audit_log.rule("AL10")
async def a_cancelled_wait_loses_no_place(make: MakeAuditLog) -> None:
    """Cancelling those who wait leaves the log whole and all its places free."""
    async with make(max_queued=5) as log:
        for _ in range(10):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await log.append(_entry())
            # What was handed over may have been written; its place comes back with that.
            await _until_free(log)
        tickets = [log.reserve() for _ in range(5)]
        for ticket in tickets:
            ticket.discard()


async def _until_free(log: AuditLog) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                await log.append(_entry())
            except AuditUnavailableError:
                await anyio.lowlevel.checkpoint()
            else:
                return
