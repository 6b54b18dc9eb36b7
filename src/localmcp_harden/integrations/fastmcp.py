"""Hardens a FastMCP server (`fastmcp` 4.x).

A FastMCP middleware sees every message: those that FastMCP serves itself with their typed
parameters, the others (notifications, completion, subscriptions, methods of extensions,
unknown and malformed ones) as they came.
"""

import sys
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, final

try:
    import mcp_types
    from fastmcp import FastMCP
    from fastmcp.exceptions import (
        AuthorizationError,
        DisabledError,
        FastMCPError,
        NotFoundError,
        to_mcp_error,
    )
    from fastmcp.server.dependencies import get_access_token, get_http_request
    from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
    from mcp.shared.exceptions import MCPError
    from opentelemetry.trace import get_current_span
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("fastmcp", "hardening a FastMCP server") from _missing

from ..compose.hardening import Hardening
from ..compose.opened import opened_in
from ..core.errors import ConfigError
from ..core.model import Call, CallKind, Decision, Outcome
from .fastmcp_messages import (
    NAME_OF_ITEM,
    ListedTools,
    parameters_of,
    tool_result,
    with_arguments,
)
from .fastmcp_nesting import RUNNING, Running, innermost, is_mounted
from .guarding import (
    ToolLearner,
    call_of_message,
    credentials_of_request,
    given_arguments,
    malformed,
    open_stores,
    refusal_error,
    refusal_result,
    shown_names,
)
from .protocol import LISTS, ListMethod, target_of

__all__ = ("HardenMiddleware", "harden")

ServerT = TypeVar("ServerT", bound="FastMCP[Any]")


def harden(server: ServerT, hardening: Hardening) -> ServerT:
    """Put the guards in front of every handler of a server.

    Call it last, when the server's own middleware is in place: what is added
    afterwards runs inside the guards.

    Args:
        server: The server. It is changed, and returned for convenience.
        hardening: The guards.

    Raises:
        ConfigError: The hardening guards another server, or this one already, or
            caches answer where the guards must judge.
    """
    guard = HardenMiddleware(hardening)
    guard.attach(server, [*server.middleware, guard])
    server.add_middleware(guard)
    return server


