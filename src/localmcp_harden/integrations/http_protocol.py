"""uvicorn's HTTP/1.1, with an end to connections that send no request, and a word of each refusal.

uvicorn waits for ever for the headers of a request, counts connections without telling
the application, and answers what is no HTTP by itself. Here the guard learns of it.
"""

import asyncio
from typing import Any, final

try:
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("cli", "serving over HTTP") from _missing

from .asgi import AsgiGuard

__all__ = ("GuardedProtocol",)


@final
class GuardedProtocol(H11Protocol):
    """One connection.

    Args:
        guard: Told what never becomes a request, or is one too many.
        max_connections: How many may be open. A request on one more is answered 503,
            and where there are twice as many a further one is closed at once.
        header_timeout_s: How long a connection may take to send a request's headers,
            from its beginning or from the last answer.
        **server: What uvicorn tells every connection.
    """

    def __init__(
        self, *, guard: AsgiGuard, max_connections: int, header_timeout_s: float, **server: Any
    ) -> None:
        super().__init__(**server)
        self._guard = guard
        self._max_connections = max_connections
        self._header_timeout_s = header_timeout_s
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or not, where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * self._max_connections:
            transport.abort()
            return
        if len(self.connections) > self._max_connections:
            self.app: Any = self._guard.refuse_overloaded
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; the wait is over when it is a request."""
        super().data_received(data)
        if self._is_serving():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        # What is left of a refused body counts as waiting, too, however much it is.
        if not self._is_serving():
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and have it recorded."""
        state = self.conn.our_state
        if state is h11.IDLE:
            # Else a request has begun, whose end is recorded, and only its body is wrong.
            self._guard.record_unreadable(self.client[0] if self.client else None)
        if state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _is_serving(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait_for_headers(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self._header_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()
