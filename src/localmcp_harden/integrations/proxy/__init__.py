"""Puts somebody else's server behind the guards, unchanged: `wrap`."""

from .child import UpstreamConfig
from .server import UpstreamUnavailableError, wrap
from .stdio_upstream import UPSTREAM_ERROR_CODE, StdioUpstream

__all__ = (
    "UPSTREAM_ERROR_CODE",
    "StdioUpstream",
    "UpstreamConfig",
    "UpstreamUnavailableError",
    "wrap",
)
