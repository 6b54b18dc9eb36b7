"""Checks that are ready to register: the loop, the disk, memory, databases, circuits, services.

Each function returns a `HealthCheck`. Sizes are bytes, times seconds, shares from 0 to 1.
What may block runs in a thread, one at a time for each check, so that a file system that
hangs holds one thread and nothing else.
"""

import inspect
import shutil
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

import anyio.to_thread

from ..core.errors import ConfigError
from ..mechanisms.database_probe import probe_database
from ..mechanisms.process_memory import memory_limit_bytes, memory_used_bytes
from ..mechanisms.shape import shape_of
from ..protocols.health import CheckResult, HealthCheck, HealthStatus
from ..protocols.resilience import BreakerSnapshot, BreakerState
from ..protocols.supervision import ServiceState, Supervisor

__all__ = (
    "Answer",
    "breaker_check",
    "call_check",
    "database_check",
    "disk_space_check",
    "loop_lag_check",
    "memory_check",
    "supervisor_check",
    "usage_check",
)

Answer: TypeAlias = CheckResult | HealthStatus | bool | None
"""What a plain function may answer; None is a yes."""

_MAX_NAMED = 5


def call_check(
    function: Callable[[], Answer | Awaitable[Answer]], *, in_thread: bool = False
) -> HealthCheck:
    """Return a check that calls any function, async or not.

    Args:
        function: Answers with a result, a status, or a boolean; None is a yes.
        in_thread: Whether it may block, so that it is called in a thread.
    """
    call = _in_thread(cast("Callable[[], Answer]", function)) if in_thread else None

    async def check() -> CheckResult:
        answer = function() if call is None else await call()
        if inspect.isawaitable(answer):
            answer = await answer
        return _result(answer)

    return check


def usage_check(
    used: Callable[[], float],
    limit: Callable[[], float],
    *,
    degraded_share: float = 0.8,
    unhealthy_share: float = 1.0,
) -> HealthCheck:
    """Return a check of how full something is: a bulkhead, a queue, a pool.

    Args:
        used: How much is in use.
        limit: How much there is.
        degraded_share: From this share on it is degraded (above 0, up to `unhealthy_share`).
        unhealthy_share: From this share on it is unhealthy (up to 1).

    Raises:
        ValueError: The shares are out of range or out of order.
    """
    _check_order("share", degraded_share, unhealthy_share, 1.0)

    async def check() -> CheckResult:
        used_now, limit_now = used(), limit()
        share = used_now / limit_now if limit_now > 0 else 1.0
        return _graded(
            share, degraded_share, unhealthy_share, f"{share:.0%} in use", {"share": share}
        )

    return check


def loop_lag_check(
    get_lag_s: Callable[[], float], *, degraded_s: float = 0.1, unhealthy_s: float = 1.0
) -> HealthCheck:
    """Return a check of how late the event loop is; `LoopWatchdog.get_lag_s` tells.

    Args:
        get_lag_s: Seconds.
        degraded_s: From this lag on it is degraded (above 0, up to `unhealthy_s`).
        unhealthy_s: From this lag on it is unhealthy (up to 3,600).

    Raises:
        ValueError: The bounds are out of range or out of order.
    """
    _check_order("s", degraded_s, unhealthy_s, 3_600.0)

    async def check() -> CheckResult:
        lag_s = get_lag_s()
        said = f"the event loop was up to {lag_s:.3g} s late"
        return _graded(lag_s, degraded_s, unhealthy_s, said, {"lag_s": lag_s})

    return check


def disk_space_check(
    path: str | Path, *, degraded_bytes: int = 1 << 30, unhealthy_bytes: int = 100 << 20
) -> HealthCheck:
    """Return a check of the free space of the file system that holds `path`.

    Args:
        path: A file or folder.
        degraded_bytes: Below this it is degraded (`unhealthy_bytes` or more; 1 GiB).
        unhealthy_bytes: Below this it is unhealthy (above 0; 100 MiB).

    Raises:
        ValueError: The bounds are out of range or out of order.
    """
    if not 0 < unhealthy_bytes <= degraded_bytes:
        raise ValueError("unhealthy_bytes must be above 0 and not above degraded_bytes")

    def measure() -> CheckResult:
        # `free` is what an ordinary user may still write, not what root may.
        free = shutil.disk_usage(path).free
        return _graded(
            -free, -degraded_bytes + 1, -unhealthy_bytes + 1,
            f"{free >> 20} MiB free", {"free_bytes": free},
        )  # fmt: skip

    return _in_thread(measure)


