"""When something that fell is started again, and when that is given up.

Waits grow by a factor up to a bound, shortened at random, and begin anew after a run
that held. The intensity is Erlang/OTP's (supervisor behaviour): more than so many
restarts in a window, and no more are made. Pure: the time is handed in.
"""

from collections import deque
from typing import final

from ..core.ports import Random

__all__ = ("RestartSchedule",)

_MOST_STEPS = 1_000


@final
class RestartSchedule:
    """The restarts of one thing. All times are seconds on one monotonic clock.

    Args:
        max_restarts: How many there may be in `window_s`.
        window_s: The window.
        initial_wait_s: The first wait.
        factor: By how much each further wait is longer.
        max_wait_s: The longest wait.
        jitter: The share by which a wait is shortened at random.
        random: Chance.
    """

    def __init__(
        self,
        *,
        max_restarts: int,
        window_s: float,
        initial_wait_s: float,
        factor: float,
        max_wait_s: float,
        jitter: float,
        random: Random,
    ) -> None:
        self._max_restarts = max_restarts
        self._window_s = window_s
        self._initial_wait_s = initial_wait_s
        self._factor = factor
        self._max_wait_s = max_wait_s
        self._jitter = jitter
        self._random = random
        self._made: deque[float] = deque()
        self._steps = 0

    def next_wait_s(self, now: float) -> float | None:
        """Count one restart; return the wait before it, None when the intensity is spent.

        A clock that goes back spends no intensity that it would not have spent.
        """
        made = self._made
        while made and not now - self._window_s < made[0] <= now:
            made.popleft()
        if len(made) >= self._max_restarts:
            return None
        made.append(now)
        wait_s = self._longest_s()
        self._steps = min(self._steps + 1, _MOST_STEPS)
        return wait_s - self._random.uniform(0.0, wait_s * self._jitter)

    def reset_waits(self) -> None:
        """Begin with the first wait again; the intensity stays counted."""
        self._steps = 0

    def _longest_s(self) -> float:
        wait_s = self._initial_wait_s
        for _ in range(self._steps):
            if wait_s >= self._max_wait_s or not wait_s:
                break
            wait_s *= self._factor
            if self._factor == 1.0:
                break
        return min(wait_s, self._max_wait_s)
