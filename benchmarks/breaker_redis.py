"""The shared circuit breaker beside bare round trips to the same Redis.

Starts a `redis-server` of its own; without one there is nothing to measure.
"""

import asyncio
import shutil
import socket
import statistics
import subprocess
import time

from benchmarks.harness import OURS, Bench
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.breaker_redis import RedisBreakerConfig, RedisCircuitBreaker

CALLS = 300


async def work() -> int:
    return 1


def run(bench: Bench) -> None:
    program = shutil.which("redis-server")
    if program is None:
        print("no redis-server on the path: nothing measured")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout or ():
            if "Ready to accept connections" in line:
                break
        try:
            asyncio.run(measure(bench, port))
        finally:
            server.kill()


async def measure(bench: Bench, port: int) -> None:
    from redis.asyncio import Redis

    client = Redis(host="127.0.0.1", port=port)
    # Far from full, so that no sample falls due while the closed path is measured.
    shared = RedisBreakerConfig(sample_calls=1_000, sample_s=3_600.0, timeout_s=5.0)
    breaker = RedisCircuitBreaker(client, BreakerConfig(), shared=shared)
    local = SlidingWindowBreaker()
    circuit, config = breaker._circuit, breaker.config
    bare = client.register_script("return redis.call('GET', KEYS[1])")

    async def get() -> object:
        return await bare(keys=["bench"], args=[])

    async def lease() -> object:
        return await circuit.ask(config, 0.0, "lease", given="f00d")

    async def sample() -> object:
        return await circuit.ask(config, 0.0, "sample", given=b"0" * 20)

    subjects = {"bare script": get, "lease": lease, "sample of 20": sample}
    await compare(bench, "round trip", subjects, "bare script", target="lease", most=1.3)

    async def reload() -> None:
        await breaker.synchronize()

    await reload()
    subjects = {
        "local breaker": lambda: local.execute(work),
        OURS: lambda: breaker.execute(work),
    }
    await compare(bench, "closed path between samples", subjects, "local breaker", each=reload)
    trip = statistics.median([await timed(get, CALLS) for _ in range(5)])
    ours = await timed(lambda: breaker.execute(work), CALLS)
    ratio = ours / trip
    bench.target(
        "closed path between samples", "no round trip: below 0.1 of one", ratio, met=ratio < 0.1
    )
    await client.aclose()


async def timed(call, calls: int) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - started) / calls


async def compare(  # type: ignore[no-untyped-def]
    bench: Bench, case: str, subjects, base: str, *, target="", most=0.0, each=None
) -> None:
    samples = {name: [] for name in subjects}
    for _ in range(bench.rounds):
        for name, call in subjects.items():
            if each is not None:
                await each()
            samples[name].append(await timed(call, CALLS))
    medians = {name: statistics.median(found) for name, found in samples.items()}
    for name, median in medians.items():
        bench.row(case, name, "us", round(median * 1e6, 2), round(median / medians[base], 4))
    if target:
        ratio = medians[target] / medians[base]
        bench.target(case, f"{target} at most {most} of a {base}", ratio, met=ratio <= most)
