"""Finds how many calls a target can take at once, from how long they take.

`Gradient2` compares the last calls with the long run: L' = L * g + headroom, with
g = tolerance * long / short between 1/2 and 1, smoothed. `Aimd` adds one while
calls are quick and takes a share when one is slow or turned away. Both are those of
Netflix's concurrency-limits (`Gradient2Limit`, `AIMDLimit`), fed with the mean of
many calls as its `WindowedLimit` does; unlike there, a call that was turned away
counts for Gradient2 too, as the steepest gradient without headroom. Neither grows
while less than half of the limit is used: what was not tried says nothing.
"""

from typing import Protocol, final

from ..protocols.load import AdaptiveLimitConfig, LimitAlgorithm

__all__ = ("Aimd", "Gradient2", "LimitFinder")

_WARM_UP = 10
_LONG_RUN = 600


class _Algorithm(Protocol):
    def next(
        self,
        limit: float,
        took_s: float,
        most_running: int,
        config: AdaptiveLimitConfig,
        *,
        overloaded: bool,
    ) -> float: ...


@final
class Gradient2:
    """The limit by the gradient of durations."""

    __slots__ = ("_long_s", "_seen")

    def __init__(self) -> None:
        self._long_s = 0.0
        self._seen = 0

    def next(
        self,
        limit: float,
        took_s: float,
        most_running: int,
        config: AdaptiveLimitConfig,
        *,
        overloaded: bool,
    ) -> float:
        """Return the limit after calls that took `took_s` on average."""
        long_s = self._long(took_s)
        # What was once slow must not count as usual for long after it became quick.
        if long_s > 2.0 * took_s:
            self._long_s = long_s * 0.95
        if overloaded:
            gradient = 0.5
        elif most_running * 2 < limit:
            return limit
        else:
            # A clock too coarse for the call says that it took no time.
            gradient = config.tolerance * long_s / took_s if took_s > 0.0 else 1.0
            gradient = max(0.5, min(1.0, gradient))
        headroom = 0 if overloaded else config.headroom
        wanted = limit * gradient + headroom
        return limit * (1.0 - config.smoothing) + wanted * config.smoothing

    def _long(self, took_s: float) -> float:
        if self._seen < _WARM_UP:
            self._seen += 1
            self._long_s += (took_s - self._long_s) / self._seen
        else:
            self._long_s += (took_s - self._long_s) * 2.0 / (_LONG_RUN + 1)
        return self._long_s


@final
class Aimd:
    """Additive increase, multiplicative decrease."""

    __slots__ = ()

    def next(
        self,
        limit: float,
        took_s: float,
        most_running: int,
        config: AdaptiveLimitConfig,
        *,
        overloaded: bool,
    ) -> float:
        """Return the limit after calls that took `took_s` on average."""
        if overloaded or took_s > config.slow_s:
            return limit * config.backoff
        return limit + 1.0 if most_running * 2 >= limit else limit


@final
class LimitFinder:
    """Gathers calls, and moves a limit after every so many.

    Args:
        config: The algorithm and its bounds.
        limit: Where the limit begins.
        now: The time.
    """

    __slots__ = (
        "_algorithm",
        "_calls",
        "_exact",
        "_most_running",
        "_overloaded",
        "_since",
        "_took_s",
        "config",
    )

    def __init__(self, config: AdaptiveLimitConfig, limit: int, now: float) -> None:
        self.config: AdaptiveLimitConfig = config
        self._algorithm: _Algorithm = (
            Gradient2() if config.algorithm is LimitAlgorithm.GRADIENT2 else Aimd()
        )
        self._exact = float(min(config.max_limit, max(config.min_limit, limit)))
        self._since = now
        self._calls = 0
        self._took_s = 0.0
        self._most_running = 0
        self._overloaded = False

    @property
    def limit(self) -> int:
        """The limit now."""
        return int(self._exact)

    def see(self, took_s: float, running: int, now: float, *, overloaded: bool) -> bool:
        """Take note of a call's duration; return whether the limit has moved.

        Args:
            took_s: How long it took.
            running: How many ran when it began, itself included.
            now: The time.
            overloaded: Whether it says that the target has too much to do.
        """
        self._calls += 1
        self._took_s += took_s
        self._most_running = max(self._most_running, running)
        if overloaded:
            self._overloaded = True
        config = self.config
        if self._calls < config.sample_calls or now - self._since < config.sample_s:
            return False
        before = self.limit
        wanted = self._algorithm.next(
            self._exact,
            self._took_s / self._calls,
            self._most_running,
            config,
            overloaded=self._overloaded,
        )
        self._exact = min(float(config.max_limit), max(float(config.min_limit), wanted))
        self._begin(now)
        return self.limit != before

    def configure(self, config: AdaptiveLimitConfig) -> None:
        """Take other bounds; the limit stays where they let it, and so does what was learnt."""
        if config.algorithm is not self.config.algorithm:
            self._algorithm = (
                Gradient2() if config.algorithm is LimitAlgorithm.GRADIENT2 else Aimd()
            )
        self.config = config
        self._exact = min(float(config.max_limit), max(float(config.min_limit), self._exact))

    def _begin(self, now: float) -> None:
        self._since = now
        self._calls = 0
        self._took_s = 0.0
        self._most_running = 0
        self._overloaded = False
