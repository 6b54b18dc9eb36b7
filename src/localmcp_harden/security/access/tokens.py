"""Knows callers by opaque bearer tokens, of which it keeps only SHA-256 hashes.

A token holds 256 random bits, so a slow hash would add nothing but a way to keep
the server busy. The table is searched by hash: how long a search takes tells
nothing about a token.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable
from enum import Enum
from typing import final

from attrs import field, frozen
from attrs.validators import instance_of

from ...core.errors import ConfigError
from ...core.ports import Clock
from ...mechanisms.clock import SystemClock
from .fields import is_digest, is_moment, is_name, is_names

__all__ = (
    "MAX_TOKEN_LENGTH",
    "Lookup",
    "TokenEntry",
    "TokenTable",
    "generate_token",
    "hash_token",
    "is_generated_token",
)

MAX_TOKEN_LENGTH: int = 4096
"""The longest bearer token that is looked at, in characters."""

_PREFIX = "lmh_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS = 43  # 62**43 is just above 2**256
_CHECK_DIGITS = 6  # 62**6 is just above 2**32
_SHAPE = re.compile(f"{_PREFIX}([0-9A-Za-z]{{{_SECRET_DIGITS}}})([0-9A-Za-z]{{{_CHECK_DIGITS}}})")

_NOTHING: frozenset[str] = frozenset()


@final
@frozen(kw_only=True)
class TokenEntry:
    """One token and whom it stands for.

    Args:
        sha256: The hash of the token, 64 lower-case hexadecimal digits (`hash_token`).
        client: The client that holds it.
        subject: Whom it speaks for (`""`, the client itself).
        roles: Roles beside those the role map grants.
        scopes: What it was granted.
        expires_at: Seconds since the Unix epoch (None, never).
    """

    sha256: str = field(repr=False, validator=is_digest)
    client: str = field(validator=is_name)
    subject: str = field(default="", validator=instance_of(str))
    roles: frozenset[str] = field(default=_NOTHING, validator=is_names)
    scopes: frozenset[str] = field(default=_NOTHING, validator=is_names)
    expires_at: float | None = field(default=None, validator=is_moment)


@final
class Lookup(Enum):
    """Why a token was not found. For records; a caller must not learn it."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


@final
class TokenTable:
    """Tokens by hash.

    Args:
        entries: The tokens.
        clock: Says when one has expired.

    Raises:
        ConfigError: Two entries have the same hash.
    """

    def __init__(self, entries: Iterable[TokenEntry] = (), *, clock: Clock | None = None) -> None:
        self._wall = (clock or SystemClock()).wall
        self._entries: dict[str, TokenEntry] = {}
        for number, entry in enumerate(entries):
            if entry.sha256 in self._entries:
                raise ConfigError(
                    "another entry has the same hash; a token stands for one caller",
                    f"tokens[{number}].sha256",
                )
            self._entries[entry.sha256] = entry

    def __len__(self) -> int:
        """Return how many tokens are known, expired ones included."""
        return len(self._entries)

    def lookup(self, bearer: str, /) -> TokenEntry | Lookup:
        """Return the entry of a token as presented, or why there is none."""
        if not 0 < len(bearer) <= MAX_TOKEN_LENGTH:
            return Lookup.MALFORMED
        try:
            digest = hash_token(bearer)
        except UnicodeEncodeError:
            return Lookup.MALFORMED
        entry = self._entries.get(digest)
        if entry is None:
            return Lookup.UNKNOWN
        if entry.expires_at is not None and self._wall() >= entry.expires_at:
            return Lookup.EXPIRED
        return entry


def hash_token(token: str, /) -> str:
    """Return the SHA-256 of a token in lower-case hexadecimal, as `TokenEntry` keeps it."""
    return hashlib.sha256(token.encode()).hexdigest()


def generate_token() -> str:
    """Return a new token: `lmh_`, 256 random bits, and a checksum by which scanners know it.

    Hand it to the client once and keep only its hash.
    """
    secret = _digits(secrets.randbits(256), _SECRET_DIGITS)
    return _PREFIX + secret + _checksum(secret)


def is_generated_token(text: str, /) -> bool:
    """Return whether `text` looks like a token of `generate_token`, checksum included."""
    match = _SHAPE.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


def _checksum(secret: str) -> str:
    return _digits(zlib.crc32((_PREFIX + secret).encode()), _CHECK_DIGITS)


def _digits(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
