"""What the integrations of server libraries share: a message becomes a call, and is answered.

Free of any server library: what one of them hands over is read by attribute.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any, final

import anyio

from ..compose.hardening import Hardening
from ..compose.opened import OpenedRequest, opened_in
from ..core.errors import StoreError
from ..core.model import Annotations, Call, CallKind, Decision, ToolDeclaration
from ..protocols.security import Credentials, Transport, VerifiedToken
from .protocol import (
    REFUSAL_META_KEY,
    ListMethod,
    Target,
    error_code,
    is_readable_by_model,
    refusal_data,
    refusal_text,
)

__all__ = (
    "CANNOT_LIST",
    "MAX_PAGES",
    "LearnTools",
    "ToolLearner",
    "call_of_message",
    "credentials_of_request",
    "declaration",
    "declarations",
    "facts_of_request",
    "given_arguments",
    "malformed",
    "open_stores",
    "refusal_error",
    "refusal_result",
    "shown_names",
)

LearnTools = Callable[[], Awaitable[None]]
"""Asks a server for its tools, and declares them."""

CANNOT_LIST = frozenset({-32601, -32602})
"""Error codes of a server without tools, or of one not initialized: it says so itself."""

MAX_PAGES = 100
"""How many pages of a list are read."""

_LEARN_AGAIN_S = 1.0
_CATALOG_AGE_S = 60.0
_CLAIM_LIMIT = 200
_LOCAL = Credentials(transport=Transport.STDIO)
# Asking an enumeration for its value runs Python, on every call.
_STDIO, _HTTP = Transport.STDIO.value, Transport.HTTP.value
_OVER_HTTP = Transport.HTTP


async def open_stores(hardening: Hardening) -> None:
    """Open the stores for a host that does not use the lifespan."""
    # When the audit log can not be opened, the chain refuses and says so.
    with suppress(StoreError):
        await hardening.ensure_open()


def facts_of_request(request: Any) -> dict[str, Any]:
    """Return what a Starlette request tells of a call: its session, and the client.

    The keys are keywords of `Hardening.new_call`.
    """
    scope = request.scope
    # The first of each name, found at one pass over what Starlette would look through for
    # each, decoding it.
    found: dict[bytes, bytes] = dict(reversed(list(scope["headers"])))
    session = found.get(b"mcp-session-id")
    agent = found.get(b"user-agent", b"")[:_CLAIM_LIMIT]
    client = scope.get("client")
    return {
        "session_id": None if session is None else session.decode("latin-1"),
        "ip_address": client[0] if client else None,
        "user_agent": agent.decode("latin-1") or None,
    }


def facts_of_opened(opened: OpenedRequest, request: Any) -> dict[str, Any]:
    """Return what `facts_of_request` does, as far as the guard in front has read it already."""
    seen = opened.call.security
    session = seen.session_id
    if session is not None and len(session) >= _CLAIM_LIMIT:
        # The guard cuts it for its record; whose session it is hangs on all of it.
        return facts_of_request(request)
    client = request.scope.get("client")
    return {
        "session_id": session,
        "ip_address": client[0] if client else None,
        "user_agent": seen.user_agent,
    }


def call_of_message(
    hardening: Hardening,
    method: str,
    target: Target,
    *,
    protocol_version: str | None,
    span: Any,
    request: Any,
) -> Call:
    """Return the call that a message is.

    Args:
        hardening: The guards; they give the call its id.
        method: The protocol method.
        target: What the message is aimed at.
        protocol_version: The version that was agreed on.
        span: The OpenTelemetry context of the current span.
        request: The Starlette request that brought the message, None where there is none.
    """
    meta: dict[str, Any] = {"protocol_version": protocol_version}
    if span.is_valid:
        meta["trace_id"] = f"{span.trace_id:032x}"
        meta["span_id"] = f"{span.span_id:016x}"
    if request is None:
        meta["transport"] = _STDIO
        return hardening.new_call(target.kind, method, target.name, target.arguments, meta=meta)
    meta["transport"] = _HTTP
    opened = opened_in(request)
    facts = facts_of_request(request) if opened is None else facts_of_opened(opened, request)
    call = hardening.new_call(
        target.kind, method, target.name, target.arguments, meta=meta, **facts
    )
    return call if opened is None else opened.adopt(call)


def credentials_of_request(request: Any, get_token: Callable[[], Any]) -> Credentials:
    """Return what a caller shows of itself.

    Args:
        request: The Starlette request, None where there is none.
        get_token: Returns the access token that the server library has verified, or None.
    """
    if request is None:
        return _LOCAL
    scope = request.scope
    client = scope.get("client")
    address = client[0] if client else None
    token = get_token()
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
    presented = next((said for name, said in scope["headers"] if name == b"authorization"), None)
    if presented is None:
        return Credentials(transport=_OVER_HTTP, ip_address=address)
    scheme, _, bearer = presented.decode("latin-1").partition(" ")
    return Credentials(
        transport=_OVER_HTTP,
        # A credential of another scheme is a wrong one, and not none.
        bearer=bearer.strip() if scheme.lower() == "bearer" else "",
        ip_address=address,
    )


@final
class ToolLearner:
    """Sees to it that the server is asked for its tools when one is unknown, and not more often.

    Args:
        hardening: Keeps what the server declares, and the time.
    """

    def __init__(self, hardening: Hardening) -> None:
        self._hardening = hardening
        self._monotonic = hardening.monotonic
        self._learned_at = float("-inf")
        self._learning: anyio.Event | None = None

    def is_due(self, name: str, *, known: bool | None = None) -> bool:
        """Return whether to ask the server for its tools: one is unknown, or the list is old.

        At most once a second, so that a flood of invented names costs one list.

        Args:
            name: The tool.
            known: Whether it is declared; looked up when None.
        """
        age = self._monotonic() - self._learned_at
        if known is None:
            known = self._hardening.knows_tool(name)
        return age >= (_CATALOG_AGE_S if known else _LEARN_AGAIN_S)

    async def learn(self, name: str, ask: LearnTools) -> Annotations:
        """Ask the server for its tools, and return what is then known of one.

        One call asks while the others wait for its answer: none goes on unjudged.
        """
        while self.is_due(name):
            if self._learning is not None:
                await self._learning.wait()
                continue
            self._learning = anyio.Event()
            try:
                await ask()
                self._learned_at = self._monotonic()
            finally:
                self._learning.set()
                self._learning = None
        return self._hardening.annotations_of(name)


def declarations(tools: object) -> list[ToolDeclaration]:
    """Return what a list of tools declares, in the form of the wire."""
    if not isinstance(tools, list):
        return []
    return [
        declaration(str(tool.get("name", "")), tool.get("inputSchema"), tool.get("annotations"))
        for tool in tools
        if isinstance(tool, dict)
    ]


def declaration(name: str, schema: object, hints: object) -> ToolDeclaration:
    """Return a tool's declaration; what has the wrong shape counts as not said."""
    said: Mapping[str, Any] = hints if isinstance(hints, Mapping) else {}
    return ToolDeclaration(
        name=name,
        input_schema=schema if isinstance(schema, Mapping) else None,
        annotations=Annotations(
            read_only=_claim(said, "readOnlyHint"),
            destructive=_claim(said, "destructiveHint"),
            idempotent=_claim(said, "idempotentHint"),
            open_world=_claim(said, "openWorldHint"),
        ),
    )


