"""Where a wrapped server is on the network, and what it may do to us."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import final
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen
from attrs.validators import and_, deep_mapping, ge, gt, instance_of, le

from .settings import UpstreamSettings, is_text

__all__ = ("HttpUpstreamConfig",)

_MAX_URL = 4_096
_URL = re.compile(r"[\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _split(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ValueError: It has no form; the message does not show it.
    """
    if len(url) > _MAX_URL or not _URL.fullmatch(url):
        raise ValueError(
            f"'url' must be at most {_MAX_URL} printable ASCII characters, without blanks"
        )
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_whole = False
        parts = SplitResult("", "", "", "", "")
    if not is_whole or parts.scheme not in {"http", "https"}:
        raise ValueError("'url' must be http://HOST/PATH or https://HOST/PATH")
    return parts


def _is_endpoint(_owner: object, _attribute: object, value: str) -> None:
    parts = _split(value)
    if "@" in parts.netloc:
        raise ValueError("'url' must hold no credentials; give them in 'headers'")
    if "#" in value:
        raise ValueError("'url' must have no fragment")


def _are_headers(_owner: object, _attribute: object, value: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for name, text in value.items():
        lowered = name.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError("'headers' must have names that are HTTP tokens")
        if lowered in _OURS or lowered.startswith("mcp-"):
            raise ValueError(f"'headers' must not name {lowered!r}; it is set here")
        if lowered in seen:
            raise ValueError(f"'headers' names {lowered!r} twice")
        if not _VALUE.fullmatch(text):
            raise ValueError(
                f"the value of header {lowered!r} must be printable ASCII, not empty and "
                "without blanks around it"
            )
        seen.add(lowered)


def _copy(headers: Mapping[str, str]) -> dict[str, str]:
    return dict(headers)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _origin_alone(value: object) -> str:
    # Path and query carry keys often enough.
    parts = _split(value) if isinstance(value, str) else None
    return repr(f"{parts.scheme}://{parts.netloc}/...") if parts else "<?>"


def _count(values: object) -> str:
    return f"<{len(values)}>" if isinstance(values, Mapping) else "<?>"


@final
@frozen(kw_only=True)
class HttpUpstreamConfig(UpstreamSettings):
    """Where a wrapped server is reached over streamable HTTP, and what it may do to us.

    Args beside those of `UpstreamSettings`, all of which it takes:

    Args:
        url: Its endpoint, `https://HOST[:PORT]/PATH`. The host is where requests go and
            nowhere else: redirects are refused, and nothing that the server says names
            another. Private addresses are not refused, since it is you who names them.
            No message and no repr shows path or query.
        headers: What every request carries (none), for example `Authorization`. No
            message and no repr shows the values. What a caller sends as its own
            credentials is never passed on.
        plain_http: Whether `http` may be spoken to a host that is not this machine:
            headers, arguments and answers are then open to whoever is on the way.
        ca_file: PEM file of the authorities that may vouch for the host (those that the
            HTTP library brings).
        connect_timeout_s: How long a connection may take, TLS included (above 0, up to
            600; 10).
        read_timeout_s: How long it may be silent over a request (above 0, up to 86,400;
            300). Subscriptions may be silent for longer.
        max_connections: How many connections there may be at once; one is in use for
            each request in flight, subscription and session (1 to 10,000; 100).
    """

    url: str = field(validator=[is_text, _is_endpoint], repr=_origin_alone)
    headers: Mapping[str, str] = field(
        factory=dict[str, str],
        converter=_copy,
        validator=[deep_mapping(is_text, is_text), _are_headers],
        repr=_count,
    )
    plain_http: bool = field(default=False, validator=instance_of(bool))
    ca_file: Path | None = field(default=None, converter=_path)
    connect_timeout_s: float = field(default=10.0, validator=and_(gt(0.0), le(600.0)))
    read_timeout_s: float = field(default=300.0, validator=and_(gt(0.0), le(86_400.0)))
    max_connections: int = field(default=100, validator=[instance_of(int), and_(ge(1), le(10_000))])

    def __attrs_post_init__(self) -> None:
        """Refuse plain HTTP to other machines, unless it is asked for."""
        parts = _split(self.url)
        if parts.scheme == "http" and not self.plain_http and not _is_here(parts.hostname or ""):
            raise ValueError(
                "'url' must be https where the host is not this machine; 'plain_http' allows "
                "it without protection"
            )

    @property
    def label(self) -> str:
        """Return host and port."""
        return _split(self.url).netloc


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
