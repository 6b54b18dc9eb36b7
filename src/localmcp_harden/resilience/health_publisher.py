"""Hands out reports of a server's health: when a status changes, and from time to time.

All times are seconds. Queues are bounded: who reads too slowly is dropped and counted,
and never holds the others up.
"""

from collections import deque
from typing import Protocol, final

import anyio
from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le

from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.health import HealthRegistry, HealthReport, HealthSubscription, HealthWatch

__all__ = ("PublisherConfig", "QueueHealthPublisher", "WatchedHealth")


class WatchedHealth(HealthRegistry, HealthWatch, Protocol):
    """A registry that can be asked and waited for."""


@final
@frozen(kw_only=True)
class PublisherConfig:
    """How often, and to how many.

    Args:
        period_s: The time between two reports when nothing changes (0.1 to 86,400; 30,
            ASP.NET Core's default).
        max_queue: How many reports may wait for one subscriber (1 to 10,000; 16).
        max_subscribers: How many subscribers there may be (1 to 10,000; 100).
    """

    period_s: float = field(default=30.0, validator=and_(ge(0.1), le(86_400.0)))
    max_queue: int = field(default=16, validator=[instance_of(int), and_(ge(1), le(10_000))])
    max_subscribers: int = field(default=100, validator=[instance_of(int), and_(ge(1), le(10_000))])


@final
class _Subscription:
    def __init__(self, publisher: "QueueHealthPublisher") -> None:
        self._publisher = publisher
        self._waiting: deque[HealthReport] = deque()
        self._filled = anyio.Event()
        self._over = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def receive(self) -> HealthReport | None:
        while not self._waiting:
            if self._over:
                return None
            self._filled = anyio.Event()
            await self._filled.wait()
        return self._waiting.popleft()

    def close(self) -> None:
        self._publisher.remove(self)
        self.end()

    def put(self, report: HealthReport) -> None:
        self._waiting.append(report)
        self._filled.set()

    def end(self) -> None:
        self._over = True
        self._filled.set()


@final
class QueueHealthPublisher:
    """The default `HealthPublisher`. Belongs to one event loop.

    Args:
        health: The registry to publish.
        config: How often, and to how many.
        clock: Time.
        sink: Told when the registry raises.
    """

    def __init__(
        self,
        health: WatchedHealth,
        config: PublisherConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.config: PublisherConfig = config or PublisherConfig()
        self._health = health
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, "health_publisher")
        self._subscriptions: dict[_Subscription, None] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many subscribers were dropped because they read too slowly."""
        return self._dropped

    def subscribe(self) -> HealthSubscription:
        """Return a new reader's place.

        Raises:
            ValueError: There are `max_subscribers` already.
        """
        if len(self._subscriptions) >= self.config.max_subscribers:
            raise ValueError(f"there are max_subscribers ({self.config.max_subscribers}) already")
        subscription = _Subscription(self)
        self._subscriptions[subscription] = None
        return subscription

    def remove(self, subscription: HealthSubscription, /) -> None:
        """Hand nothing more to a subscriber; `close` does this."""
        self._subscriptions.pop(subscription, None)  # type: ignore[call-overload]

    async def run(self) -> None:
        """Publish until cancelled; then every subscriber is told that it is over."""
        try:
            while True:
                try:
                    report = await self._health.get_detailed_health()
                except Exception as error:  # noqa: BLE001 - a host's registry may raise anything
                    self._reporter.guard_failed("registry", error)
                    await self._clock.sleep(self.config.period_s)
                    continue
                version = self._health.version
                self._publish(report)
                with self._clock.cut_after(self.config.period_s):
                    await self._health.wait_changed(version)
        finally:
            for subscription in list(self._subscriptions):
                subscription.end()
            self._subscriptions.clear()

    def _publish(self, report: HealthReport) -> None:
        for subscription in list(self._subscriptions):
            if len(subscription) >= self.config.max_queue:
                self._dropped += 1
                subscription.close()
            else:
                subscription.put(report)
