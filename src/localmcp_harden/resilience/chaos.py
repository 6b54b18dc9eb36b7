"""Disturbs operations on purpose: latency, faults, results, cancellation, clock steps.

All times are seconds. Off until an exercise begins; an exercise ends by itself, and
every disturbance is an event, so that nobody takes it for a real fault. The kinds are
those of Polly's chaos strategies (once Simmy), and two that they lack.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, final

from ..core.events import ChaosInjected, EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.chaos import ChaosConfig, ChaosKind, ChaosRule, ChaosSnapshot
from .stepped_clock import SteppedClock

__all__ = ("RuleChaos",)

T = TypeVar("T")


@final
class _Exercise:
    """One exercise: its end, and how many disturbances it has made."""

    __slots__ = ("active", "everywhere", "made", "until")

    def __init__(self, until: float, *, everywhere: bool) -> None:
        self.until = until
        self.everywhere = everywhere
        self.made = 0
        self.active = True


@final
class RuleChaos:
    """The default `Chaos`: by chance, as its rules say. Belongs to one event loop.

    There is one exercise at a time. A rule whose function raises disturbs nothing, and
    is reported as `GuardFailed`.

    Args:
        config: The rules and the bounds.
        name: How events call the operation, where the call says nothing else.
        stepped: The clock that `clock_step` sets, which the blocks under test were
            given; without one that kind does nothing.
        clock: Time.
        random: Decides what is disturbed.
        sink: Told of every disturbance.
    """

    __slots__ = (
        "_clock",
        "_config",
        "_exercise",
        "_here",
        "_random",
        "_reporter",
        "_stepped",
        "name",
    )

    def __init__(
        self,
        config: ChaosConfig | None = None,
        *,
        name: str = "operation",
        stepped: SteppedClock | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._config = config or ChaosConfig()
        self._stepped = stepped
        self._clock: Clock = clock or SystemClock()
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, self._clock, name)
        self._exercise: _Exercise | None = None
        # One variable for each chaos: an exercise of one must not arm another.
        self._here: ContextVar[_Exercise | None] = ContextVar("localmcp_harden_chaos", default=None)

    @property
    def config(self) -> ChaosConfig:
        """The settings in force."""
        return self._config

    async def execute(self, operation: Callable[[], Awaitable[T]], /, *, name: str = "") -> T:
        """Run the operation, disturbed as the rules say.

        Raises:
            Exception: What the operation raises, or what a rule makes.
        """
        # Most calls end here.
        if self._exercise is None or not self._is_on(self._exercise):
            return await operation()
        return await self._disturbed(self._exercise, operation, name or self.name)

    def begin(self, duration_s: float, /) -> None:
        """Begin an exercise for all operations, instead of the one that goes on.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        self._begin(duration_s, everywhere=True)

    def end(self) -> None:
        """End the exercise, and set the stepped clock right; nothing where there is none."""
        if self._exercise is None or not self._exercise.active:
            return
        self._exercise.active = False
        if self._stepped is not None:
            self._stepped.set_right()

    @contextmanager
    def exercise(self, duration_s: float, /) -> Generator[None]:
        """Return a context: an exercise for the operations that its body begins, and no others.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        mine = self._begin(duration_s, everywhere=False)
        before = self._here.get()
        self._here.set(mine)
        try:
            yield
        finally:
            self._here.set(before)
            if self._exercise is mine:
                self.end()

    def snapshot(self) -> ChaosSnapshot:
        """Return the exercise's numbers."""
        exercise = self._exercise
        if exercise is None:
            return ChaosSnapshot(armed=False, left_s=0.0, disturbances=0)
        armed = self._goes_on(exercise)
        left_s = max(0.0, exercise.until - self._clock.monotonic()) if armed else 0.0
        return ChaosSnapshot(armed=armed, left_s=left_s, disturbances=exercise.made)

    def configure(self, config: ChaosConfig, /) -> None:
        """Go on with other rules; an exercise that goes on keeps its time and its numbers."""
        self._config = config

    def _begin(self, duration_s: float, *, everywhere: bool) -> _Exercise:
        if not 0.0 < duration_s <= self._config.max_s:
            raise ValueError(
                f"an exercise must take more than 0 and at most {self._config.max_s:g} seconds; "
                "raise max_s to allow a longer one"
            )
        self.end()
        until = self._clock.monotonic() + duration_s
        self._exercise = _Exercise(until, everywhere=everywhere)
        return self._exercise

    def _is_on(self, exercise: _Exercise) -> bool:
        """Return whether the operation that begins now belongs to the exercise."""
        if not exercise.everywhere and self._here.get() is not exercise:
            return False
        return self._goes_on(exercise)

    def _goes_on(self, exercise: _Exercise) -> bool:
        if exercise.active and self._clock.monotonic() >= exercise.until:
            self.end()
        return exercise.active

    async def _disturbed(
        self, exercise: _Exercise, operation: Callable[[], Awaitable[T]], name: str
    ) -> T:
        for rule in self._config.rules:
            if not exercise.active:
                break
            # Of a rate of 1 chance is not asked: it may draw its own upper end.
            if rule.rate < 1.0 and self._random.uniform(0.0, 1.0) >= rule.rate:
                continue
            made = self._make(rule)
            if made is None:
                continue
            delay_s = rule.delay_s + self._random.uniform(0.0, rule.spread_s)
            self._take_note(exercise, rule.kind, name, delay_s)
            if rule.kind is ChaosKind.LATENCY:
                await self._clock.sleep(delay_s)
            elif rule.kind is ChaosKind.CANCELLATION:
                return await self._cancelled(operation, delay_s, made[0])
            elif rule.kind is ChaosKind.FAULT:
                raise made[0]
            elif rule.kind is ChaosKind.OUTCOME:
                result: T = made[0]
                return result
        return await operation()

    def _make(self, rule: ChaosRule) -> tuple[Any] | None:
        """Return what a rule raises or returns, None when there is nothing to disturb with."""
        try:
            if rule.kind is ChaosKind.OUTCOME:
                return (rule.outcome(),)
            if rule.kind in _RAISING:
                return (_checked(rule.error()),)
        except Exception as broken:  # noqa: BLE001 - a host's function may raise anything
            self._reporter.guard_failed("chaos", broken)
            return None
        if rule.kind is ChaosKind.CLOCK_STEP:
            if self._stepped is None:
                return None
            self._stepped.step_wall(rule.step_s)
        return (None,)

    def _take_note(self, exercise: _Exercise, kind: ChaosKind, name: str, delay_s: float) -> None:
        exercise.made += 1
        if exercise.made >= self._config.max_disturbances:
            # This one is still made; the clock goes right with the last.
            self.end()
        at = self._clock.wall()
        self._reporter.report(
            ChaosInjected(at=at, operation=name, kind=kind.value, delay_s=delay_s)
        )

    async def _cancelled(
        self, operation: Callable[[], Awaitable[T]], delay_s: float, error: Exception
    ) -> T:
        with self._clock.cut_after(delay_s):
            return await operation()
        # Reached only when our scope has caught the cancellation that it caused itself.
        raise error


def _checked(error: object) -> Exception:
    # Cancellation and interrupts are never an error that is made.
    if not isinstance(error, Exception):
        raise TypeError(f"a rule's error must make an Exception, not {type(error).__name__}")
    return error


_RAISING = frozenset({ChaosKind.FAULT, ChaosKind.CANCELLATION})
