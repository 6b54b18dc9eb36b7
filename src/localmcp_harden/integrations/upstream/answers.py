"""The errors that stand in the place of an answer which does not come."""

from collections.abc import Mapping

try:
    from mcp.shared.exceptions import MCPError
    from mcp.shared.message import SessionMessage
    from mcp_types import (
        CONNECTION_CLOSED,
        INVALID_REQUEST,
        ErrorData,
        JSONRPCError,
        JSONRPCMessage,
        JSONRPCRequest,
        jsonrpc_message_adapter,
    )
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...mechanisms.exception_groups import leaves
from ...mechanisms.json_bounds import check_json_text
from ..wire.envelope import MessageId
from .settings import UpstreamSettings

__all__ = (
    "UPSTREAM_ERROR_CODE",
    "failed_answer",
    "parse_message",
    "says_closed",
    "unsendable",
    "unsendable_error",
)

UPSTREAM_ERROR_CODE: int = -32057
"""The JSON-RPC error code of `upstream_unavailable`."""


def failed_answer(
    request_id: MessageId, reason: str, more: Mapping[str, object] | None = None
) -> SessionMessage:
    """Return `upstream_unavailable` as the answer to a request, so that nobody waits."""
    fault = ErrorData(
        code=UPSTREAM_ERROR_CODE,
        message=f"{UpstreamError.code}: {reason}",
        data={"code": UpstreamError.code, **(more or {})},
    )
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=fault))


def unsendable(request: JSONRPCRequest) -> SessionMessage:
    """Return the answer to a request that has no form on the wire."""
    fault = unsendable_error().error
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request.id, error=fault))


def unsendable_error() -> MCPError:
    """Return the same as an error for whoever sends the request."""
    return MCPError(INVALID_REQUEST, "the request holds text that is not Unicode")


def says_closed(error: BaseException) -> bool:
    """Return whether an error comes of a connection that was closed."""
    return any(
        isinstance(leaf, MCPError) and leaf.code == CONNECTION_CLOSED for leaf in leaves(error)
    )


def parse_message(data: bytes, settings: UpstreamSettings) -> JSONRPCMessage:
    """Return a message that is within the bounds, which are checked before it is parsed.

    Raises:
        InputTooLargeError: It passes a bound.
        ValueError: It is no message. The text quotes it and belongs nowhere.
    """
    check_json_text(data, max_bytes=settings.max_message_bytes, max_depth=settings.max_depth)
    message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(data, by_name=False)
    return message
