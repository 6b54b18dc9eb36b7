"""One request on its way through the guard, from its headers to the end of its answer."""

import json
from contextlib import suppress
from typing import Any, Final, final

from ...compose.hardening import Hardening
from ...compose.opened import SCOPE_KEY, OpenedRequest
from ...core.errors import RefusedError, StoreError
from ...core.model import Decision, Outcome
from ...core.ports import Clock
from ...protocols.security import Credentials, Transport
from ...security.transport.answers import preflight_headers
from ...security.transport.messages import JsonBody, is_json, judge_json
from ...security.transport.refusals import (
    COUNTED_STATUSES,
    REFUSALS,
    app_refusal,
    refusal,
    status_of,
)
from ...security.transport.trace_context import parse_traceparent, without_trace_context
from .answer import close_websocket, refuse
from .body import BodyReader
from .rules import HttpRules, Seen, linked
from .types import AsgiApp, Message, Receive, Scope, Send

__all__ = ("Exchange", "HttpServerError", "InFlight")

InFlight = set[tuple[bytes, str]]
"""The requests under way: session, and id as text."""

_ADOPTION_WAIT_S: Final = 1.0
_MODERN: Final = b"2026"
_OK, _ACCEPTED, _REFUSED, _UNAVAILABLE, _BROKEN = 200, 202, 400, 503, 500
_INITIALIZE: Final = "initialize"
_SESSION_ONLY = frozenset({"http/GET", "http/DELETE"})


class HttpServerError(Exception):
    """The application answered with a status of the 500s; its name is the record's code."""


