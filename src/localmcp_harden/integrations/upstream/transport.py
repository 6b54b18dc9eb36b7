"""A wrapped server as seen from above: one connection, whatever carries it."""

from types import TracebackType
from typing import Protocol, TypeAlias

import anyio

try:
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...core.ports import Redactor
from .child import UpstreamConfig
from .child_log import UpstreamLog, ignore
from .http_config import HttpUpstreamConfig
from .http_upstream import HttpUpstream
from .stdio_upstream import StdioUpstream

__all__ = ("AnyUpstreamConfig", "Upstream", "UpstreamStreams", "open_upstream")

AnyUpstreamConfig: TypeAlias = UpstreamConfig | HttpUpstreamConfig
"""The settings of a wrapped server, of either kind."""

UpstreamStreams: TypeAlias = tuple[
    ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]
]
"""What a connection is read from and written to."""


class Upstream(Protocol):
    """A client transport with bounds, good for one connection.

    `mcp.Client(upstream)` speaks to it, and so does a `JSONRPCDispatcher` over its
    streams. It must be left by the task that entered it.
    """

    @property
    def ended(self) -> anyio.Event:
        """An event that is set as soon as nothing more will come from the server."""
        ...

    @property
    def fault(self) -> UpstreamError | None:
        """Why it ended, when that was not our doing. Known once the transport is left."""
        ...

    @property
    def last_words(self) -> str:
        """Return what the server last said outside the protocol, without secrets."""
        ...

    async def __aenter__(self) -> UpstreamStreams:
        """Connect and return the read and write streams.

        Raises:
            UpstreamError: There is no connection to be had.
            RuntimeError: The transport was used before.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """End the connection, within a bounded time.

        Raises:
            UpstreamError: The connection broke from the server's side, and what runs
                inside failed because of that.
        """
        ...


def open_upstream(
    config: AnyUpstreamConfig,
    *,
    redactor: Redactor | None = None,
    log: UpstreamLog = ignore,
) -> Upstream:
    """Return an unused transport to a server; nothing is started before it is entered.

    Args:
        config: A child process (`UpstreamConfig`) or a URL (`HttpUpstreamConfig`).
        redactor: Takes secrets out of what the server says outside the protocol
            (`KeyRedactor`).
        log: Takes what is worth knowing of the connection, at most 20 lines a second.
    """
    if isinstance(config, HttpUpstreamConfig):
        return HttpUpstream(config, redactor=redactor, log=log)
    return StdioUpstream(config, redactor=redactor, log=log)
