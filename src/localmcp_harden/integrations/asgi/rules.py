"""What a configuration means for requests: compiled once, asked for each of them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

from ...core.model import Decision
from ...mechanisms.gcra import GcraTable
from ...security.transport.addresses import Networks, address_key, find_client
from ...security.transport.answers import AnswerHeaders
from ...security.transport.budget import BodyBudget
from ...security.transport.config import HttpConfig
from ...security.transport.headers import FORWARDED_HEADERS, RequestHeaders, read_headers
from ...security.transport.hosts import HostList, OriginList
from ...security.transport.messages import judge_content_type
from ...security.transport.refusals import REFUSALS, refusal
from ...security.transport.trace_context import TRACE_HEADERS, parse_traceparent
from .types import Scope

__all__ = ("HttpRules", "Seen")

_METHODS: Mapping[str, str] = {
    name: f"http/{name}" for name in ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
}
_OTHER: Final = "http/_other"
_WEBSOCKET: Final = "http/WEBSOCKET"
_NO_META: Mapping[str, Any] = {}
_MAX_KNOWN = 1_024
_MAX_TYPES = 16


class Seen(NamedTuple):
    """What a request's headers say.

    Args:
        headers: The headers.
        method: The method as it is recorded.
        address: The client's address, as far as declared proxies can be believed.
        key: What the address is counted under.
        refusal: Why the request is refused, None where it is not.
        readable_by: The origin whose pages may read the answer.
        trusts_trace: Whether the caller's trace context is handed on.
        meta: What the record says of the caller's trace.
        hidden: The headers that are not handed on.
    """

    headers: RequestHeaders
    method: str
    address: str | None
    key: str
    refusal: Decision | None
    readable_by: bytes | None
    trusts_trace: bool
    meta: Mapping[str, Any]
    hidden: frozenset[bytes]


@final
class HttpRules:
    """A configuration, ready to be asked.

    Args:
        config: The configuration.
        previous: Those that were in force, whose counts go on.
    """

    def __init__(self, config: HttpConfig, previous: "HttpRules | None" = None) -> None:
        self.config: HttpConfig = config
        self._types = frozenset(config.content_types)
        self._known_types: dict[bytes, str] = {}
        self.answers: AnswerHeaders = AnswerHeaders(hsts_s=config.hsts_s)
        self._hosts = HostList(config.allowed_hosts)
        own = None if config.allowed_origins else self._hosts
        self._origins = OriginList(config.allowed_origins, own)
        self._cors = OriginList(config.cors_origins)
        self._proxies = Networks(config.trusted_proxies)
        self._tracers = Networks(config.trace_networks)
        self._forwarded = config.forwarded_header.encode()
        self._peers: dict[str, tuple[str | None, str]] = {}
        # What is counted goes on under other settings.
        self.budget: BodyBudget = BodyBudget() if previous is None else previous.budget
        self.budget.retune(
            max_bodies=config.max_bodies,
            max_per_address=config.max_bodies_per_address,
            max_bytes=config.max_buffered_bytes,
        )
        if previous is None:
            self.refused: GcraTable = GcraTable(
                rate_per_s=config.refused_rate_per_s,
                burst=config.refused_burst,
                max_keys=config.max_addresses,
            )
            """What each address owes for refused requests."""
            self.kept: GcraTable = GcraTable(
                rate_per_s=config.refused_rate_per_s,
                burst=config.refused_burst,
                max_keys=config.max_addresses,
            )
            """What each address owes for refusals that were kept for good."""
        else:
            self.refused, self.kept = previous.refused, previous.kept
            for table in (self.refused, self.kept):
                table.retune(
                    rate_per_s=config.refused_rate_per_s,
                    burst=config.refused_burst,
                    max_keys=config.max_addresses,
                )

    def see(self, scope: Scope, now: float) -> Seen:
        """Judge a request by its headers."""
        config = self.config
        lines: list[tuple[bytes, bytes]] = scope["headers"]
        headers = read_headers(
            lines, max_headers=config.max_headers, max_bytes=config.max_header_bytes
        )
        address, key = self._client(scope.get("client"), lines if headers.marked else None)
        if scope["type"] == "websocket":
            method = _WEBSOCKET
        else:
            method = _METHODS.get(scope["method"], _OTHER)
        origin = headers.single.get(b"origin")
        readable_by = origin if origin and self._cors.allows(origin) else None
        refused = headers.refusal or self._judge(
            headers, method, origin, key, now, known=readable_by is not None
        )
        meta, trusts, hidden = _NO_META, False, frozenset[bytes]()
        if headers.marked:
            meta, trusts = self._trace(headers, address)
            hidden = self._hidden(scope.get("client"), trusts_trace=trusts)
        elif config.trace_context == "parent":
            trusts = address in self._tracers
        return Seen(headers, method, address, key, refused, readable_by, trusts, meta, hidden)

    def media_type(self, header: bytes | None) -> str | Decision:
        """Return the media type of a body, or why it is not taken."""
        known = self._known_types.get(header or b"")
        if known is not None:
            return known
        media = judge_content_type(header, self._types)
        if header and isinstance(media, str) and len(self._known_types) < _MAX_TYPES:
            self._known_types[header] = media
        return media

    def count_refused(self, key: str, now: float) -> None:
        """Count a refused request of an address."""
        self.refused.hit(key, now)

    def may_audit(self, key: str, now: float) -> bool:
        """Return whether another refusal of an address is kept for good.

        Those that are not counted have no other end: a flood of them would fill the log.
        """
        return self.kept.hit(key, now) == 0.0

    def links(self, address: str | None) -> bool:
        """Return whether a caller's trace is named in the record and not handed on."""
        return self.config.trace_context == "link" and address in self._tracers

    def _judge(
        self,
        headers: RequestHeaders,
        method: str,
        origin: bytes | None,
        key: str,
        now: float,
        *,
        known: bool,
    ) -> Decision | None:
        if method is _OTHER:
            return REFUSALS["method_not_allowed"]
        host = headers.single.get(b"host")
        if host is None or not self._hosts.allows(host):
            return REFUSALS["host_refused"]
        if origin is not None and not known and not self._origins.allows(origin):
            return REFUSALS["origin_refused"]
        wait = self.refused.wait(key, now)
        return refusal("rate_limited", retry_after_s=wait) if wait else None

    def _client(
        self, client: Any, lines: list[tuple[bytes, bytes]] | None
    ) -> tuple[str | None, str]:
        peer: str | None = client[0] if client else None
        if peer is None:
            return None, address_key(None)
        known = self._peers.get(peer)
        if lines is None or not self._proxies:
            if known is None:
                known = self._learn(peer, find_client(peer, b"", self._proxies, is_rfc7239=False))
            return known
        name = self._forwarded
        entries = b",".join(value for each, value in lines if each == name)
        address = find_client(peer, entries, self._proxies, is_rfc7239=name == b"forwarded")
        return address, address_key(address)

    def _learn(self, peer: str, address: str | None) -> tuple[str | None, str]:
        if len(self._peers) >= _MAX_KNOWN:
            self._peers.clear()
        known = self._peers[peer] = (address, address_key(address))
        return known

    def _trace(
        self, headers: RequestHeaders, address: str | None
    ) -> tuple[Mapping[str, Any], bool]:
        trust = self.config.trace_context
        if trust == "never" or address not in self._tracers:
            return _NO_META, False
        said = headers.single.get(b"traceparent")
        parent = None if said is None else parse_traceparent(said)
        if trust == "link":
            return ({} if parent is None else linked(parent)), False
        if parent is None:
            return _NO_META, said is None
        return {"trace_id": parent.trace_id, "span_id": parent.span_id}, True

    def _hidden(self, client: Any, *, trusts_trace: bool) -> frozenset[bytes]:
        """Return what is not handed on: what nobody may believe."""
        peer = self._client(client, None)[0]
        hidden = frozenset[bytes]() if peer in self._proxies else FORWARDED_HEADERS
        return hidden if trusts_trace else hidden | TRACE_HEADERS


def linked(parent: Any) -> dict[str, str]:
    """Return what a record says of a trace that it only points at."""
    return {"linked_trace_id": parent.trace_id, "linked_span_id": parent.span_id}
