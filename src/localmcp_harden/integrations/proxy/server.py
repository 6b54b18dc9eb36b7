"""Puts a third-party server behind the guards: `wrap` makes a hardened server of it.

The wrapped server runs unchanged. What it offers is offered as it is, in both directions:
requests, results and errors, progress, cancellation, questions, log lines, changes and
subscriptions. Where client and server speak different eras of the protocol, each gets what
its own era expects, as far as that has a meaning there.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, cast, final

try:
    from mcp.server import Server
    from mcp.server.context import CallNext, HandlerResult
    from mcp.server.lowlevel.server import HandlerEntry
    from mcp.server.models import InitializationOptions
    from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
    from mcp.server.runner import serve_loop
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.exceptions import MCPError
    from mcp.shared.message import SessionMessage
    from mcp_types import (
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        UNSUPPORTED_PROTOCOL_VERSION,
        Implementation,
        NotificationParams,
        RequestParams,
    )
    from mcp_types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...compose.hardening import Hardening
from ...core.errors import UpstreamError
from ...mechanisms.exception_groups import plain_errors
from ...protocols.observability import LogLevel
from ..mcp_sdk import harden
from ..upstream.answers import UPSTREAM_ERROR_CODE
from ..upstream.transport import AnyUpstreamConfig
from . import bridge
from .about import LEGACY, MODERN, About, Json
from .clients import (
    CALLER,
    Context,
    LegacyClient,
    Reach,
    caller_key,
    client_of,
    connection_stack,
    introduction_of,
    is_modern,
    keep_client,
)
from .guards import WrapGuards
from .link import UpstreamLink
from .offered import METHODS, NOTIFICATIONS, UpstreamUnavailableError
from .schemas import ToolSchemas
from .serving import serve_either_era
from .sharing import LOCAL, SHARED, Key, Slot, Upstreams
from .wrap_config import Sharing, WrapConfig

__all__ = ("UPSTREAM_ERROR_CODE", "UpstreamUnavailableError", "wrap")


def wrap(
    upstream: AnyUpstreamConfig,
    hardening: Hardening,
    *,
    name: str | None = None,
    trust_annotations: bool = False,
    config: WrapConfig | None = None,
) -> Server[Any]:
    """Return a hardened server that stands before another one.

    The other one is started when the returned server is, and again when a call finds
    that it has ended. Serve it with `serve_stdio` or `serve_http`; over HTTP each client
    gets a wrapped server of its own unless `config` says that they share one.

    Args:
        upstream: The server to wrap.
        hardening: The guards.
        name: What the server calls itself towards clients; its own name when None.
        trust_annotations: Whether the server's word counts that a tool only reads or may
            be repeated. It counts where the hardening's configuration trusts it too;
            what that configuration says of single tools always counts.
        config: How it is shared, and the bounds on what it sends by itself.
    """
    return _WrappedServer(
        upstream,
        hardening,
        name=name,
        trust_annotations=trust_annotations,
        config=config or WrapConfig(),
    )


@final
class _WrappedServer(Server[Upstreams]):
    """A low-level server whose lifespan is the connections to the wrapped one."""

    def __init__(
        self,
        upstream: AnyUpstreamConfig,
        hardening: Hardening,
        *,
        name: str | None,
        trust_annotations: bool,
        config: WrapConfig,
    ) -> None:
        self._upstream = upstream
        self._hardening = hardening
        self._config = config
        self._given_name = name
        self._schemas = ToolSchemas()
        self._sessions = 0
        self._is_introduced = False
        super().__init__(
            name or upstream.label,
            lifespan=cast("Any", hardening.lifespan(_WrappedServer._connect)),
            # Else every call over HTTP would list the tools once more, through the chain.
            get_tool_input_schema=self._schemas.get,
        )
        for method, params_type in METHODS.items():
            self.add_request_handler(method, params_type, self._forward)
        for method in NOTIFICATIONS:
            self.add_notification_handler(method, NotificationParams, self._pass_on)
        self._guards = WrapGuards(hardening, trust=trust_annotations)
        harden(self, cast("Hardening", self._guards))
        # Behind the guards: a handshake that they refuse starts nothing.
        self.middleware.append(self._greet)
        self._boundary = RequestStateBoundary(
            RequestStateSecurity(
                keys=[os.urandom(32)], ttl=config.park_s, bind_principal=_bound_principal
            ),
            default_audience=self.name,
        )

    def get_request_handler(self, method: str) -> HandlerEntry[Upstreams] | None:
        """Return the handler of a method; those outside the protocol are the server's own."""
        entry: HandlerEntry[Upstreams] | None = super().get_request_handler(method)
        if entry is None and method not in SPEC_CLIENT_METHODS:
            entry = HandlerEntry(RequestParams, self._forward)
        return entry

    def get_notification_handler(self, method: str) -> HandlerEntry[Upstreams] | None:
        """Return the handler of a notification; as `get_request_handler`."""
        entry = super().get_notification_handler(method)
        if entry is None and method not in SPEC_CLIENT_NOTIFICATION_METHODS:
            entry = HandlerEntry(NotificationParams, cast("Any", self._pass_on))
        return entry

    async def run(
        self,
        read_stream: ReadStream[SessionMessage | Exception],
        write_stream: WriteStream[SessionMessage],
        initialization_options: InitializationOptions,  # noqa: ARG002 - made before we knew
        raise_exceptions: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
    ) -> None:
        """Serve one connection, in the era that the client opens it with.

        The options are not used: what there is to offer is known only once the wrapped
        server has been greeted.
        """
        with plain_errors():
            async with self.lifespan(self) as upstreams:
                # Without bridges a client of both eras must be able to fall back.
                serve = serve_either_era if self._config.bridge_eras else serve_loop
                await serve(
                    self,
                    read_stream,
                    write_stream,
                    lifespan_state=upstreams,
                    raise_exceptions=raise_exceptions,
                )

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Upstreams]:
        """Open the first upstream; entered before the first message is read."""
        upstreams = Upstreams(self._config, make=self._make_link, lost=self._lost)
        async with upstreams.opened():
            yield upstreams

    def _make_link(self) -> UpstreamLink:
        return UpstreamLink(
            self._upstream,
            self._config,
            exclusive=self._config.sharing is Sharing.OWN,
            redactor=self._hardening.blocks.redactor,
            log=self._log,
            permitted=self._hardening.permitted,
            tools_changed=self._tools_changed,
        )

    async def _greet(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Greet the wrapped server when a client of 2025 greets us, and say what it says."""
        if ctx.method != "initialize":
            return await call_next(ctx)
        if client_of(ctx) is not None:
            # Each greeting over HTTP would start one more server for the same session.
            raise MCPError(INVALID_REQUEST, "the session has begun already")
        result = await call_next(ctx)
        if not isinstance(result, dict):  # pragma: no cover - the SDK makes dicts
            return result
        introduction = introduction_of(ctx)
        key = self._session_key(ctx)
        try:
            with ctx.lifespan_context.lease(key, introduction, LEGACY) as slot:
                about: About = await slot.link.about()
                self._require_bridge(ctx, about)
                client = LegacyClient(
                    reach=Reach(ctx.session),
                    capabilities=introduction.capabilities,
                    introduction=introduction,
                    mailbox=slot.link.downstream.mailbox(),
                    is_stream=ctx.request is None,
                    key=key,
                    owner=caller_key(),
                )
                await self._admit(ctx, client, slot)
        except UpstreamError as error:
            raise UpstreamUnavailableError(error) from error
        return {
            **result,
            "capabilities": bridge.offered(about),
            "serverInfo": self._info(about) or result["serverInfo"],
            **({} if about.instructions is None else {"instructions": about.instructions}),
        }

    async def _admit(self, ctx: Context, client: LegacyClient, slot: Slot) -> None:
        """Keep a client, and its upstream with it, for as long as its connection lasts."""
        upstreams: Upstreams = ctx.lifespan_context
        upstreams.pin(client.key)

        async def leave() -> None:
            try:
                await slot.subscriptions.detach(client)
            finally:
                upstreams.unpin(client.key)

        connection_stack(ctx).push_async_callback(leave)
        keep_client(ctx, client)
        await slot.subscriptions.attach(client, client.introduction)

    def _session_key(self, ctx: Context) -> Key:
        if self._config.sharing is Sharing.SHARED:
            return SHARED
        if ctx.request is None:
            return LOCAL
        self._sessions += 1
        return ("session", self._sessions)

    def _lease(self, ctx: Context, client: LegacyClient | None) -> AbstractContextManager[Slot]:
        """Hold the upstream of whoever sent a message."""
        upstreams: Upstreams = ctx.lifespan_context
        era = MODERN if is_modern(ctx) else LEGACY
        if client is not None:
            if client.owner != caller_key():
                # Who knows the id of a session is not yet who began it.
                raise MCPError(INVALID_REQUEST, "the session is another caller's; begin your own")
            return upstreams.lease(client.key, client.introduction, era)
        key: Key
        if self._config.sharing is Sharing.SHARED:
            key = SHARED
        elif ctx.request is None:
            key = LOCAL
        else:
            # There is no session: what an upstream keeps is kept for a principal.
            security = CALLER.get()
            key = ("principal", *(() if security is None else security.user.key))
        return upstreams.lease(key, introduction_of(ctx), era)

    async def _forward(self, ctx: Context, _: object) -> Json:
        """Take a request to the upstream of its client."""
        client = client_of(ctx)
        try:
            with self._lease(ctx, client) as slot:
                about = await slot.link.about()
                self._require_bridge(ctx, about)
                self._require_offered(ctx, about)
                return await self._answer(ctx, slot, about, client)
        except UpstreamError as error:
            raise UpstreamUnavailableError(error) from error

    async def _answer(  # noqa: PLR0911 - one way for each of the methods that have their own
        self, ctx: Context, slot: Slot, about: About, client: LegacyClient | None
    ) -> Json:
        method, info = ctx.method, self._info(about)
        introduction = introduction_of(ctx) if client is None else client.introduction
        if method == "server/discover":
            return bridge.discovered(about, info)
        if method == "subscriptions/listen":
            return await slot.subscriptions.listen(ctx, introduction)
        if client is not None and method == "resources/subscribe":
            return await slot.subscriptions.subscribe(ctx, introduction, client)
        if client is not None and method == "resources/unsubscribe":
            return await slot.subscriptions.unsubscribe(ctx, client)
        if method == "logging/setLevel":
            return await _set_log_level(ctx, slot, about, client)
        if bridge.may_need_input(method) and is_modern(ctx) and not about.modern:
            # What we keep open for a client's next request is for nobody else to continue.
            async def forward(opened: Context) -> HandlerResult:
                return await slot.requests.forward(opened, introduction, client)

            result = cast("Json", await self._boundary(ctx, forward))
        else:
            result = await slot.requests.forward(ctx, introduction, client)
        if method == "tools/list":
            self._schemas.note(result.get("tools"))
        if result.get("resultType") == "input_required":
            return result
        return bridge.incoming(method, result, about, info, for_modern=is_modern(ctx))

    async def _pass_on(self, ctx: Context, _: object) -> None:
        """Take a notification to the upstream of its client, where it alone has it."""
        client = client_of(ctx)
        if client is None or self._config.sharing is Sharing.SHARED:
            return
        try:
            with self._lease(ctx, client) as slot:
                if slot.link.was_greeted and not (await slot.link.about()).modern:
                    await slot.link.notify(ctx.method, ctx.params)
        except (UpstreamError, MCPError):
            pass  # nobody is told what became of a notification

    def _require_bridge(self, ctx: Context, about: About) -> None:
        """Refuse a client of one era before a server of the other, where we may not bridge."""
        self._introduce(about)
        if self._config.bridge_eras or is_modern(ctx) == about.modern:
            return
        known = MODERN_PROTOCOL_VERSIONS if about.modern else HANDSHAKE_PROTOCOL_VERSIONS
        hint = "" if about.modern else "; begin with initialize"
        raise MCPError(
            code=UNSUPPORTED_PROTOCOL_VERSION,
            message=f"the wrapped server speaks the protocol of "
            f"{'2026' if about.modern else '2025'}{hint}",
            data={"supported": list(known), "requested": ctx.protocol_version},
        )

    def _require_offered(self, ctx: Context, about: About) -> None:
        needed = bridge.needed_capability(ctx.method)
        if needed and not about.offers(*needed):
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)

    def _introduce(self, about: About) -> None:
        """Present ourselves as the wrapped server where the SDK and the guards speak for us."""
        if self._is_introduced or about.info is None:
            return
        self._is_introduced = True
        info = Implementation.model_validate(about.info, by_name=False)
        self.name = self._given_name or info.name
        self.version = info.version
        self.title = info.title
        self.description = info.description
        self.website_url = info.website_url
        self.icons = info.icons

    def _info(self, about: About) -> Json | None:
        """Return how the wrapped server presents itself, by the name that we were given."""
        if self._given_name is None or about.info is None:
            return about.info
        return {**about.info, "name": self._given_name}

    def _tools_changed(self) -> None:
        self._guards.tools_changed()
        self._schemas.clear()

    def _lost(self, error: UpstreamError) -> None:
        self._log(LogLevel.ERROR, "the server could not be started", {"reason": str(error)})

    def _log(self, level: LogLevel, message: str, context: Mapping[str, object]) -> None:
        # Asked for each time: a reload may have changed it.
        self._hardening.blocks.logs.log(level, message, context)


async def _set_log_level(
    ctx: Context, slot: Slot, about: About, client: LegacyClient | None
) -> Json:
    level = str((ctx.params or {}).get("level"))
    if about.modern:
        # That era has it in every request.
        if client is not None:
            client.log_level = level
    else:
        await slot.link.set_log_level(level)
    return {}


def _bound_principal(_: object) -> str | None:
    security = CALLER.get()
    return None if security is None else repr(security.user.key)
