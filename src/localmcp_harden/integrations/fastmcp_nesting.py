"""Knows which call of which server is on its way: servers may be mounted in one another."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, final

try:
    from fastmcp import Context, FastMCP
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("fastmcp", "hardening a FastMCP server") from _missing

from ..compose.hardening import Hardening
from ..core.model import Call

__all__ = ("RUNNING", "Running", "innermost", "is_mounted")


@final
class Running:
    """A message that a hardening has taken in, and is not done with."""

    __slots__ = (
        "arguments",
        "call",
        "hardening",
        "host",
        "is_over",
        "outer",
        "server",
        "told",
    )

    def __init__(self, hardening: Hardening, host: Context, outer: "Running | None") -> None:
        self.hardening: Hardening = hardening
        self.host: Context = host
        self.server: FastMCP[Any] = host.fastmcp
        self.outer: Running | None = outer
        self.call: Call | None = None
        self.arguments: Mapping[str, Any] = {}
        self.told: tuple[Exception, Exception] | None = None
        self.is_over: bool = False

    def told_as(self, error: Exception, original: Exception) -> Exception:
        """Return the error by which the chain knows another one, and remember that one."""
        self.told = (error, original)
        return error

    def original_of(self, error: Exception) -> Exception:
        """Return the error that was told as this one; this one where none was."""
        return self.told[1] if self.told is not None and self.told[0] is error else error


RUNNING: ContextVar[Running | None] = ContextVar("localmcp_harden_running", default=None)
"""The message that is on its way here, the innermost of several."""


def innermost(hardening: Hardening) -> Running | None:
    """Return the innermost message that this hardening has taken in and is not done with."""
    running = RUNNING.get()
    while running is not None and (running.is_over or running.hardening is not hardening):
        running = running.outer
    return running


def is_mounted(server: "FastMCP[Any]", hardening: Hardening) -> bool:
    """Return whether a server runs for another one, whose call this hardening has judged."""
    running = innermost(hardening)
    return running is not None and running.server is not server
