"""The whole composition beside its parts, hyx, pyresilience, and tenacity with a deadline."""

import asyncio

import anyio

from benchmarks.harness import OURS, Bench
from localmcp_harden.compose.resilient import resilient
from localmcp_harden.mechanisms.sync_clock import SyncClock
from localmcp_harden.protocols.degradation import FallbackConfig
from localmcp_harden.protocols.load import BulkheadConfig, ThrottleConfig
from localmcp_harden.protocols.resilience import BreakerConfig
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.bulkhead import QueueBulkhead
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry

THREE = "localmcp-harden: bulkhead, retry, breaker"
BUDGETED = "localmcp-harden: the same and a budget"
WHOLE = "localmcp-harden: all but hedge and deadline"


async def work() -> int:
    return 1


def plain_work() -> int:
    return 1


def run(bench: Bench) -> None:
    without_deadline(bench)
    with_deadline(bench)
    beside_peers(bench)
    synchronous(bench)


def without_deadline(bench: Bench) -> None:
    breaker = SlidingWindowBreaker()
    # A retry that is brought has no budget unless it is given one.
    bulkhead, retry = QueueBulkhead(), StaminaRetry()
    core = resilient(bulkhead=bulkhead, retry=retry, breaker=breaker)
    budgeted = resilient(bulkhead=BulkheadConfig(), retry=RetryConfig(), breaker=BreakerConfig())
    whole = resilient(
        fallback=FallbackConfig(),
        bulkhead=BulkheadConfig(),
        throttle=ThrottleConfig(),
        retry=RetryConfig(),
        breaker=BreakerConfig(),
    )
    medians = bench.compare_async(
        "no deadline",
        {
            "bare await": work,
            "breaker alone": lambda: breaker.execute(work),
            "decorator without parts": resilient()(work),
            "the same three by nested lambdas": lambda: bulkhead.execute(
                lambda: retry.execute(lambda: breaker.execute(work))
            ),
            THREE: core(work),
            BUDGETED: budgeted(work),
            WHOLE: whole(work),
        },
        base="breaker alone",
    )
    for subject in (THREE, WHOLE):
        ratio = medians[subject] / medians["breaker alone"]
        target = f"{subject}: at most 4 of the breaker alone"
        bench.target("no deadline", target, ratio, met=ratio <= 4.0)


def with_deadline(bench: Bench) -> None:
    few = resilient(deadline=DeadlineConfig(), retry=RetryConfig(), breaker=BreakerConfig())
    whole = resilient(
        deadline=DeadlineConfig(),
        fallback=FallbackConfig(),
        bulkhead=BulkheadConfig(),
        throttle=ThrottleConfig(),
        retry=RetryConfig(),
        breaker=BreakerConfig(),
    )

    async def with_anyio() -> int:
        with anyio.fail_after(60.0):
            return await work()

    medians = bench.compare_async(
        "with a deadline",
        {
            "anyio.fail_after": with_anyio,
            "localmcp-harden: deadline, retry, breaker": few(work),
            OURS: whole(work),
        },
        base="anyio.fail_after",
    )
    ratio = medians[OURS] / medians["anyio.fail_after"]
    bench.target("with a deadline", "at most 1.6 of anyio.fail_after", ratio, met=ratio <= 1.6)


def beside_peers(bench: Bench) -> None:
    """Time deadline, retry and breaker together, as far as each peer has them."""
    import hyx.circuitbreaker
    import hyx.retry
    import pyresilience
    import stamina
    import tenacity

    ours = resilient(
        deadline=DeadlineConfig(timeout_s=60.0), retry=RetryConfig(), breaker=BreakerConfig()
    )

    @hyx.retry.retry(on=ConnectionError, attempts=3)
    @hyx.circuitbreaker.consecutive_breaker(
        exceptions=ConnectionError, failure_threshold=5, recovery_time_secs=30.0,
        recovery_threshold=3,
    )  # fmt: skip
    async def by_hyx() -> int:
        # Its own timeout asks for a running loop where it decorates.
        async with asyncio.timeout(60.0):
            return await work()

    @pyresilience.resilient(
        timeout=pyresilience.TimeoutConfig(seconds=60.0),
        retry=pyresilience.RetryConfig(max_attempts=3),
        circuit_breaker=pyresilience.CircuitBreakerConfig(),
    )
    async def by_pyresilience() -> int:
        return 1

    @tenacity.retry(stop=tenacity.stop_after_attempt(3))
    async def by_tenacity() -> int:
        with anyio.fail_after(60.0):
            return await work()

    @stamina.retry(on=ConnectionError, attempts=3)
    async def by_stamina() -> int:
        with anyio.fail_after(60.0):
            return await work()

    bench.compare_async(
        "deadline, retry, breaker",
        {
            OURS: ours(work),
            "hyx and asyncio.timeout": by_hyx,
            "pyresilience (asyncio)": by_pyresilience,
            "tenacity and anyio, no breaker": by_tenacity,
            "stamina and anyio, no breaker": by_stamina,
        },
        base=OURS,
    )


def synchronous(bench: Bench) -> None:
    """Time a synchronous function behind retry and breaker."""
    import pybreaker
    import tenacity

    ours = resilient(retry=RetryConfig(), breaker=BreakerConfig(), clock=SyncClock())
    breaker = pybreaker.CircuitBreaker()
    bench.compare(
        "synchronous",
        {
            "bare call": plain_work,
            OURS: ours(plain_work),
            "tenacity and pybreaker": tenacity.retry(stop=tenacity.stop_after_attempt(3))(
                breaker(plain_work)
            ),
        },
        base="bare call",
    )
