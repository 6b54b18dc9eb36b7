"""Sends fewer calls to a target the more of them it turns away.

A call is turned away with the probability max(0, (requests - K * accepts) / (requests + 1))
over a sliding window, at most `max_rejection`: client-side throttling of the Google SRE
book, chapter 21, "Handling Overload". Calls that are turned away here count as requests
too, as they do there, so that rejection grows while the target does not recover.

A request counts from when it is sent, so that a target that never answers is noticed. A
call that began in the youngest two of the window's 40 slices and still runs says nothing
yet, so that a burst of calls to a target that is well is not turned away.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from ..core.errors import ThrottledError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.exception_groups import leaves
from ..mechanisms.reporter import Reporter
from ..mechanisms.sliding_counts import SlidingCounts
from ..protocols.load import ThrottleConfig, ThrottleSnapshot
from ..protocols.resilience import never_fails

__all__ = ("AdaptiveThrottle",)

T = TypeVar("T")

_REASON = "the target turns calls away, and this one was not sent; try again later"
_SLICES = 40
_REQUESTS, _ACCEPTS, _RUNNING, _REFUSED = range(4)


@final
class AdaptiveThrottle:
    """The default `Throttle`: in memory, one window for one target.

    A predicate that raises is reported as `GuardFailed`; the call counts as neither
    accepted nor rejected.

    Args:
        config: The window and how hard it throttles.
        name: How events call this throttle.
        clock: Time.
        random: Decides who is turned away.
        sink: Told when a predicate raises; the record tells of every refused call.
    """

    __slots__ = (
        "_config",
        "_counts",
        "_monotonic",
        "_plain",
        "_random",
        "_refused",
        "_reporter",
        "name",
    )

    def __init__(
        self,
        config: ThrottleConfig | None = None,
        *,
        name: str = "throttle",
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        clock = clock or SystemClock()
        self._config = config or ThrottleConfig()
        self._plain = self._config.is_rejection is never_fails
        self._monotonic = clock.monotonic
        self._random: Random = random or SystemRandom()
        self._reporter = Reporter(sink, clock, name)
        self._counts = self._empty()
        self._refused = 0

    @property
    def config(self) -> ThrottleConfig:
        """The settings in force."""
        return self._config

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation unless chance turns it away.

        Raises:
            ThrottledError: The target turns calls away, and this one was not sent.
        """
        counts = self._counts
        counts.roll(self._monotonic())
        totals = counts.totals
        # Most calls end here: a target that accepts every other call gets all of them.
        if totals[_REQUESTS] > self._config.multiplier * totals[_ACCEPTS]:
            rejection = self._rejection()
            if rejection > 0.0 and self._random.uniform(0.0, 1.0) < rejection:
                counts.add(_REQUESTS)
                counts.add(_REFUSED)
                self._refused += 1
                raise ThrottledError(_REASON)
        epoch = counts.epoch
        counts.add(_REQUESTS)
        counts.add(_RUNNING)
        accepted: bool | None = None
        try:
            result = await operation()
        except Exception as error:
            accepted = self._judge_error(error)
            raise
        else:
            accepted = self._plain or self._judge_result(result)
            return result
        finally:
            counts.roll(self._monotonic())
            counts.add_at(epoch, _RUNNING, -1)
            if accepted:
                # In the slice of its request: what is accepted leaves the window with it.
                counts.add_at(epoch, _ACCEPTS, 1)
            elif accepted is None:
                # Cancelled, or judged by nobody: as if it had never been sent.
                counts.add_at(epoch, _REQUESTS, -1)

    def snapshot(self) -> ThrottleSnapshot:
        """Return the throttle's numbers."""
        self._counts.roll(self._monotonic())
        return ThrottleSnapshot(
            requests=self._requests(),
            accepts=self._counts.totals[_ACCEPTS],
            rejection=self._rejection(),
            refused=self._refused,
        )

    def configure(self, config: ThrottleConfig, /) -> None:
        """Go on with other settings; another window begins empty."""
        old, self._config = self._config, config
        self._plain = config.is_rejection is never_fails
        if config.window_s != old.window_s:
            self._counts = self._empty()

    def _requests(self) -> int:
        """Return the requests that say something."""
        counts = self._counts
        young = counts.of(counts.epoch, _RUNNING) + counts.of(counts.epoch - 1, _RUNNING)
        return counts.totals[_REQUESTS] - young

    def _rejection(self) -> float:
        config, totals = self._config, self._counts.totals
        requests = self._requests()
        if requests - totals[_REFUSED] < config.minimum_calls:
            return 0.0
        share = (requests - config.multiplier * totals[_ACCEPTS]) / (requests + 1)
        return max(0.0, min(config.max_rejection, share))

    def _empty(self) -> SlidingCounts:
        now = self._monotonic()
        return SlidingCounts(self._config.window_s, slices=_SLICES, kinds=4, now=now)

    def _judge_result(self, result: object) -> bool | None:
        try:
            return not self._config.is_rejection(result)
        except Exception as broken:  # noqa: BLE001 - a host's predicate may raise anything
            self._reporter.guard_failed("is_rejection", broken)
            return None

    def _judge_error(self, error: Exception) -> bool | None:
        try:
            return not any(isinstance(leaf, self._config.rejected_on) for leaf in leaves(error))
        except Exception as broken:  # noqa: BLE001 - a metaclass may raise anything
            self._reporter.guard_failed("rejected_on", broken)
            return None
