"""Heals one check: when, how often, whether it helped, and when to give up.

All times are seconds. Part of the health registry, and reached through it. An action
that the check does not confirm afterwards has failed, for the breaker too.
"""

from collections.abc import Awaitable, Callable
from typing import final

from ..core.errors import CircuitOpenError
from ..core.events import Escalated, HealAttempted
from ..core.ports import Clock, Random
from ..mechanisms.reporter import Reporter
from ..mechanisms.restarts import RestartSchedule
from ..protocols.health import (
    HealAction,
    HealConfig,
    HealOutcome,
    HealState,
    HealthStatus,
    OnEscalate,
)
from ..protocols.resilience import CircuitBreaker

__all__ = ("Healing",)

_JITTER = 0.1


class _NotHealedError(Exception):
    def __init__(self, outcome: HealOutcome, error_type: str = "") -> None:
        super().__init__(outcome, error_type)
        self.outcome = outcome
        self.error_type = error_type


@final
class Healing:
    """The healing of one check.

    Args:
        name: The check's name.
        action: What may help.
        config: When and how often.
        breaker: Guards the action, None for no further guard.
        on_escalate: Told when it gives up.
        clock: Time; it does the cutting off.
        random: Chance, for the waits.
        reporter: Where events go.
    """

    def __init__(
        self,
        name: str,
        action: HealAction,
        config: HealConfig,
        *,
        breaker: CircuitBreaker | None,
        on_escalate: OnEscalate | None,
        clock: Clock,
        random: Random,
        reporter: Reporter,
    ) -> None:
        self.name: str = name
        self.config: HealConfig = config
        self.not_before: float = 0.0
        """When the next action may run, on the monotonic clock."""
        self.state: HealState = HealState()
        self._action = action
        self._breaker = breaker
        self._on_escalate = on_escalate
        self._clock = clock
        self._reporter = reporter
        self._schedule = RestartSchedule(
            max_restarts=config.max_heals,
            window_s=config.window_s,
            initial_wait_s=config.initial_wait_s,
            factor=2.0,
            max_wait_s=config.max_wait_s,
            jitter=_JITTER,
            random=random,
        )
        self._attempts = 0
        self._failures = 0
        self._running = False

    def is_wanted(self, settled: HealthStatus | None, raw: HealthStatus | None) -> bool:
        """Return whether the check is ill enough, and nothing has been given up.

        The last run counts beside the settled status, so that what has just been healed
        is not healed again while its status settles.
        """
        heal_at = self.config.heal_at
        if settled is None or raw is None or settled > heal_at:
            if settled is not None and self._attempts:
                self._forget()
            return False
        return raw <= heal_at and not self._running and not self.state.gave_up

    async def heal(self, verify: Callable[[], Awaitable[HealthStatus | None]]) -> None:
        """Run the action once and see whether it helped; never raises an `Exception`.

        Args:
            verify: Asks the check anew.
        """
        if self._running:
            return
        self._running = True
        try:
            wait_s = self._schedule.next_wait_s(self._clock.monotonic())
            if wait_s is None:
                self._give_up("intensity")
                return
            self._attempts += 1
            outcome, error_type, retry_after_s = await self._guarded(verify)
            self._note(outcome, error_type, max(wait_s, retry_after_s))
        finally:
            self._running = False

    async def _guarded(
        self, verify: Callable[[], Awaitable[HealthStatus | None]]
    ) -> tuple[HealOutcome, str, float]:
        healed = False

        async def operation() -> None:
            nonlocal healed
            await self._act()
            status = await verify()
            if status is None or status <= self.config.heal_at:
                raise _NotHealedError(HealOutcome.NOT_VERIFIED)
            healed = True

        try:
            if self._breaker is None:
                await operation()
            else:
                await self._breaker.execute(operation)
        except _NotHealedError as error:
            return error.outcome, error.error_type, 0.0
        except CircuitOpenError as error:
            return HealOutcome.REFUSED, "", error.retry_after_s or 0.0
        except Exception as error:  # noqa: BLE001 - a host's breaker may raise anything
            self._reporter.guard_failed("breaker", error)
            return HealOutcome.FAILED, type(error).__name__, 0.0
        # A breaker with a fallback answers without running the action.
        return (HealOutcome.HEALED if healed else HealOutcome.REFUSED), "", 0.0

    async def _act(self) -> None:
        try:
            with self._clock.cut_after(self.config.timeout_s):
                await self._action()
                return
        except Exception as error:
            raise _NotHealedError(HealOutcome.FAILED, type(error).__name__) from error
        raise _NotHealedError(HealOutcome.TIMED_OUT)

    def _note(self, outcome: HealOutcome, error_type: str, wait_s: float) -> None:
        now = self._clock.monotonic()
        self.not_before = now + wait_s
        self.state = HealState(attempts=self._attempts, last=outcome)
        self._reporter.report(
            HealAttempted(
                at=self._clock.wall(),
                check=self.name,
                attempt=self._attempts,
                outcome=outcome.value,
                error_type=error_type,
            )
        )
        if outcome is HealOutcome.HEALED:
            self._failures = 0
            self._schedule.reset_waits()
        elif outcome is not HealOutcome.REFUSED:
            self._failures += 1
            if self._failures >= self.config.max_failures:
                self._give_up("heals_failed", error_type)

    def _give_up(self, cause: str, error_type: str = "") -> None:
        self.state = HealState(attempts=self._attempts, last=self.state.last, gave_up=True)
        self._reporter.report(
            Escalated(
                at=self._clock.wall(),
                source="health",
                subject=self.name,
                cause=cause,
                attempts=self._attempts,
                error_type=error_type,
            )
        )
        if self._on_escalate is not None:
            try:
                self._on_escalate(self.name, self.state)
            except Exception as error:  # noqa: BLE001 - a host's listener may raise anything
                self._reporter.guard_failed("on_escalate", error)

    def _forget(self) -> None:
        """Begin anew, since the check is well; the intensity stays counted."""
        self._attempts = self._failures = 0
        self._schedule.reset_waits()
        self.state = HealState(last=self.state.last)
