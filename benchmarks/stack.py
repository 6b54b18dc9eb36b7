"""The whole chain on an in-memory `tools/call`, beside FastMCP's five built-in middlewares.

Ours is measured through the official SDK's client and server, with everything on:
identity, limit, validation, policy, deadline, retry, breaker, log, metrics and
audit. Theirs is measured on `FastMCP.call_tool`, where they cost least.
"""

import asyncio
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.harness import OURS, Bench

ROUNDS = 25
CALLS = 150


async def _echo(text: str) -> str:
    """Return the text."""
    return text


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        runner.run(_run(bench, Path(folder)))


async def _run(bench: Bench, folder: Path) -> None:
    import mcp
    from fastmcp import FastMCP
    from fastmcp.server.middleware.error_handling import ErrorHandlingMiddleware, RetryMiddleware
    from fastmcp.server.middleware.logging import StructuredLoggingMiddleware
    from fastmcp.server.middleware.rate_limiting import RateLimitingMiddleware
    from fastmcp.server.middleware.timing import TimingMiddleware
    from mcp.server import MCPServer

    from localmcp_harden import Hardening, load_config
    from localmcp_harden.integrations.mcp_sdk import harden
    from localmcp_harden.observability.logs import JsonLoggingService

    settings = {
        "rate_limit": {"rate_per_s": 1e6, "burst": 1_000_000},
        "audit": {"folder": str(folder)},
        "policy": {
            "rules": [
                {"id": "echo", "effect": "allow", "tools": ["echo"], "roles": ["local"]},
                {"id": "no-secrets", "effect": "deny", "resources": ["/etc"]},
            ]
        },
    }
    hardening = Hardening(
        load_config(environ={}, settings=settings),
        logs=JsonLoggingService(stream=io.BytesIO()),
    )
    bare = MCPServer("bare", log_level="ERROR")
    hardened = MCPServer("hardened", log_level="ERROR", lifespan=hardening.lifespan())
    for server in (bare, hardened):
        server.add_tool(_echo, name="echo")
    harden(hardened, hardening)

    quiet = logging.getLogger("benchmarks.stack")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    quiet.setLevel(logging.INFO)
    plain = FastMCP("plain")
    five = FastMCP("five")
    for middleware in (
        ErrorHandlingMiddleware(logger=quiet),
        RetryMiddleware(logger=quiet),
        RateLimitingMiddleware(max_requests_per_second=1e6, burst_capacity=1_000_000),
        TimingMiddleware(logger=quiet),
        StructuredLoggingMiddleware(logger=quiet, include_payloads=True),
    ):
        five.add_middleware(middleware)
    for fast in (plain, five):
        fast.tool(_echo, name="echo")

    async with mcp.Client(bare) as to_bare, mcp.Client(hardened) as to_hardened:
        subjects: dict[str, Callable[[], Awaitable[object]]] = {
            "mcp bare": lambda: to_bare.call_tool("echo", {"text": "hello"}),
            OURS: lambda: to_hardened.call_tool("echo", {"text": "hello"}),
            "fastmcp bare": lambda: plain.call_tool("echo", {"text": "hello"}),
            "fastmcp, five middlewares": lambda: five.call_tool("echo", {"text": "hello"}),
        }
        medians = await _measure(subjects)
    for name, median in medians.items():
        base = medians["mcp bare" if name in ("mcp bare", OURS) else "fastmcp bare"]
        bench.row("tools/call", name, "us", round(median * 1e6, 2), round(median / base, 4))
    ours = medians[OURS] - medians["mcp bare"]
    theirs = medians["fastmcp, five middlewares"] - medians["fastmcp bare"]
    bench.row("added", OURS, "us", round(ours * 1e6, 2), round(ours / theirs, 4))
    bench.row("added", "fastmcp, five middlewares", "us", round(theirs * 1e6, 2), 1.0)
    bench.target(
        "added",
        "at most 0.5 of what FastMCP's five middlewares add to FastMCP.call_tool",
        ours / theirs,
        met=ours <= 0.5 * theirs,
    )


async def _measure(subjects: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for call in subjects.values():
        for _ in range(CALLS):
            await call()
    for _ in range(ROUNDS):
        for name, call in subjects.items():
            # The median within a round leaves out the machine's hiccups.
            times = []
            for _ in range(CALLS):
                start = time.perf_counter()
                await call()
                times.append(time.perf_counter() - start)
            samples[name].append(statistics.median(times))
    return {name: statistics.median(values) for name, values in samples.items()}
