"""Chaos: disturbances made on purpose, to find out what a service does about them.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol, TypeVar, final

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, instance_of, is_callable, le, max_len

__all__ = ("Chaos", "ChaosConfig", "ChaosKind", "ChaosRule", "ChaosSnapshot", "refused_connection")

T = TypeVar("T")


def refused_connection() -> Exception:
    """Return the error that a disturbance raises unless its rule says otherwise."""
    return ConnectionError("made by chaos on purpose")


class ChaosKind(StrEnum):
    """What a disturbance does."""

    LATENCY = "latency"
    """The operation begins `delay_s` later."""
    FAULT = "fault"
    """The operation does not run; an error is raised instead."""
    OUTCOME = "outcome"
    """The operation does not run; a made-up result is returned instead."""
    CANCELLATION = "cancellation"
    """The operation is cancelled after `delay_s`, and an error is raised instead."""
    CLOCK_STEP = "clock_step"
    """The wall clock is set by `step_s`, and the operation runs."""


@final
@frozen(kw_only=True)
class ChaosRule:
    """One disturbance, and how often it is made.

    Args:
        kind: What it does.
        rate: Of which share of the operations (above 0, up to 1).
        delay_s: The delay (0 to 3,600; 0: cancelled at the first wait).
        spread_s: How much is added to the delay at most, by chance (0 to 3,600; 0).
        error: Makes the error that is raised (a `ConnectionError`, which is retried
            and counts against the target).
        outcome: Makes the result that is returned (None).
        step_s: By how much the wall clock is set (-31,536,000 to 31,536,000; 0).
    """

    kind: ChaosKind = field(validator=instance_of(ChaosKind))
    rate: float = field(validator=and_(gt(0.0), le(1.0)))
    delay_s: float = field(default=0.0, validator=and_(ge(0.0), le(3_600.0)))
    spread_s: float = field(default=0.0, validator=and_(ge(0.0), le(3_600.0)))
    error: Callable[[], Exception] = field(default=refused_connection, validator=is_callable())
    outcome: Callable[[], Any] = field(default=lambda: None, validator=is_callable())
    step_s: float = field(default=0.0, validator=and_(ge(-31_536_000.0), le(31_536_000.0)))


@final
@frozen(kw_only=True)
class ChaosConfig:
    """Which disturbances there are, and the bounds of every exercise.

    Args:
        rules: The disturbances, tried in order; each decides for itself (none).
        max_s: How long an exercise may last (above 0, up to 86,400; 3,600).
        max_disturbances: How many there are in one exercise (1 to 1,000,000; 10,000).
    """

    rules: tuple[ChaosRule, ...] = field(
        default=(),
        validator=[deep_iterable(instance_of(ChaosRule), instance_of(tuple)), max_len(100)],
    )
    max_s: float = field(default=3_600.0, validator=and_(gt(0.0), le(86_400.0)))
    max_disturbances: int = field(
        default=10_000, validator=[instance_of(int), and_(ge(1), le(1_000_000))]
    )


@final
@frozen(kw_only=True)
class ChaosSnapshot:
    """An exercise's numbers at one moment.

    Args:
        armed: Whether disturbances are made now, somewhere.
        left_s: Seconds until the exercise ends by itself, 0 when there is none.
        disturbances: How many were made in this exercise, or in the last one.
    """

    armed: bool
    left_s: float
    disturbances: int


class Chaos(Protocol):
    """Disturbs operations on purpose: off until an exercise begins, and off after it.

    An exercise ends when its time is over, when its number of disturbances is
    reached, or when somebody ends it. While there is none, an operation's own result
    and own error reach its caller unchanged.
    """

    async def execute(self, operation: Callable[[], Awaitable[T]], /, *, name: str = "") -> T:
        """Run the operation, disturbed as the rules say.

        Args:
            operation: What to run.
            name: How events call the operation; the chaos's own name when empty.

        Raises:
            Exception: What the operation raises, or what a rule makes.
        """
        ...

    def begin(self, duration_s: float, /) -> None:
        """Begin an exercise for all operations, instead of the one that goes on.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        ...

    def end(self) -> None:
        """End the exercise, and set stepped clocks right; nothing where there is none."""
        ...

    def exercise(self, duration_s: float, /) -> AbstractContextManager[None]:
        """Return a context: an exercise for the operations that its body begins, and no others.

        Raises:
            ValueError: `duration_s` is not above 0 or longer than `max_s`.
        """
        ...

    def snapshot(self) -> ChaosSnapshot:
        """Return the exercise's numbers."""
        ...

    def configure(self, config: ChaosConfig, /) -> None:
        """Go on with other rules; an exercise that goes on keeps its time and its numbers."""
        ...
