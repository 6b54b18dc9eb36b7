"""Says what a service still does: all of it, or less while it is not well.

All times are seconds. Levels are ordered; each switches off what the earlier ones do and
more. Health moves the level with hysteresis: down after some reports in a row, to the best
level that any of them asked for; up after more of them, one level at a time and not before a
level was held for a while. So one bad report changes nothing, and a service at its limit
does not swing.
"""

from typing import final

from ..core.events import DegradationChanged, EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.degradation import DegradationConfig, DegradationSnapshot

__all__ = ("DegradationLevels",)


class _UnknownStatusError(ValueError):
    """A health status that no level is named for."""


@final
class DegradationLevels:
    """The default `Degradation`: synchronous, and free of I/O.

    Belongs to one event loop.

    Args:
        config: The levels and what moves between them.
        name: How events call the service.
        clock: Time.
        sink: Told of every change, and of statuses that no level is named for.
    """

    __slots__ = (
        "_better",
        "_clock",
        "_config",
        "_level",
        "_off",
        "_offs",
        "_pinned",
        "_ranks",
        "_reporter",
        "_since",
        "_worse",
        "_worse_rank",
        "name",
    )

    def __init__(
        self,
        config: DegradationConfig | None = None,
        *,
        name: str = "service",
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, name)
        self._config = config or DegradationConfig()
        self._offs = _offs(self._config)
        self._ranks = _ranks(self._config)
        self._level = 0
        self._off = self._offs[0]
        self._pinned = False
        self._since = self._clock.monotonic()
        # Reports in a row that ask for a worse level, the best of those, and for a better one.
        self._worse = 0
        self._worse_rank = 0
        self._better = 0

    @property
    def config(self) -> DegradationConfig:
        """The settings in force."""
        return self._config

    def get_state(self) -> str:
        """Return the level's name."""
        return self._config.levels[self._level].name

    def is_on(self, feature: str, /) -> bool:
        """Return whether the feature is on; what no level names always is."""
        return feature not in self._off

    def observe(self, status: str, /) -> None:
        """Take a health status; a status that no level is named for changes nothing."""
        wanted = self._ranks.get(status)
        if wanted is None:
            self._reporter.guard_failed("observe", _UnknownStatusError())
            return
        level = self._level
        if self._pinned or wanted == level:
            self._forget()
        elif wanted > level:
            self._worse_rank = min(wanted, self._worse_rank) if self._worse else wanted
            self._worse += 1
            self._better = 0
            if self._worse >= self._config.worsen_after:
                self._move(self._worse_rank, "health")
        else:
            self._worse = 0
            self._better += 1
            held_s = self._clock.monotonic() - self._since
            if self._better >= self._config.recover_after and held_s >= self._config.hold_s:
                self._move(level - 1, "health")

    def set_level(self, name: str | None, /) -> None:
        """Take this level and keep it whatever health says; None lets health decide again.

        Raises:
            ValueError: There is no such level.
        """
        if name is None:
            self._pinned = False
            self._forget()
            return
        names = [level.name for level in self._config.levels]
        if name not in names:
            raise ValueError(f"name must be one of {', '.join(map(repr, names))}")
        self._pinned = True
        self._move(names.index(name), "manual")

    def snapshot(self) -> DegradationSnapshot:
        """Return where the service stands."""
        return DegradationSnapshot(
            level=self.get_state(),
            off=self._off,
            pinned=self._pinned,
            since_s=self._clock.monotonic() - self._since,
        )

    def configure(self, config: DegradationConfig, /) -> None:
        """Go on with other levels, at the one of the same name, or else at the first.

        A level that was set by hand and is gone is set no more.
        """
        previous = self.get_state()
        names = [level.name for level in config.levels]
        self._config = config
        self._offs = _offs(config)
        self._ranks = _ranks(config)
        kept = previous in names
        self._pinned = self._pinned and kept
        self._level = names.index(previous) if kept else 0
        self._off = self._offs[self._level]
        self._forget()
        if not kept:
            self._since = self._clock.monotonic()
            self._tell(previous, "configured")

    def _move(self, level: int, cause: str) -> None:
        self._forget()
        if level == self._level:
            return
        previous = self.get_state()
        self._level = level
        self._off = self._offs[level]
        self._since = self._clock.monotonic()
        self._tell(previous, cause)

    def _forget(self) -> None:
        self._worse = self._better = 0

    def _tell(self, previous: str, cause: str) -> None:
        # Last of all: a sink may ask, and is told what already holds.
        self._reporter.report(
            DegradationChanged(
                at=self._clock.wall(),
                service=self.name,
                previous=previous,
                current=self.get_state(),
                cause=cause,
            )
        )


def _offs(config: DegradationConfig) -> tuple[frozenset[str], ...]:
    """Return what is off at each level."""
    found: list[frozenset[str]] = []
    for level in config.levels:
        found.append((found[-1] if found else frozenset()) | frozenset(level.off))
    return tuple(found)


def _ranks(config: DegradationConfig) -> dict[str, int]:
    """Return the level that each status asks for."""
    ranks = {level.name: rank for rank, level in enumerate(config.levels)}
    return {status: ranks[name] for status, name in config.statuses.items()}
