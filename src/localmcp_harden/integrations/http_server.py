"""Serves a server of the official SDK over streamable HTTP, on loopback unless told otherwise.

uvicorn does the work and runs on asyncio only. It is loaded when serving begins.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus

try:
    from mcp.server import MCPServer, Server
    from mcp.server.transport_security import TransportSecuritySettings
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("mcp", "serving over HTTP") from _missing

from ..core.errors import ConfigError, MissingExtraError
from ..mechanisms.exception_groups import plain_errors
from .shutdown import end_on_signal

__all__ = ("serve_http",)

_LOOPBACK_HOSTS = ("127.0.0.1:*", "localhost:*", "[::1]:*")
_MAX_PORT = 65_535


async def serve_http(
    server: "MCPServer[Any] | Server[Any]",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    path: str = "/mcp",
    allow_remote: bool = False,
    allowed_hosts: Sequence[str] = (),
    max_request_bytes: int = 4 * 1024 * 1024,
    max_connections: int = 1_000,
    shutdown_grace_s: float = 5.0,
    handle_signals: bool = True,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled or told to stop by a signal.

    Args:
        server: The server.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        path: Where clients find it.
        allow_remote: Whether `host` may be reachable from other machines. Then see to
            authentication, and to TLS before it.
        allowed_hosts: What requests may name as their host, as in `mcp.example:443` or
            `mcp.example:*`; requests from a browser page of another origin are refused
            too. Loopback names when None are given; an address that is not loopback
            needs them said.
        max_request_bytes: The largest request body, bytes (4 MiB).
        max_connections: How many connections may be open (1,000); more are answered 503.
        shutdown_grace_s: How long open calls may take at the end, seconds (5).
        handle_signals: Whether SIGTERM and SIGINT end the serving in order; in the main
            thread only.
        task_status: Told the port once requests are taken.

    Raises:
        ConfigError: The address is not loopback and `allow_remote` was not said, hosts
            are missing, or nothing can listen there.
        MissingExtraError: uvicorn is not installed.
        UpstreamError: The server is a wrapped one and can not be started.
        RuntimeError: The event loop is not asyncio's.
    """
    try:
        import uvicorn  # noqa: PLC0415 - most hosts never serve HTTP
    except ImportError as error:  # pragma: no cover - needs an environment without the extra
        raise MissingExtraError("cli", "serving over HTTP") from error
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("serve_http runs on asyncio only, as uvicorn does") from None
    security = _security(host, allow_remote=allow_remote, allowed_hosts=allowed_hosts)
    listening = await _listen(host, port)
    with listening, plain_errors():
        app = server.streamable_http_app(
            streamable_http_path=path,
            max_request_body_size=max_request_bytes,
            transport_security=security,
            host=host,
        )

        class Uvicorn(uvicorn.Server):
            """uvicorn, with the signals left to us: its own way ends before we clean up."""

            @contextmanager
            def capture_signals(self) -> Generator[None]:
                yield

        uvicorn_server = Uvicorn(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
                server_header=False,
                limit_concurrency=max_connections,
                timeout_graceful_shutdown=max(1, round(shutdown_grace_s)),
            )
        )

        def stop() -> None:
            uvicorn_server.should_exit = True

        # Entered here and not by uvicorn, which would log an error and go on.
        async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
            if handle_signals:
                tasks.start_soon(end_on_signal, stop)
            tasks.start_soon(_serve, uvicorn_server, listening, tasks.cancel_scope)
            task_status.started(listening.getsockname()[1])
            try:
                await anyio.sleep_forever()
            finally:
                stop()


async def _serve(server: Any, listening: socket.socket, tasks: anyio.CancelScope) -> None:
    # Shielded: it ends by itself, within its grace, once it is told to.
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listening])
    tasks.cancel()


def _security(
    host: str, *, allow_remote: bool, allowed_hosts: Sequence[str]
) -> TransportSecuritySettings:
    """Return which Host and Origin headers are taken: on every address, not on loopback only.

    A page in the user's browser may reach any server by a name that it rebinds.
    """
    local = is_loopback(host)
    if not local and not allow_remote:
        raise ConfigError(
            "other machines can reach this address; listen on 127.0.0.1, or say "
            "allow_remote=True and set up authentication",
            "host",
        )
    if not local and not allowed_hosts:
        raise ConfigError(
            "name the hosts by which clients reach this server, for example mcp.example:*",
            "allowed_hosts",
        )
    hosts = [*allowed_hosts] or [*_LOOPBACK_HOSTS]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")],
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
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"can not listen on port {port} there: {reason}", "port") from None
