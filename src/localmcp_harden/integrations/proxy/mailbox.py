"""What waits to be sent to one client: bounded in number, in rate and in time.

Nothing here has a task of its own while there is nothing to send. Times are seconds.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeAlias, final

import anyio

from .wrap_config import WrapConfig

__all__ = ("Mailbox", "Send", "Spawn")

Send: TypeAlias = Callable[[], Awaitable[None]]
"""Sends one message; whatever it raises, the message counts as dropped."""


class Spawn(Protocol):
    """Starts a task that ends with the connection."""

    def __call__(self, task: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """Start it."""
        ...


@final
class Mailbox:
    """Messages for one client, in order.

    Those that only say "look again" go by a key, and wait once each however often they
    come. Of the others the oldest give way when there are too many.

    Args:
        config: The bounds.
        spawn: Starts the task that sends.
        dropped: Is told how many messages were lost.
    """

    def __init__(self, config: WrapConfig, *, spawn: Spawn, dropped: Callable[[int], None]) -> None:
        self._config = config
        self._spawn = spawn
        self._dropped = dropped
        self._queue: deque[Send] = deque()
        self._levels: OrderedDict[str, Send] = OrderedDict()
        self._sending: anyio.Event | None = None
        self._hurry = anyio.Event()
        self._allowance = float(config.max_queued)
        self._counted_at = anyio.current_time()

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._queue) + len(self._levels)

    def put(self, send: Send) -> None:
        """Add a message."""
        if len(self._queue) >= self._config.max_queued:
            self._queue.popleft()
            self._dropped(1)
        self._queue.append(send)
        self._start()

    def put_level(self, key: str, send: Send) -> None:
        """Add a message that stands for all of its key."""
        if key not in self._levels and len(self._levels) >= self._config.max_subscriptions:
            self._dropped(1)
            return
        self._levels[key] = send
        self._start()

    async def flush(self) -> None:
        """Wait until what is here now was sent, without regard to the rate."""
        sending = self._sending
        if sending is None:
            return
        self._hurry.set()
        with anyio.move_on_after(self._config.send_timeout_s):
            await sending.wait()

    def _start(self) -> None:
        if self._sending is None:
            self._sending = anyio.Event()
            self._hurry = anyio.Event()
            self._spawn(self._run)

    async def _run(self) -> None:
        sending = self._sending
        try:
            while self._levels or self._queue:
                await self._wait_for_rate()
                if self._levels:
                    _, send = self._levels.popitem(last=False)
                elif self._queue:
                    send = self._queue.popleft()
                else:  # pragma: no cover - nobody else takes messages out
                    break
                await self._send(send)
        finally:
            self._sending = None
            if sending is not None:
                sending.set()

    async def _send(self, send: Send) -> None:
        with anyio.move_on_after(self._config.send_timeout_s) as scope:
            try:
                await send()
            except Exception:  # noqa: BLE001 - one message, and its client may be gone
                self._dropped(1)
        if scope.cancelled_caught:
            self._dropped(1)

    async def _wait_for_rate(self) -> None:
        config = self._config
        while not self._hurry.is_set():
            now = anyio.current_time()
            grown = (now - self._counted_at) * config.notifications_per_s
            self._allowance = min(float(config.max_queued), self._allowance + grown)
            self._counted_at = now
            if self._allowance >= 1.0:
                self._allowance -= 1.0
                return
            with anyio.move_on_after((1.0 - self._allowance) / config.notifications_per_s):
                await self._hurry.wait()
