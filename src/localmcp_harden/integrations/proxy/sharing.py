"""Which client stands before which upstream, and how many upstreams there are.

Each has its task here, so that it ends with the server that it belongs to. Times are
seconds.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias, final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from ...core.errors import UpstreamError
from ...mechanisms.exception_groups import plain_errors
from .about import MODERN, Introduction
from .link import UpstreamLink
from .requests import Requests
from .results import GreetingRefusedError
from .subscriptions import Subscriptions
from .wrap_config import Sharing, WrapConfig

__all__ = ("LOCAL", "SHARED", "Key", "Slot", "Upstreams")

Key: TypeAlias = Hashable

SHARED: Key = ("shared",)
"""The one upstream that all share."""

LOCAL: Key = ("local",)
"""The upstream of the one client at the other end of a stream."""


@final
@define(eq=False)
class Slot:
    """One upstream, with what is known of its clients."""

    link: UpstreamLink
    requests: Requests
    subscriptions: Subscriptions
    users: int = 0
    """How many requests of clients it is working on."""
    pins: int = 0
    """How many sessions it belongs to."""
    last_used: float = 0.0
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)

    @property
    def is_idle(self) -> bool:
        """Return whether it could be closed without anybody's harm."""
        return not self.users and not self.pins and not self.requests.are_parked


@final
class Upstreams:
    """The upstreams of one wrapped server.

    The first is opened at once, so that a server which can not be started is noticed
    before anybody is served; it belongs to the first client.

    Args:
        config: How many, and for whom.
        make: Makes a connection that is not open yet.
        lost: Is told of one that could not be opened once others were.
    """

    def __init__(
        self,
        config: WrapConfig,
        *,
        make: Callable[[], UpstreamLink],
        lost: Callable[[UpstreamError], None],
    ) -> None:
        self._config = config
        self._make = make
        self._lost = lost
        self._slots: dict[Key, Slot] = {}
        self._spare: Slot | None = None
        self._tasks: TaskGroup | None = None
        self._fatal: UpstreamError | None = None
        self._reached = False
        self._alive = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._slots) + (self._spare is not None)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["Upstreams"]:
        """Keep them while inside.

        Raises:
            UpstreamError: The server could not be reached even once.
        """
        try:
            with plain_errors():
                async with anyio.create_task_group() as self._tasks:
                    try:
                        await self._begin()
                        yield self
                    finally:
                        with anyio.CancelScope(shield=True):
                            await self._drain()
                        self._tasks.cancel_scope.cancel()
        except Exception as error:
            # Whatever failed inside did so because of this.
            if self._fatal is not None:
                raise self._fatal from error
            raise
        if self._fatal is not None:
            raise self._fatal

    @contextmanager
    def lease(self, key: Key, introduction: Introduction, era: str) -> Generator[Slot]:
        """Hold a client's upstream open for one request.

        Args:
            key: Whose it is.
            introduction: Who the client is, for an upstream that was not greeted yet.
            era: The era that the client speaks.

        Raises:
            UpstreamError: There are too many.
        """
        slot = self._slots.get(key)
        if slot is None:
            slot = self._open(key)
        slot.link.introduce(introduction, era)
        slot.users += 1
        try:
            yield slot
        finally:
            slot.users -= 1
            slot.last_used = anyio.current_time()
            self._reached = self._reached or slot.link.was_greeted

    def pin(self, key: Key) -> None:
        """Keep an upstream for a session."""
        self._slots[key].pins += 1

    def unpin(self, key: Key) -> None:
        """Let a session's upstream go; it ends with its last session."""
        slot = self._slots.get(key)
        if slot is None:
            return
        slot.pins -= 1
        if not slot.pins and key not in (SHARED, LOCAL):
            self._close(key, slot)

    async def _begin(self) -> None:
        self._spare = self._start()
        if self._config.sharing is Sharing.SHARED:
            with self.lease(SHARED, Introduction(), MODERN) as slot:
                await slot.link.about()
        if self._tasks is not None:
            self._tasks.start_soon(self._close_idle)

    def _open(self, key: Key) -> Slot:
        slot, self._spare = self._spare, None
        if slot is None:
            if self._alive - len(self._slots) > self._config.max_upstreams:
                # Who comes and goes must not fill the machine with those that end slowly.
                raise UpstreamError("too many of them are being stopped; try again later")
            if len(self._slots) >= self._config.max_upstreams and not self._evict():
                raise UpstreamError(
                    f"{self._config.max_upstreams} of them run for other clients, which is the "
                    "limit; try again later"
                )
            slot = self._start()
        self._slots[key] = slot
        return slot

    def _evict(self) -> bool:
        """Close the upstream that has been idle for longest; False when none is idle."""
        idle = [(slot.last_used, key) for key, slot in self._slots.items() if slot.is_idle]
        if not idle:
            return False
        key = min(idle, key=lambda each: each[0])[1]
        self._close(key, self._slots[key])
        return True

    def _close(self, key: Key, slot: Slot) -> None:
        del self._slots[key]
        slot.scope.cancel()

    async def _close_idle(self) -> None:
        patience_s = self._config.upstream_idle_s
        while True:
            await anyio.sleep(patience_s / 2)
            now = anyio.current_time()
            for key, slot in list(self._slots.items()):
                lasts = key in (SHARED, LOCAL) or not slot.is_idle
                if not lasts and now - slot.last_used >= patience_s:
                    self._close(key, slot)

    def _start(self) -> Slot:
        if self._tasks is None:
            raise UpstreamError("the server is being stopped")
        link = self._make()
        slot = Slot(link, Requests(link, self._config), Subscriptions(link, self._config))
        slot.last_used = anyio.current_time()
        self._alive += 1
        self._tasks.start_soon(self._keep, slot)
        return slot

    async def _keep(self, slot: Slot) -> None:
        try:
            with slot.scope:
                await slot.link.run()
        except UpstreamError as error:
            keys = {key for key, each in self._slots.items() if each is slot}
            # What one client says of itself must not end the serving of all others.
            is_its_own = isinstance(error, GreetingRefusedError) and not keys & {SHARED, LOCAL}
            if not self._reached and not is_its_own and self._tasks is not None:
                self._fatal = error
                self._tasks.cancel_scope.cancel()
            else:
                self._lost(error)
        finally:
            self._alive -= 1
            for key in [key for key, each in self._slots.items() if each is slot]:
                del self._slots[key]

    async def _drain(self) -> None:
        """Let the calls in flight run out, of all upstreams at once."""
        async with anyio.create_task_group() as tasks:
            for slot in self._slots.values():
                tasks.start_soon(slot.link.drain.finish, slot.link.upstream.drain_s)
