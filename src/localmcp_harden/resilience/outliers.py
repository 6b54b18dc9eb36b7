"""Leaves those endpoints of a pool alone that do much worse than the others.

All times are seconds. A circuit breaker judges a target by itself; this compares the
replicas of one service, and never takes so many out that the rest must fail. See
`mechanisms.outlier_machine` for the algorithm, which is Envoy's.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, final

from ..core.errors import CircuitOpenError
from ..core.events import EndpointEjectionChanged, EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.breaker_reports import CallJudge
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.outlier_machine import EndpointSnapshot, OutlierConfig, OutlierMachine
from ..mechanisms.reporter import Reporter
from ..protocols.resilience import never_fails

__all__ = ("EndpointSnapshot", "OutlierConfig", "OutlierEjector")

T = TypeVar("T")

_REASON = "this endpoint does worse than the others and is left out; use another one"


@final
class OutlierEjector:
    """The endpoints of one pool, and which of them may be called.

    Belongs to one event loop. A predicate or a sink that raises is reported as
    `GuardFailed`, and changes neither the call's result nor the pool.

    Args:
        endpoints: Their names, 1 to 10,000.
        config: When one is left out.
        name: How events call the pool.
        is_failure: Whether a returned result counts as a failure.
        ignore: Exceptions that say nothing about the endpoint.
        clock: Time.
        random: Chance, for `ejection_jitter`.
        sink: Told of every ejection and return.

    Raises:
        ValueError: There are no endpoints, or too many.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        config: OutlierConfig | None = None,
        *,
        name: str = "endpoints",
        is_failure: Callable[[Any], bool] = never_fails,
        ignore: tuple[type[Exception], ...] = (),
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        self.name: str = name
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, name)
        self._judge = CallJudge(self._reporter, is_failure=is_failure, ignore=ignore)
        self._machine = OutlierMachine(
            endpoints,
            config or OutlierConfig(),
            random or SystemRandom(),
            self._clock.monotonic(),
        )

    @property
    def config(self) -> OutlierConfig:
        """The settings in force."""
        return self._machine.config

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every endpoint, in order, left out or not."""
        return self._machine.names

    async def execute(self, endpoint: str, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run an operation against an endpoint, unless the endpoint is left out.

        Raises:
            CircuitOpenError: The endpoint is left out.
            ValueError: It is not in the pool.
        """
        machine = self._machine
        self._require(endpoint)
        wait_s = machine.wait_s(endpoint, self._clock.monotonic())
        self._report()
        if wait_s:
            raise CircuitOpenError(_REASON, wait_s)
        era = machine.era(endpoint)
        try:
            result = await operation()
        except Exception as error:
            self._count(endpoint, era, self._judge.error(error))
            raise
        self._count(endpoint, era, self._judge.result(result))
        return result

    def available(self) -> tuple[str, ...]:
        """Return the endpoints that may be called now, in order; never none."""
        names = self._machine.available(self._clock.monotonic())
        self._report()
        return names

    def snapshots(self) -> dict[str, EndpointSnapshot]:
        """Return every endpoint's numbers by name."""
        taken = self._machine.snapshots(self._clock.monotonic())
        self._report()
        return taken

    def set_endpoints(self, endpoints: Iterable[str], /) -> None:
        """Have these endpoints in the pool; those that stay keep what is known of them.

        Raises:
            ValueError: There are none, or too many.
        """
        self._machine.set_endpoints(endpoints, self._clock.monotonic())
        self._report()

    def configure(self, config: OutlierConfig, /) -> None:
        """Go on with other settings; who is left out stays so until its time is over."""
        self._machine.config = config

    def reset(self) -> None:
        """Let every endpoint in again and forget what was counted."""
        self._machine.reset(self._clock.monotonic())
        self._report()

    def _require(self, endpoint: str) -> None:
        if not self._machine.knows(endpoint):
            raise ValueError(
                f"endpoint ({type(endpoint).__name__}) is not in the pool {self.name!r}; "
                "add it with set_endpoints"
            )

    def _count(self, endpoint: str, era: int, failed: bool | None) -> None:  # noqa: FBT001
        if failed is not None:
            self._machine.count(endpoint, era, self._clock.monotonic(), failed=failed)
            self._report()

    def _report(self) -> None:
        changes = self._machine.changes
        if not changes:
            return
        # Taken out first: a sink may ask this pool.
        self._machine.changes = []
        at = self._clock.wall()
        for endpoint, ejected, cause, ejection_s in changes:
            self._reporter.report(
                EndpointEjectionChanged(
                    at=at,
                    pool=self.name,
                    endpoint=endpoint,
                    ejected=ejected,
                    cause=cause,
                    ejection_s=ejection_s,
                )
            )
