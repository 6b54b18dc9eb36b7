"""Answers a request that is refused: a status, and a JSON-RPC error with the id of its record."""

import json
import math

from ...core.model import Decision
from ...security.transport.refusals import status_of
from ..protocol import error_code, refusal_data, refusal_text
from .types import Message, Send

__all__ = ("close_websocket", "refuse")

_PARSE_ERROR = -32700
_POLICY_VIOLATION = 1008


async def refuse(send: Send, decision: Decision, request_id: str, *, is_http1: bool = True) -> None:
    """Send the answer to a refused request."""
    is_text = decision.code == "invalid_json"
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": None,
            "error": {
                "code": _PARSE_ERROR if is_text else error_code(decision),
                "message": refusal_text(decision),
                "data": refusal_data(decision, request_id),
            },
        },
        separators=(",", ":"),
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if decision.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(decision.retry_after_s)))
    if decision.code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))
    if decision.code == "body_too_slow" and is_http1:
        # What is left of the body must not be waited for. HTTP/2 forbids the header.
        headers.append((b"connection", b"close"))
    start: Message = {
        "type": "http.response.start",
        "status": status_of(decision),
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def close_websocket(send: Send) -> None:
    """Refuse a WebSocket before it is one."""
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
