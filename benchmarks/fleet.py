"""A hundred clients and one upstream that fails and comes back: what repeats do to it.

No benchmark of time: a simulation. The clients run the package's own blocks, composed
by `resilient()`, on an event loop whose time jumps from one event to the next, with
seeded chance. The same seed gives the same numbers on every machine.

    python -m benchmarks.fleet          # prints the table
    python -m benchmarks.fleet --write  # and writes it, and the plot, into the page

The upstream has 20 workers of 0.1 s each, so it can do 200 calls a second, and a queue of
400. It stands still for 10 s. It does not notice when a client has given up: it works on
what nobody waits for any more, which is what makes a storm last. Each client calls once a
second, so all together use half of what it can do, and gives an attempt 1 s.
"""

import asyncio
import random
import re
import selectors
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, final

import anyio
from attrs import field, frozen, mutable

from localmcp_harden.compose.resilient import Resilient, resilient
from localmcp_harden.core.errors import RefusedError
from localmcp_harden.protocols.load import ThrottleConfig
from localmcp_harden.protocols.repeats import HedgeConfig, RetryBudget
from localmcp_harden.resilience.budget import WindowBudgetConfig, WindowRetryBudget
from localmcp_harden.resilience.retry import RetryConfig
from tools.svg_lines import Chart, Line, draw

CLIENTS = 100
SECONDS = 45
DOWN_S = (5.0, 15.0)
WORKERS = 20
SERVICE_S = 0.1
QUEUE = 400
PATIENCE_S = 1.0
HIGH = 800
CAPACITY = int(WORKERS / SERVICE_S)
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "retry-storms.md"
PLOT = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- numbers of benchmarks/fleet.py: begin -->", "<!-- end -->"


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: tells how long the loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("every task waits for another one")
        self.now += max(0.0, timeout)
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@final
class _LoopClock:
    """The loop's time as a `Clock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.monotonic = loop.time
        self.wall = loop.time

    async def sleep(self, seconds: float, /) -> None:
        await anyio.sleep(seconds)

    def cut_after(self, seconds: float, /) -> AbstractContextManager[Any]:
        return anyio.CancelScope(deadline=self.monotonic() + seconds)


@final
class _Chance:
    """Seeded chance; `position` pins where in every range a draw lands."""

    def __init__(self, seed: int, position: float | None = None) -> None:
        self._random = random.Random(seed)
        self._position = position

    def uniform(self, low: float, high: float, /) -> float:
        if self._position is not None:
            return low + (high - low) * self._position
        return self._random.uniform(low, high)

    def token(self, size: int, /) -> str:
        return f"{self._random.getrandbits(8 * size):0{2 * size}x}"


@final
class _Upstream:
    """Workers and a queue; it answers who still waits, and works for the others too."""

    def __init__(self, clock: _LoopClock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue(QUEUE)
        self.seen: Counter[int] = Counter()
        self.up = asyncio.Event()
        self.up.set()

    async def call(self) -> None:
        self.seen[int(self._clock.monotonic())] += 1
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(answer)
        except asyncio.QueueFull:
            raise ConnectionRefusedError from None
        await answer

    async def work(self) -> None:
        while True:
            answer = await self._queue.get()
            await self.up.wait()
            await asyncio.sleep(SERVICE_S)
            if not answer.done():
                answer.set_result(None)

    async def fail(self) -> None:
        await asyncio.sleep(DOWN_S[0])
        self.up.clear()
        await asyncio.sleep(DOWN_S[1] - DOWN_S[0])
        self.up.set()


@frozen(kw_only=True)
class Variant:
    """One way to set up all clients."""

    name: str
    parts: Callable[[Callable[[], RetryBudget]], dict[str, Any]]
    position: float | None = None


@mutable(kw_only=True)
class Run:
    """What a variant did: attempts and good answers by second, and calls."""

    name: str
    attempts: Counter[int] = field(factory=Counter)
    good: Counter[int] = field(factory=Counter)
    calls: int = 0
    failed: int = 0

    @property
    def peak(self) -> int:
        """The most attempts in a second from the outage on."""
        return max(self.attempts[second] for second in range(int(DOWN_S[0]), SECONDS))

    @property
    def after(self) -> int:
        """Attempts a second in the ten seconds after the upstream came back."""
        first = int(DOWN_S[1])
        return round(sum(self.attempts[second] for second in range(first, first + 10)) / 10)

    @property
    def recovery_s(self) -> int | None:
        """Seconds until nine of ten calls are answered again, for three seconds on end."""
        for second in range(int(DOWN_S[1]), SECONDS - 3):
            if all(self.good[second + n] >= 0.9 * CLIENTS for n in range(3)):
                return second - int(DOWN_S[1])
        return None


_RETRY = RetryConfig(attempts=4, base_s=0.1, max_wait_s=2.0)
_HEDGE = HedgeConfig(percentile=None, delay_s=0.3)
_THROTTLE = ThrottleConfig(window_s=20.0, multiplier=1.5)


@final
class _Unbounded:
    """A budget that allows everything, for the variants without one."""

    def begin(self) -> None: ...

    def take(self, *, timed_out: bool = False) -> float:
        return 1.0

    def succeed(self, taken: float = 0.0, /) -> None: ...

    def snapshot(self) -> Any: ...


def _open(_make: object) -> _Unbounded:
    return _Unbounded()


VARIANTS = (
    Variant(name="no retry", parts=lambda _: {}),
    Variant(
        name="retry, no jitter",
        parts=lambda make: {"retry": _RETRY, "budget": _open(make)},
        position=1.0,
    ),
    Variant(name="retry, full jitter", parts=lambda make: {"retry": _RETRY, "budget": _open(make)}),
    Variant(name="retry and budget", parts=lambda make: {"retry": _RETRY, "budget": make()}),
    Variant(
        name="retry and throttle",
        parts=lambda make: {"retry": _RETRY, "budget": _open(make), "throttle": _THROTTLE},
    ),
    Variant(
        name="retry, budget, throttle",
        parts=lambda make: {"retry": _RETRY, "budget": make(), "throttle": _THROTTLE},
    ),
    Variant(
        name="retry and hedge",
        parts=lambda make: {"retry": _RETRY, "hedge": _HEDGE, "budget": _open(make)},
    ),
    Variant(
        name="retry, hedge, one budget",
        parts=lambda make: {"retry": _RETRY, "hedge": _HEDGE, "budget": make()},
    ),
)


def simulate(variant: Variant, seed: int = 1) -> Run:
    """Run one variant to its end; takes seconds, not the time it simulates."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(_simulate(variant, seed))