def _claim(hints: Mapping[str, Any], key: str) -> bool | None:
    value = hints.get(key)
    return value if isinstance(value, bool) else None


async def shown_names(
    hardening: Hardening, call: Call, listed: ListMethod, names: Collection[str]
) -> frozenset[str] | None:
    """Return the names in a list that its reader may see, None when that is all of them."""
    shown = await hardening.permitted(call.security, listed.action, names)
    return None if len(shown) == len(set(names)) else shown


def given_arguments(call: Call, sent: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that the handler gets instead of those in the message.

    None where it gets those. A call that may be repeated has a copy of nested ones each
    time: a handler may change what it is given, and a repetition must not see that.

    Args:
        call: The call as it was judged.
        sent: The arguments of the call as the message had them.
    """
    arguments = call.arguments
    if call.annotations.is_repeatable and _is_nested(arguments):
        return deepcopy(dict(arguments))
    return None if arguments is sent else dict(arguments)


def _is_nested(arguments: Mapping[str, Any]) -> bool:
    return any(isinstance(value, (dict, list)) for value in arguments.values())


def refusal_result(call: Call, decision: Decision) -> dict[str, Any] | None:
    """Return the tool result by which a model learns of a refusal.

    None where the refusal is a JSON-RPC error instead.
    """
    if call.kind is not CallKind.TOOL or not is_readable_by_model(decision):
        return None
    return {
        "content": [{"type": "text", "text": refusal_text(decision)}],
        "isError": True,
        "_meta": {REFUSAL_META_KEY: refusal_data(decision, call.id)},
    }


def refusal_error(call: Call, decision: Decision) -> dict[str, Any]:
    """Return code, message and data of the JSON-RPC error of a refusal."""
    return {
        "code": error_code(decision),
        "message": refusal_text(decision),
        "data": refusal_data(decision, call.id),
    }


def malformed() -> dict[str, Any]:
    """Return code, message and data of the JSON-RPC error of a message that does not parse.

    The same that the SDK makes of its validation's error. That one has no code, and so
    would speak against the health of the target.
    """
    return {"code": -32602, "message": "Invalid request parameters", "data": ""}
