"""Keeps entries for good: in order, hash-chained, durable before they are acknowledged.

One SQLite file a process (see `security.audit.chain` for its form), verified together
with those beside it by `security.audit.verify`. Encoding, hashing and writing happen in
one thread; whoever appends waits for the transaction that its entry went into.
"""

import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self, final

import anyio
from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, instance_of, le, optional

from ...core.errors import AuditUnavailableError
from ...core.events import EventSink, StoreFailed, discard
from ...core.ports import Clock, Random
from ...mechanisms.chance import SystemRandom
from ...mechanisms.clock import SystemClock
from ...mechanisms.group_commit import GroupCommitWriter, QueueFullError, StoreDownError
from ...mechanisms.loop_bridge import LoopCache, LoopHandle, Waiter
from ...mechanisms.platform import state_folder
from ...protocols.security import AuditEntry, AuditHead, AuditReceipt, AuditTicket
from .chain import ChainStore, Queued

__all__ = ("AuditConfig", "SqliteAuditLog")

_STORE = "audit log"


def _whole(default: int, low: int, high: int) -> Any:
    return field(default=default, validator=[instance_of(int), and_(ge(low), le(high))])


def _folder(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value).expanduser()


@final
@frozen(kw_only=True)
class AuditConfig:
    """Where entries are kept, and what waits for them.

    Args:
        folder: The folder of the audit files; by default `audit` in this user's state
            folder. Made with rights for its owner alone.
        before_acting: Which calls wait for a durable intent before they act: `never`,
            `writes` (tools not known to be read-only) or `always` (`never`, since each
            wait costs one trip to the disk, a few milliseconds).
        max_queued: Places in the queue (1 to 10,000,000; 10,000). When all are taken,
            calls are refused.
        max_batch: Entries in one transaction (1 to 100,000; 1,000).
        linger_s: Seconds that entries may gather before they are written when no call
            waits for them (0 to 1; 0.05, so that many calls share one trip to the disk).
        max_data_bytes: Bytes of one entry's data (256 to 16 MiB; 64 KiB). Larger data is
            replaced by its size and its hash.
        retry_wait_s: Seconds between attempts to use a store that has failed (0.001 to
            3,600; 1).
        close_wait_s: Seconds that closing waits for the disk (above 0, up to 3,600; 10).
    """

    folder: Path | None = field(
        default=None, converter=_folder, validator=optional(instance_of(Path))
    )
    before_acting: Literal["never", "writes", "always"] = field(
        default="never", validator=in_(("never", "writes", "always"))
    )
    max_queued: int = _whole(10_000, 1, 10_000_000)
    max_batch: int = _whole(1_000, 1, 100_000)
    linger_s: float = field(default=0.05, validator=and_(ge(0.0), le(1.0)))
    max_data_bytes: int = _whole(64 * 1024, 256, 16 * 1024 * 1024)
    retry_wait_s: float = field(default=1.0, validator=and_(ge(0.001), le(3600.0)))
    close_wait_s: float = field(default=10.0, validator=and_(gt(0.0), le(3600.0)))


