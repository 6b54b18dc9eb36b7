"""What can be known of a JSON-RPC message that was not parsed, and which requests are open.

A message that is refused before parsing is still owed an answer, under its id. The id
is looked for where clients write it: among the first members, or as the very last one.
"""

import json
import re
from typing import NamedTuple, TypeAlias, final

__all__ = ("Envelope", "MessageId", "OpenRequests", "read_envelope")

MessageId: TypeAlias = int | str

# Possessive, so that a string without an end costs one pass.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]:,]|"|[^\s"{}\[\]:,]++', re.DOTALL)
_NUMBER = re.compile(rb"-?\d{1,19}")
_LAST_ID = re.compile(rb'(?<!\\)"id"\s*:\s*(-?\d{1,19}|"(?:[^"\\]|\\.){0,200}")\s*\}\s*$')
_OPENING = frozenset({b"{", b"["})
_CLOSING = frozenset({b"}", b"]"})


class Envelope(NamedTuple):
    """The outermost members of a message, as far as they were found."""

    id: MessageId | None = None
    is_request: bool = False
    is_response: bool = False
    has_id: bool = False
    """Whether there is a member `id`, of whatever kind."""


def read_envelope(head: bytes, tail: bytes = b"") -> Envelope:
    """Return what the first bytes of a message, and its last ones, say of it.

    Only members of the outermost object count: an `id` among the arguments is none.
    The text need not be well-formed.

    Args:
        head: The first bytes; a few thousand are enough.
        tail: The last bytes.
    """
    found, keys = _outermost(head)
    is_response = not keys.isdisjoint({"result", "error"})
    is_request = "method" in keys and not is_response
    if found is None and is_request and (match := _LAST_ID.search(tail)):
        # Directly before the last brace: a member of the outermost object.
        found = _as_id(match[1])
    return Envelope(
        found,
        is_request=is_request and found is not None,
        is_response=is_response,
        has_id=found is not None or "id" in keys,
    )


def _outermost(head: bytes) -> tuple[MessageId | None, set[str]]:
    """Return the id and the names of the outermost members."""
    depth = 0
    key = ""
    expects_key = False
    value: bytes | None = None
    found: MessageId | None = None
    keys: set[str] = set()
    for match in _TOKEN.finditer(head):
        token = match[0]
        if token == b'"':
            break  # a string without an end
        if token in {b",", b"}"} and key == "id" and value is not None:
            # Only now is the value known to be whole.
            found = _as_id(value)
        if token in _OPENING:
            depth += 1
            expects_key = depth == 1 and token == b"{"
            value = None
        elif token in _CLOSING:
            depth -= 1
        elif depth != 1:
            continue
        elif token == b",":
            expects_key, value, key = True, None, ""
        elif token == b":":
            expects_key = False
        elif expects_key:
            key = _text(token) or ""
            keys.add(key)
        else:
            value = token
    return found, keys


def _as_id(token: bytes) -> MessageId | None:
    if _NUMBER.fullmatch(token):
        return int(token)
    return _text(token)


def _text(token: bytes) -> str | None:
    try:
        value: object = json.loads(token)
        if isinstance(value, str):
            # Half of a surrogate pair is no text that an answer could carry.
            value.encode()
            return value
    except ValueError:
        pass
    return None


@final
class OpenRequests:
    """The ids of requests that wait for their answer: bounded, each one once.

    Args:
        limit: How many may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: set[str] = set()

    def __len__(self) -> int:
        """Return how many requests are open."""
        return len(self._ids)

    def open(self, request_id: MessageId) -> bool:
        """Note a request; return False when there are too many, or this id is open."""
        # The SDK takes 7 and "7" for one id.
        key = str(request_id)
        if len(self._ids) >= self._limit or key in self._ids:
            return False
        self._ids.add(key)
        return True

    def is_open(self, request_id: object) -> bool:
        """Return whether a request of this id waits for its answer."""
        return str(request_id) in self._ids

    def close(self, request_id: object) -> None:
        """Note that a request was answered or cancelled; what is no id closes none."""
        # The SDK reads ids so, too: what it takes for none cancels nothing.
        if isinstance(request_id, int | str) and not isinstance(request_id, bool):
            self._ids.discard(str(request_id))
