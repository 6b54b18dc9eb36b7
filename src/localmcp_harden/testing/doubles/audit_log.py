"""An audit log in memory, chained like the real one, whose disk a test can break."""

import hashlib
from typing import Self, final

import anyio.lowlevel

from ...core.errors import AuditUnavailableError
from ...core.ports import Clock
from ...protocols.security import AuditEntry, AuditHead, AuditReceipt, AuditTicket
from ...security.audit.chain import FIRST_PREV, make_body
from ..clock import FakeClock

__all__ = ("FakeAuditLog",)


@final
class FakeAuditLog:
    """An `AuditLog` that keeps everything in memory.

    Args:
        max_queued: Places in the queue; only tickets that are held take one, since what
            is handed over is kept at once.
        clock: Says when; a fake one of its own by default.
    """

    def __init__(self, *, max_queued: int = 1_000, clock: Clock | None = None) -> None:
        self.entries: list[AuditEntry] = []
        """Every entry that is kept, in order."""
        self.bodies: list[bytes] = []
        """The canonical bytes of each, as the real log would store them."""
        self.broken: bool = False
        """While true, the disk is full: appending and reserving are refused."""
        self.is_open: bool = False
        """Whether the log is entered."""
        self._max_queued = max_queued
        self._wall = (clock or FakeClock()).wall
        self._held = 0
        self._late: list[AuditEntry] = []
        self._was_closed = False
        self._head: AuditHead | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        self.is_open, self._was_closed = True, False
        await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        self.mend()
        self.is_open, self._was_closed = False, True

    def reserve(self) -> AuditTicket:
        """Take a place, unless the disk is broken or all are taken."""
        self._check()
        if self._held >= self._max_queued:
            raise AuditUnavailableError(f"all {self._max_queued} places are taken")
        self._held += 1
        return _Ticket(self)

    async def append(self, entry: AuditEntry, /) -> AuditReceipt:
        """Keep an entry, unless the disk is broken or all places are taken."""
        self.reserve().discard()
        receipt = self._keep(entry)
        await anyio.lowlevel.checkpoint()
        return receipt

    def get_head(self) -> AuditHead | None:
        """Return the newest entry that is kept."""
        return self._head

    def mend(self) -> None:
        """Let the disk work again: what tickets recorded meanwhile is kept now."""
        self.broken = False
        late, self._late = self._late, []
        for entry in late:
            self._keep(entry)

    def hand_over(self, entry: AuditEntry | None) -> None:
        """Take what a ticket recorded, or its place back when it is None."""
        self._held -= 1
        if entry is None or self._was_closed:
            return
        if self.broken:
            self._late.append(entry)
        else:
            self._keep(entry)

    def _check(self) -> None:
        if self.broken or self._was_closed:
            raise AuditUnavailableError("the audit log can not be written")

    def _keep(self, entry: AuditEntry) -> AuditReceipt:
        sequence = len(self.bodies) + 1
        body = make_body(
            (entry, self._wall()),
            writer="fake",
            seq=sequence,
            prev=FIRST_PREV if self._head is None else self._head.hash,
            max_bytes=64 * 1024,
        )
        self.entries.append(entry)
        self.bodies.append(body)
        digest = hashlib.sha256(body).hexdigest()
        self._head = AuditHead(writer="fake", sequence=sequence, hash=digest)
        return AuditReceipt(writer="fake", sequence=sequence, hash=digest)


@final
class _Ticket:
    """A place, used or given back once."""

    def __init__(self, log: FakeAuditLog) -> None:
        self._log: FakeAuditLog | None = log

    def record(self, entry: AuditEntry, /) -> None:
        """Hand over the entry."""
        log, self._log = self._log, None
        if log is not None:
            log.hand_over(entry)

    def discard(self) -> None:
        """Give the place back."""
        log, self._log = self._log, None
        if log is not None:
            log.hand_over(None)
