"""Serves the conformance fixtures over HTTP: bare, hardened in process, or behind `wrap`.

`serve.py VARIANT` listens on a free loopback port and writes it, on a line of its own,
to standard output. The HTTP side is the same in all variants, so that what differs is ours.
"""

import argparse
import asyncio
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn
from mcp.server.streamable_http import EventMessage, EventStore
from server import TOOLS, accept_the_old_era, make_server

from localmcp_harden import Effect, HardenConfig, Hardening, Rule, ToolConfig
from localmcp_harden.integrations.mcp_sdk import harden
from localmcp_harden.integrations.proxy import UpstreamConfig, wrap
from localmcp_harden.protocols.observability import LoggingConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.access.limits import RateLimitConfig
from localmcp_harden.security.audit.log import AuditConfig
from localmcp_harden.security.policy.gate import PolicyConfig

FIXTURES = Path(__file__).with_name("server.py")


class Events(EventStore):
    """Keeps every event of a run, so that clients can come back for what they missed."""

    def __init__(self):
        self._events = []

    async def store_event(self, stream_id, message):
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream_id, _ = self._events[last]
        for number, (stream, message) in enumerate(self._events[last + 1 :], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


def complete_hardening(folder):
    """Return guards of which every stage is on, and none has a reason to refuse."""
    return Hardening(
        HardenConfig(
            authentication=AuthenticationConfig(anonymous_http=True),
            rate_limit=RateLimitConfig(rate_per_s=10_000, burst=10_000),
            policy=PolicyConfig(rules=(Rule(id="all", effect=Effect.ALLOW),)),
            tools={name: ToolConfig(read_only=True) for name in TOOLS},
            audit=AuditConfig(folder=folder / "audit", before_acting="always"),
            logging=LoggingConfig(file=folder / "log"),
        )
    )


def make(variant, folder, mode):
    if variant == "bare":
        return make_server()
    if variant == "hardened":
        hardening = complete_hardening(folder)
        server = make_server()
        server.lifespan = hardening.lifespan(server.lifespan)
        return harden(server, hardening)
    upstream = UpstreamConfig(
        command=sys.executable, args=(str(FIXTURES),), mode=mode, start_timeout_s=60
    )
    return wrap(upstream, complete_hardening(folder))


async def serve(server):
    app = server.streamable_http_app(event_store=Events(), retry_interval=10)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=("bare", "hardened", "wrapped"))
    parser.add_argument("--upstream", choices=("auto", "legacy"), default="auto")
    chosen = parser.parse_args()
    accept_the_old_era()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(serve(make(chosen.variant, Path(scratch), chosen.upstream)))
