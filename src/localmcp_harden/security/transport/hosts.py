"""Judges the Host and Origin of a request by lists: exact names, never patterns of names.

A browser may be led to any server by a name that the page's owner rebinds (DNS rebinding).
It cannot be led to lie about that name, so a server that knows its own is safe.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, final

__all__ = ("HostList", "OriginList", "parse_host_pattern", "parse_origin_pattern")

_AUTHORITY = re.compile(
    r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?)"
    r"(?::(?P<port>[0-9]{1,5}|\*))?",
    re.ASCII,
)
_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT = 65_535
_ANY = -1
_OWN = 0
"""The port of an authority that names none: that of the scheme."""
_MAX_SEEN = 64
_MAX_CHARS = 300

_Authority = tuple[str, int]
_Origin = tuple[str, str, int]


def parse_host_pattern(text: str) -> tuple[str, int] | None:
    """Return name and port of `name`, `name:port` or `name:*` (port -1); None for no such text."""
    return _parse(text.lower())


def parse_origin_pattern(text: str) -> tuple[str, str, int] | None:
    """Return scheme, name and port of an origin; port -1 for `*`, None for no origin."""
    scheme, found, authority = text.lower().partition("://")
    if not found or scheme not in _PORTS:
        return None
    parsed = _parse(authority)
    if parsed is None:
        return None
    name, port = parsed
    return scheme, name, _PORTS[scheme] if port == _OWN else port


@final
class HostList:
    """The hosts that requests may name.

    Args:
        patterns: As `parse_host_pattern` reads them; what it does not is left out.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        parsed = [parse_host_pattern(each) for each in patterns]
        self._allowed = frozenset(each for each in parsed if each is not None)
        self._seen: set[bytes] = set()

    def allows(self, host: bytes) -> bool:
        """Return whether a Host header names one of them."""
        if host in self._seen:
            return True
        parsed = _read(host)
        if parsed is None or not self.covers(*parsed):
            return False
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(host)
        return True

    def covers(self, name: str, port: int) -> bool:
        """Return whether one of them has this name, and this port or every one."""
        return (name, port) in self._allowed or (name, _ANY) in self._allowed


@final
class OriginList:
    """The pages that may call.

    Args:
        patterns: As `parse_origin_pattern` reads them.
        hosts: Where there are no patterns: those whose pages may, over http and https.
    """

    def __init__(self, patterns: Iterable[str], hosts: HostList | None = None) -> None:
        parsed = [parse_origin_pattern(each) for each in patterns]
        self._allowed = frozenset(each for each in parsed if each is not None)
        self._hosts = hosts

    def allows(self, origin: bytes) -> bool:
        """Return whether an Origin header names one of them; `null` is none."""
        text = _text(origin)
        parsed = None if text is None else parse_origin_pattern(text)
        if parsed is None:
            return False
        scheme, name, port = parsed
        if parsed in self._allowed or (scheme, name, _ANY) in self._allowed:
            return True
        if self._hosts is None:
            return False
        # A page on the scheme's own port names none, and neither does its server.
        return self._hosts.covers(name, port) or (
            port == _PORTS[scheme] and self._hosts.covers(name, _OWN)
        )


def _read(host: bytes) -> _Authority | None:
    text = _text(host)
    return None if text is None else _parse(text.lower())


def _text(header: bytes) -> str | None:
    """Return a header as text; a header that is too long, or a pattern, is none."""
    if len(header) > _MAX_CHARS or b"*" in header or not header.isascii():
        return None
    return header.decode("ascii")


def _parse(text: str) -> _Authority | None:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    name, port = found["name"], found["port"]
    if name.startswith("["):
        try:
            # One address has many spellings.
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return None
    if port is None:
        return name, _OWN
    if port == "*":
        return name, _ANY
    number = int(port)
    return (name, number) if 0 < number <= _MOST_PORT else None
