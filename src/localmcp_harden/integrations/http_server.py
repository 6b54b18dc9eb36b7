"""Serves a server of the official SDK over streamable HTTP, on loopback unless told otherwise.

uvicorn does the work and runs on asyncio only. It is loaded when serving begins.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, cast

import anyio
from anyio.abc import TaskStatus

try:
    from mcp.server import MCPServer, Server
    from mcp.server.transport_security import TransportSecuritySettings
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "serving over HTTP") from _missing

from attrs import evolve

from ..compose.chain import Mode
from ..compose.config import HardenConfig
from ..compose.hardening import Hardening
from ..core.errors import ConfigError, MissingExtraError
from ..mechanisms.exception_groups import plain_errors
from ..protocols.observability import LoggingConfig, LogLevel
from ..security.access.identity import DefaultAuthenticator
from ..security.transport.config import LOOPBACK_HOSTS, HttpConfig
from .asgi import AsgiGuard, has_authentication
from .asgi.types import AsgiApp
from .health import HealthAppConfig, with_health
from .readiness import notify_ready, notify_stopping
from .shutdown import end_on_signal

__all__ = ("serve_http",)

_MAX_PORT = 65_535
_HEADER_ROOM = 64 * 1024
# For a server that nobody has hardened: refusals are told, and nothing is stored.
_WITHOUT_GUARDS = HardenConfig(disabled=("audit",), logging=LoggingConfig(level=LogLevel.WARNING))


async def serve_http(
    server: "MCPServer[Any] | Server[Any]",
    *,
    hardening: Hardening | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    path: str = "/mcp",
    health_path: str | None = "/health",
    allow_remote: bool = False,
    allow_unauthenticated: bool = False,
    allowed_hosts: Sequence[str] = (),
    max_request_bytes: int | None = None,
    max_connections: int = 1_000,
    max_sessions: int = 1_000,
    session_idle_s: float = 1_800.0,
    header_timeout_s: float = 10.0,
    json_response: bool = False,
    shutdown_grace_s: float = 5.0,
    handle_signals: bool = True,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled or told to stop by a signal, with the guard for HTTP in front.

    Args:
        server: The server.
        hardening: The guards. When None, those that `harden` or `wrap` has put before the
            server; for a server without any, the guard for HTTP alone, by its defaults.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        path: Where clients find it.
        health_path: Where probes are answered, below it `/live`, `/ready` and `/started`;
            None for nowhere. A stranger is told the status and nothing else, whatever
            host it names: service managers ask by address.
        allow_remote: Whether `host` may be reachable from other machines. Then see to
            TLS before it.
        allow_unauthenticated: Whether it may be so without authentication.
        allowed_hosts: What requests may name as their host, as in `mcp.example:443` or
            `mcp.example:*`, instead of `http.allowed_hosts`; requests from a browser page
            of another origin are refused too. An address that is not loopback needs them
            said, here or there.
        max_request_bytes: The largest request body, bytes; `http.max_body_bytes` when None.
        max_connections: How many connections may be open (1,000); more are answered 503.
        max_sessions: How many sessions of the older protocols may be open (1,000).
        session_idle_s: After how many seconds without a request a session ends (1,800).
        header_timeout_s: How long a connection may take to send a request's headers (10).
        json_response: Whether every answer is one JSON document, for servers whose
            handlers tell the client nothing before they answer: about a third more calls
            a second. Otherwise an answer becomes a stream when a handler has news.
        shutdown_grace_s: How long open calls may take at the end, seconds (5).
        handle_signals: Whether SIGTERM and SIGINT end the serving in order; in the main
            thread only.
        task_status: Told the port once requests are taken.

    Raises:
        ConfigError: The address is not loopback and `allow_remote` was not said, hosts
            or authentication are missing, or nothing can listen there.
        MissingExtraError: uvicorn is not installed.
        UpstreamError: The server is a wrapped one and can not be started.
        RuntimeError: The event loop is not asyncio's.
    """
    try:
        import uvicorn  # noqa: PLC0415 - most hosts never serve HTTP

        from .http_protocol import GuardedProtocol  # noqa: PLC0415 - it is made of uvicorn's
    except ImportError as error:  # pragma: no cover - needs an environment without the extra
        raise MissingExtraError("cli", "serving over HTTP") from error
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("serve_http runs on asyncio only, as uvicorn does") from None
    guards = hardening or _hardening_of(server)
    is_hardened = guards is not None
    guards = guards or Hardening(_WITHOUT_GUARDS)
    config = _http_config(guards, host, allowed_hosts, max_request_bytes, remote=allow_remote)
    app = server.streamable_http_app(
        streamable_http_path=path,
        max_request_body_size=config.max_body_bytes,
        json_response=json_response,
        session_idle_timeout=session_idle_s,
        max_sessions=max_sessions,
        # The guard in front knows the same names, and more of their forms.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        host=host,
    )
    if not is_loopback(host) and not allow_unauthenticated:
        _require_authentication(guards if is_hardened else None, app)
    if config == guards.config.http:
        guard = AsgiGuard(app, guards)
    else:
        guard = AsgiGuard(app, guards, config=config)
    served: AsgiApp = guard
    if health_path is not None and is_hardened:
        served = with_health(guard, guards.health, config=_health_config(health_path, path))
    listening = await _listen(host, port)
    with listening, plain_errors():

        class Uvicorn(uvicorn.Server):
            """uvicorn, with the signals left to us: its own way ends before we clean up."""

            @contextmanager
            def capture_signals(self) -> Generator[None]:
                yield

        uvicorn_server = Uvicorn(
            uvicorn.Config(
                cast("Any", served),
                http=cast(
                    "Any",
                    partial(
                        GuardedProtocol,
                        guard=guard,
                        max_connections=max_connections,
                        header_timeout_s=header_timeout_s,
                    ),
                ),
                h11_max_incomplete_event_size=_HEADER_ROOM + config.max_header_bytes,
                # Else whoever is on this machine may say where it comes from.
                proxy_headers=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=max(1, round(shutdown_grace_s)),
            )
        )

        def stop() -> None:
            uvicorn_server.should_exit = True

        async with AsyncExitStack() as stack:
            if not is_hardened:
                await stack.enter_async_context(guards)
            # Entered here and not by uvicorn, which would log an error and go on.
            await stack.enter_async_context(app.router.lifespan_context(app))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            if handle_signals:
                tasks.start_soon(end_on_signal, stop)
            tasks.start_soon(_serve, uvicorn_server, listening, tasks.cancel_scope)
            task_status.started(listening.getsockname()[1])
            notify_ready()
            try:
                await anyio.sleep_forever()
            finally:
                notify_stopping()
                stop()