@final
class HardenMiddleware(Middleware):
    """The guards as a middleware, for `FastMCP(middleware=[...])`.

    The place in the list is where the guards stand: what comes after runs inside them. A
    hardening guards one server; where that server mounts another one that has the same
    hardening, a call through the mount is judged once, by the name its caller used.

    Args:
        hardening: The guards.
    """

    def __init__(self, hardening: Hardening) -> None:
        self._hardening = hardening
        self._learner = ToolLearner(hardening)
        self._attached: weakref.ref[FastMCP[Any]] | None = None
        self._tools = ListedTools(hardening)

    @property
    def hardening(self) -> Hardening:
        """The guards."""
        return self._hardening

    def attach(self, server: "FastMCP[Any]", middleware: Sequence[Middleware]) -> None:
        """Say which server is guarded; happens by itself with the first message.

        Args:
            server: The server.
            middleware: Its middleware, outermost first.

        Raises:
            ConfigError: The hardening guards another server, or this one already, or
                caches answer where the guards must judge.
        """
        self._hardening.attach(server)
        for each in middleware:
            if each is self:
                break
            if isinstance(each, HardenMiddleware) and each.hardening is self.hardening:
                raise ConfigError("this hardening guards the server already; add it once")
            if _is_cache(each):
                raise ConfigError(
                    "a cache of responses outside the guards would answer before they judge; "
                    "add ResponseCachingMiddleware after the hardening"
                )
        if _is_shared_by_caches(server):
            raise ConfigError(
                "lists and resources differ by caller, so no cache may share them: "
                "leave cache_scope at private"
            )
        self._attached = weakref.ref(server)

    async def __call__(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:
        """Take a message through the chain."""
        host = context.fastmcp_context
        if host is None:
            raise ConfigError("the guards can not judge a message that belongs to no server")
        server: FastMCP[Any] = host.fastmcp
        if is_mounted(server, self._hardening):
            return await self._let_through(context, call_next, host)
        if self._attached is None or self._attached() is not server:
            self.attach(server, server.middleware)
        running = Running(self._hardening, host, RUNNING.get())
        token = RUNNING.set(running)
        try:
            return await self._guard(context, call_next, running)
        finally:
            running.is_over = True
            RUNNING.reset(token)

    async def _let_through(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any], host: Any
    ) -> Any:
        """Hand on what came through a mount; what its tool then asks of this server did not."""
        outer = innermost(self._hardening)
        passing = Running(self._hardening, host, RUNNING.get())
        passing.call = None if outer is None else outer.call
        token = RUNNING.set(passing)
        try:
            return await call_next(context)
        finally:
            passing.is_over = True
            RUNNING.reset(token)

    async def check_resource_access(
        self, context: MiddlewareContext[mcp_types.ReadResourceRequestParams]
    ) -> None:
        """Refuse to show what the caller of the running call may not read.

        FastMCP asks for resources that it lists within an answer without reading them.

        Raises:
            AuthorizationError: The policy does not allow it.
        """
        running = innermost(self._hardening)
        uri = str(context.message.uri)
        if running is None or running.call is None:
            raise AuthorizationError("nobody is known to ask for this resource")
        security = running.call.security
        if not await self._hardening.permitted(security, "resources/read", (uri,)):
            raise AuthorizationError("the policy does not allow this resource")

    async def _guard(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any], running: Running
    ) -> Any:
        hardening, learner = self._hardening, self._learner
        if not hardening.is_open:
            await open_stores(hardening)
        method, wire = context.method or "", running.host.request_context
        request = _request_of_host_code() if wire is None else wire.request
        target = target_of(method, parameters_of(context.message))
        declare = None
        if target.kind is CallKind.TOOL:
            target = target._replace(name=self._tools.name_for_rules(target.name))
            # A malformed call fails before any tool is looked for.
            if not isinstance(context.message, Mapping) and learner.is_due(target.name):
                ask = partial(self._list_tools, context, running.server)
                declare = partial(learner.learn, target.name, ask)
        running.call = call = call_of_message(
            hardening,
            method,
            target,
            protocol_version=None if wire is None else wire.protocol_version,
            span=get_current_span().get_span_context(),
            request=request,
        )
        running.arguments = call.arguments
        outcome = await hardening.run(
            call,
            partial(self._handle, context, call_next, running),
            credentials=credentials_of_request(request, get_access_token),
            declare=declare,
            opened=opened_in(request),
        )
        if outcome.refusal is not None:
            return _refuse(context, call, outcome.refusal)
        if outcome.failure is not None:
            # Of its own errors FastMCP makes what the client of a bare server gets.
            raise running.original_of(outcome.failure)
        if outcome.is_error and isinstance(outcome.value, Exception):
            raise outcome.value
        return outcome.value

    async def _handle(
        self,
        context: MiddlewareContext[Any],
        call_next: CallNext[Any, Any],
        running: Running,
        judged: Call,
    ) -> Outcome:
        """Hand a judged call on, and say how it ended in the words of the chain."""
        running.call = judged
        given, forward = given_arguments(judged, running.arguments), context
        if given is not None:
            forward = context.copy(message=with_arguments(context.message, given))
        try:
            if judged.kind is CallKind.TOOL and self._tools.is_hashed(judged.name):
                # It would run under its hash what rules know by a name.
                raise NotFoundError(f"Unknown tool: {judged.name!r}")  # noqa: TRY301
            result = await call_next(forward)
        except (FastMCPError, NotFoundError, DisabledError) as error:
            if judged.kind is CallKind.TOOL:
                return Outcome(value=error, is_error=True)
            return Outcome(failure=running.told_as(to_mcp_error(error), error))
        except ValidationError as error:
            return Outcome(failure=running.told_as(MCPError(**malformed()), error))
        listed = LISTS.get(judged.method)
        if listed is not None:
            result = await self._shown(listed, result, judged)
        return Outcome(value=result, is_error=getattr(result, "is_error", False) is True)

    async def _list_tools(self, context: MiddlewareContext[Any], server: "FastMCP[Any]") -> None:
        """Learn the tools from what stands inside the guards."""
        places = [at for at, each in enumerate(server.middleware) if each is self]

        async def listing(_: MiddlewareContext[Any]) -> Any:
            return await server.list_tools(run_middleware=False)

        step: Any = listing
        for inner in reversed(server.middleware[places[0] + 1 :] if places else ()):
            step = partial(_through, inner, step)
        asked = mcp_types.ListToolsRequest(method="tools/list")
        self._tools.learn(await step(context.copy(message=asked, method="tools/list")))

    async def _shown(self, listed: ListMethod, result: Any, call: Call) -> Any:
        """Leave out of a list what its reader may not use."""
        if not isinstance(result, Sequence):
            return result
        items: Sequence[Any] = result
        if listed.items == "tools":
            self._tools.learn(items)
        name_of = NAME_OF_ITEM[listed.items]
        names = [str(getattr(item, name_of)) for item in items]
        shown = await shown_names(self._hardening, call, listed, names)
        if shown is None:
            return items
        return [item for item, name in zip(items, names, strict=True) if name in shown]


def _is_cache(middleware: Middleware) -> bool:
    # Where nobody has loaded the module, there is no instance either.
    module = sys.modules.get("fastmcp.server.middleware.caching")
    return module is not None and isinstance(middleware, module.ResponseCachingMiddleware)


def _is_shared_by_caches(server: "FastMCP[Any]") -> bool:
    # FastMCP does not tell; the server beneath it does.
    hints = getattr(getattr(server, "_mcp_server", None), "cache_hints", None) or {}
    return any(getattr(hint, "scope", None) == "public" for hint in hints.values())


def _request_of_host_code() -> Any:
    """Return the HTTP request in which the host itself calls its server, if there is one."""
    try:
        return get_http_request()
    except RuntimeError:
        return None


async def _through(
    middleware: Middleware, call_next: CallNext[Any, Any], context: MiddlewareContext[Any]
) -> Any:
    return await middleware(context, call_next)


def _refuse(context: MiddlewareContext[Any], call: Call, decision: Decision) -> Any:
    if context.type == "notification":
        return None  # a notification has no answer; the record has the refusal
    result = refusal_result(call, decision)
    if result is None or isinstance(context.message, Mapping):
        raise MCPError(**refusal_error(call, decision))
    return tool_result(result)
