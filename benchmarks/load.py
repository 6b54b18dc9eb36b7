"""Servers over streamable HTTP under load: the official SDK and FastMCP, bare and hardened.

Every server has a process of its own and is called by 1, 16 and 128 clients in turns
with the others. Ours runs with everything on: identity by token, limit, policy,
schema, deadline, retry, breaker, a log file, metrics, and an audit log in SQLite.
Requests are stateless (2026-07-28), answers JSON.

Then 100,000 calls, for what stays in memory; and how long a server takes to start
and to stop, and what it holds open when its clients have left.
"""

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from benchmarks.harness import OURS, Bench
from benchmarks.serving.http_client import Load, call_request, drive
from benchmarks.serving.servers import KINDS, TOKEN

SDK = "mcp bare"
FASTMCP = "fastmcp bare"
FIVE = "fastmcp, five middlewares"
FASTMCP_HARDENED = "fastmcp, localmcp-harden"
SUBJECTS = {
    SDK: "sdk_bare",
    OURS: "sdk_hardened",
    FASTMCP: "fastmcp_bare",
    FIVE: "fastmcp_five",
    FASTMCP_HARDENED: "fastmcp_hardened",
}
BASES = {SDK: SDK, OURS: SDK, FASTMCP: FASTMCP, FIVE: FASTMCP, FASTMCP_HARDENED: FASTMCP}

CLIENTS = (1, 16, 128)
ROUNDS = 11
BURST_S = 0.4
WARM_UP_CALLS = 4_000
MEMORY_CALLS = 100_000
START_ROUNDS = 3
_START_LIMIT_S = 30.0
_SETTLE_LIMIT_S = 5.0


@final
class Server:
    """One server process."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = _free_port()
        self.request = call_request(self.port, token=TOKEN)
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.servers", kind, str(self.port), str(folder)],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
        )
        self._started = started

    async def until_first_answer(self) -> float:
        """Return the seconds from spawning to the first answer."""
        while True:
            try:
                await drive(self.port, self.request, clients=1, calls=1)
                return time.perf_counter() - self._started
            except ConnectionRefusedError:
                late = time.perf_counter() - self._started > _START_LIMIT_S
                if late or self._process.poll() is not None:
                    raise RuntimeError("a server did not start") from None
                await asyncio.sleep(0.002)

    def stop(self) -> float:
        """Return the seconds from the signal to the end."""
        asked = time.perf_counter()
        self._process.terminate()
        try:
            self._process.wait(_START_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return time.perf_counter() - asked

    def rss_bytes(self) -> int:
        import psutil

        return int(psutil.Process(self._process.pid).memory_info().rss)

    def cpu_s(self) -> float:
        """Return the seconds of CPU that all its threads have taken."""
        import psutil

        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def handles(self) -> int:
        import psutil

        return int(psutil.Process(self._process.pid).num_fds())

    async def handles_left(self, before: int) -> int:
        """Return how many more are open than before, once the number has come to rest."""
        until = time.perf_counter() + _SETTLE_LIMIT_S
        while True:
            left = self.handles() - before
            if left <= 0 or time.perf_counter() > until:
                return left
            await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(bench: Bench) -> None:
    subjects = {name: kind for name, kind in SUBJECTS.items() if kind in KINDS}
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        runner.run(_run(bench, subjects, Path(folder)))


async def _run(bench: Bench, subjects: Mapping[str, str], folder: Path) -> None:
    await _start_and_stop(bench, subjects, folder)
    servers = {name: Server(kind, _made(folder / kind)) for name, kind in subjects.items()}
    try:
        for server in servers.values():
            await server.until_first_answer()
            await drive(server.port, server.request, clients=16, calls=500)
        await _throughput(bench, servers)
    finally:
        for server in servers.values():
            server.stop()
    for name in (SDK, OURS):
        server = Server(subjects[name], _made(folder / f"{subjects[name]}-memory"))
        try:
            await server.until_first_answer()
            await _memory(bench, name, server)
        finally:
            server.stop()


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


async def _start_and_stop(bench: Bench, subjects: Mapping[str, str], folder: Path) -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    for number in range(START_ROUNDS):
        for name, kind in subjects.items():
            server = Server(kind, _made(folder / f"{kind}-start-{number}"))
            first = None
            try:
                first = await server.until_first_answer()
            finally:
                stopped = server.stop()
            times[name].append((first, stopped))
    for case, index in (("start to first answer", 0), ("signal to end", 1)):
        seconds = {name: [pair[index] * 1e6 for pair in seen] for name, seen in times.items()}
        _rounds(bench, case, "us", seconds)


_MEASURES: Mapping[str, tuple[str, Callable[[Load], float]]] = {
    "calls": ("calls/s", lambda load: load.calls_per_s),
    "p50": ("us", lambda load: load.quantile_s(0.5) * 1e6),
    "p99": ("us", lambda load: load.quantile_s(0.99) * 1e6),
}


async def _throughput(bench: Bench, servers: Mapping[str, Server]) -> None:
    for clients in CLIENTS:
        loads: dict[str, list[Load]] = {name: [] for name in servers}
        cpu: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                before = server.cpu_s()
                load = await drive(server.port, server.request, clients=clients, seconds=BURST_S)
                loads[name].append(load)
                cpu[name].append((server.cpu_s() - before) / load.calls * 1e6)
        case = f"{clients} client{'s' if clients > 1 else ''}"
        ratios = {
            measure: _rounds(
                bench,
                f"{case}, {measure}",
                unit,
                {name: [value(load) for load in seen] for name, seen in loads.items()},
            )
            for measure, (unit, value) in _MEASURES.items()
        }
        # What others do on the machine changes the times, and this hardly.
        _rounds(bench, f"{case}, CPU of a call", "us", cpu)
        if clients == 16:
            share, slower = ratios["calls"][OURS], ratios["p99"][OURS]
            bench.target(case, "at least 0.8 of the bare SDK's calls", share, met=share >= 0.8)
            bench.target(case, "p99 at most 1.5 of the bare SDK's", slower, met=slower <= 1.5)


def _rounds(
    bench: Bench, case: str, unit: str, values: Mapping[str, list[float]]
) -> dict[str, float]:
    """Add rows of medians; return the medians of the ratios within one round.

    A round is short, so that both of its sides have the same share of the machine.
    """
    ratios: dict[str, float] = {}
    for name, seen in values.items():
        base = BASES[name]
        pairs = zip(seen, values[base], strict=True)
        ratios[name] = statistics.median(value / beside for value, beside in pairs)
        shown = f"{case}, FastMCP" if base == FASTMCP else case
        bench.row(shown, name, unit, round(statistics.median(seen), 1), round(ratios[name], 4))
    return ratios


async def _memory(bench: Bench, name: str, server: Server) -> None:
    await drive(server.port, server.request, clients=16, calls=WARM_UP_CALLS)
    await server.handles_left(0)
    handles, before = server.handles(), server.rss_bytes()
    await drive(server.port, server.request, clients=16, calls=MEMORY_CALLS)
    after = server.rss_bytes()
    left = await server.handles_left(handles)
    case = f"memory, {MEMORY_CALLS:,} calls"
    bench.row(case, f"{name}, warm", "MB", round(before / 1e6, 2), 1.0)
    bench.row(case, f"{name}, after", "MB", round(after / 1e6, 2), round(after / before, 4))
    if name == OURS:
        growth = after / before - 1
        bench.target(case, "grows by less than 5 %", growth, met=growth < 0.05)
        bench.target("clients have left", "no open handle more than before", left, met=left <= 0)
