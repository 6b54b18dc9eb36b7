"""Degradation: what is answered instead of an error, and what is switched off under load.

All durations are seconds. Operations are coroutine functions without arguments;
bind arguments with a lambda or `functools.partial`.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, final

from attrs import Attribute, field, frozen
from attrs.validators import (
    and_,
    deep_iterable,
    deep_mapping,
    ge,
    instance_of,
    le,
)

from ..core.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    OverloadedError,
    ThrottledError,
    UpstreamError,
)
from .load import are_exceptions
from .resilience import never_fails

__all__ = (
    "Answer",
    "AnswerSource",
    "Degradation",
    "DegradationConfig",
    "DegradationLevel",
    "DegradationSnapshot",
    "Fallback",
    "FallbackConfig",
)

_LONGEST_NAME = 64
_MOST_LEVELS = 32

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnswerSource(StrEnum):
    """Where an answer comes from, the best first."""

    OPERATION = "operation"
    STALE = "stale"
    """An earlier result of the operation."""
    FUNCTION = "function"
    VALUE = "value"


@final
@frozen(kw_only=True)
class FallbackConfig:
    """What is replaced, and how old a replacement may be.

    Args:
        on: The errors that are replaced; an exception group when all its members
            are. A refusal of this package is only when its class is named here, not
            when a base class such as `Exception` is: what policy denies is never
            answered from elsewhere.
        is_failure: Whether a returned result is to be replaced.
        max_stale_s: How old a result may be to be answered again (0 to 31,536,000;
            0: none is kept).
        max_entries: How many results are kept (1 to 1,000,000; 1,000). Beyond it the
            one that was not used longest is forgotten.
    """

    on: tuple[type[Exception], ...] = field(
        default=(
            ConnectionError,
            TimeoutError,
            UpstreamError,
            CircuitOpenError,
            DeadlineExceededError,
            OverloadedError,
            ThrottledError,
        ),
        validator=are_exceptions,
    )
    is_failure: Callable[[Any], bool] = never_fails
    max_stale_s: float = field(default=0.0, validator=and_(ge(0.0), le(31_536_000.0)))
    max_entries: int = field(
        default=1_000, validator=[instance_of(int), and_(ge(1), le(1_000_000))]
    )


@final
@frozen(kw_only=True)
class Answer(Generic[T_co]):
    """A result, and what it is worth.

    Args:
        value: The result.
        source: Where it comes from.
        age_s: How long ago the operation returned it; 0 unless it is stale.
        error: What the operation raised; None when it raised nothing.
    """

    value: T_co
    source: AnswerSource = AnswerSource.OPERATION
    age_s: float = 0.0
    error: Exception | None = None


class Fallback(Protocol):
    """Answers with the next best when an operation fails.

    The caller answers for a key that tells apart whatever must not be mixed:
    the principal and the arguments.
    """

    async def execute(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> T:
        """Return the operation's result, or what stands in for it.

        Args:
            operation: What to run.
            key: What a result is kept under; None keeps and finds nothing.

        Raises:
            Exception: What the operation raised, when nothing stands in for it.
        """
        ...

    async def answer(
        self, operation: Callable[[], Awaitable[T]], /, *, key: Hashable | None = None
    ) -> Answer[T]:
        """Do what `execute` does, and say where the result comes from.

        Raises:
            Exception: What the operation raised, when nothing stands in for it.
        """
        ...

    def configure(self, config: FallbackConfig, /) -> None:
        """Go on with other settings, keeping the results that still fit."""
        ...

    def set_function(
        self, function: Callable[[Exception | None], Awaitable[Any]] | None, /
    ) -> None:
        """Answer with what `function` makes of the error; None takes it away."""
        ...


def _is_name(_level: object, attribute: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME:
        raise ValueError(f"{attribute.name} must be a text of 1 to {_LONGEST_NAME} characters")


@final
@frozen(kw_only=True)
class DegradationLevel:
    """One level: its name, and what is switched off from here on.

    Args:
        name: The level's name (1 to 64 characters).
        off: The features that are off at this level and at every later one.
    """

    name: str = field(validator=_is_name)
    off: tuple[str, ...] = field(
        default=(), validator=deep_iterable(instance_of(str), instance_of(tuple))
    )


_LEVELS = (
    DegradationLevel(name="normal"),
    DegradationLevel(name="reduced"),
    DegradationLevel(name="minimal"),
)
_STATUSES: Mapping[str, str] = MappingProxyType(
    {"healthy": "normal", "degraded": "reduced", "unhealthy": "minimal"}
)


@final
@frozen(kw_only=True)
class DegradationConfig:
    """The levels of a service, and what moves it between them.

    Args:
        levels: The levels in order, from all on to the least (1 to 32; `normal`,
            `reduced` and `minimal`, at which nothing is off until you say what).
        statuses: Which level a health status asks for (`healthy`, `degraded` and
            `unhealthy` ask for the default levels).
        worsen_after: How many reports in a row ask for a worse level before it is
            taken (1 to 1,000; 3, Kubernetes' failureThreshold).
        recover_after: How many ask for a better one before the service goes up one
            level (1 to 1,000; 5: slower than it went down).
        hold_s: How long a level is kept before the service goes up (0 to 86,400; 30).
    """

    levels: tuple[DegradationLevel, ...] = field(
        default=_LEVELS,
        validator=deep_iterable(instance_of(DegradationLevel), instance_of(tuple)),
    )
    statuses: Mapping[str, str] = field(
        default=_STATUSES, validator=deep_mapping(instance_of(str), instance_of(str))
    )
    worsen_after: int = field(default=3, validator=[instance_of(int), and_(ge(1), le(1_000))])
    recover_after: int = field(default=5, validator=[instance_of(int), and_(ge(1), le(1_000))])
    hold_s: float = field(default=30.0, validator=and_(ge(0.0), le(86_400.0)))

    def __attrs_post_init__(self) -> None:
        """Refuse names that are given twice or to no level, and a first level that lacks something.

        Raises:
            ValueError: The levels or the statuses make no sense.
        """
        if not 1 <= len(self.levels) <= _MOST_LEVELS:
            raise ValueError(f"levels must be 1 to {_MOST_LEVELS}, not {len(self.levels)}")
        names = [level.name for level in self.levels]
        if len(set(names)) != len(names):
            raise ValueError("levels must have different names")
        if self.levels[0].off:
            raise ValueError("levels must begin with one at which nothing is off")
        unknown = sorted(set(self.statuses.values()) - set(names))
        if unknown:
            raise ValueError(f"statuses must name levels; there is no level {unknown[0]!r}")


@final
@frozen(kw_only=True)
class DegradationSnapshot:
    """Where a service stands at one moment.

    Args:
        level: The level's name.
        off: Every feature that is off.
        pinned: Whether the level was set by hand, so that health does not move it.
        since_s: Seconds since the level was taken.
    """

    level: str
    off: frozenset[str]
    pinned: bool
    since_s: float


class Degradation(Protocol):
    """Says what a service still does: all of it, or less while it is not well.

    All methods are quick and synchronous.
    """

    def get_state(self) -> str:
        """Return the level's name."""
        ...

    def is_on(self, feature: str, /) -> bool:
        """Return whether the feature is on; what no level names always is."""
        ...

    def observe(self, status: str, /) -> None:
        """Take a health status; a status that no level is named for changes nothing."""
        ...

    def set_level(self, name: str | None, /) -> None:
        """Take this level and keep it whatever health says; None lets health decide again.

        Raises:
            ValueError: There is no such level.
        """
        ...

    def snapshot(self) -> DegradationSnapshot:
        """Return where the service stands."""
        ...

    def configure(self, config: DegradationConfig, /) -> None:
        """Go on with other levels, at the one of the same name, or else at the first."""
        ...
