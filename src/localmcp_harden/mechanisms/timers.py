"""One timer for all deadlines of an asyncio loop, so that a call costs none of its own.

Most calls end long before their deadline. What they leave in the heap is dead and holds
nothing, and a heap that is mostly dead is made anew, so that it stays about as large as
twice the number of calls that run.
"""

import asyncio
import heapq
import math
from time import monotonic
from types import TracebackType
from typing import Self, final

import anyio

__all__ = ("CutScope", "LoopTimer", "LoopTimers")

_FEWEST_TO_CLEAR = 64


@final
class CutScope:
    """A cancel scope that a shared timer ends; a `TimeoutScope`.

    Args:
        timer: The timer of the loop that runs.
        seconds: After how many seconds, counted from entering, the body is cancelled.
    """

    __slots__ = ("_is_cut", "_seconds", "_timer", "cancelled_caught", "scope")

    def __init__(self, timer: "LoopTimer", seconds: float) -> None:
        self._timer = timer
        self._seconds = seconds
        self._is_cut = False
        self.scope: anyio.CancelScope | None = None
        """The scope while the body runs, None before and after."""
        self.cancelled_caught: bool = False
        """Whether the scope caught the cancellation that it caused itself."""

    def __enter__(self) -> Self:
        """Begin the time and the body."""
        timer = self._timer
        scope = timer.make_scope()
        scope.__enter__()
        self.scope = scope
        if self._seconds > 0.0:
            timer.add(self, self._seconds)
        else:
            self.cut(scope)
        return self

    def cut(self, scope: anyio.CancelScope) -> None:
        """Cancel the body, for its time is up; what the timer calls."""
        self._is_cut = True
        scope.cancel("deadline exceeded")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        """End the body; the cancellation that this scope caused ends here."""
        scope, self.scope = self.scope, None
        if scope is None:
            return False
        if not self._is_cut:
            timer = self._timer
            timer.dead += 1
            # Asked here and not there: nearly every call ends here, with little to clear.
            if timer.dead > _FEWEST_TO_CLEAR:
                timer.clear()
            return scope.__exit__(exc_type, exc_val, exc_tb)
        caught = scope.__exit__(exc_type, exc_val, exc_tb)
        self.cancelled_caught = scope.cancelled_caught
        return caught


@final
class LoopTimer:
    """Cancels scopes at their times. Belongs to the thread of its loop."""

    __slots__ = ("_due", "_handle", "_heap", "_made", "dead", "loop", "make_scope")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        # anyio looks for its backend at each scope; on one loop that does not change.
        self.make_scope: type[anyio.CancelScope] = type(anyio.CancelScope())
        self._heap: list[tuple[float, int, CutScope]] = []
        self._made = 0
        self.dead: int = 0
        """How many entries belong to scopes that have ended before their time."""
        self._due = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many entries the heap holds, dead ones included."""
        return len(self._heap)

    def add(self, cut: CutScope, seconds: float) -> None:
        """Cancel the scope of `cut` after `seconds`."""
        # The system's clock and not the loop's, which may be a function in Python.
        when = monotonic() + seconds
        self._made += 1
        # The number keeps the order of equal times, so that scopes are never compared.
        heapq.heappush(self._heap, (when, self._made, cut))
        if when < self._due:
            self._set(when)

    def clear(self) -> None:
        """Make the heap anew when it is mostly dead."""
        if self.dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].scope is not None]
            heapq.heapify(self._heap)
            self.dead = 0

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = when
        self._handle = self.loop.call_later(when - monotonic(), self._run)

    def _run(self) -> None:
        self._handle, self._due = None, math.inf
        now = monotonic()
        while self._heap:
            when, _, cut = self._heap[0]
            if cut.scope is None:
                self.dead -= 1
            elif when <= now:
                cut.cut(cut.scope)
            else:
                self._set(when)
                return
            heapq.heappop(self._heap)


@final
class LoopTimers:
    """Finds the timer of the loop that runs. One object may serve many loops and threads."""

    __slots__ = ("_all", "_last")

    def __init__(self) -> None:
        self._all: dict[asyncio.AbstractEventLoop, LoopTimer] = {}
        self._last: LoopTimer | None = None

    def current(self) -> LoopTimer | None:
        """Return the timer of the asyncio loop that runs this task, None on other loops."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        # A task, not only a loop: trio may run as a guest of asyncio, outside its tasks.
        if asyncio.current_task(loop) is None:
            return None
        last = self._last
        return last if last is not None and last.loop is loop else self._find(loop)

    def _find(self, loop: asyncio.AbstractEventLoop) -> LoopTimer:
        timer = self._all.get(loop)
        if timer is None:
            # A timer holds its loop; those whose loop has ended go when another one comes.
            kept = {known: old for known, old in list(self._all.items()) if not known.is_closed()}
            timer = kept[loop] = LoopTimer(loop)
            self._all = kept
        self._last = timer
        return timer
