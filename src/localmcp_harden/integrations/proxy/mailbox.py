"""What waits to be sent to one client: bounded in number, in rate and in time.

Nothing here has a task of its own while there is nothing to send. Times are seconds.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias, cast, final

import anyio

from .wrap_config import WrapConfig

__all__ = ("Mailbox", "Send", "Spawn", "size_of")

_MAX_BYTES = 4 * 1024 * 1024
_PART_BYTES = 64

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
    come. Of the others the oldest give way when there are too many, or more than 4 MiB.

    Args:
        config: The bounds.
        spawn: Starts the task that sends.
        dropped: Is told how many messages were lost.
    """

    def __init__(self, config: WrapConfig, *, spawn: Spawn, dropped: Callable[[int], None]) -> None:
        self._config = config
        self._spawn = spawn
        self._dropped = dropped
        self._queue: deque[tuple[Send, int]] = deque()
        self._levels: OrderedDict[str, tuple[Send, int]] = OrderedDict()
        self._bytes = 0
        self._sending: anyio.Event | None = None
        # Made when there is something to send, which for most calls is never.
        self._hurry: anyio.Event | None = None
        self._allowance = float(config.max_queued)
        self._counted_at: float | None = None

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._queue) + len(self._levels)

    def put(self, send: Send, size: int = 0) -> None:
        """Add a message of about so many bytes."""
        queue = self._queue
        while queue and (len(queue) >= self._config.max_queued or self._bytes + size > _MAX_BYTES):
            self._bytes -= queue.popleft()[1]
            self._dropped(1)
        queue.append((send, size))
        self._bytes += size
        self._start()

    def put_level(self, key: str, send: Send, size: int = 0) -> None:
        """Add a message that stands for all of its key; of about so many bytes."""
        before = self._levels.get(key)
        more = size if before is None else size - before[1]
        if before is None and len(self._levels) >= self._config.max_subscriptions:
            self._dropped(1)
            return
        if self._levels and more > 0 and self._bytes + more > _MAX_BYTES:
            self._dropped(1)
            return
        self._levels[key] = (send, size)
        self._bytes += more
        self._start()

    async def flush(self) -> None:
        """Wait until what is here now was sent, without regard to the rate."""
        sending = self._sending
        if sending is None:
            return
        if self._hurry is not None:
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
                    _, (send, size) = self._levels.popitem(last=False)
                elif self._queue:
                    send, size = self._queue.popleft()
                else:  # pragma: no cover - nobody else takes messages out
                    break
                self._bytes -= size
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
        config, hurry = self._config, self._hurry
        while hurry is not None and not hurry.is_set():
            now = anyio.current_time()
            since = now if self._counted_at is None else self._counted_at
            grown = (now - since) * config.notifications_per_s
            self._allowance = min(float(config.max_queued), self._allowance + grown)
            self._counted_at = now
            if self._allowance >= 1.0:
                self._allowance -= 1.0
                return
            with anyio.move_on_after((1.0 - self._allowance) / config.notifications_per_s):
                await hurry.wait()


def size_of(params: Mapping[str, Any]) -> int:
    """Return about how many bytes parameters keep in memory, counted up to 4 MiB."""
    size, rest = 0, [cast("object", params)]
    while rest and size <= _MAX_BYTES:
        value = rest.pop()
        size += _PART_BYTES
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Mapping):
            said = cast("Mapping[str, object]", value)
            size += sum(map(len, said))
            rest.extend(said.values())
        elif isinstance(value, list):
            rest.extend(cast("list[object]", value))
    return size
