"""A chaos that does what a test lines up, in that order, and nothing by chance."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeVar, final

from ...core.events import ChaosInjected, Event
from ...core.ports import Clock, Random
from ...protocols.chaos import ChaosConfig, ChaosRule, ChaosSnapshot
from ...resilience.chaos import RuleChaos
from ...resilience.stepped_clock import SteppedClock
from ..chance import FakeRandom
from ..clock import FakeClock

__all__ = ("FakeChaos",)

T = TypeVar("T")


@final
class FakeChaos:
    """A `Chaos` on a clock that stands still, and with a list of what comes next.

    Args:
        config: The rules, for tests that begin an exercise.
        stepped: The clock that `clock_step` sets.
        clock: The clock; a fake one of its own by default.
        random: Chance; the low end of every range by default, so that every rule applies.
    """

    def __init__(
        self,
        config: ChaosConfig | None = None,
        *,
        stepped: SteppedClock | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.next: list[ChaosRule | None] = []
        """What happens to the next operations, whatever their rates: a rule, or None."""
        self.made: list[ChaosInjected] = []
        """Every disturbance, in order."""
        options: dict[str, Clock | Random] = {
            "clock": clock or FakeClock(),
            "random": random or FakeRandom(0.0),
        }
        self._real = RuleChaos(config, stepped=stepped, sink=self._keep, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self._scripted = RuleChaos(stepped=stepped, sink=self._keep, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async def execute(self, operation: Callable[[], Awaitable[T]], /, *, name: str = "") -> T:
        """Run the operation, disturbed as the next in line says, or as the rules do.

        Raises:
            Exception: What the operation raises, or what a rule makes.
        """
        if not self.next:
            return await self._real.execute(operation, name=name)
        rule = self.next.pop(0)
        self._scripted.configure(ChaosConfig(rules=() if rule is None else (rule,)))
        self._scripted.begin(1.0)
        return await self._scripted.execute(operation, name=name)

    def begin(self, duration_s: float, /) -> None:
        """Begin an exercise for all operations.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        self._real.begin(duration_s)

    def end(self) -> None:
        """End the exercise."""
        self._real.end()

    def exercise(self, duration_s: float, /) -> AbstractContextManager[None]:
        """Return a context: an exercise for the operations that its body begins.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        return self._real.exercise(duration_s)

    def snapshot(self) -> ChaosSnapshot:
        """Return the exercise's numbers."""
        return self._real.snapshot()

    def configure(self, config: ChaosConfig, /) -> None:
        """Go on with other rules."""
        self._real.configure(config)

    def _keep(self, event: Event) -> None:
        if isinstance(event, ChaosInjected):
            self.made.append(event)
