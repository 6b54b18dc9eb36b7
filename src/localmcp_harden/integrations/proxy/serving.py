"""Serves one stream in the era that its client opens it with.

The SDK's own loop for both eras takes every message through one more task and one more
stream, for as long as the connection lasts, since it looks at the first. Here the first
is looked at and put back.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, final

import anyio

try:
    from mcp.server import Server, runner
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage
    from mcp_types import PROTOCOL_VERSION_META_KEY, JSONRPCRequest
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ..wire.ends import Item, ReadEnd

__all__ = ("serve_either_era",)

_MAX_BEFORE = 8
"""How many messages before the first request are kept; as many as the SDK keeps."""


async def serve_either_era(
    server: Server[Any],
    read: ReadStream[SessionMessage | Exception],
    write: WriteStream[SessionMessage],
    *,
    lifespan_state: Any,
    raise_exceptions: bool = False,
) -> None:
    """Serve until the stream ends; as `serve_dual_era_loop` of the SDK.

    Args:
        server: The server.
        read: Where the client's messages come from. It is closed at the end.
        write: Where the answers go. It is closed at the end.
        lifespan_state: What handlers find in their context.
        raise_exceptions: Whether what a handler raises ends the serving.
    """
    # Private in the SDK; where they have gone, its own loop does the same more slowly.
    modern = getattr(runner, "_serve_modern_stream", None)
    legacy = getattr(runner, "_serve_legacy_stream", None)
    if modern is None or legacy is None:
        await runner.serve_dual_era_loop(
            server, read, write, lifespan_state=lifespan_state, raise_exceptions=raise_exceptions
        )
        return
    try:
        opening, replayed = await _peeked(read)
        options: dict[str, Any] = {
            "lifespan_state": lifespan_state,
            "raise_exceptions": raise_exceptions,
        }
        if opening is not None and _opens_modern(opening):
            await modern(server, replayed, write, **options)
        else:
            await legacy(server, replayed, write, session_id=None, init_options=None, **options)
    finally:
        await read.aclose()
        await write.aclose()


async def _peeked(
    read: ReadStream[SessionMessage | Exception],
) -> "tuple[JSONRPCRequest | None, _Replayed]":
    """Return the first request, None when there is none, and a stream that still has it."""
    before: deque[Item] = deque()
    try:
        async for item in read:
            if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
                before.append(item)
                return item.message, _Replayed(before, read)
            if len(before) < _MAX_BEFORE:
                before.append(item)
    except anyio.ClosedResourceError:
        pass  # as good as its end
    return None, _Replayed(before, read)


def _opens_modern(request: JSONRPCRequest) -> bool:
    meta = (request.params or {}).get("_meta")
    return (
        request.method != "initialize"
        and isinstance(meta, Mapping)
        and PROTOCOL_VERSION_META_KEY in meta
    )


@final
class _Replayed(ReadEnd):
    """What came already, and then the rest."""

    def __init__(self, before: deque[Item], rest: ReadStream[SessionMessage | Exception]) -> None:
        self._before = before
        self._rest = rest

    async def _next(self) -> Item:
        return self._before.popleft() if self._before else await self._rest.receive()
