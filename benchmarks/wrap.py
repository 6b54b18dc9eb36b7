"""`localmcp-harden wrap` over stdio: one `tools/call` through it, and without it.

The client, the wrapped server and whatever stands between them are processes of their
own. `wrap` runs with everything on; FastMCP's proxy is the peer and guards nothing.
"""

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import OURS, Bench
from benchmarks.serving.stdio_client import LEGACY, MODERN, StdioClient, python

BARE = "the server itself"
PEER = "fastmcp create_proxy"
CALLS = 40
ROUNDS = 60
WARM_UP_CALLS = 200
CHILD = python("-m", "benchmarks.serving.stdio_servers", "child")
PROXY = python("-m", "benchmarks.serving.stdio_servers", "fastmcp_proxy")


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "harden.toml"
        config.write_text(_settings(Path(folder)), encoding="utf-8")
        wrapped = python("-m", "localmcp_harden", "wrap", "--config", str(config), "--", *CHILD)
        commands = {BARE: CHILD, OURS: wrapped, PEER: PROXY}
        for revision in (MODERN, LEGACY):
            _era(bench, revision, commands)


def _settings(folder: Path) -> str:
    # A JSON string is a TOML string.
    return f"""
[rate_limit]
rate_per_s = 1e6
burst = 1_000_000
[logging]
file = {json.dumps(str(folder / "calls.log"))}
[audit]
folder = {json.dumps(str(folder / "audit"))}
[[policy.rules]]
id = "echo"
effect = "allow"
tools = ["echo"]
roles = ["local"]
"""


def _era(bench: Bench, revision: str, commands: dict[str, list[str]]) -> None:
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(StdioClient(command, revision))
            for name, command in commands.items()
        }
        samples: dict[str, list[float]] = {name: [] for name in clients}
        for client in clients.values():
            for _ in range(WARM_UP_CALLS):
                client.call()
        for _ in range(ROUNDS):
            for name, client in clients.items():
                times = []
                for _ in range(CALLS):
                    start = time.perf_counter()
                    client.call()
                    times.append(time.perf_counter() - start)
                samples[name].append(statistics.median(times))
    # Within one round, both sides have the same share of the machine.
    ratios = {
        name: statistics.median(
            value / beside for value, beside in zip(values, samples[BARE], strict=True)
        )
        for name, values in samples.items()
    }
    bare = statistics.median(samples[BARE])
    for name, values in samples.items():
        median = statistics.median(values)
        bench.row(
            f"{revision}, round trip", name, "us", round(median * 1e6, 1), round(ratios[name], 4)
        )
    for name in (OURS, PEER):
        added = ratios[name] - 1
        bench.row(f"{revision}, added", name, "us", round(added * bare * 1e6, 1), round(added, 4))
    added = ratios[OURS] - 1
    bench.target(f"{revision}, added", "at most 1.2 of a bare round trip", added, met=added <= 1.2)
