"""Finds the address a request comes from, behind proxies that are declared, and only those.

Every proxy writes down at the right end whom it forwards for. So the list is read from
the right, and only as long as whoever wrote the entry is trusted; what is further left
is a claim of the client. Forms: X-Forwarded-For, and RFC 7239.
"""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias, final

__all__ = ("Networks", "address_key", "find_client", "plain_address")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_HOPS = 16
_MAX_ENTRY = 128


@final
class Networks:
    """Networks to look addresses up in.

    Args:
        networks: In CIDR form, as `10.0.0.0/8`.

    Raises:
        ValueError: One is no network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(each) for each in networks)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """Return whether an address, in its plain form, is in one of them."""
        if not self._networks or not isinstance(address, str):
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def plain_address(text: str) -> str | None:
    """Return an address in its one spelling, an IPv4 one in IPv6 as IPv4; None for no address."""
    parsed = _parse(text)
    return None if parsed is None else str(parsed)


def address_key(address: str | None) -> str:
    """Return what state about an address is kept by: of an IPv6 address, its /64.

    Whoever has one address in a /64 has them all.
    """
    if address is None:
        return "local"
    parsed = _parse(address)
    if parsed is None:
        return "unparsable"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


def find_client(
    peer: str | None, entries: bytes, proxies: Networks, *, is_rfc7239: bool
) -> str | None:
    """Return the address of the client.

    Args:
        peer: Who is connected, None where that has no address.
        entries: The header's values, joined by commas in their order.
        proxies: Whose word counts.
        is_rfc7239: Whether the header is `Forwarded`, and not X-Forwarded-For.

    Returns:
        The first address from the right that is no declared proxy. Where an entry is no
        address, the proxy that wrote it: something it would not say.
    """
    if peer is None:
        return None
    current = plain_address(peer)
    if current is None or not entries or current not in proxies:
        return current
    # Split from the right and at every comma: a quote that the client left open further
    # left can not swallow what a proxy wrote.
    for entry in reversed(entries.rsplit(b",", _MAX_HOPS)[-_MAX_HOPS:]):
        said = _entry(entry, is_rfc7239=is_rfc7239)
        if said is None:
            return current
        current = said
        if current not in proxies:
            return current
    return current


def _entry(entry: bytes, *, is_rfc7239: bool) -> str | None:
    if len(entry) > _MAX_ENTRY:
        return None
    try:
        text = entry.decode("ascii").strip()
    except UnicodeDecodeError:
        return None
    if is_rfc7239:
        text = _forwarded_for(text)
    return _without_port(text)


def _forwarded_for(element: str) -> str:
    """Return what `for` says in one element of RFC 7239; empty when it says nothing, or twice."""
    said = ""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            if said:
                return ""
            said = value.strip()
    if len(said) > 1 and said.startswith('"') and said.endswith('"'):
        said = said[1:-1]
    return said


def _without_port(text: str) -> str | None:
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        return plain_address(address) if closed and rest[:1] in {"", ":"} else None
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return plain_address(text)


def _parse(text: str) -> _Address | None:
    try:
        # A zone says something on the machine that wrote it only.
        parsed = ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
