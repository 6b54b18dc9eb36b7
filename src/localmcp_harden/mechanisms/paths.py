"""The canonical form of paths and URIs, so that two ways to write one thing are judged alike.

A path becomes the `file://` URI of what the operating system opens for it: symbolic
links and dot-dot are followed by the system itself, not by text. A URI is
normalized after RFC 3986, section 6.2. What can be read in two ways is refused.
Lengths are characters and, encoded, bytes. Paths are POSIX paths.
"""

import ipaddress
import os
import re
from contextlib import suppress
from urllib.parse import quote, unquote, unquote_to_bytes

from ..core.errors import ConfigError, InvalidResourceError

__all__ = ("MAX_LENGTH", "canonical_path", "canonical_uri", "file_uri", "normalize_uri", "path_of")

MAX_LENGTH: int = 4096
"""The longest path or URI there is, PATH_MAX of Linux."""

_MAX_DECODINGS = 4
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_REST_SAFE = _PATH_SAFE + "?"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_PARTS = re.compile(r"(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_PORT = re.compile(r"[0-9]{0,5}", re.ASCII)
_DOTS = re.compile(r"(?:^|[/\\])\.\.?(?=[/\\]|$)")
_DOT_DOT = re.compile(r"(?:^|/)\.\.(?:/|$)")


def canonical_path(path: str, *, base: str) -> str:
    """Return the `file://` URI of what the system opens for `path`.

    Percent signs and tildes are ordinary characters of a path. What does not exist
    yet is resolved as far as it does. A file system that ignores case is not
    taken into account: two spellings give two URIs.

    Args:
        path: As a tool got it, 1 to 4,096 characters; relative ones start at `base`.
        base: An absolute path.

    Raises:
        InvalidResourceError: The path is empty, too long, holds control characters
            or something that is no text, or can not be resolved (a loop of links,
            no right to look).
        ConfigError: `base` is not absolute.
    """
    _check_text(path, "path")
    if not base.startswith("/"):
        raise ConfigError("must be an absolute path", "base")
    return file_uri(_resolve(os.path.join(base, path)))  # noqa: PTH118 - pathlib drops "//" and "."


def canonical_uri(uri: str) -> str:
    """Return the one spelling of a URI by which policy judges it.

    Lower-case scheme and host, no default port, no dot segments, escapes only where
    they are needed; a `file:` URI as `canonical_path` gives it. The query and the
    fragment stay.

    Args:
        uri: With its scheme, 1 to 4,096 characters.

    Raises:
        InvalidResourceError: The URI is too long, malformed, carries a password, or
            hides dot segments or slashes behind escapes.
    """
    normal = normalize_uri(uri)
    if not normal.startswith("file://"):
        return normal
    path = _decode(uri_path := normal[len("file://") :])
    if not _DOT_DOT.search(uri_path):
        return file_uri(_resolve(path))
    # A reader of the URI drops `link/..` as text, the system follows the link first:
    # when the two differ, nobody knows which file is meant.
    resolved = _resolve(path)
    if resolved != _resolve(os.path.normpath(path)):
        raise InvalidResourceError("the URI has dot-dot segments that can be read in two ways")
    return file_uri(resolved)


def file_uri(path: str) -> str:
    """Return the URI of an absolute path as it stands, without asking the system.

    Raises:
        InvalidResourceError: The path is not absolute, or the URI would be too long.
    """
    _check_text(path, "path")
    if not path.startswith("/"):
        raise InvalidResourceError("the path must be absolute")
    # Linux reads two leading slashes as one; POSIX, and so `os.path`, leaves them be.
    uri = "file:///" + quote(path.lstrip("/"), safe=_PATH_SAFE)
    _check_length(uri, "path")
    return uri


def path_of(uri: str) -> str:
    """Return the path of a URI that `canonical_path` or `file_uri` made.

    Raises:
        InvalidResourceError: It is no `file://` URI.
    """
    if not uri.startswith("file:///"):
        raise InvalidResourceError("the URI must begin with file:///")
    return unquote(uri[len("file://") :], errors="strict")


def normalize_uri(uri: str) -> str:
    """Return a URI normalized as text alone, without asking the system.

    Of a `file:` URI the dot-dot segments stay, since only the system knows where
    they lead.

    Raises:
        InvalidResourceError: As `canonical_uri`.
    """
    _check_text(uri, "URI")
    if "\\" in uri:
        raise InvalidResourceError("the URI must not hold a backslash")
    head = _SCHEME.match(uri)
    if head is None or len(head[1]) == 1:
        raise InvalidResourceError("the URI must begin with a scheme, such as file: or https:")
    scheme = head[1].lower()
    parts = _PARTS.fullmatch(uri, head.end())
    if parts is None:
        raise InvalidResourceError("the URI is malformed")
    authority, path, query, fragment = parts.groups()
    if scheme == "file":
        normal = _file(authority or "", path, has_rest=query is not None or fragment is not None)
    else:
        normal = _general(scheme, authority, path) + _escape(query or "", _REST_SAFE)
        if fragment is not None:
            normal += "#" + _escape(fragment[1:], _REST_SAFE)
    _check_length(normal, "URI")
    return normal


def _general(scheme: str, authority: str | None, path: str) -> str:
    clean = _escape(path, _PATH_SAFE)
    if authority is None:
        # `urn:a:b` and the like have no hierarchy, but a path of theirs may.
        if "/" in clean:
            clean = _without_dots(clean)
        if clean.startswith("//"):
            # It would come back as an authority when it is read again.
            raise InvalidResourceError("the URI has an empty first segment")
        _refuse_hidden_dots(clean)
        return f"{scheme}:{clean}"
    clean = _without_dots(clean)
    _refuse_hidden_dots(clean)
    if scheme in _DEFAULT_PORTS and not clean:
        clean = "/"
    return f"{scheme}://{_authority(scheme, authority)}{clean}"


def _file(authority: str, path: str, *, has_rest: bool) -> str:
    if authority.lower() not in {"", "localhost"}:
        raise InvalidResourceError("a file URI must name no other host")
    if has_rest:
        raise InvalidResourceError("a file URI must have no query and no fragment")
    if not path.startswith("/"):
        raise InvalidResourceError("a file URI must have an absolute path")
    decoded = _decode(path)
    _refuse_hidden_dots(quote(decoded, safe=_PATH_SAFE), allowed=_dots(decoded))
    return file_uri(decoded)


def _decode(path: str) -> str:
    """Return the path of a file URI as the system gets it."""
    _escape(path, _PATH_SAFE)
    if re.search("%(?:2f|5c)", path, re.IGNORECASE):
        raise InvalidResourceError("a file URI must not hold an escaped slash or backslash")
    try:
        decoded = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidResourceError("the URI's escapes are not UTF-8") from None
    _check_text(decoded, "URI")
    return decoded


def _authority(scheme: str, authority: str) -> str:
    user, at, place = authority.rpartition("@")
    user = _escape(user, "-._~!$&'()*+,;=")
    if "%3A" in user or "%40" in user:
        raise InvalidResourceError("the URI must not carry a password")
    if place.startswith("["):
        address, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise InvalidResourceError("the URI's address is malformed")
        host, port = _address(address), port[1:]
    else:
        host, _, port = place.partition(":")
        if host or port or at:
            host = _host(host)
    if _PORT.fullmatch(port) is None:
        raise InvalidResourceError("the URI's port is malformed")
    if port and int(port) != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{int(port)}"
    return f"{user}@{host}" if user else host


def _address(text: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(text)
    except ValueError:
        raise InvalidResourceError("the URI's address is malformed") from None
    if parsed.scope_id is not None:
        raise InvalidResourceError("the URI's address must name no zone")
    return f"[{parsed.compressed}]"


def _host(text: str) -> str:
    # Escaped once more after lower(), which took the escapes' digits along.
    host = _escape(_escape(text, "-._~").lower(), "-._~")
    # `example.org.` and `example.org` are one host.
    host = host.removesuffix(".")
    if not host or host.endswith("."):
        raise InvalidResourceError("the URI's host is malformed")
    return host


def _escape(text: str, safe: str) -> str:
    """Return `text` with escapes exactly where they are needed, in upper case."""

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            raise InvalidResourceError("the URI has a percent sign that escapes nothing")
        character = chr(int(match[1], 16))
        if _CONTROL.match(character) and ord(character) < 0x80:  # noqa: PLR2004 - above is UTF-8
            raise InvalidResourceError("the URI must not hold control characters")
        return character if character in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(one, text), safe=safe + "%")


def _without_dots(path: str) -> str:
    """Return the path without dot segments (RFC 3986, section 5.2.4)."""
    if "/." not in path and not path.startswith("."):
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            # The empty first segment is the root; nothing is above it.
            if kept and kept != [""]:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."} and kept:
        kept.append("")
    return "/".join(kept)


def _dots(path: str) -> int:
    return len(_DOTS.findall(path))


def _refuse_hidden_dots(path: str, *, allowed: int = 0) -> None:
    """Refuse dot segments that show only when a server decodes once or more."""
    errors = "strict"
    for _ in range(_MAX_DECODINGS):
        if "%" not in path:
            return
        try:
            decoded = unquote_to_bytes(path).decode("utf-8", errors)
        except UnicodeDecodeError:
            raise InvalidResourceError("the URI's escapes are not UTF-8") from None
        if _dots(decoded) > allowed:
            raise InvalidResourceError("the URI hides dot segments behind escapes")
        if decoded == path:
            return
        # Deeper down, a percent sign may be an ordinary one.
        path, errors = decoded, "replace"
    if unquote_to_bytes(path) != path.encode():
        raise InvalidResourceError("the URI is escaped too many times")


def _resolve(path: str) -> str:
    try:
        try:
            return os.path.realpath(path, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            # What does not exist yet: its existing part is resolved all the same.
            resolved = os.path.realpath(path)
            # A loop of links behind something that does not exist shows only now.
            with suppress(FileNotFoundError, NotADirectoryError):
                os.path.realpath(resolved, strict=True)
            return resolved
    except (OSError, ValueError):
        raise InvalidResourceError("the path can not be resolved") from None


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidResourceError(f"the {what} must be text, not {type(text).__name__}")
    if not text:
        raise InvalidResourceError(f"the {what} is empty")
    _check_length(text, what)
    if _CONTROL.search(text):
        raise InvalidResourceError(f"the {what} must not hold control characters")


def _check_length(text: str, what: str) -> None:
    try:
        size = len(text) if len(text) > MAX_LENGTH else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidResourceError(f"the {what} is not valid text") from None
    if size > MAX_LENGTH:
        raise InvalidResourceError(f"the {what} is longer than {MAX_LENGTH} bytes")
