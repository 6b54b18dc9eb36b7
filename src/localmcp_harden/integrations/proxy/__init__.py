"""Puts somebody else's server behind the guards, unchanged: `wrap`."""

from ..upstream.child import UpstreamConfig
from ..upstream.http_config import HttpUpstreamConfig
from ..upstream.http_upstream import HttpUpstream
from ..upstream.limits import ChildLimits
from ..upstream.stdio_upstream import UPSTREAM_ERROR_CODE, StdioUpstream
from ..upstream.transport import Upstream, open_upstream
from .server import UpstreamUnavailableError, wrap
from .wrap_config import Sharing, WrapConfig

__all__ = (
    "UPSTREAM_ERROR_CODE",
    "ChildLimits",
    "HttpUpstream",
    "HttpUpstreamConfig",
    "Sharing",
    "StdioUpstream",
    "Upstream",
    "UpstreamConfig",
    "UpstreamUnavailableError",
    "WrapConfig",
    "open_upstream",
    "wrap",
)
