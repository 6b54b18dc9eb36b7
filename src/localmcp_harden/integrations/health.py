"""Answers a service manager's probes over HTTP: `/health/live`, `/ready` and `/started`.

Plain ASGI, without a framework. 200 when it is healthy or degraded, 503 when not. A
stranger is told the status and nothing else; whoever is authorised, every check.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, matches_re

from ..core.errors import UnauthenticatedError
from ..core.events import EventSink, discard
from ..core.ports import Clock
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.health import HealthKind, HealthRegistry, HealthStatus
from ..protocols.security import Authenticator, Credentials, Transport
from .health_json import health_to_plain

__all__ = ("Authorise", "HealthApp", "HealthAppConfig", "with_health")

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

Authorise: TypeAlias = Callable[[_Scope], bool | Awaitable[bool]]
"""Says of a request's ASGI scope whether its sender may see details."""

_KINDS = {
    "/live": HealthKind.LIVENESS,
    "/ready": HealthKind.READINESS,
    "/started": HealthKind.STARTUP,
}
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_BEARER = b"bearer "
_OK, _NOT_FOUND, _NOT_ALLOWED, _UNAVAILABLE = 200, 404, 405, 503


@final
@frozen(kw_only=True)
class HealthAppConfig:
    """Where probes are answered.

    Args:
        prefix: The path in front of `/live`, `/ready` and `/started` (`/health`).
        max_token_bytes: The longest bearer token that is looked at (16 to 65,536; 8,192).
    """

    prefix: str = field(default="/health", validator=matches_re(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}"))
    max_token_bytes: int = field(
        default=8_192, validator=[instance_of(int), and_(ge(16), le(65_536))]
    )


@final
class HealthApp:
    """An ASGI application that answers probes.

    Args:
        registry: What is asked.
        config: Where.
        authorise: Who may see details. One that raises says no.
        authenticator: Takes a bearer token instead: whoever it knows may see details.
        clock: Time, for events.
        sink: Told when `authorise`, the authenticator or the registry raises.
    """

    def __init__(
        self,
        registry: HealthRegistry,
        config: HealthAppConfig | None = None,
        *,
        authorise: Authorise | None = None,
        authenticator: Authenticator | None = None,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.config: HealthAppConfig = config or HealthAppConfig()
        self._registry = registry
        self._authorise = authorise
        self._authenticator = authenticator
        self._reporter = Reporter(sink, clock or SystemClock(), "health_app")
        self._paths = {f"{self.config.prefix}{end}": kind for end, kind in _KINDS.items()}

    def serves(self, path: str) -> bool:
        """Return whether a path is one of those that are answered here."""
        prefix = self.config.prefix
        return path == prefix or path.startswith(f"{prefix}/")

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request. Its body is never read."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        # What a mount has taken off the path is not ours.
        path: str = scope["path"].removeprefix(scope.get("root_path") or "")
        kind = self._paths.get(path)
        if kind is None:
            await _answer(scope, send, _NOT_FOUND, {"error": "not_found"})
        elif scope["method"] not in {"GET", "HEAD"}:
            allow = (b"allow", b"GET, HEAD")
            await _answer(scope, send, _NOT_ALLOWED, {"error": "method_not_allowed"}, allow)
        else:
            status, body = await self._ask(scope, kind)
            await _answer(scope, send, status, body)

    async def _ask(self, scope: _Scope, kind: HealthKind) -> tuple[int, dict[str, Any]]:
        try:
            if await self._may_see(scope):
                report = await self._registry.get_detailed_health(kind)
                return _code(report.status), health_to_plain(report)
            status = await self._registry.get_health_status(kind)
        except Exception as error:  # noqa: BLE001 - a host's registry may raise anything
            self._reporter.guard_failed("registry", error)
            status = HealthStatus.UNHEALTHY
        return _code(status), {"status": status.label}

    async def _may_see(self, scope: _Scope) -> bool:
        if self._authorise is not None:
            try:
                allowed = self._authorise(scope)
                if inspect.isawaitable(allowed):
                    allowed = await allowed
            except Exception as error:  # noqa: BLE001 - a host's function may raise anything
                self._reporter.guard_failed("authorise", error)
                return False
            if allowed is True:
                return True
        token = None if self._authenticator is None else self._token(scope)
        return token is not None and await self._is_known(scope, token)

    async def _is_known(self, scope: _Scope, token: str) -> bool:
        client = scope.get("client")
        credentials = Credentials(
            transport=Transport.HTTP, bearer=token, ip_address=client[0] if client else None
        )
        try:
            if self._authenticator is None:
                return False
            caller = await self._authenticator.authenticate(credentials)
        except UnauthenticatedError:
            return False
        except Exception as error:  # noqa: BLE001 - a host's authenticator may raise anything
            self._reporter.guard_failed("authenticator", error)
            return False
        return not caller.is_anonymous

    def _token(self, scope: _Scope) -> str | None:
        found = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        # Of two it would not be sure which one somebody in front has looked at.
        if len(found) != 1 or found[0][: len(_BEARER)].lower() != _BEARER:
            return None
        token = found[0][len(_BEARER) :].strip()
        if not 0 < len(token) <= self.config.max_token_bytes:
            return None
        return str(token, "latin-1")


def with_health(app: _App, registry: HealthRegistry, **options: Any) -> _App:
    """Return an application that answers probes itself and hands everything else to `app`.

    Args:
        app: The application, for example an MCP server's `streamable_http_app()`. The
            lifespan is its own.
        registry: What is asked.
        **options: The further arguments of `HealthApp`.
    """
    health = HealthApp(registry, **options)

    async def dispatch(scope: _Scope, receive: _Receive, send: _Send) -> None:
        path = str(scope.get("path", "")).removeprefix(scope.get("root_path") or "")
        if scope["type"] == "http" and health.serves(path):
            await health(scope, receive, send)
        else:
            await app(scope, receive, send)

    return dispatch


def _code(status: HealthStatus) -> int:
    return _UNAVAILABLE if status is HealthStatus.UNHEALTHY else _OK


async def _answer(
    scope: _Scope, send: _Send, status: int, body: dict[str, Any], *more: tuple[bytes, bytes]
) -> None:
    text = json.dumps(body, separators=(",", ":")).encode()
    headers = [*_HEADERS, *more, (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "HEAD":
        text = b""
    await send({"type": "http.response.body", "body": text})


async def _live(receive: _Receive, send: _Send) -> None:
    """Do what the lifespan of an application without one does."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