def memory_check(
    *,
    limit_bytes: int | None = None,
    degraded_share: float = 0.8,
    unhealthy_share: float = 0.95,
    read: Callable[[], int | None] = memory_used_bytes,
) -> HealthCheck:
    """Return a check of the resident memory of this process.

    Args:
        limit_bytes: What it may have; the smaller of the control group's limit and the
            machine's memory when None.
        degraded_share: From this share of it on it is degraded.
        unhealthy_share: From this share on it is unhealthy (up to 1).
        read: Measures; for systems that have no `/proc`.

    Raises:
        ValueError: The shares are out of range or out of order.
        ConfigError: This system does not say how much is used, or how much there is.
    """
    _check_order("share", degraded_share, unhealthy_share, 1.0)
    limit = memory_limit_bytes() if limit_bytes is None else limit_bytes
    if not limit or limit < 0:
        raise ConfigError("this system does not say how much memory there is", "limit_bytes")
    if read() is None:
        raise ConfigError("this system does not say how much memory is used; pass `read`", "read")

    async def check() -> CheckResult:
        used = read()
        if used is None:
            return CheckResult(status=HealthStatus.DEGRADED, reason="memory can not be read")
        share = used / limit
        said = f"{used >> 20} MiB of {limit >> 20} MiB in use"
        data = {"used_bytes": used, "limit_bytes": limit}
        return _graded(share, degraded_share, unhealthy_share, said, data)

    return check


def database_check(path: str | Path, *, deep: bool = False) -> HealthCheck:
    """Return a check of a SQLite file: that it is there, can be read, and is whole.

    Args:
        path: The file.
        deep: Whether every page is looked at. Takes time in proportion to the file's size:
            give it a long `ttl_s` and `timeout_s`.
    """
    file = Path(path)

    def measure() -> CheckResult:
        wrong = probe_database(file, deep=deep)
        status = HealthStatus.UNHEALTHY if wrong else HealthStatus.HEALTHY
        return CheckResult(status=status, reason=wrong)

    return _in_thread(measure)


def breaker_check(
    snapshots: Callable[[], Mapping[str, BreakerSnapshot]],
    *,
    open_status: HealthStatus = HealthStatus.DEGRADED,
) -> HealthCheck:
    """Return a check of circuits; `BreakerRegistry.snapshots` tells.

    Args:
        snapshots: The circuits, by name.
        open_status: What an open circuit counts as. DEGRADED: a tool that is left in
            peace does not make the server useless.
    """

    async def check() -> CheckResult:
        found = snapshots()
        ill = [name for name, each in found.items() if each.state is BreakerState.OPEN]
        trying = [name for name, each in found.items() if each.state is BreakerState.HALF_OPEN]
        data = {"circuits": len(found), "open": len(ill), "half_open": len(trying)}
        if ill:
            return CheckResult(status=open_status, reason=f"open: {_named(ill)}", data=data)
        if trying:
            said = f"half open: {_named(trying)}"
            status = max(open_status, HealthStatus.DEGRADED)
            return CheckResult(status=status, reason=said, data=data)
        return CheckResult(status=HealthStatus.HEALTHY, data=data)

    return check


def supervisor_check(supervisor: Supervisor) -> HealthCheck:
    """Return a check of services: unhealthy when one has failed for good."""

    async def check() -> CheckResult:
        found = supervisor.get_services()
        failed = [each.name for each in found if each.state is ServiceState.FAILED]
        moving = {ServiceState.WAITING, ServiceState.STOPPING}
        waiting = [each.name for each in found if each.state in moving]
        data = {"services": len(found), "failed": len(failed), "waiting": len(waiting)}
        if failed:
            status, said = HealthStatus.UNHEALTHY, f"failed: {_named(failed)}"
        elif waiting:
            status, said = HealthStatus.DEGRADED, f"restarting: {_named(waiting)}"
        else:
            status, said = HealthStatus.HEALTHY, ""
        return CheckResult(status=status, reason=said, data=data)

    return check


def _in_thread(function: Callable[[], Answer]) -> HealthCheck:
    # A limiter would not do: on asyncio it is given back when the wait is cut off, and
    # not when the thread ends.
    busy = threading.Lock()

    async def check() -> CheckResult:
        if not busy.acquire(blocking=False):
            raise TimeoutError("the last run has not ended")
        # Whoever has this one, the thread or its caller who gave up, releases the other.
        claim = threading.Lock()

        def run() -> Answer:
            if not claim.acquire(blocking=False):
                return None
            try:
                return function()
            finally:
                busy.release()

        try:
            return _result(await anyio.to_thread.run_sync(run, abandon_on_cancel=True))
        finally:
            if claim.acquire(blocking=False):
                busy.release()

    return check


def _result(answer: object) -> CheckResult:
    if isinstance(answer, CheckResult):
        return answer
    if isinstance(answer, HealthStatus):
        return CheckResult(status=answer)
    if answer is None or isinstance(answer, bool):
        well = answer is None or answer
        return CheckResult(status=HealthStatus.HEALTHY if well else HealthStatus.UNHEALTHY)
    raise TypeError(
        f"a health check must answer with a result or a boolean, not {shape_of(answer)}"
    )


def _graded(
    value: float, degraded: float, unhealthy: float, said: str, data: Mapping[str, float | str]
) -> CheckResult:
    # Not `>=`: what is no number is not well.
    if not value < unhealthy:
        return CheckResult(status=HealthStatus.UNHEALTHY, reason=said, data=data)
    status = HealthStatus.HEALTHY if value < degraded else HealthStatus.DEGRADED
    return CheckResult(status=status, reason=said, data=data)


def _check_order(unit: str, degraded: float, unhealthy: float, most: float) -> None:
    if not 0.0 < degraded <= unhealthy <= most:
        raise ValueError(
            f"degraded_{unit} must be above 0 and not above unhealthy_{unit}, "
            f"which must not be above {most:g}"
        )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