async def _simulate(variant: Variant, seed: int) -> Run:
    clock = _LoopClock(asyncio.get_running_loop())
    upstream = _Upstream(clock)
    run = Run(name=variant.name, attempts=upstream.seen)
    # Each client calls once a second: of a budget's own minimum it gets a tenth a second.
    settings = WindowBudgetConfig(ratio=0.2, min_per_s=0.1, window_s=10.0)

    def client(number: int) -> Resilient:
        return resilient(
            name="upstream",
            attempt_timeout_s=PATIENCE_S,
            read_only=True,
            clock=clock,
            random=_Chance(seed * 1_000 + number, variant.position),
            **variant.parts(lambda: WindowRetryBudget(settings, clock=clock)),
        )

    async def one_call(pipeline: Resilient) -> None:
        run.calls += 1
        try:
            await pipeline.execute(upstream.call)
        except (OSError, RefusedError):
            run.failed += 1
        else:
            run.good[int(clock.monotonic())] += 1

    async def live(number: int, calls: asyncio.TaskGroup) -> None:
        pipeline, when = client(number), random.Random(seed * 7_919 + number)
        await asyncio.sleep(when.uniform(0.0, 1.0))
        while clock.monotonic() < SECONDS:
            calls.create_task(one_call(pipeline))
            await asyncio.sleep(when.uniform(0.9, 1.1))

    servants = [asyncio.create_task(upstream.work()) for _ in range(WORKERS)]
    servants.append(asyncio.create_task(upstream.fail()))
    async with asyncio.TaskGroup() as calls:
        for number in range(CLIENTS):
            calls.create_task(live(number, calls))
    for servant in servants:
        servant.cancel()
    await asyncio.gather(*servants, return_exceptions=True)
    return run


def row(run: Run) -> str:
    """Return a run as a row of the page's table."""
    back = "not within 30 s" if run.recovery_s is None else f"{run.recovery_s} s"
    share = round(100 * run.failed / run.calls)
    return f"| {run.name} | {run.peak} | {run.after} | {back} | {share} % |"


def table(runs: list[Run]) -> str:
    """Return the runs as a table for the page."""
    lines = [
        (
            "| clients | most attempts in a second | attempts a second, 10 s after | "
            "well again after | calls that failed |"
        ),
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [row(run) for run in runs]
    return "\n".join(lines)


def chart(run: Run) -> Chart:
    """Return a run as a chart: attempts that arrive, and answers that are waited for."""
    return Chart(
        title=run.name,
        lines=(
            Line("attempts", [run.attempts[second] for second in range(SECONDS)], "#c0392b"),
            Line("good answers", [run.good[second] for second in range(SECONDS)], "#1e7e4a"),
        ),
        shaded=DOWN_S,
        mark=CAPACITY,
    )


def plot(runs: list[Run]) -> str:
    """Return the runs as a picture."""
    title = "Attempts and good answers a second; grey: upstream down; dashed: its capacity"
    return draw([chart(run) for run in runs], high=HIGH, title=title)


def main() -> None:
    """Print the table; with `--write`, write it and the plot."""
    runs = [simulate(variant) for variant in VARIANTS]
    print(table(runs))
    if "--write" in sys.argv:
        PLOT.write_text(plot(runs), encoding="utf-8")
        if PAGE.exists():
            text = PAGE.read_text(encoding="utf-8")
            put = f"{BEGIN}\n\n{table(runs)}\n\n{END}"
            pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
            PAGE.write_text(re.sub(pattern, put, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
