"""One health check at work: runs it once for all who ask, keeps its result, settles its status.

All times are seconds. Part of the health registry, and reached through it.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, final

import anyio

from ..core.ports import Clock, Random
from ..mechanisms.dependency_graph import Verdict
from ..mechanisms.hysteresis import Hysteresis
from ..mechanisms.shape import shape_of
from ..protocols.health import (
    CheckReport,
    CheckResult,
    HealState,
    HealthCheck,
    HealthCheckConfig,
    HealthStatus,
)

__all__ = ("HealthProbe",)

_MAX_REASON_CHARS = 200
_MAX_DATA = 16
_MAX_KEY_CHARS = 64
_NO_DATA: Mapping[str, float | str] = MappingProxyType({})


@final
class HealthProbe:
    """A check with its last result.

    Args:
        name: The check's name.
        check: Finds out.
        config: How it is run.
        clock: Time; it does the cutting off.
        random: Chance, for the jitter.
        on_run: Told after each run: the probe, and its settled status before it.
        on_failure: Told the first error of a row of runs that raise.
    """

    def __init__(
        self,
        name: str,
        check: HealthCheck,
        config: HealthCheckConfig,
        *,
        clock: Clock,
        random: Random,
        on_run: Callable[["HealthProbe", HealthStatus | None], None],
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        self.name: str = name
        self.config: HealthCheckConfig = config
        self.raw: HealthStatus | None = None
        """The status of the last run, None before the first."""
        self.due: float = 0.0
        """When the last result is too old, on the monotonic clock."""
        self.reason: str = "it has not run yet"
        self._check = check
        self._clock = clock
        self._random = random
        self._on_run = on_run
        self._on_failure = on_failure
        self._hysteresis: Hysteresis[HealthStatus] = Hysteresis(
            config.fail_after, config.pass_after
        )
        self._data = _NO_DATA
        self._runs = 0
        self._ran_at = 0.0
        self._checked_at = 0.0
        self._duration_s = 0.0
        self._failing_with = ""
        self._flight: anyio.Event | None = None
        self._made: tuple[Verdict, HealState | None, CheckReport] | None = None

    @property
    def settled(self) -> HealthStatus | None:
        """The settled status, None before the first run."""
        return self._hysteresis.settled

    @property
    def own_status(self) -> HealthStatus:
        """The settled status; a check that has not run is not well."""
        settled = self._hysteresis.settled
        return HealthStatus.UNHEALTHY if settled is None else settled

    @property
    def in_flight(self) -> bool:
        """Whether the check is running."""
        return self._flight is not None

    def is_due(self, now: float) -> bool:
        """Return whether the result is too old, or from a time that a clock took back."""
        return not self._runs or not self._ran_at <= now < self.due

    async def refresh(self) -> None:
        """Run the check unless its result is good, or wait for the run that has begun."""
        runs = self._runs
        while self._runs == runs and self.is_due(self._clock.monotonic()):
            if self._flight is None:
                await self._run()
                return
            # A run that was cancelled leaves the result as it was: then it is our turn.
            await self._flight.wait()

    async def run_anew(self) -> HealthStatus | None:
        """Run the check, whatever its last result; return what this run found."""
        while self._flight is not None:
            await self._flight.wait()
        await self._run()
        return self.raw

    def report(self, verdict: Verdict, heal: HealState | None) -> CheckReport:
        """Return the check's part of a report; the same one as long as nothing has changed."""
        made = self._made
        if made is None or made[0] is not verdict or made[1] is not heal:
            made = self._made = (verdict, heal, self._report(verdict, heal))
        return made[2]

    def _report(self, verdict: Verdict, heal: HealState | None) -> CheckReport:
        reason = self.reason
        if verdict.missing:
            reason = f"it depends on {verdict.missing[0]!r}, which is not registered"
        elif verdict.status < self.own_status:
            reason = "something that it depends on is not well"
        return CheckReport(
            name=self.name,
            status=verdict.status,
            own_status=self.own_status,
            reason=reason,
            data=self._data,
            causes=verdict.causes,
            kinds=self.config.kinds,
            tags=self.config.tags,
            critical=self.config.critical,
            depends_on=self.config.depends_on,
            checked_at=self._checked_at,
            duration_s=self._duration_s,
            heal=heal,
        )

    async def _run(self) -> None:
        flight = self._flight = anyio.Event()
        try:
            started = self._clock.monotonic()
            result = await self._ask()
            previous = self._take(result, started)
        finally:
            self._flight = None
            flight.set()
        self._on_run(self, previous)

    async def _ask(self) -> CheckResult:
        config = self.config
        try:
            with self._clock.cut_after(config.timeout_s):
                result = _bounded(await self._check())
                self._failing_with = ""
                return result
        except Exception as error:  # noqa: BLE001 - a host's check may raise anything
            kind = type(error).__name__
            if kind != self._failing_with:
                self._failing_with = kind
                self._on_failure(self.name, error)
            # The message stays here: it may hold a secret.
            return CheckResult(status=config.failure_status, reason=f"{kind} was raised")
        return CheckResult(
            status=config.failure_status,
            reason=f"it did not answer within {config.timeout_s:g} seconds",
        )

    def _take(self, result: CheckResult, started: float) -> HealthStatus | None:
        """Keep a result and return the settled status before it."""
        now = self._clock.monotonic()
        config = self.config
        previous = self._hysteresis.settled
        spread = config.ttl_s * config.jitter
        self._runs += 1
        self._made = None
        self._ran_at = now
        self.due = now + config.ttl_s + self._random.uniform(-spread, spread)
        self._checked_at = self._clock.wall()
        self._duration_s = max(0.0, now - started)
        self.raw = result.status
        self.reason = result.reason
        self._data = result.data
        self._hysteresis.observe(result.status)
        return previous


def _bounded(result: object) -> CheckResult:
    """Return a result cut to what a report may hold."""
    if not isinstance(result, CheckResult):
        raise TypeError(f"a health check must return a CheckResult, not {shape_of(result)}")
    if len(result.reason) <= _MAX_REASON_CHARS and not result.data:
        return result
    return CheckResult(
        status=result.status,
        reason=result.reason[:_MAX_REASON_CHARS],
        data=MappingProxyType(
            {
                str(key)[:_MAX_KEY_CHARS]: _value(value)
                for key, value in islice(result.data.items(), _MAX_DATA)
            }
        ),
    )


def _value(value: Any) -> float | str:
    if isinstance(value, (bool, int, float)):
        return value
    return value[:_MAX_REASON_CHARS] if isinstance(value, str) else shape_of(value)
