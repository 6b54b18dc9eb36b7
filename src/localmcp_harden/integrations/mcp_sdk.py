"""Hardens a server of the official SDK (`mcp` 2.x): `MCPServer` and low-level `Server`.

Uses the SDK's middleware seam, which sees every message of both protocol eras and
all transports. The seam is provisional in 2.x, so only this module knows it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, final

try:
    from mcp.server import MCPServer, Server
    from mcp.server.auth.middleware.auth_context import get_access_token
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        PROTOCOL_VERSION_META_KEY,
        SERVER_INFO_META_KEY,
        Implementation,
    )
    from opentelemetry.trace import get_current_span
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "hardening a server of the official SDK") from _missing

from ..compose.hardening import Hardening
from ..compose.opened import opened_in
from ..core.errors import ConfigError
from ..core.model import Call, CallKind, Decision, Outcome, ToolDeclaration
from .guarding import (
    CANNOT_LIST,
    MAX_PAGES,
    ToolLearner,
    call_of_message,
    credentials_of_request,
    declarations,
    given_arguments,
    malformed,
    open_stores,
    refusal_error,
    refusal_result,
    shown_names,
)
from .protocol import LISTS, ListMethod, target_of

__all__ = ("harden",)

ServerT = TypeVar("ServerT", bound="MCPServer[Any] | Server[Any]")

# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL = CallKind.TOOL


def harden(server: ServerT, hardening: Hardening) -> ServerT:
    """Put the guards in front of every handler of a server.

    Call it last, when the server's own middleware is in place: what is added
    afterwards runs inside the guards.

    Args:
        server: The server. It is changed, and returned for convenience.
        hardening: The guards.

    Raises:
        ConfigError: The hardening guards another server, or this one already.
    """
    hardening.attach(server)
    if any(isinstance(each, _Guard) and each.hardening is hardening for each in server.middleware):
        raise ConfigError("this hardening guards the server already; add it once")
    server.middleware.append(_Guard(server, hardening))
    return server


@final
class _Guard:
    """The middleware: makes a call of each message and takes it through the chain."""

    def __init__(self, server: "MCPServer[Any] | Server[Any]", hardening: Hardening) -> None:
        self._server = server
        self.hardening = hardening
        self._learner = ToolLearner(hardening)

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        hardening = self.hardening
        if not hardening.is_open:
            await open_stores(hardening)
        method = ctx.method
        target = target_of(method, ctx.params)
        request = ctx.request
        call = call_of_message(
            hardening,
            method,
            target,
            protocol_version=ctx.protocol_version,
            span=get_current_span().get_span_context(),
            request=request,
        )
        declare = None
        # The guards are asked, too: those of a wrapped server know of lists that changed.
        known = call.annotations.known and hardening.knows_tool(target.name)
        if target.kind is _TOOL and self._learner.is_due(target.name, known=known):
            ask = partial(self._list_tools, ctx, call_next)
            declare = partial(self._learner.learn, target.name, ask)
        arguments, listed = call.arguments, LISTS.get(method)

        async def handle(judged: Call) -> Outcome:
            given, forward = given_arguments(judged, arguments), ctx
            if given is not None:
                forward = replace(ctx, params={**(ctx.params or {}), "arguments": given})
            try:
                result = await call_next(forward)
            except ValidationError as error:
                raise MCPError(**malformed()) from error
            if not isinstance(result, dict):
                return Outcome(value=result)
            if listed is not None:
                result = await self._shown(listed, result, judged)
            return Outcome(value=result, is_error=result.get("isError") is True)

        credentials = credentials_of_request(request, get_access_token)
        opened = opened_in(request)
        outcome = await hardening.run(
            call, handle, credentials=credentials, declare=declare, opened=opened
        )
        if outcome.failure is not None:
            raise outcome.failure
        if outcome.refusal is not None:
            return self._refuse(ctx, call, outcome.refusal)
        return outcome.value  # type: ignore[no-any-return]

    async def _list_tools(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> None:
        params: dict[str, Any] = {}
        if ctx.params and "_meta" in ctx.params:
            params["_meta"] = ctx.params["_meta"]
        found: list[ToolDeclaration] = []
        for _ in range(MAX_PAGES):
            try:
                result = await call_next(replace(ctx, method="tools/list", params=params or None))
            except MCPError as error:
                if error.code in CANNOT_LIST:
                    return
                raise
            if not isinstance(result, dict):
                break
            found.extend(declarations(result.get("tools")))
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                break
            params = {**params, "cursor": cursor}
        self.hardening.declare_tools(found, complete=True)

    async def _shown(
        self, listed: ListMethod, result: dict[str, Any], call: Call
    ) -> dict[str, Any]:
        """Leave out of a list what its reader may not use."""
        items = result.get(listed.items)
        if not isinstance(items, list):
            return result
        if listed.items == "tools":
            self.hardening.declare_tools(declarations(items))
        names = [item.get(listed.name, "") for item in items if isinstance(item, dict)]
        shown = await shown_names(self.hardening, call, listed, names)
        if shown is None:
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
        result = refusal_result(call, decision)
        if result is None:
            raise MCPError(**refusal_error(call, decision))
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