@final
class SqliteAuditLog:
    """The default `AuditLog`.

    Entering opens the files at once and says when they can not be used. A log that was
    never entered opens with its first entry, and is closed at the interpreter's end.
    """

    def __init__(
        self,
        config: AuditConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.config: AuditConfig = config or AuditConfig()
        self._clock = clock or SystemClock()
        self._wall = self._clock.wall
        self._random = random or SystemRandom()
        self._reporter = _Reporter(sink, self._wall)
        self._loops = LoopCache()
        self._store: ChainStore | None = None
        self._writer: GroupCommitWriter[Queued, AuditReceipt] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._was_closed = False
        self._head: AuditHead | None = None

    async def __aenter__(self) -> Self:
        """Open the log.

        Raises:
            StoreError: The folder or the file can not be used.
        """
        if self._writer is not None:
            return self
        loop = self._loops.current()
        opened: Waiter[None] | None = None if loop is None else loop.make_waiter()
        self._start(opened)
        if opened is not None:
            try:
                await opened.wait()
            except BaseException:
                await self._end()
                raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Write what is queued and close."""
        await self._end()

    def reserve(self) -> AuditTicket:
        """Take a place in the queue, at once.

        Raises:
            AuditUnavailableError: The queue is full, or the store has failed.
        """
        writer = self._writer or self._ready()
        try:
            writer.reserve()
        except StoreDownError:
            raise self._down() from None
        except QueueFullError:
            raise self._full() from None
        return _Ticket(writer, self._wall)

    async def append(self, entry: AuditEntry, /) -> AuditReceipt:
        """Write one entry and wait until it is durable.

        Raises:
            AuditUnavailableError: It could not be made durable.
        """
        writer = self._writer or self._ready()
        loop = self._loops.current()
        if loop is None:
            raise AuditUnavailableError("the audit log needs an event loop that it knows")
        waiter: Waiter[AuditReceipt] = Waiter(loop)
        try:
            writer.submit((entry, self._wall()), waiter)
            return await waiter.wait()
        except StoreDownError:
            raise self._down() from None
        except QueueFullError:
            raise self._full() from None

    def get_head(self) -> AuditHead | None:
        """Return the newest durable entry, None when there is none yet."""
        store = self._store
        return self._head if store is None else store.head

    def _ready(self) -> GroupCommitWriter[Queued, AuditReceipt]:
        if self._was_closed:
            raise AuditUnavailableError("the audit log is closed")
        return self._start(None)

    def _full(self) -> AuditUnavailableError:
        return AuditUnavailableError(
            f"the audit log has {self.config.max_queued} entries waiting for the disk",
            self.config.retry_wait_s,
        )

    def _down(self) -> AuditUnavailableError:
        return AuditUnavailableError(
            "the audit log can not be written; calls that need it are refused until it can",
            self.config.retry_wait_s,
        )

    def _start(self, opened: Waiter[None] | None) -> GroupCommitWriter[Queued, AuditReceipt]:
        config = self.config
        self._reporter.loop = self._loops.current()
        self._store = ChainStore(
            config.folder or state_folder("audit"),
            max_data_bytes=config.max_data_bytes,
            clock=self._clock,
            random=self._random,
        )
        writer: GroupCommitWriter[Queued, AuditReceipt] = GroupCommitWriter(
            self._store,
            max_queued=config.max_queued,
            max_batch=config.max_batch,
            linger_s=config.linger_s,
            retry_wait_s=config.retry_wait_s,
            on_failure=self._reporter.failed,
            on_loss=self._reporter.lost,
            make_recovery=self._reporter.recovery,
            name="localmcp-harden audit",
        )
        self._writer = writer
        self._was_closed = False
        # Not bound to self: the log may go, and what is queued must still be written.
        self._finalizer = weakref.finalize(self, _finish, writer, config.close_wait_s)
        writer.start(opened)
        return writer

    async def _end(self) -> None:
        writer, self._writer = self._writer, None
        self._was_closed = True
        if writer is None:
            return
        loop = self._loops.current()
        if loop is None:
            _finish(writer, self.config.close_wait_s)
        else:
            ended: Waiter[None] = loop.make_waiter()
            writer.stop(ended)
            # Shielded: a cancelled server must not lose what is queued.
            with anyio.move_on_after(self.config.close_wait_s, shield=True):
                await ended.wait()
                # Telling was the last thing it did: this is a matter of microseconds.
                writer.join(1.0)
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._store is not None:
            self._head, self._store = self._store.head, None


@final
class _Ticket:
    """A place in the queue, used or given back once."""

    __slots__ = ("_wall", "_writer")

    def __init__(
        self, writer: GroupCommitWriter[Queued, AuditReceipt], wall: Callable[[], float]
    ) -> None:
        self._writer: GroupCommitWriter[Queued, AuditReceipt] | None = writer
        self._wall = wall

    def record(self, entry: AuditEntry, /) -> None:
        """Hand over the entry the place was taken for."""
        self.record_later(entry)

    def record_later(self, entry: AuditEntry | Callable[[], AuditEntry], /) -> None:
        """Do what `record` does; an entry that is handed over as a function is made later.

        The function is called in the writer's thread, off the path of the call.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.put((entry, self._wall()))

    def discard(self) -> None:
        """Give the place back; after `record` it does nothing."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()

    def __del__(self) -> None:
        """Give the place back: a forgotten ticket must not shrink the queue."""
        if self._writer is not None:
            self.discard()


@final
class _Reporter:
    """Tells the sink of failures, in the loop that opened the log."""

    def __init__(self, sink: EventSink, wall: Callable[[], float]) -> None:
        self._sink = sink
        self._wall = wall
        self.loop: LoopHandle | None = None

    def failed(self, error: Exception, kept: int, /) -> None:
        """Report that the store fails, and what becomes of entries that nobody waits for."""
        self._report(
            type(error.__cause__ or error).__name__,
            f"{kept} entries are kept until it can be written",
        )

    def lost(self, count: int, /) -> None:
        """Report entries that were never written."""
        self._report("EntriesLost", f"{count} entries were not written before it was closed")

    def _report(self, error_type: str, detail: str) -> None:
        event = StoreFailed(at=self._wall(), store=_STORE, error_type=error_type, detail=detail)
        if self.loop is None or not self.loop.call_soon(lambda: self._sink(event)):
            with suppress(Exception):
                self._sink(event)

    def recovery(self, error: Exception, /) -> Queued:
        """Return the entry that tells of a gap; it is written first when the store works again."""
        data = {"error": type(error.__cause__ or error).__name__}
        return AuditEntry(kind="audit_recovered", data=data), self._wall()


def _finish(writer: GroupCommitWriter[Queued, AuditReceipt], wait_s: float) -> None:
    writer.stop()
    writer.join(wait_s)
