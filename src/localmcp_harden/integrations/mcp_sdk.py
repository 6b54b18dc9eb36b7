"""Hardens a server of the official SDK (`mcp` 2.x): `MCPServer` and low-level `Server`.

Uses the SDK's middleware seam, which sees every message of both protocol eras and
all transports. The seam is provisional in 2.x, so only this module knows it.
"""

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, final

try:
    from mcp.server import MCPServer, Server
    from mcp.server.auth.middleware.auth_context import get_access_token
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        INVALID_PARAMS,
        METHOD_NOT_FOUND,
        PROTOCOL_VERSION_META_KEY,
        SERVER_INFO_META_KEY,
        Implementation,
    )
    from opentelemetry.trace import get_current_span
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "hardening a server of the official SDK") from _missing

import anyio

from ..compose.hardening import Hardening
from ..core.errors import StoreError
from ..core.model import Annotations, Call, CallKind, Decision, Outcome, ToolDeclaration
from ..protocols.security import Credentials, Transport, VerifiedToken
from .protocol import (
    LISTS,
    REFUSAL_META_KEY,
    ListMethod,
    Target,
    error_code,
    is_readable_by_model,
    refusal_data,
    refusal_text,
    target_of,
)

__all__ = ("harden",)

ServerT = TypeVar("ServerT", bound="MCPServer[Any] | Server[Any]")

_LEARN_AGAIN_S = 1.0
_CATALOG_AGE_S = 60.0
_MAX_PAGES = 100
_CANNOT_LIST = frozenset({METHOD_NOT_FOUND, INVALID_PARAMS})
_CLAIM_LIMIT = 200


def harden(server: ServerT, hardening: Hardening) -> ServerT:
    """Put the guards in front of every handler of a server.

    Call it last, when the server's own middleware is in place: what is added
    afterwards runs inside the guards.

    Args:
        server: The server. It is changed, and returned for convenience.
        hardening: The guards.

    Raises:
        ConfigError: The hardening guards another server already.
    """
    hardening.attach(server)
    server.middleware.append(_Guard(server, hardening))
    return server


