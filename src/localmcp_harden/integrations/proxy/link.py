"""Keeps one wrapped server running and takes requests to it.

A task of its own holds the connection, since a connection must be opened and closed by
the same task; callers come from theirs. Times are seconds.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, final

import anyio
from anyio.abc import TaskStatus
from attrs import frozen

try:
    from mcp import ClientSession
    from mcp.shared.exceptions import MCPError
    from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
    from mcp_types import (
        CLIENT_CAPABILITIES_META_KEY,
        CLIENT_INFO_META_KEY,
        CONNECTION_CLOSED,
        LOG_LEVEL_META_KEY,
        PROTOCOL_VERSION_META_KEY,
        Implementation,
        ServerCapabilities,
        methods,
    )
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ... import __version__
from ...core.errors import UpstreamError
from ...core.ports import Redactor
from ...mechanisms.exception_groups import leaves
from ...protocols.observability import LogLevel
from .child_log import UpstreamLog
from .stdio_upstream import StdioUpstream, UpstreamConfig

__all__ = ("About", "UpstreamLink")

_SELF = Implementation(name="localmcp-harden", version=__version__)
_NOT_FORWARDED = (
    "progressToken",
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)


@final
@frozen(kw_only=True)
class About:
    """What a server says of itself when it is greeted."""

    version: str
    modern: bool
    info: Implementation | None
    capabilities: ServerCapabilities
    instructions: str | None


@final
@frozen
class _Live:
    """A connection that was greeted."""

    about: About
    transport: StdioUpstream
    dispatcher: JSONRPCDispatcher[Any]

    @property
    def is_over(self) -> bool:
        return self.transport.ended.is_set()


@final
class UpstreamLink:
    """One wrapped server: started with the lifespan, started again when a call needs it.

    Args:
        config: What to start, and the bounds.
        redactor: See `StdioUpstream`.
        log: See `StdioUpstream`; also hears of starts and ends.
    """

    def __init__(self, config: UpstreamConfig, *, redactor: Redactor, log: UpstreamLog) -> None:
        self._config = config
        self._redactor = redactor
        self._log = log
        self._live: _Live | None = None
        self._about: About | None = None
        self._failed = False
        self._attempts = 0
        self._not_before = -math.inf
        self._changed = anyio.Event()
        self._wanted = anyio.Event()

    @property
    def about(self) -> About:
        """Return what the server said of itself.

        Raises:
            UpstreamError: It was never reached.
        """
        if self._about is None:
            raise UpstreamError(f"the server {self._config.program!r} was not started")
        return self._about

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection; runs until it is cancelled.

        Raises:
            UpstreamError: The very first start failed.
        """
        while True:
            started_at = anyio.current_time()
            self._attempts += 1
            try:
                await self._hold(task_status)
            except UpstreamError as error:
                if self._about is None:
                    raise
                self._failed = True
                started_at = anyio.current_time()
                self._tell(LogLevel.ERROR, "the server could not be started again", error)
            self._not_before = started_at + self._config.restart_delay_s
            self._wanted = anyio.Event()
            self._announce()
            await self._wanted.wait()
            await anyio.sleep_until(self._not_before)

    async def request(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send a request and return the result as it came.

        Raises:
            UpstreamError: The server can not be reached, went away in the middle, did
                not answer in time, or its answer is not one of the protocol's.
            MCPError: The server answered with an error.
        """
        with anyio.move_on_after(self._config.call_timeout_s):
            live = await self._connection()
            try:
                result = await live.dispatcher.send_raw_request(method, _outgoing(params, live))
            except MCPError as error:
                # A server may send this code too, and is then still there.
                if error.code == CONNECTION_CLOSED and live.is_over:
                    raise UpstreamError("the server went away during the call") from None
                raise
            _floor_ttl(result)
            try:
                methods.validate_server_result(method, live.about.version, result)
            except KeyError:
                pass  # not a method of the protocol
            except ValidationError:
                raise UpstreamError("the server's answer does not fit the protocol") from None
            return result
        raise UpstreamError(
            f"the server did not answer within {self._config.call_timeout_s:g} seconds"
        )

    async def _connection(self) -> _Live:
        """Return the connection, after a start where it takes one."""
        while self._live is None or self._live.is_over:
            if self._failed and anyio.current_time() < self._not_before:
                raise UpstreamError("the server can not be reached")
            attempts = self._attempts
            changed = self._changed
            self._wanted.set()
            await changed.wait()
            if self._failed and self._attempts > attempts:
                raise UpstreamError("the server can not be reached")
        return self._live

    async def _hold(self, task_status: TaskStatus[None]) -> None:
        """Start the server, greet it, and wait until it ends."""
        config = self._config
        is_first = self._about is None
        transport = StdioUpstream(config, redactor=self._redactor, log=self._log)
        start = anyio.CancelScope(deadline=anyio.current_time() + config.start_timeout_s)
        try:
            with start:
                async with transport as (read, write):
                    dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(read, write)
                    async with ClientSession(dispatcher=dispatcher, client_info=_SELF) as session:
                        about = await _greet(session, config)
                        start.deadline = math.inf
                        self._take(_Live(about, transport, dispatcher))
                        if is_first:
                            task_status.started()
                        await transport.ended.wait()
        except Exception as error:
            raise _as_upstream_error(error, config) from error
        finally:
            self._live = None
        if start.cancelled_caught:
            raise UpstreamError(
                f"the server {config.program!r} did not answer within "
                f"{config.start_timeout_s:g} seconds"
                + (f"; it last wrote: {transport.last_words}" if transport.last_words else "")
            )
        self._tell(LogLevel.ERROR, "the server ended", transport.fault)

    def _take(self, live: _Live) -> None:
        before = self._about
        if before is not None and before.modern != live.about.modern:
            # Clients hold on to the era they negotiated.
            raise UpstreamError(f"the server {self._config.program!r} changed its protocol era")
        self._about = live.about
        self._live = live
        self._failed = False
        self._log(
            LogLevel.INFO,
            "the server was started",
            {"server": self._config.program, "protocol_version": live.about.version},
        )
        self._announce()

    def _announce(self) -> None:
        """Wake everyone who waits for a start to succeed or to fail."""
        self._changed.set()
        self._changed = anyio.Event()

    def _tell(self, level: LogLevel, message: str, error: UpstreamError | None) -> None:
        self._log(level, message, {"server": self._config.program, "reason": str(error or "")})


async def _greet(session: ClientSession, config: UpstreamConfig) -> About:
    """Find out which era the server speaks.

    The policy of `mcp.Client(mode="auto")`, except that a server which leaves the first
    question unanswered is asked the older way while there is still time.
    """
    era: Literal["modern", "legacy"] = "legacy"
    if config.mode == "auto":
        with anyio.move_on_after(config.start_timeout_s / 2):
            try:
                await session.discover()
                era = "modern"
            except MCPError as error:
                if error.code == CONNECTION_CLOSED:
                    raise
            except (RuntimeError, ValidationError):
                pass  # what it said of itself names no modern version
    if era == "legacy":
        await session.initialize()
    version, capabilities = session.protocol_version, session.server_capabilities
    if version is None or capabilities is None:  # pragma: no cover - both just succeeded
        raise RuntimeError
    return About(
        version=version,
        modern=version in MODERN_PROTOCOL_VERSIONS,
        info=session.server_info,
        capabilities=capabilities,
        instructions=session.instructions,
    )


def _as_upstream_error(error: Exception, config: UpstreamConfig) -> UpstreamError:
    for leaf in leaves(error):
        if isinstance(leaf, UpstreamError):
            return leaf
    problem = leaves(error)[0]
    what = f"error {problem.code}" if isinstance(problem, MCPError) else type(problem).__name__
    return UpstreamError(
        f"the server {config.program!r} did not complete the handshake ({what}); "
        "check that it is an MCP server and which protocol versions it speaks"
    )


def _outgoing(params: Mapping[str, Any] | None, live: _Live) -> dict[str, Any]:
    """Return the parameters as the server gets them.

    In the modern era every request says who sends it and what that client can do. That
    is passed on, so that the server asks for input only where the client can give it.
    What we do not forward (progress, log lines) is not asked for.
    """
    forwarded = dict(params or {})
    given = forwarded.pop("_meta", None)
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    meta = {key: value for key, value in said.items() if key not in _NOT_FORWARDED}
    if live.about.modern:
        meta[PROTOCOL_VERSION_META_KEY] = live.about.version
        meta[CLIENT_INFO_META_KEY] = said.get(CLIENT_INFO_META_KEY) or _SELF_DUMP
        meta[CLIENT_CAPABILITIES_META_KEY] = said.get(CLIENT_CAPABILITIES_META_KEY) or {}
    if meta:
        forwarded["_meta"] = meta
    return forwarded


def _floor_ttl(result: dict[str, Any]) -> None:
    # The protocol asks readers to take a negative time to live for none.
    ttl = result.get("ttlMs")
    if isinstance(ttl, int | float) and ttl < 0:
        result["ttlMs"] = 0


_SELF_DUMP = _SELF.model_dump(by_alias=True, mode="json", exclude_none=True)
