"""The settings of the guard before an HTTP server. Sizes are bytes, times seconds."""

import ipaddress
from typing import TYPE_CHECKING, Any, Literal, cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, instance_of, le

from ...mechanisms.shape import shape_of
from .hosts import parse_host_pattern, parse_origin_pattern

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ("LOOPBACK_HOSTS", "ForwardedHeader", "HttpConfig", "TraceTrust")

LOOPBACK_HOSTS: tuple[str, ...] = ("127.0.0.1:*", "localhost:*", "[::1]:*")
"""The names by which a server on loopback is reached."""

TraceTrust = Literal["never", "link", "parent"]
"""What a caller's trace context counts for."""

ForwardedHeader = Literal["x-forwarded-for", "forwarded"]
"""The header in which proxies say whom they forward for."""


def _texts(attribute: "Attribute[Any]", value: object) -> None:
    """Refuse what is no tuple of strings with something in them."""
    if not isinstance(value, tuple):
        raise TypeError(f"{attribute.name} must be a tuple of strings, not {shape_of(value)}")
    for each in cast("tuple[object, ...]", value):
        if not isinstance(each, str) or not each:
            raise ValueError(f"{attribute.name} must be made of strings that are not empty")


def _hosts(_owner: object, attribute: "Attribute[Any]", value: object) -> None:
    _texts(attribute, value)
    for each in cast("tuple[str, ...]", value):
        if parse_host_pattern(each) is None:
            raise ValueError(
                f"{attribute.name} must be names such as mcp.example, mcp.example:8443, "
                f"mcp.example:* or [::1]:*, not {shape_of(each)}"
            )


def _origins(_owner: object, attribute: "Attribute[Any]", value: object) -> None:
    _texts(attribute, value)
    for each in cast("tuple[str, ...]", value):
        if parse_origin_pattern(each) is None:
            raise ValueError(
                f"{attribute.name} must be origins such as https://app.example or "
                f"http://localhost:*, not {shape_of(each)}"
            )


def _networks(_owner: object, attribute: "Attribute[Any]", value: object) -> None:
    _texts(attribute, value)
    for each in cast("tuple[str, ...]", value):
        try:
            ipaddress.ip_network(each)
        except ValueError:
            raise ValueError(
                f"{attribute.name} must be networks such as 10.0.0.0/8, with no bit set "
                f"behind the prefix, not {shape_of(each)}"
            ) from None


def _types(_owner: object, attribute: "Attribute[Any]", value: object) -> None:
    _texts(attribute, value)
    for each in cast("tuple[str, ...]", value):
        if each != each.lower() or each.count("/") != 1 or ";" in each:
            raise ValueError(f"{attribute.name} must be media types in lower case, as text/plain")


def _whole(default: int, low: int, high: int) -> Any:
    return field(default=default, validator=[instance_of(int), and_(ge(low), le(high))])


def _seconds(default: float) -> Any:
    return field(default=default, validator=and_(gt(0.0), le(3_600.0)))


@final
@frozen(kw_only=True)
class HttpConfig:
    """What requests over HTTP may look like.

    Args:
        allowed_hosts: What a request may name as its host: `name` for the scheme's own
            port, `name:8443`, or `name:*` for every port (the names of loopback, since a
            page in a browser may reach any server by a name that it rebinds).
        allowed_origins: Pages that may call, as `https://app.example` (none: the allowed
            hosts' own, over http and https).
        cors_origins: Pages that may also read the answers; they may call, too (none).
        content_types: What bodies may be; those of JSON are judged before anything
            parses them (`application/json`).
        json_arrays: Whether a JSON body may be an array (False: the protocol has no
            batches since 2025-06-18).
        max_headers: Header lines of a request (1 to 10,000; 64, twice what browsers send).
        max_header_bytes: Bytes of all header lines (256 to 1 MiB; 16 KiB).
        max_body_bytes: Bytes of one body (1 to 1 GiB; 4 MiB, as the SDK's own limit).
        max_depth: Objects and arrays within each other in a JSON body (1 to 1,000; 64).
        max_parts: Values of a JSON body (1 to 10,000,000; 100,000).
        body_timeout_s: Seconds from the headers to the body's end (above 0, to 3,600; 30).
        chunk_timeout_s: Seconds without a byte of an unfinished body (above 0, to 3,600; 10).
        min_body_bytes_per_s: What an unfinished body must come to on average, once
            `chunk_timeout_s` is over (0 to 1 GiB; 1,024, below any working network).
        max_bodies: Bodies that are read at once (1 to 1,000,000; 256). More are answered 503.
        max_bodies_per_address: The same for one address (1 to 1,000,000; 64).
        max_buffered_bytes: Bytes of the bodies of all requests under way (1 KiB to 1 TiB;
            64 MiB). More are answered 503.
        trusted_proxies: Networks of the proxies in front, whose word counts on whom they
            forward for (none: nobody's).
        forwarded_header: The header in which they say it; the other one is not read,
            since a proxy hands on what it does not write (`x-forwarded-for`).
        trace_context: Whether a caller's trace context is taken away (`never`), named in
            the record (`link`), or handed on to become the parent (`parent`). Never by
            default: whoever may name the trace may hide in, or fill, another's.
        trace_networks: Networks of the callers whose trace context counts (none).
        refused_rate_per_s: Refused requests a second for each address, in the long run
            (above 0, to 1,000,000; 1).
        refused_burst: Refused requests at once (1 to 1,000,000; 60, more than a person's
            mistakes). Beyond, every request of the address is answered 429.
        max_addresses: How many addresses are kept apart (1 to 10,000,000; 10,000).
        hsts_s: Seconds for which browsers shall use TLS only (0 to two years; 0, not said,
            since it also binds other servers of the same name).
    """

    allowed_hosts: tuple[str, ...] = field(default=LOOPBACK_HOSTS, validator=_hosts)
    allowed_origins: tuple[str, ...] = field(default=(), validator=_origins)
    cors_origins: tuple[str, ...] = field(default=(), validator=_origins)
    content_types: tuple[str, ...] = field(default=("application/json",), validator=_types)
    json_arrays: bool = field(default=False, validator=instance_of(bool))
    max_headers: int = _whole(64, 1, 10_000)
    max_header_bytes: int = _whole(16 * 1024, 256, 1 << 20)
    max_body_bytes: int = _whole(4 * 1024 * 1024, 1, 1 << 30)
    max_depth: int = _whole(64, 1, 1_000)
    max_parts: int = _whole(100_000, 1, 10_000_000)
    body_timeout_s: float = _seconds(30.0)
    chunk_timeout_s: float = _seconds(10.0)
    min_body_bytes_per_s: int = _whole(1_024, 0, 1 << 30)
    max_bodies: int = _whole(256, 1, 1_000_000)
    max_bodies_per_address: int = _whole(64, 1, 1_000_000)
    max_buffered_bytes: int = _whole(64 * 1024 * 1024, 1_024, 1 << 40)
    trusted_proxies: tuple[str, ...] = field(default=(), validator=_networks)
    forwarded_header: ForwardedHeader = field(
        default="x-forwarded-for", validator=in_(("x-forwarded-for", "forwarded"))
    )
    trace_context: TraceTrust = field(default="never", validator=in_(("never", "link", "parent")))
    trace_networks: tuple[str, ...] = field(default=(), validator=_networks)
    refused_rate_per_s: float = field(default=1.0, validator=and_(gt(0.0), le(1e6)))
    refused_burst: int = _whole(60, 1, 1_000_000)
    max_addresses: int = _whole(10_000, 1, 10_000_000)
    hsts_s: int = _whole(0, 0, 63_072_000)
