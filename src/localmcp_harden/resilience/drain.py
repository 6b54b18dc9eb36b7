"""Ends a server's work in order: no more calls, those that run finish, then the end.

All times are seconds. Liveness is not touched: a server that drains is well.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self, final

import anyio
from attrs import field, frozen
from attrs.validators import and_, ge, le

from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter
from ..protocols.draining import DrainableHealth, DrainReport

__all__ = ("CallDrain", "DrainConfig")


@final
@frozen(kw_only=True)
class DrainConfig:
    """How long draining may take.

    Args:
        announce_s: How long readiness is withdrawn before calls are waited for, so that
            whoever sends them notices (0 to 600; 0, right for a server of one client; a
            load balancer needs its probe period and a little more).
        grace_s: How long the calls that run may take (0 to 86,400; 30).
    """

    announce_s: float = field(default=0.0, validator=and_(ge(0.0), le(600.0)))
    grace_s: float = field(default=30.0, validator=and_(ge(0.0), le(86_400.0)))


@final
class CallDrain:
    """The default `Drain`: counts the calls that run. Belongs to one event loop.

    Args:
        config: How long.
        health: The registry whose readiness is withdrawn, None for none.
        notify: Takes the words of `sd_notify(3)`; called with `STOPPING=1`.
        clock: Time.
        sink: Told when `notify` raises.
    """

    def __init__(
        self,
        config: DrainConfig | None = None,
        *,
        health: DrainableHealth | None = None,
        notify: Callable[[str], object] | None = None,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.config: DrainConfig = config or DrainConfig()
        self._health = health
        self._notify = notify
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, "drain")
        self._running = 0
        self._finished = 0
        self._draining = False
        self._idle: anyio.Event | None = None

    @property
    def is_draining(self) -> bool:
        """Whether draining has begun. Calls that come nevertheless are served."""
        return self._draining

    @property
    def running(self) -> int:
        """How many calls run."""
        return self._running

    def __enter__(self) -> Self:
        """Count a call that has begun."""
        self._running += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Count it as ended."""
        self._running -= 1
        if self._draining:
            self._finished += 1
            if not self._running and self._idle is not None:
                self._idle.set()

    async def drain(self) -> DrainReport:
        """Withdraw readiness, wait `announce_s`, then for the calls, at most `grace_s`."""
        started = self._clock.monotonic()
        finished = self._finished
        first = not self._draining
        self._draining = True
        if self._health is not None:
            self._health.begin_drain()
        if first and self._notify is not None:
            try:
                self._notify("STOPPING=1")
            except Exception as error:  # noqa: BLE001 - a host's function may raise anything
                self._reporter.guard_failed("notify", error)
        if self.config.announce_s:
            await self._clock.sleep(self.config.announce_s)
        with self._clock.cut_after(self.config.grace_s):
            while self._running:
                if self._idle is None or self._idle.is_set():
                    self._idle = anyio.Event()
                await self._idle.wait()
        return DrainReport(
            finished=self._finished - finished,
            left=self._running,
            waited_s=max(0.0, self._clock.monotonic() - started),
        )
