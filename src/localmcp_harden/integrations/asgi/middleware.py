"""The guard before an ASGI application; pure ASGI, on asyncio and trio.

It stands in front of `server.streamable_http_app()`, FastMCP's `http_app()` and any other
application. Every request that comes through leaves exactly one record: that of the call
it carries, or its own.
"""

from typing import Any, final

from ...compose.hardening import Hardening
from ...core.model import Outcome
from ...core.ports import Clock
from ...mechanisms.clock import SystemClock
from ...security.transport.addresses import address_key, plain_address
from ...security.transport.config import HttpConfig
from ...security.transport.refusals import REFUSALS
from .exchange import Exchange, InFlight
from .rules import HttpRules
from .types import AsgiApp, Receive, Scope, Send

__all__ = ("AsgiGuard", "has_authentication")

_CLAIM_LIMIT = 200
_KNOWN_AUTH = "AuthenticationMiddleware"


@final
class AsgiGuard:
    """Refuses, bounds and records what HTTP brings, before the application sees it.

    Args:
        app: The application.
        hardening: The guards whose records it shares.
        config: The settings; when None those of the hardening, also after a reload.
        app_authenticates: Whether the application asks for credentials itself. Where it
            does not, whoever opens the stream of a session or ends one is asked here,
            since neither is a call. When None, True for a Starlette application that
            has its AuthenticationMiddleware.
        clock: Time; bounds how long a body may take.
    """

    def __init__(
        self,
        app: AsgiApp,
        hardening: Hardening,
        *,
        config: HttpConfig | None = None,
        app_authenticates: bool | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._hardening = hardening
        self._config = config
        if app_authenticates is None:
            app_authenticates = has_authentication(app)
        self._app_authenticates = app_authenticates
        self._clock: Clock = clock or SystemClock()
        self._in_flight: InFlight = set()
        self._rules = HttpRules(self._settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request through the guard; the lifespan goes to the application as it is."""
        kind = scope["type"]
        if kind == "http":
            await self._exchange(scope).run(scope, receive, send)
        elif kind == "websocket":
            await self._exchange(scope).run_websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def refuse_overloaded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with 503 and record it: for a server that has too many connections."""
        exchange = self._exchange(scope, overloaded=True)
        await exchange.run(scope, receive, send)

    def record_unreadable(self, peer: str | None) -> None:
        """Record what a server could not read as a request, and count it for its peer.

        Args:
            peer: The address that is connected. What proxies say is not known.
        """
        address = None if peer is None else plain_address(peer)
        opened = self._hardening.open_request("http/_other", ip_address=address)
        rules, key, now = self._current(), address_key(address), self._clock.monotonic()
        opened.close(Outcome(refusal=REFUSALS["invalid_http"]), audited=rules.may_audit(key, now))
        rules.count_refused(key, now)

    @property
    def _settings(self) -> HttpConfig:
        return self._hardening.config.http if self._config is None else self._config

    def _current(self) -> HttpRules:
        """Return the rules, made anew after a reload."""
        settings = self._settings
        if settings is not self._rules.config:
            self._rules = HttpRules(settings, self._rules)
        return self._rules

    def _exchange(self, scope: Scope, *, overloaded: bool = False) -> Exchange:
        rules = self._current()
        seen = rules.see(scope, self._clock.monotonic())
        if overloaded:
            seen = seen._replace(refusal=REFUSALS["overloaded"])
        headers = seen.headers
        opened = self._hardening.open_request(
            seen.method,
            meta={"transport": "http", **seen.meta},
            session_id=headers.text(b"mcp-session-id", _CLAIM_LIMIT),
            ip_address=seen.address,
            user_agent=headers.text(b"user-agent", _CLAIM_LIMIT),
        )
        return Exchange(
            self._app,
            self._hardening,
            rules=rules,
            seen=seen,
            opened=opened,
            clock=self._clock,
            in_flight=self._in_flight,
            app_authenticates=self._app_authenticates,
        )


def has_authentication(app: Any) -> bool:
    """Return whether an application is Starlette's and asks for credentials itself."""
    added = getattr(app, "user_middleware", ())
    return any(getattr(each.cls, "__name__", "") == _KNOWN_AUTH for each in added)
