"""Reads `HOST:PORT`."""

from ..core.errors import ConfigError

__all__ = ("parse_address",)

_MOST = 65_535


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (loopback).

    Raises:
        ConfigError: It is no such address.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdecimal() or int(port[:6]) > _MOST:
        raise ConfigError("must be HOST:PORT, for example 127.0.0.1:8000", "--http")
    return host or "127.0.0.1", int(port)
