"""Keeps one connection to a wrapped server, and opens it again when a call needs it.

A task of its own holds the connection, since a connection must be opened and closed by
the same task; callers come from theirs. Times are seconds.
"""

import math
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext, suppress
from typing import Any, final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from attrs import evolve, frozen

try:
    from mcp.shared.dispatcher import CallOptions
    from mcp.shared.exceptions import MCPError
    from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
    from mcp_types import CONNECTION_CLOSED
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...core.ports import Redactor
from ...protocols.observability import LogLevel
from ..upstream.child_log import UpstreamLog
from ..upstream.supervision import Drain, RestartSchedule
from ..upstream.transport import AnyUpstreamConfig, Upstream, open_upstream
from .about import LEGACY, MODERN, About, Introduction, Json, greet
from .downstream import LIST_CHANGES, Downstream, Permitted
from .losses import Losses
from .results import as_upstream_error, checked
from .wrap_config import WrapConfig

__all__ = ("UpstreamLink",)


@final
@frozen
class _Live:
    """A connection that was greeted."""

    about: About
    transport: Upstream
    dispatcher: "JSONRPCDispatcher[Any]"

    @property
    def is_over(self) -> bool:
        return self.transport.ended.is_set()


@final
class UpstreamLink:
    """One wrapped server: opened at once, greeted when a client is there, opened again at need.

    Args:
        upstream: What to reach, and the bounds.
        config: How messages are passed on.
        exclusive: Whether one client alone stands before it.
        redactor: See `open_upstream`.
        log: See `open_upstream`; also hears of starts and ends.
        permitted: Asks policy what a client may still hear of.
        tools_changed: Is told that the server's tools may be others.
    """

    def __init__(
        self,
        upstream: AnyUpstreamConfig,
        config: WrapConfig,
        *,
        exclusive: bool,
        redactor: Redactor,
        log: UpstreamLog,
        permitted: Permitted,
        tools_changed: Callable[[], None],
    ) -> None:
        self.losses: Losses = Losses(upstream.label, log)
        self.downstream: Downstream = Downstream(
            config,
            exclusive=exclusive,
            spawn=self.spawn,
            permitted=permitted,
            tools_changed=tools_changed,
            dropped=self.losses.count,
            ask_timeout_s=upstream.call_timeout_s,
        )
        self.upstream: AnyUpstreamConfig = upstream
        self.drain: Drain = Drain()
        self._redactor = redactor
        self._log = log
        self._tools_changed = tools_changed
        self._schedule = RestartSchedule(upstream)
        self._tasks: TaskGroup | None = None
        self._fault: UpstreamError | None = None
        self._is_over = False
        self._live: _Live | None = None
        self._about: About | None = None
        self._introduction: Introduction | None = None
        self._eras: tuple[str, ...] = (MODERN, LEGACY)
        self._introduced = anyio.Event()
        self._log_level: str | None = None
        self._failed = False
        self._attempts = 0
        self._changed = anyio.Event()
        self._wanted = anyio.Event()

    @property
    def was_greeted(self) -> bool:
        """Return whether the server has answered its handshake at least once."""
        return self._about is not None

    def introduce(self, introduction: Introduction, era: str) -> None:
        """Say on whose behalf the server is to be greeted; the first one counts.

        Args:
            introduction: What the server is told of the client.
            era: The era of the protocol that it is asked for first.
        """
        if self._introduction is None:
            self._introduction = introduction
            self._eras = (LEGACY, MODERN) if era == LEGACY else (MODERN, LEGACY)
            self._introduced.set()

    def spawn(self, task: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """Start a task that ends with this link.

        Raises:
            UpstreamError: The link has ended.
        """
        if self._tasks is None:
            raise UpstreamError("the server is being stopped")
        self._tasks.start_soon(task)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection; runs until it is cancelled.

        Raises:
            UpstreamError: The server was never reached.
        """
        try:
            async with anyio.create_task_group() as self._tasks:
                await self._keep(task_status)
        except BaseExceptionGroup as group:
            raise as_upstream_error(group, self.upstream.label) from group
        finally:
            self._is_over, self._tasks = True, None
            self._announce()

    async def _keep(self, task_status: TaskStatus[None]) -> None:
        while True:
            self._attempts += 1
            self._wanted = anyio.Event()
            try:
                await self._hold(task_status)
                self._failed = False
            except UpstreamError as error:
                if self._about is None:
                    self._fault = error
                    raise
                self._failed = True
                self._tell(LogLevel.ERROR, "the server could not be started again", error)
            not_before = self._schedule.ended(anyio.current_time())
            self._announce()
            await self._wanted.wait()
            await anyio.sleep_until(not_before)

    async def about(self) -> About:
        """Return what the server says of itself, after a start where it takes one.

        Raises:
            UpstreamError: It can not be reached.
        """
        if self._live is not None and not self._live.is_over:
            return self._live.about
        with anyio.move_on_after(self.upstream.call_timeout_s):
            return (await self._connection()).about
        raise self._too_late()

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        options: CallOptions | None = None,
        timeout_s: float | None = None,
    ) -> Json:
        """Send a request and return the result as it came.

        Args:
            method: The method.
            params: Its parameters, as the server is to get them.
            options: The dispatcher's.
            timeout_s: How long it may take; the setting for all calls when None.

        Raises:
            UpstreamError: The server can not be reached, went away in the middle, did
                not answer in time, or its answer is not one of the protocol's.
            MCPError: The server answered with an error.
        """
        seconds = self.upstream.call_timeout_s if timeout_s is None else timeout_s
        # What never ends by itself, a subscription, must not hold the end back.
        held = nullcontext() if seconds == math.inf else self.drain.call()
        with held, anyio.move_on_after(seconds):
            live = await self._connection()
            try:
                result = await live.dispatcher.send_raw_request(method, params, options)
            except MCPError as error:
                # A server may send this code too, and is then still there.
                if error.code == CONNECTION_CLOSED and live.is_over:
                    raise UpstreamError("the server went away during the call") from None
                raise
            return checked(method, live.about.version, result)
        raise self._too_late(seconds)

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification, where there is a connection; a lost one is no error."""
        if self._live is not None and not self._live.is_over:
            await self._live.dispatcher.notify(method, params)

    async def unsubscribe(self, uri: str) -> None:
        """Say that nobody wants to hear of a resource any more; starts nothing.

        Raises:
            MCPError: As `request`.
        """
        if self._live is not None and not self._live.is_over:
            with anyio.move_on_after(self.upstream.call_timeout_s):
                await self._live.dispatcher.send_raw_request("resources/unsubscribe", {"uri": uri})

    async def set_log_level(self, level: str) -> None:
        """Set the level of the server's log lines, now and after every start.

        Raises:
            UpstreamError, MCPError: As `request`.
        """
        await self.request("logging/setLevel", {"level": level})
        self._log_level = level

    @property
    def log_level(self) -> str | None:
        """The level that was set, None where none was."""
        return self._log_level

    async def renewed(self) -> None:
        """Wait until the server was started again; starts nothing."""
        attempts = self._attempts
        while self._live is None or self._live.is_over or self._attempts == attempts:
            await self._changed.wait()

    async def _connection(self) -> _Live:
        """Return the connection, after a start where it takes one."""
        while self._live is None or self._live.is_over:
            if self._is_over:
                raise self._fault or UpstreamError("the server is being stopped")
            now = anyio.current_time()
            if self._schedule.retry_after_s(now) is not None and (
                self._failed or self._schedule.is_down()
            ):
                raise self._schedule.refusal(now)
            attempts = self._attempts
            changed = self._changed
            self._wanted.set()
            await changed.wait()
            if self._failed and self._attempts > attempts:
                raise self._schedule.refusal(anyio.current_time())
        return self._live

    async def _hold(self, task_status: TaskStatus[None]) -> None:
        """Open the connection, greet the server when a client is there, wait until it ends."""
        upstream = self.upstream
        is_first = self._about is None
        transport = open_upstream(upstream, redactor=self._redactor, log=self._log)
        start = anyio.CancelScope(deadline=anyio.current_time() + upstream.start_timeout_s)
        try:
            with start:
                async with transport as (read, write), anyio.create_task_group() as tasks:
                    dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(read, write)
                    await tasks.start(dispatcher.run, self._answer, _ignore, self.downstream.take)
                    try:
                        if is_first:
                            start.deadline = math.inf
                            task_status.started()
                            await self._wait_for_client(transport)
                            start.deadline = anyio.current_time() + upstream.start_timeout_s
                        about = await self._greet(dispatcher)
                        start.deadline = math.inf
                        await self._take(_Live(about, transport, dispatcher))
                        await transport.ended.wait()
                    finally:
                        tasks.cancel_scope.cancel()
        except Exception as error:
            raise as_upstream_error(error, self.upstream.label) from error
        finally:
            self._live = None
        if start.cancelled_caught:
            raise UpstreamError(
                f"the server {upstream.label!r} did not answer within "
                f"{upstream.start_timeout_s:g} seconds"
                + (f"; it last wrote: {transport.last_words}" if transport.last_words else "")
            )
        self._tell(LogLevel.ERROR, "the server ended", transport.fault)

    async def _wait_for_client(self, transport: Upstream) -> None:
        """Wait for a client; a server that ends before there is one was never reached."""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await transport.ended.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await self._introduced.wait()
            tasks.cancel_scope.cancel()
        if transport.ended.is_set():
            raise MCPError(CONNECTION_CLOSED, "Connection closed")

    async def _greet(self, dispatcher: "JSONRPCDispatcher[Any]") -> About:
        if self._about is not None:
            # Clients hold on to what they negotiated.
            eras: tuple[str, ...] = (MODERN if self._about.modern else LEGACY,)
        else:
            eras = (LEGACY,) if self.upstream.mode == "legacy" else self._eras
        return await greet(
            dispatcher,
            self._introduction or Introduction(),
            eras,
            timeout_s=self.upstream.start_timeout_s,
        )

    async def _take(self, live: _Live) -> None:
        before, about = self._about, live.about
        if not self.downstream.exclusive:
            # Of one that many share, nobody can tell whose lines it writes.
            without = {key: value for key, value in about.capabilities.items() if key != "logging"}
            about = evolve(about, capabilities=without)
            live = evolve(live, about=about)
        self.downstream.version = about.version
        if before is not None and not about.modern:
            await self._restore(live)
        self._about = about
        self._live = live
        self._schedule.started(anyio.current_time())
        self._failed = False
        self._log(
            LogLevel.INFO,
            "the server was started",
            {"server": self.upstream.label, "protocol_version": about.version},
        )
        self._announce()
        if before is not None:
            self._compare(before, about)

    async def _restore(self, live: _Live) -> None:
        """Tell a server that was started again what its clients had asked for, in bounded time."""
        asks: list[tuple[str, Json]] = [
            ("resources/subscribe", {"uri": uri}) for uri in self.downstream.subscribed()
        ]
        if self._log_level is not None:
            asks.append(("logging/setLevel", {"level": self._log_level}))
        with anyio.move_on_after(self.upstream.start_timeout_s) as scope:
            for method, params in asks:
                with suppress(MCPError):
                    await live.dispatcher.send_raw_request(method, params)
        if scope.cancelled_caught:
            # Without this its callers would wait for ever for what it does not answer.
            self._tell(LogLevel.WARNING, "the server does not take what was asked of it", None)

    def _compare(self, before: About, about: About) -> None:
        """Let clients look again: what was started again may offer something else."""
        self._tools_changed()
        for method, (capability, _) in LIST_CHANGES.items():
            if before.offers(capability, "listChanged") or about.modern:
                self.downstream.list_changed(method, {})
        if before.capabilities != about.capabilities:
            self._tell(LogLevel.WARNING, "the server offers something else than before", None)

    async def _answer(self, _: Any, method: str, params: Mapping[str, Any] | None) -> Json:
        return await self.downstream.answer(method, params)

    def _announce(self) -> None:
        """Wake everyone who waits for a start to succeed or to fail."""
        self._changed.set()
        self._changed = anyio.Event()

    def _too_late(self, seconds: float | None = None) -> UpstreamError:
        seconds = self.upstream.call_timeout_s if seconds is None else seconds
        return UpstreamError(f"the server did not answer within {seconds:g} seconds")

    def _tell(self, level: LogLevel, message: str, error: UpstreamError | None) -> None:
        self._log(level, message, {"server": self.upstream.label, "reason": str(error or "")})


async def _ignore(_: Any, method: str, params: Mapping[str, Any] | None) -> None:
    """Take a notification that nobody took; there is none."""