async def _serve(server: Any, listening: socket.socket, tasks: anyio.CancelScope) -> None:
    # Shielded: it ends by itself, within its grace, once it is told to.
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listening])
    tasks.cancel()


def _hardening_of(server: "MCPServer[Any] | Server[Any]") -> Hardening | None:
    """Return the guards that were put before a server, None where there are none."""
    for each in server.middleware:
        found = getattr(each, "hardening", None)
        # `wrap` has its own view of them, which holds them.
        while found is not None and not isinstance(found, Hardening):
            found = getattr(found, "_hardening", None)
        if found is not None:
            return found
    return None


def _http_config(
    hardening: Hardening,
    host: str,
    allowed_hosts: Sequence[str],
    max_request_bytes: int | None,
    *,
    remote: bool,
) -> HttpConfig:
    """Return the settings of the guard: which hosts it takes, on every address.

    A page in the user's browser may reach any server by a name that it rebinds.
    """
    config = hardening.config.http
    local = is_loopback(host)
    if not local and not remote:
        raise ConfigError(
            "other machines can reach this address; listen on 127.0.0.1, or say "
            "allow_remote=True and set up authentication",
            "host",
        )
    if allowed_hosts:
        config = _evolve(config, allowed_hosts=tuple(allowed_hosts))
    if not local and config.allowed_hosts == LOOPBACK_HOSTS:
        raise ConfigError(
            "name the hosts by which clients reach this server, for example mcp.example:*",
            "allowed_hosts",
        )
    if max_request_bytes is not None:
        config = _evolve(config, max_body_bytes=max_request_bytes)
    return config


def _health_config(path: str, served: str) -> HealthAppConfig:
    if served == path or served.startswith(f"{path}/"):
        raise ConfigError("must not cover the path of the server", "health_path")
    try:
        return HealthAppConfig(prefix=path)
    except (TypeError, ValueError):
        raise ConfigError("must be a path like /health", "health_path") from None


def _evolve(config: HttpConfig, **changes: Any) -> HttpConfig:
    try:
        return evolve(config, **changes)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), next(iter(changes))) from None


def _require_authentication(hardening: Hardening | None, app: object) -> None:
    """Refuse to serve other machines when anybody there might call.

    Raises:
        ConfigError: Neither the server nor its guards ask for credentials.
    """
    if has_authentication(app):
        return
    enforces = hardening is not None and hardening.config.mode is Mode.ENFORCE
    if hardening is not None and enforces and "authenticate" not in hardening.config.disabled:
        authentication = hardening.config.authentication
        own = not isinstance(hardening.blocks.authenticator, DefaultAuthenticator)
        if own or (authentication.tokens and not authentication.anonymous_http):
            return
    raise ConfigError(
        "other machines can reach this address and nothing asks them for credentials; set "
        "up authentication, or say allow_unauthenticated=True",
        "host",
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _MAX_PORT:
        raise ConfigError("must be from 0 to 65535", "port")
    try:
        found = await anyio.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, address = found[0][0], found[0][4]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
        # asyncio turns Nagle's algorithm off only where the socket names its protocol, which
        # this one does not; with it an answer's second segment waits 40 ms for the client's
        # delayed acknowledgement. Accepted sockets inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"can not listen on port {port} there: {reason}", "port") from None
    return listening
