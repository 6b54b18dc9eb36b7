"""Puts a third-party server behind the guards: `wrap` makes a hardened server of it.

The wrapped server runs unchanged as a child process. Its tools, resources, prompts and
completions are offered as they are, results and errors are passed on untouched, in the
era of the protocol that it speaks.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast, final

import anyio

try:
    from mcp.server import Server
    from mcp.server.context import HandlerResult, ServerRequestContext
    from mcp.server.models import InitializationOptions
    from mcp.server.runner import serve_dual_era_loop, serve_loop
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.exceptions import MCPError
    from mcp.shared.message import SessionMessage
    from mcp_types import (
        UNSUPPORTED_PROTOCOL_VERSION,
        CallToolRequestParams,
        CompleteRequestParams,
        GetPromptRequestParams,
        PaginatedRequestParams,
        ReadResourceRequestParams,
        RequestParams,
    )
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from attrs import evolve

from ...compose.hardening import Hardening
from ...core.errors import UpstreamError
from ...core.model import Annotations, ToolDeclaration
from ...mechanisms.exception_groups import plain_errors
from ...protocols.observability import LogLevel
from ..mcp_sdk import harden
from .link import About, UpstreamLink
from .stdio_upstream import UPSTREAM_ERROR_CODE, UpstreamConfig

__all__ = ("UPSTREAM_ERROR_CODE", "UpstreamConfig", "UpstreamUnavailableError", "wrap")

_METHODS: Mapping[str, Mapping[str, type[RequestParams]]] = {
    "tools": {"tools/list": PaginatedRequestParams, "tools/call": CallToolRequestParams},
    "resources": {
        "resources/list": PaginatedRequestParams,
        "resources/templates/list": PaginatedRequestParams,
        "resources/read": ReadResourceRequestParams,
    },
    "prompts": {"prompts/list": PaginatedRequestParams, "prompts/get": GetPromptRequestParams},
    "completions": {"completion/complete": CompleteRequestParams},
}
"""What is forwarded, by the capability that offers it."""

_MAX_SCHEMAS = 10_000


def wrap(
    upstream: UpstreamConfig,
    hardening: Hardening,
    *,
    name: str | None = None,
    trust_annotations: bool = False,
) -> Server[Any]:
    """Return a hardened server that stands before another one.

    The other one is started when the returned server is, and again when a call finds
    that it has ended. Serve it with `serve_stdio` or `serve_http`; over HTTP all
    clients share the one process.

    Args:
        upstream: The server to wrap.
        hardening: The guards.
        name: What the server calls itself towards clients; its own name when None.
        trust_annotations: Whether the server's word counts that a tool only reads or may
            be repeated. It counts where the hardening's configuration trusts it too;
            what that configuration says of single tools always counts.
    """
    return _WrappedServer(upstream, hardening, name=name, trust_annotations=trust_annotations)


@final
class _WrappedServer(Server[UpstreamLink]):
    """A low-level server whose lifespan is a connection to the wrapped one."""

    def __init__(
        self,
        upstream: UpstreamConfig,
        hardening: Hardening,
        *,
        name: str | None,
        trust_annotations: bool,
    ) -> None:
        self._upstream = upstream
        self._hardening = hardening
        self._given_name = name
        self._schemas: dict[str, Mapping[str, Any]] = {}
        super().__init__(
            name or upstream.program,
            lifespan=cast("Any", hardening.lifespan(_WrappedServer._connect)),
            # Else every call over HTTP would list the tools once more, through the chain.
            get_tool_input_schema=self._schemas.get,
        )
        self.add_request_handler("server/discover", RequestParams, self._discover)
        guards = hardening if trust_annotations else cast("Hardening", _Untrusting(hardening))
        harden(self, guards)

    async def run(
        self,
        read_stream: ReadStream[SessionMessage | Exception],
        write_stream: WriteStream[SessionMessage],
        initialization_options: InitializationOptions,  # noqa: ARG002 - made before we knew
        raise_exceptions: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
    ) -> None:
        """Serve one connection, in the era of the wrapped server.

        The options are not used: what there is to offer is known only once the wrapped
        server has been greeted, and both loops ask for it then.
        """
        with plain_errors():
            async with self.lifespan(self) as link:
                if link.about.modern:
                    await serve_dual_era_loop(
                        self,
                        read_stream,
                        write_stream,
                        lifespan_state=link,
                        raise_exceptions=raise_exceptions,
                    )
                else:
                    await serve_loop(
                        self,
                        read_stream,
                        write_stream,
                        lifespan_state=link,
                        raise_exceptions=raise_exceptions,
                    )

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[UpstreamLink]:
        """Start the wrapped server; entered before the first message is read."""
        link = UpstreamLink(self._upstream, redactor=self._hardening.blocks.redactor, log=self._log)
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                await tasks.start(link.run)
                self._introduce(link.about)
                try:
                    yield link
                finally:
                    tasks.cancel_scope.cancel()

    def _introduce(self, about: About) -> None:
        """Present ourselves as the wrapped server, and offer what it offers."""
        if about.info is not None:
            self.name = self._given_name or about.info.name
            self.version = about.info.version
            self.title = about.info.title
            self.description = about.info.description
            self.website_url = about.info.website_url
            self.icons = about.info.icons
        self.instructions = about.instructions
        for capability, methods in _METHODS.items():
            if getattr(about.capabilities, capability) is not None:
                for method, params_type in methods.items():
                    self.add_request_handler(method, params_type, self._forward)

    async def _forward(
        self, ctx: ServerRequestContext[UpstreamLink, Any], _: object
    ) -> dict[str, Any]:
        link = ctx.lifespan_context
        _require_same_era(ctx)
        # The parameters as they came through the guards, not as a model read them.
        try:
            result = await link.request(ctx.method, ctx.params)
        except UpstreamError as error:
            raise UpstreamUnavailableError(error) from error
        if ctx.method == "tools/list":
            self._note_schemas(result.get("tools"))
        return result

    async def _discover(
        self, ctx: ServerRequestContext[UpstreamLink, Any], params: RequestParams
    ) -> HandlerResult:
        _require_same_era(ctx)
        return await self._handle_discover(ctx, params)

    def _note_schemas(self, tools: object) -> None:
        if not isinstance(tools, list):
            return
        for tool in cast("list[object]", tools):
            if not isinstance(tool, dict):
                continue
            said = cast("dict[str, object]", tool)
            name, schema = said.get("name"), said.get("inputSchema")
            if isinstance(name, str) and isinstance(schema, dict):
                if name not in self._schemas and len(self._schemas) >= _MAX_SCHEMAS:
                    return
                self._schemas[name] = cast("dict[str, Any]", schema)

    def _log(self, level: LogLevel, message: str, context: Mapping[str, object]) -> None:
        # Asked for each time: a reload may have changed it.
        self._hardening.blocks.logs.log(level, message, context)


def _require_same_era(ctx: ServerRequestContext[UpstreamLink, Any]) -> None:
    """Refuse a client of 2026 before a server of 2025; it then falls back by itself."""
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and not ctx.lifespan_context.about.modern:
        raise MCPError(
            code=UNSUPPORTED_PROTOCOL_VERSION,
            message="the wrapped server speaks the protocol of 2025; begin with initialize",
            data={
                "supported": list(HANDSHAKE_PROTOCOL_VERSIONS),
                "requested": ctx.protocol_version,
            },
        )


@final
class UpstreamUnavailableError(MCPError):
    """An `UpstreamError` as clients are told of it, with a JSON-RPC code.

    The guards see it too, as a failure of the tool that was called.
    """

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(UPSTREAM_ERROR_CODE, f"{error.code}: {error}", {"code": error.code})


@final
class _Untrusting:
    """The guards, deaf to what the tools say of themselves."""

    def __init__(self, hardening: Hardening) -> None:
        self._hardening = hardening

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hardening, name)

    def declare_tools(self, tools: Sequence[ToolDeclaration], *, complete: bool = False) -> None:
        """See `Hardening.declare_tools`."""
        plain = [evolve(tool, annotations=Annotations()) for tool in tools]
        self._hardening.declare_tools(plain, complete=complete)