@final
class _Guard:
    """The middleware: makes a call of each message and takes it through the chain."""

    def __init__(self, server: "MCPServer[Any] | Server[Any]", hardening: Hardening) -> None:
        self._server = server
        self._hardening = hardening
        self._learned_at = float("-inf")
        self._learning: anyio.Event | None = None

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        hardening = self._hardening
        if not hardening.is_open:
            # When the audit log can not be opened, the chain refuses and says so.
            with suppress(StoreError):
                await hardening.ensure_open()
        method = ctx.method
        target = target_of(method, ctx.params)
        declare = None
        if target.kind is CallKind.TOOL and self._is_due(target.name):
            declare = partial(self._learn, target.name, ctx, call_next)
        call = self._call(ctx, target)
        arguments, listed = call.arguments, LISTS.get(method)

        async def handle(judged: Call) -> Outcome:
            forward = ctx
            if judged.arguments is not arguments:
                params = {**(ctx.params or {}), "arguments": dict(judged.arguments)}
                forward = replace(ctx, params=params)
            if judged.annotations.is_repeatable and _is_nested(judged.arguments):
                # A handler may change what it is given; a repetition must not see that.
                params = {**(forward.params or {}), "arguments": deepcopy(judged.arguments)}
                forward = replace(ctx, params=params)
            result = await call_next(forward)
            if not isinstance(result, dict):
                return Outcome(value=result)
            if listed is not None:
                result = await self._shown(listed, result, judged)
            return Outcome(value=result, is_error=result.get("isError") is True)

        credentials = _LOCAL if ctx.request is None else _credentials(ctx.request)
        outcome = await hardening.run(call, handle, credentials=credentials, declare=declare)
        if outcome.failure is not None:
            raise outcome.failure
        if outcome.refusal is not None:
            return self._refuse(ctx, call, outcome.refusal)
        return outcome.value  # type: ignore[no-any-return]

    def _call(self, ctx: ServerRequestContext[Any, Any], target: Target) -> Call:
        meta: dict[str, Any] = {"protocol_version": ctx.protocol_version}
        span = get_current_span().get_span_context()
        if span.is_valid:
            meta["trace_id"] = f"{span.trace_id:032x}"
            meta["span_id"] = f"{span.span_id:016x}"
        session_id = ip_address = user_agent = None
        if ctx.request is None:
            meta["transport"] = _STDIO
        else:
            meta["transport"] = _HTTP
            headers = ctx.request.headers
            session_id = headers.get("mcp-session-id")
            user_agent = headers.get("user-agent", "")[:_CLAIM_LIMIT] or None
            ip_address = ctx.request.client.host if ctx.request.client else None
        return self._hardening.new_call(
            target.kind,
            ctx.method,
            target.name,
            target.arguments,
            meta=meta,
            session_id=session_id,
            ip_address=ip_address,
            user_agent=user_agent,
        )

    def _is_due(self, name: str) -> bool:
        """Return whether to ask the server for its tools: one is unknown, or the list is old.

        At most once a second, so that a flood of invented names costs one list.
        """
        age = self._hardening.monotonic() - self._learned_at
        return age >= (_CATALOG_AGE_S if self._hardening.knows_tool(name) else _LEARN_AGAIN_S)

    async def _learn(
        self, name: str, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> Annotations:
        """Ask the server for its tools, and return what is then known of one.

        One call asks while the others wait for its answer: none goes on unjudged.
        """
        while self._is_due(name):
            if self._learning is not None:
                await self._learning.wait()
                continue
            self._learning = anyio.Event()
            try:
                await self._list_tools(ctx, call_next)
                self._learned_at = self._hardening.monotonic()
            finally:
                self._learning.set()
                self._learning = None
        return self._hardening.annotations_of(name)

    async def _list_tools(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> None:
        params: dict[str, Any] = {}
        if ctx.params and "_meta" in ctx.params:
            params["_meta"] = ctx.params["_meta"]
        found: list[ToolDeclaration] = []
        for _ in range(_MAX_PAGES):
            try:
                result = await call_next(replace(ctx, method="tools/list", params=params or None))
            except MCPError as error:
                if error.code in _CANNOT_LIST:
                    # A server without tools, or one not initialized: it will say so itself.
                    return
                raise
            if not isinstance(result, dict):
                break
            found.extend(_declarations(result.get("tools")))
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                break
            params = {**params, "cursor": cursor}
        self._hardening.declare_tools(found, complete=True)

    async def _shown(
        self, listed: ListMethod, result: dict[str, Any], call: Call
    ) -> dict[str, Any]:
        """Leave out of a list what its reader may not use."""
        items = result.get(listed.items)
        if not isinstance(items, list):
            return result
        if listed.items == "tools":
            self._hardening.declare_tools(_declarations(items))
        names = [item.get(listed.name, "") for item in items if isinstance(item, dict)]
        shown = await self._hardening.permitted(call.security, listed.action, names)
        if len(shown) == len(set(names)):
            return result
        kept = [item for item in items if isinstance(item, dict) and item.get(listed.name) in shown]
        part = {**result, listed.items: kept}
        if "cacheScope" in part:
            # What was left out depends on the caller, so no cache may share the answer.
            part["cacheScope"] = "private"
        return part

    def _refuse(
        self, ctx: ServerRequestContext[Any, Any], call: Call, decision: Decision
    ) -> HandlerResult:
        if ctx.request_id is None:
            return None  # a notification has no answer; the record has the refusal
        data = refusal_data(decision, call.id)
        if call.kind is not CallKind.TOOL or not is_readable_by_model(decision):
            raise MCPError(code=error_code(decision), message=refusal_text(decision), data=data)
        result: dict[str, Any] = {
            "content": [{"type": "text", "text": refusal_text(decision)}],
            "isError": True,
            "_meta": {REFUSAL_META_KEY: data},
        }
        if _is_modern(ctx):
            # A middleware that answers itself owes the envelope of the 2026 era.
            result["resultType"] = "complete"
            result["_meta"][SERVER_INFO_META_KEY] = self._server_info()
        return result

    def _server_info(self) -> dict[str, Any]:
        server = self._server
        info = Implementation(
            name=server.name,
            version=server.version,
            title=server.title,
            description=server.description,
            website_url=server.website_url,
            icons=server.icons,
        )
        return info.model_dump(by_alias=True, mode="json", exclude_none=True)


def _is_modern(ctx: ServerRequestContext[Any, Any]) -> bool:
    meta = (ctx.params or {}).get("_meta")
    return isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta


def _credentials(request: Any) -> Credentials:
    address = request.client.host if request.client else None
    token = get_access_token()
    if token is not None:
        claims = token.claims or {}
        verified = VerifiedToken(
            client=token.client_id,
            issuer=str(claims.get("iss") or ""),
            subject=token.subject or "",
            scopes=frozenset(token.scopes),
            expires_at=token.expires_at,
            audience=token.resource,
        )
        return Credentials(transport=Transport.HTTP, token=verified, ip_address=address)
    presented = request.headers.get("authorization")
    if presented is None:
        return Credentials(transport=Transport.HTTP, ip_address=address)
    scheme, _, bearer = presented.partition(" ")
    return Credentials(
        transport=Transport.HTTP,
        # A credential of another scheme is a wrong one, and not none.
        bearer=bearer.strip() if scheme.lower() == "bearer" else "",
        ip_address=address,
    )


_LOCAL = Credentials(transport=Transport.STDIO)
# Asking an enumeration for its value runs Python, on every call.
_STDIO, _HTTP = Transport.STDIO.value, Transport.HTTP.value


def _declarations(tools: object) -> list[ToolDeclaration]:
    if not isinstance(tools, list):
        return []
    return [_declaration(tool) for tool in tools if isinstance(tool, dict)]


def _is_nested(arguments: Mapping[str, Any]) -> bool:
    return any(isinstance(value, (dict, list)) for value in arguments.values())


def _declaration(tool: Mapping[str, Any]) -> ToolDeclaration:
    said = tool.get("annotations")
    hints: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    schema = tool.get("inputSchema")
    return ToolDeclaration(
        name=str(tool.get("name", "")),
        input_schema=schema if isinstance(schema, Mapping) else None,
        annotations=Annotations(
            read_only=_claim(hints, "readOnlyHint"),
            destructive=_claim(hints, "destructiveHint"),
            idempotent=_claim(hints, "idempotentHint"),
            open_world=_claim(hints, "openWorldHint"),
        ),
    )


def _claim(hints: Mapping[str, Any], key: str) -> bool | None:
    value = hints.get(key)
    return value if isinstance(value, bool) else None
