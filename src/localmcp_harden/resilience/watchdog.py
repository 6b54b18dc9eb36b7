"""Notices when the event loop stands still, and keeps where it stood.

All times are seconds. The loop beats; a thread looks whether it does. A loop that is
held up by blocking code can not say so itself, so that the thread takes the evidence:
the stack of the loop's thread, without values. The event is sent by the loop when it
goes on, since sinks belong to the loop; `on_stall` is called in the thread, at once.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType
from typing import cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

from ..core.events import EventSink, LoopStalled, discard
from ..core.ports import Clock, Random
from ..mechanisms.clock import SystemClock
from ..mechanisms.reporter import Reporter

__all__ = ("LoopWatchdog", "WatchdogConfig", "service_watchdog_s")

_KEPT_BEATS = 20
_MICROSECONDS = 1e6


@final
@frozen(kw_only=True)
class WatchdogConfig:
    """When a loop counts as stalled.

    Args:
        beat_s: The time between two beats (0.01 to 60; 0.25).
        stall_s: By how much a beat may be late (0.05 to 600; 1).
        max_frames: How many frames of the stack are kept, the innermost ones (1 to 200; 30).
        pet_s: How often the service manager is told that the loop lives, None for never
            (0.1 to 3,600); half of what `service_watchdog_s` returns is right.
    """

    beat_s: float = field(default=0.25, validator=and_(ge(0.01), le(60.0)))
    stall_s: float = field(default=1.0, validator=and_(ge(0.05), le(600.0)))
    max_frames: int = field(default=30, validator=[instance_of(int), and_(ge(1), le(200))])
    pet_s: float | None = field(
        default=cast("float | None", None), validator=optional(and_(ge(0.1), le(3_600.0)))
    )


@final
class LoopWatchdog:
    """Watches the loop that runs it.

    Args:
        config: When a loop counts as stalled.
        clock: Time; its `monotonic` is read in the thread too.
        sink: Told of each stall when it is over.
        notify: Takes the words of `sd_notify(3)`; called in the thread with `WATCHDOG=1`
            every `pet_s`, as long as the loop beats.
        on_stall: Called in the thread as soon as the loop is late, with the seconds and
            the stack. It may run while the loop does not, so it must not touch the loop.
    """

    def __init__(
        self,
        config: WatchdogConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
        notify: Callable[[str], object] | None = None,
        on_stall: Callable[[float, tuple[str, ...]], object] | None = None,
    ) -> None:
        self.config: WatchdogConfig = config or WatchdogConfig()
        self._clock: Clock = clock or SystemClock()
        self._reporter = Reporter(sink, self._clock, "watchdog")
        self._notify = notify
        self._on_stall = on_stall
        self._lags: deque[float] = deque([0.0], maxlen=_KEPT_BEATS)
        self._beat_at = self._clock.monotonic()
        self._petted_at: float | None = None
        self._thread_id = 0
        self._stack: tuple[str, ...] | None = None
        # Errors of the callables in the thread, told by the loop: at most one of each.
        self._broken: dict[str, Exception] = {}

    async def run(self) -> None:
        """Beat and look until cancelled."""
        over = threading.Event()
        self._thread_id = threading.get_ident()
        self._beat_at = self._clock.monotonic()
        # A daemon: a loop that never goes on must not keep the process from ending.
        watcher = threading.Thread(
            target=self._watch, args=(over,), name="localmcp-watchdog", daemon=True
        )
        watcher.start()
        try:
            while True:
                await self._clock.sleep(self.config.beat_s)
                self.beat()
        finally:
            over.set()

    def get_lag_s(self) -> float:
        """Return by how much the loop was late, the worst of the last 20 beats and now."""
        return max(*self._lags, self._late_s(self._clock.monotonic()))

    def beat(self) -> None:
        """Note that the loop runs, and report the stall that has just ended, if one has."""
        now = self._clock.monotonic()
        late_s = self._late_s(now)
        self._lags.append(late_s)
        self._beat_at = now
        stack, self._stack = self._stack, None
        if stack is not None:
            self._reporter.report(LoopStalled(at=self._clock.wall(), stalled_s=late_s, stack=stack))
        for part in list(self._broken):
            self._reporter.guard_failed(part, self._broken.pop(part))

    def look(self) -> None:
        """Look whether the loop beats; called in the thread."""
        now = self._clock.monotonic()
        late_s = self._late_s(now)
        if late_s >= self.config.stall_s:
            if self._stack is None:
                self._stack = _stack_of(self._thread_id, self.config.max_frames)
                if self._on_stall is not None:
                    self._guarded("on_stall", self._on_stall, late_s, self._stack)
            return
        pet_s = self.config.pet_s
        if self._notify is None or pet_s is None:
            return
        if self._petted_at is None or not 0.0 <= now - self._petted_at < pet_s:
            self._petted_at = now
            self._guarded("notify", self._notify, "WATCHDOG=1")

    def _late_s(self, now: float) -> float:
        return max(0.0, now - self._beat_at - self.config.beat_s)

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(self.config.beat_s):
            self.look()

    def _guarded(self, part: str, function: Callable[..., object], *given: object) -> None:
        try:
            function(*given)
        except Exception as error:  # noqa: BLE001 - a host's function may raise anything
            self._broken.setdefault(part, error)


def service_watchdog_s(environ: Mapping[str, str] | None = None) -> float | None:
    """Return within how many seconds systemd wants to hear from us, None when it does not.

    Args:
        environ: Where to look for WATCHDOG_USEC and WATCHDOG_PID; the process's own when
            None. See sd_watchdog_enabled(3).
    """
    found = os.environ if environ is None else environ
    limit, pid = found.get("WATCHDOG_USEC", ""), found.get("WATCHDOG_PID", "")
    if not (limit.isascii() and limit.isdigit()) or (pid and pid != str(os.getpid())):
        return None
    return int(limit[:18]) / _MICROSECONDS or None


def _stack_of(thread_id: int, most: int) -> tuple[str, ...]:
    """Return where a thread stands, innermost last; files by their last two parts."""
    frame: FrameType | None = sys._current_frames().get(thread_id)  # noqa: SLF001
    found: list[str] = []
    while frame is not None and len(found) < most:
        code = frame.f_code
        file = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
        found.append(f"{file}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back
    return tuple(reversed(found))