@final
class Exchange:
    """The request, and what has become of it.

    Args:
        app: What is guarded.
        hardening: The guards.
        rules: What the configuration says.
        seen: What the request's headers say.
        opened: The request's record.
        clock: Time.
        in_flight: The requests under way, shared by all.
        app_authenticates: Whether the application asks for credentials itself.
    """

    __slots__ = (
        "_app",
        "_asks",
        "_body",
        "_clock",
        "_counted",
        "_hardening",
        "_held",
        "_in_flight",
        "_key",
        "_rules",
        "_seen",
        "_send",
        "complete",
        "opened",
        "status",
    )

    def __init__(
        self,
        app: AsgiApp,
        hardening: Hardening,
        *,
        rules: HttpRules,
        seen: Seen,
        opened: OpenedRequest,
        clock: Clock,
        in_flight: InFlight,
        app_authenticates: bool,
    ) -> None:
        self._app = app
        self._hardening = hardening
        self._rules = rules
        self._seen = seen
        self._clock = clock
        self._in_flight = in_flight
        self._asks = not app_authenticates
        self._body: bytes | None = None
        self._held = 0
        self._counted = False
        self._key: tuple[bytes, str] | None = None
        self.opened: OpenedRequest = opened
        self.status: int = 0
        """The status of the answer, 0 until there is one."""
        self.complete: bool = False
        """Whether the answer has ended."""

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the request through, and see to its record on every way out."""
        outcome: Outcome | None = None
        self._send = send
        try:
            await self._open_stores()
            decision = self._seen.refusal or await self._prepare(receive)
            if isinstance(decision, Decision):
                outcome = Outcome(refusal=decision)
                is_http1 = str(scope.get("http_version", "1.1")).startswith("1")
                await refuse(self._answer, decision, self.opened.id, is_http1=is_http1)
            elif decision:
                outcome = await self._pass(scope, receive)
        except Exception as error:
            outcome = Outcome(failure=error)
            raise
        finally:
            await self._end(outcome)

    async def run_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the handshake; what is said on the connection is the application's."""
        outcome: Outcome | None = None
        decision = self._seen.refusal
        try:
            await self._open_stores()
            if decision is None:
                await self._app(self._inner_scope(scope), receive, send)
                outcome = Outcome()
            else:
                outcome = Outcome(refusal=decision)
                if status_of(decision) in COUNTED_STATUSES:
                    self._count()
                await close_websocket(send)
        except Exception as error:
            outcome = Outcome(failure=error)
            raise
        finally:
            await self._end(outcome)

    async def _open_stores(self) -> None:
        if not self._hardening.is_open:
            # When the audit log can not be opened, calls are refused and say so.
            with suppress(StoreError):
                await self._hardening.ensure_open()

    async def _prepare(self, receive: Receive) -> Decision | bool:
        """Return why the request is refused, True where it is not, False where it is gone."""
        seen = self._seen
        headers = seen.headers
        if (
            self._asks
            and seen.method in _SESSION_ONLY
            and b"mcp-session-id" in headers.single
            and not await self._is_known()
        ):
            return REFUSALS["unauthenticated"]
        return await self._take(receive)

    async def _take(self, receive: Receive) -> Decision | bool:
        """Read the body and judge it; as `_prepare`."""
        headers, media = self._seen.headers, self._media()
        # Past HTTP/1.1 a body may come without a word of it in the headers.
        announced = headers.chunked or bool(headers.length)
        if announced and isinstance(media, Decision):
            return media
        decision = await self._read(receive)
        if decision is not None or self._body is None:
            return decision or False
        if isinstance(media, Decision):
            return media if self._body else True
        if not (is_json(media) and (announced or self._body)):
            return True
        decision = self._judge(self._body)
        if decision is None and self._acts_uncalled() and not await self._is_known():
            decision = REFUSALS["unauthenticated"]
        return decision or True

    def _acts_uncalled(self) -> bool:
        """Return whether a message does something that a refused call does not undo.

        The library keeps the session that a refused `initialize` has opened, and takes an
        answer to a question of the server without making a call of it.
        """
        message = self.opened.message
        if not self._asks or (message and message != _INITIALIZE):
            return False
        return bool(message) or b"mcp-session-id" in self._seen.headers.single

    def _media(self) -> str | Decision:
        """Return the media type of a body, or why one of it is not taken."""
        single = self._seen.headers.single
        if single.get(b"content-encoding", b"identity").lower() != b"identity":
            return REFUSALS["unsupported_media_type"]
        return self._rules.media_type(single.get(b"content-type"))

    async def _is_known(self) -> bool:
        """Return whether the caller has credentials, where no call will be asked for them."""
        config = self._hardening.config
        if config.mode.value == "observe" or "authenticate" in config.disabled:
            return True
        presented = self._seen.headers.single.get(b"authorization")
        bearer = None
        if presented is not None:
            scheme, _, rest = presented.decode("latin-1").partition(" ")
            bearer = rest.strip() if scheme.lower() == "bearer" else ""
        credentials = Credentials(
            transport=Transport.HTTP, bearer=bearer, ip_address=self._seen.address
        )
        try:
            await self._hardening.blocks.authenticator.authenticate(credentials)
        except RefusedError:
            return False
        return True

    async def _read(self, receive: Receive) -> Decision | None:
        budget, key = self._rules.budget, self._seen.key
        if not budget.begin(key):
            return REFUSALS["overloaded"]
        try:
            reader = BodyReader(
                self._rules.config,
                self._clock,
                declared=self._seen.headers.length,
                hold=self._hold,
            )
            body = await reader.read(receive)
        finally:
            budget.end(key)
        if isinstance(body, Decision):
            return body
        self._body = body
        return None

    def _hold(self, size: int) -> bool:
        if not self._rules.budget.hold(size):
            return False
        self._held += size
        return True

    def _judge(self, body: bytes) -> Decision | None:
        config = self._rules.config
        judged = judge_json(
            body,
            max_bytes=config.max_body_bytes,
            max_depth=config.max_depth,
            max_parts=config.max_parts,
            arrays=config.json_arrays,
        )
        if not isinstance(judged, JsonBody):
            return judged
        self.opened.message = judged.method
        session = self._seen.headers.single.get(b"mcp-session-id")
        if session is not None and judged.request_id is not None:
            key = (session, judged.request_id)
            if key in self._in_flight:
                # A second one would be sent the first one's answer.
                return refusal("request_id_in_use")
            self._in_flight.add(key)
            self._key = key
        if not self._seen.trusts_trace:
            self._strip_traces(judged.value)
        return None

    def _strip_traces(self, value: Any) -> None:
        """Take the trace context out of the body: the SDK's own tracing reads it there."""
        if isinstance(value, dict):
            stripped: Any = self._strip_trace(value)
        else:
            found = [
                each if not isinstance(each, dict) else self._strip_trace(each) or each
                for each in value
            ]
            stripped = None if found == value else found
        if stripped is not None:
            self._body = json.dumps(stripped, separators=(",", ":")).encode("ascii")

    def _strip_trace(self, message: dict[str, Any]) -> dict[str, object] | None:
        """Return a message without it, None where it has none."""
        stripped = without_trace_context(message)
        if stripped is None:
            return None
        said = message["params"]["_meta"].get("traceparent")
        if isinstance(said, str) and self._rules.links(self._seen.address):
            parent = parse_traceparent(said.encode("ascii", "replace"))
            if parent is not None:
                self.opened.note(linked(parent))
        return stripped

    async def _pass(self, scope: Scope, receive: Receive) -> Outcome | None:
        if self._seen.readable_by is not None and self._seen.method == "http/OPTIONS":
            headers = preflight_headers()
            await self._answer({"type": "http.response.start", "status": 204, "headers": headers})
            await self._answer({"type": "http.response.body", "body": b""})
            return Outcome()
        inner = self._inner_scope(scope)
        if self._body is None:
            await self._app(inner, receive, self._answer)
        else:
            body: bytes | None = self._body

            async def replay() -> Message:
                nonlocal body
                if body is None:
                    return await receive()
                message: Message = {"type": "http.request", "body": body, "more_body": False}
                body = None
                return message

            await self._app(inner, replay, self._answer)
        return self._outcome()

    def _inner_scope(self, scope: Scope) -> Scope:
        seen = self._seen
        inner = {**scope, SCOPE_KEY: self.opened}
        client = scope.get("client")
        if client and seen.address is not None and client[0] != seen.address:
            inner["client"] = (seen.address, client[1])
        body, length = self._body, seen.headers.length
        resized = body is not None and length is not None and length != len(body)
        if seen.hidden or resized:
            lines = [each for each in scope["headers"] if each[0] not in seen.hidden]
            if resized and body is not None:
                lines = [each for each in lines if each[0] != b"content-length"]
                lines.append((b"content-length", b"%d" % len(body)))
            inner["headers"] = lines
        return inner

    async def _answer(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            if self.status in COUNTED_STATUSES:
                self._count()
            message = {
                **message,
                "headers": self._rules.answers.dress(
                    message.get("headers", ()), self.opened.id, self._seen.readable_by
                ),
            }
        elif kind == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        if not self._counted and self.opened.code == "unauthenticated":
            # Before the client can know of it and send the next one.
            self._count()
        await self._send(message)

    def _count(self) -> None:
        self._counted = True
        self._rules.count_refused(self._seen.key, self._clock.monotonic())

    def _outcome(self) -> Outcome | None:
        status = self.status
        if status == 0:
            return None
        if status >= _BROKEN and status != _UNAVAILABLE:
            return Outcome(failure=HttpServerError())
        if status >= _REFUSED:
            return Outcome(refusal=app_refusal(status))
        return Outcome()

    async def _end(self, outcome: Outcome | None) -> None:
        self._rules.budget.let_go(self._held)
        if self._key is not None:
            self._in_flight.discard(self._key)
        opened = self.opened
        try:
            if self._may_still_be_adopted():
                await opened.wait_adopted(_ADOPTION_WAIT_S)
        finally:
            if not self._counted and opened.code == "unauthenticated":
                # A notification is refused after its answer.
                self._count()
            refused = None if outcome is None else outcome.refusal
            # The flood beyond an address's share is counted and logged, not kept for good.
            audited = refused is None or (
                refused.code != "rate_limited"
                and self._rules.may_audit(self._seen.key, self._clock.monotonic())
            )
            opened.close(outcome, audited=audited)

    def _may_still_be_adopted(self) -> bool:
        """Return whether a message was handed to a session that has not begun with it.

        So it is with notifications, which are acknowledged first, and where the client
        of a legacy stream goes away at once. The 2026 protocol drops notifications.
        """
        if not self.opened.message or self.opened.is_adopted:
            return False
        version = self._seen.headers.single.get(b"mcp-protocol-version", b"")
        if version >= _MODERN:
            return False
        return self.status == _ACCEPTED or (self.status == _OK and not self.complete)
