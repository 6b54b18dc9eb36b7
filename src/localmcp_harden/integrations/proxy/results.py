"""What a server's answers and failures are to those who wait: fit for the protocol, or an error."""

from typing import Any, final

try:
    from mcp.shared.exceptions import MCPError
    from mcp_types import CONNECTION_CLOSED, methods
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...mechanisms.exception_groups import leaves

__all__ = ("GreetingRefusedError", "as_upstream_error", "checked")


@final
class GreetingRefusedError(UpstreamError):
    """The server is there, and will not be greeted so: perhaps for what its client says."""


def checked(method: str, version: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that fits its method.

    Raises:
        UpstreamError: It does not fit.
    """
    # The protocol asks readers to take a negative time to live for none.
    ttl = result.get("ttlMs")
    if isinstance(ttl, int | float) and ttl < 0:
        result["ttlMs"] = 0
    try:
        methods.validate_server_result(method, version, result)
    except KeyError:
        pass  # not a method of the protocol
    except ValidationError:
        raise UpstreamError("the server's answer does not fit the protocol") from None
    return result


def as_upstream_error(error: BaseException, label: str) -> UpstreamError:
    """Return why a connection did not come about.

    Args:
        error: What was raised, in however many groups.
        label: What the server is called in messages.
    """
    for leaf in leaves(error):
        if isinstance(leaf, UpstreamError):
            return leaf
    problem = leaves(error)[0]
    what = f"error {problem.code}" if isinstance(problem, MCPError) else type(problem).__name__
    refused = isinstance(problem, MCPError) and problem.code != CONNECTION_CLOSED
    kind = GreetingRefusedError if refused else UpstreamError
    return kind(
        f"the server {label!r} did not complete the handshake ({what}); "
        "check that it is an MCP server and which protocol versions it speaks"
    )
