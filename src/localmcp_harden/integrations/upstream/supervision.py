"""When a wrapped server may be started again, and how its calls are let run out.

Pure decisions; whoever holds the connection asks them. Times are seconds of a clock that
never goes back.
"""

import math
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import anyio

from ...core.errors import UpstreamError
from ...core.ports import Random
from ...mechanisms.chance import SystemRandom
from .settings import UpstreamSettings

__all__ = ("Drain", "RestartSchedule")


@final
class RestartSchedule:
    """Backoff between starts, and the verdict that a server is down.

    The first start after a stable life may follow at once, `restart_delay_s` after the
    last one. From then on the wait is drawn between `restart_delay_s` and a ceiling that
    doubles with every failure up to `restart_max_delay_s` (exponential backoff with full
    jitter: AWS Architecture Blog, 2015). A server that ends `restart_limit` times within
    `restart_window_s` is down, and is left alone for `restart_max_delay_s` (restart
    intensity: the supervisors of Erlang/OTP).

    Whoever holds the connection calls `started` when a server has answered its
    handshake, and `ended` when it has gone or a start has failed.

    Args:
        settings: The settings of the server.
        random: Draws the wait (the system's).
    """

    def __init__(self, settings: UpstreamSettings, *, random: Random | None = None) -> None:
        self._settings = settings
        self._random = random or SystemRandom()
        self._longest_s = max(settings.restart_delay_s, settings.restart_max_delay_s)
        self._ends: deque[float] = deque(maxlen=settings.restart_limit)
        self._failures = 0
        self._started_at: float | None = None
        self._not_before = -math.inf
        self._is_down = False

    def started(self, now: float) -> None:
        """Note that the server has answered its handshake."""
        self._started_at = now
        self._is_down = False

    def ended(self, now: float) -> float:
        """Note that the server has gone, or that it could not be started.

        Returns:
            When it may be started again.
        """
        settings = self._settings
        started_at, self._started_at = self._started_at, None
        if started_at is not None and now - started_at >= settings.restart_stable_s:
            self._failures = 0
            self._ends.clear()
        self._failures += 1
        self._ends.append(now)
        self._is_down = (
            len(self._ends) == settings.restart_limit
            and now - self._ends[0] <= settings.restart_window_s
            # One end is no series: a limit of one asks for the wait alone.
            and self._failures > 1
        )
        if self._is_down:
            self._not_before = now + self._longest_s
        elif self._failures == 1 and started_at is not None:
            self._not_before = max(now, started_at + settings.restart_delay_s)
        else:
            self._not_before = now + self._random.uniform(settings.restart_delay_s, self._ceiling())
        return self._not_before

    def is_down(self) -> bool:
        """Return whether it ended too often, and has not been started since."""
        return self._is_down

    def retry_after_s(self, now: float) -> float | None:
        """Return how long to wait for the next start; None when it may come at once."""
        left = self._not_before - now
        return left if left > 0 else None

    def refusal(self, now: float) -> UpstreamError:
        """Return the error for a call that will not wait for the next start."""
        left = self.retry_after_s(now)
        what = "ends again and again" if self._is_down else "can not be reached"
        when = "" if left is None else f"; it is started again in {math.ceil(left)} seconds"
        return UpstreamError(f"the server {self._settings.label!r} {what}{when}")

    def _ceiling(self) -> float:
        # The exponent is bounded: a float has an end, a series of failures has none.
        doubled = self._settings.restart_delay_s * 2.0 ** min(self._failures - 1, 32)
        return min(self._longest_s, doubled)


@final
class Drain:
    """Counts the calls in flight, and lets them run out before the connection is closed.

    Every call runs inside `call()`. At the end, before anything is cancelled,
    `await drain.finish(settings.drain_s)`: from then on new calls are refused, those in
    flight have their time, and what is left after it is the closing's to fail. It waits
    for calls only, so call it shielded where a host that is being cancelled is to drain
    too.

    One `Drain` is for one connection's owner, not for one connection: a restart in
    between changes nothing.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._finishing = False
        self._idle = anyio.Event()

    @property
    def in_flight(self) -> int:
        """Return how many calls run."""
        return self._in_flight

    @contextmanager
    def call(self) -> Generator[None]:
        """Hold the end back while a call runs.

        Raises:
            UpstreamError: The end has begun.
        """
        if self._finishing:
            raise UpstreamError("the server is being stopped")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._finishing and not self._in_flight:
                self._idle.set()

    async def finish(self, timeout_s: float) -> int:
        """Refuse new calls, wait for those in flight, and return how many are left.

        Args:
            timeout_s: How long they may take.
        """
        self._finishing = True
        if not self._in_flight:
            return 0
        with anyio.move_on_after(timeout_s):
            await self._idle.wait()
        return self._in_flight
