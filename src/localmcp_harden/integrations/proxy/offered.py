"""The methods of both eras that `wrap` takes to a server, and how it says that it could not."""

from collections.abc import Mapping
from typing import final

try:
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        CallToolRequestParams,
        CompleteRequestParams,
        GetPromptRequestParams,
        PaginatedRequestParams,
        ReadResourceRequestParams,
        RequestParams,
        SetLevelRequestParams,
        SubscribeRequestParams,
        SubscriptionsListenRequestParams,
        UnsubscribeRequestParams,
    )
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ..upstream.answers import UPSTREAM_ERROR_CODE

__all__ = ("METHODS", "NOTIFICATIONS", "UpstreamUnavailableError")

METHODS: Mapping[str, type[RequestParams]] = {
    "tools/list": PaginatedRequestParams,
    "tools/call": CallToolRequestParams,
    "resources/list": PaginatedRequestParams,
    "resources/templates/list": PaginatedRequestParams,
    "resources/read": ReadResourceRequestParams,
    "resources/subscribe": SubscribeRequestParams,
    "resources/unsubscribe": UnsubscribeRequestParams,
    "subscriptions/listen": SubscriptionsListenRequestParams,
    "prompts/list": PaginatedRequestParams,
    "prompts/get": GetPromptRequestParams,
    "completion/complete": CompleteRequestParams,
    "logging/setLevel": SetLevelRequestParams,
    "server/discover": RequestParams,
}
NOTIFICATIONS: tuple[str, ...] = ("notifications/roots/list_changed", "notifications/progress")


@final
class UpstreamUnavailableError(MCPError):
    """An `UpstreamError` as clients are told of it, with a JSON-RPC code.

    The guards see it too, as a failure of the tool that was called.
    """

    def __init__(self, error: UpstreamError) -> None:
        # What it wrote to standard error is for whoever runs it: it is in the log.
        reason = str(error).partition("; it last wrote: ")[0]
        super().__init__(UPSTREAM_ERROR_CODE, f"{error.code}: {reason}", {"code": error.code})
