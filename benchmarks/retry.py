"""Retries: ours beside stamina, tenacity and a loop written by hand."""

from benchmarks.harness import OURS, Bench
from localmcp_harden.resilience.budget import WindowRetryBudget
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry

ATTEMPTS = 3


async def work() -> int:
    return 1


class FailsOnce:
    """Fails, succeeds, fails, succeeds."""

    def __init__(self) -> None:
        self.failed = False

    async def __call__(self) -> int:
        self.failed = not self.failed
        if self.failed:
            raise ConnectionError
        return 1


def run(bench: Bench) -> None:
    import stamina

    # What a silent host would set: the peer must not be slowed by its own log lines.
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        success(bench)
        one_failure(bench)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)


def make_ours() -> StaminaRetry:
    return StaminaRetry(RetryConfig(attempts=ATTEMPTS, base_s=0.0))


def make_stamina():  # type: ignore[no-untyped-def]
    import stamina

    caller = stamina.AsyncRetryingCaller(
        attempts=ATTEMPTS, wait_initial=0, wait_max=0, wait_jitter=0
    )
    return caller.on(ConnectionError)


def with_tenacity(function):  # type: ignore[no-untyped-def]
    import tenacity

    return tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        retry=tenacity.retry_if_exception_type(ConnectionError),
    )(function)


def success(bench: Bench) -> None:
    async def by_hand() -> int:
        for attempt in range(ATTEMPTS):
            try:
                return await work()
            except ConnectionError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    ours = make_ours()
    budgeted = StaminaRetry(RetryConfig(attempts=ATTEMPTS, base_s=0.0), budget=WindowRetryBudget())
    timed = StaminaRetry(RetryConfig(attempts=ATTEMPTS, base_s=0.0, attempt_timeout_s=60.0))
    caller = make_stamina()
    medians = bench.compare_async(
        "success",
        {
            "hand-written loop": by_hand,
            OURS: lambda: ours.execute(work),
            f"{OURS}, with a budget": lambda: budgeted.execute(work),
            f"{OURS}, with an attempt timeout": lambda: timed.execute(work),
            "stamina": lambda: caller(work),
            "tenacity": with_tenacity(work),
        },
        base="hand-written loop",
    )
    ratio = medians[OURS] / medians["hand-written loop"]
    bench.target("success", "at most 2.5 of a hand-written loop", ratio, met=ratio <= 2.5)


def one_failure(bench: Bench) -> None:
    by_loop, by_us, by_stamina, by_tenacity = (FailsOnce() for _ in range(4))

    async def by_hand() -> int:
        for attempt in range(ATTEMPTS):
            try:
                return await by_loop()
            except ConnectionError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    async def flaky() -> int:
        return await by_tenacity()

    ours = make_ours()
    caller = make_stamina()
    bench.compare_async(
        "one failure, then success",
        {
            "hand-written loop": by_hand,
            OURS: lambda: ours.execute(by_us),
            "stamina": lambda: caller(by_stamina),
            "tenacity": with_tenacity(flaky),
        },
        base="hand-written loop",
    )
