"""The checks that come ready-made."""

import math
import sqlite3
import threading
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.errors import ConfigError, StoreError
from localmcp_harden.protocols.health import CheckResult, HealthCheckConfig, HealthStatus
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.protocols.supervision import ServiceSnapshot, ServiceState
from localmcp_harden.resilience import health_checks
from localmcp_harden.resilience.breakers import BreakerRegistry
from localmcp_harden.resilience.health import CachedHealthRegistry
from localmcp_harden.resilience.health_checks import (
    breaker_check,
    call_check,
    database_check,
    disk_space_check,
    loop_lag_check,
    memory_check,
    supervisor_check,
    usage_check,
)
from localmcp_harden.testing.clock import FakeClock

pytestmark = pytest.mark.anyio
ILL, SO_SO, WELL = HealthStatus


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    ("answer", "status"),
    [(None, WELL), (True, WELL), (False, ILL), (SO_SO, SO_SO), (CheckResult(status=ILL), ILL)],
)
async def test_any_function_is_a_check(answer, status, in_thread):
    check = call_check(lambda: answer, in_thread=in_thread)
    assert (await check()).status is status


async def test_a_coroutine_function_is_a_check_and_an_odd_answer_is_not_taken():
    async def odd():
        return "the-secret"

    with pytest.raises(TypeError, match="a string of 10 characters"):
        await call_check(odd)()


async def test_a_thread_that_hangs_is_the_only_one():
    release, entered = threading.Event(), []

    def hangs():
        entered.append(1)
        release.wait(30)

    clock = FakeClock()
    registry = CachedHealthRegistry(clock=clock)
    registry.register_health_check(
        "nfs", call_check(hangs, in_thread=True), HealthCheckConfig(timeout_s=1.0, fail_after=1)
    )
    try:
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(registry.get_health_status)
                while not entered:
                    await anyio.lowlevel.checkpoint()
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                clock.advance(20.0)
            assert registry.last_known().status is ILL
        assert len(entered) == 1
    finally:
        release.set()


async def test_cancelled_before_its_thread_begins_a_check_can_run_again():
    check = call_check(lambda: True, in_thread=True)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await check()
    assert scope.cancelled_caught
    assert (await check()).status is WELL


@pytest.mark.parametrize(
    ("used", "limit", "status"),
    [(0, 10, WELL), (7.9, 10, WELL), (8, 10, SO_SO), (10, 10, ILL), (99, 10, ILL), (0, 0, ILL),
     (math.nan, 10, ILL)],
)  # fmt: skip
async def test_usage(used, limit, status):
    assert (await usage_check(lambda: used, lambda: limit)()).status is status


@pytest.mark.parametrize(("lag_s", "status"), [(0.0, WELL), (0.1, SO_SO), (1.0, ILL)])
async def test_loop_lag(lag_s, status):
    result = await loop_lag_check(lambda: lag_s)()
    assert (result.status, result.data["lag_s"]) == (status, lag_s)


@pytest.mark.parametrize(
    ("free", "status"), [(1 << 30, WELL), ((1 << 30) - 1, SO_SO), ((100 << 20) - 1, ILL)]
)
async def test_disk_space(free, status, monkeypatch, tmp_path):
    monkeypatch.setattr(
        health_checks.shutil, "disk_usage", lambda _path: SimpleNamespace(free=free)
    )
    assert (await disk_space_check(tmp_path)()).status is status


async def test_the_disk_is_measured(tmp_path):
    result = await disk_space_check(tmp_path, degraded_bytes=1, unhealthy_bytes=1)()
    assert result.data["free_bytes"] > 0
    with pytest.raises(FileNotFoundError):
        await disk_space_check(tmp_path / "gone")()


@pytest.mark.parametrize(("used", "status"), [(79, WELL), (80, SO_SO), (95, ILL)])
async def test_memory(used, status):
    assert (await memory_check(limit_bytes=100, read=lambda: used)()).status is status


async def test_memory_that_can_not_be_read_is_never_silently_well():
    with pytest.raises(ConfigError, match="read"):
        memory_check(limit_bytes=100, read=lambda: None)
    with pytest.raises(ConfigError, match="limit_bytes"):
        memory_check(limit_bytes=0)
    readings = iter([1, None])
    check = memory_check(limit_bytes=100, read=lambda: next(readings))
    assert (await check()).status is SO_SO


@pytest.mark.parametrize("deep", [False, True])
async def test_a_database(tmp_path, deep):
    path = tmp_path / "state.db"
    check = database_check(path, deep=deep)
    with pytest.raises(StoreError, match=r"state\.db could not be read"):
        await check()
    assert not path.exists()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1_000,)] * 500)
    connection.commit()
    connection.close()
    assert (await check()).status is WELL
    path.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StoreError):
        await check()


async def test_only_a_deep_look_finds_damaged_pages(tmp_path):
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1_000,)] * 500)
    connection.commit()
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
    path.write_bytes(content)
    assert (await database_check(path)()).status is WELL
    assert (await database_check(path, deep=True)()).status is ILL


async def test_breakers():
    clock = FakeClock()
    config = BreakerConfig(window_calls=1, minimum_calls=1, open_s=10.0)
    breakers = BreakerRegistry(config, clock=clock)
    check = breaker_check(breakers.snapshots)
    strict = breaker_check(breakers.snapshots, open_status=ILL)
    assert (await check()).status is WELL

    async def fails():
        raise OSError

    with pytest.raises(OSError):
        await breakers.get("search").execute(fails)
    result = await check()
    assert (result.status, result.reason) == (SO_SO, "open: search")
    assert (await strict()).status is ILL
    clock.advance(10.0)
    result = await strict()
    assert (result.status, result.reason) == (SO_SO, "half open: search")


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", WELL), ("done", WELL), ("stopped", WELL), ("waiting", SO_SO),
     ("stopping", SO_SO), ("failed", ILL)],
)  # fmt: skip
async def test_services(state, status):
    snapshots = tuple(
        ServiceSnapshot(name=f"s{number}", state=ServiceState(state), restarts=0, error_type="")
        for number in range(8)
    )
    result = await supervisor_check(SimpleNamespace(get_services=lambda: snapshots))()
    assert result.status is status
    assert ("and 3 more" in result.reason) is (status is not WELL)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: usage_check(int, int, degraded_share=0.9, unhealthy_share=0.8), "degraded_share"),
        (lambda: usage_check(int, int, unhealthy_share=1.1), "unhealthy_share"),
        (lambda: loop_lag_check(float, degraded_s=0.0), "degraded_s"),
        (lambda: loop_lag_check(float, unhealthy_s=math.nan), "unhealthy_s"),
        (lambda: disk_space_check("/", unhealthy_bytes=0), "unhealthy_bytes"),
        (lambda: disk_space_check("/", degraded_bytes=1), "degraded_bytes"),
        (lambda: memory_check(limit_bytes=9, unhealthy_share=2.0), "unhealthy_share"),
    ],
)
def test_nonsense_is_refused_by_name(make, field):
    with pytest.raises(ValueError, match=field):
        make()
