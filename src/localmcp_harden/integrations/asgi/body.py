"""Reads the body of a request within its bounds of size and time."""

from collections.abc import Callable
from typing import final

from ...core.model import Decision
from ...core.ports import Clock
from ...security.transport.config import HttpConfig
from ...security.transport.refusals import REFUSALS
from .types import Message, Receive

__all__ = ("BodyReader",)

_TOO_LARGE = REFUSALS["body_too_large"]
_TOO_SLOW = REFUSALS["body_too_slow"]
_OVERLOADED = REFUSALS["overloaded"]
_CONTRADICTS = REFUSALS["invalid_headers"]


@final
class BodyReader:
    """One body on its way in.

    Args:
        config: The bounds.
        clock: Cuts off what is too slow.
        declared: The size that the headers promise, None where they do not.
        hold: Asked for every part whether there is room for as many bytes.
    """

    __slots__ = ("_body", "_clock", "_config", "_declared", "_hold")

    def __init__(
        self,
        config: HttpConfig,
        clock: Clock,
        *,
        declared: int | None,
        hold: Callable[[int], bool],
    ) -> None:
        self._config = config
        self._clock = clock
        self._declared = declared
        self._hold = hold
        # A body in one part is handed on as it came; of many small ones no list is kept.
        self._body: bytes | bytearray = b""

    async def read(self, receive: Receive) -> bytes | Decision | None:
        """Return the body, why it is refused, or None when the client went away."""
        config, clock = self._config, self._clock
        if self._declared is not None and self._declared > config.max_body_bytes:
            return _TOO_LARGE
        begun = last_byte = now = clock.monotonic()
        refusal: Decision | None = None
        while refusal is None:
            left = min(last_byte + config.chunk_timeout_s, begun + config.body_timeout_s) - now
            if left <= 0:
                # A server that has parts at hand never waits, and is never cut off.
                return _TOO_SLOW
            with clock.cut_after(left) as cut:
                message = await receive()
            if cut.cancelled_caught:
                return _TOO_SLOW
            if message["type"] != "http.request":
                return None
            part: bytes = message.get("body", b"")
            refusal = self._add(part) or self._at_end(message)
            if refusal is None and not message.get("more_body", False):
                return bytes(self._body)
            now = clock.monotonic()
            if part:
                last_byte = now
            if refusal is None and self._is_slow(now - begun):
                refusal = _TOO_SLOW
        return refusal

    def _add(self, part: bytes) -> Decision | None:
        body = self._body
        if len(body) + len(part) > self._config.max_body_bytes:
            return _TOO_LARGE
        if not self._hold(len(part)):
            return _OVERLOADED
        if not body:
            self._body = part
        elif part:
            if isinstance(body, bytes):
                body = self._body = bytearray(body)
            body += part
        return None

    def _at_end(self, message: Message) -> Decision | None:
        if message.get("more_body", False) or self._declared is None:
            return None
        return None if self._declared == len(self._body) else _CONTRADICTS

    def _is_slow(self, elapsed_s: float) -> bool:
        config = self._config
        if elapsed_s >= config.body_timeout_s:
            return True
        least = config.min_body_bytes_per_s * elapsed_s
        return elapsed_s > config.chunk_timeout_s and len(self._body) < least
