"""The rules of a `Chaos`.

`make(config, /, *, clock, random)` returns a chaos for which no exercise has begun. It asks
`random.uniform(0, 1)` whether a rule applies, and for how much of `spread_s` is added.
"""

from typing import Any, Protocol

import anyio

from ...core.ports import Clock, Random
from ...protocols.chaos import Chaos, ChaosConfig, ChaosKind, ChaosRule
from ..chance import FakeRandom
from ..clock import FakeClock
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeChaos", "chaos")


class MakeChaos(Protocol):
    """Makes the chaos that is to be checked."""

    def __call__(self, config: ChaosConfig, /, *, clock: Clock, random: Random) -> Chaos:
        """Return a chaos for which no exercise has begun."""
        ...


chaos: ContractKit[MakeChaos] = ContractKit("Chaos")


class _MadeError(Exception):
    pass


class _Bench:
    """A chaos with one rule, its clock, and an operation that counts its runs."""

    def __init__(
        self, make: MakeChaos, kind: ChaosKind = ChaosKind.FAULT, *, position: float = 0.0,
        rate: float = 1.0, max_s: float = 100.0, max_disturbances: int = 1_000, **rule: Any,
    ) -> None:  # fmt: skip
        self.clock = FakeClock(autojump=True)
        self.ran = 0
        settings: dict[str, Any] = {"error": _MadeError, **rule}
        made = ChaosRule(kind=kind, rate=rate, **settings)
        config = ChaosConfig(rules=(made,), max_s=max_s, max_disturbances=max_disturbances)
        self.chaos = make(config, clock=self.clock, random=FakeRandom(position))

    async def operation(self) -> str:
        self.ran += 1
        return "its own"

    async def call(self) -> object:
        try:
            return await self.chaos.execute(self.operation)
        except _MadeError:
            return "made"


@chaos.rule("CH1")
async def it_is_off_by_default(make: MakeChaos) -> None:
    """Until an exercise begins, and after it was ended, nothing is disturbed."""
    bench = _Bench(make)
    seen = [await bench.call()]
    bench.chaos.begin(10.0)
    seen.append(await bench.call())
    bench.chaos.end()
    seen.append(await bench.call())
    expect(seen == ["its own", "made", "its own"], f"saw {seen}")
    expect(bench.ran == 2, f"the operation ran {bench.ran} times")


@chaos.rule("CH2")
async def it_ends_by_itself(make: MakeChaos) -> None:
    """An exercise ends when its time is over, whether or not anybody ends it."""
    bench = _Bench(make)
    bench.chaos.begin(10.0)
    bench.clock.advance(9.0)
    expect(bench.chaos.snapshot().left_s == 1.0, f"saw {bench.chaos.snapshot()}")
    expect(await bench.call() == "made", "it ended too early")
    bench.clock.advance(1.0)
    expect(not bench.chaos.snapshot().armed, "the snapshot says it goes on")
    expect(await bench.call() == "its own", "it went on")


@chaos.rule("CH3")
async def its_time_is_bounded(make: MakeChaos) -> None:
    """An exercise without an end, or longer than allowed, is refused."""
    bench = _Bench(make, max_s=100.0)
    for wrong in (0.0, -1.0, 100.1, float("inf"), float("nan")):
        try:
            bench.chaos.begin(wrong)
        except ValueError:
            continue
        raise AssertionError(f"an exercise of {wrong} seconds was begun")
    expect(await bench.call() == "its own", "a refused exercise was begun")


@chaos.rule("CH4")
async def its_disturbances_are_bounded(make: MakeChaos) -> None:
    """An exercise ends after `max_disturbances`, and a new one begins at none."""
    bench = _Bench(make, max_disturbances=3)
    bench.chaos.begin(10.0)
    seen = [await bench.call() for _ in range(5)]
    expect(seen == ["made"] * 3 + ["its own"] * 2, f"saw {seen}")
    expect(bench.chaos.snapshot().disturbances == 3, f"saw {bench.chaos.snapshot()}")
    bench.chaos.begin(10.0)
    expect(bench.chaos.snapshot().disturbances == 0, "a new exercise kept the old number")
    expect(await bench.call() == "made", "a new exercise does nothing")


@chaos.rule("CH5")
async def a_scope_holds(make: MakeChaos) -> None:
    """An exercise of a context disturbs what its body begins, also in tasks, and no others."""
    bench = _Bench(make)
    seen: list[object] = []

    async def call() -> None:
        seen.append(await bench.call())

    begun, over = anyio.Event(), anyio.Event()

    async def elsewhere() -> None:
        await begun.wait()
        await call()
        over.set()

    async with open_tasks() as tasks:
        tasks.start_soon(elsewhere)
        with bench.chaos.exercise(10.0):
            begun.set()
            await over.wait()
            async with open_tasks() as inner:
                inner.start_soon(call)
        await call()
    expect(seen == ["its own", "made", "its own"], f"saw {seen}")


@chaos.rule("CH6")
async def chance_decides(make: MakeChaos) -> None:
    """A rule applies to its share of the operations, a rate of 1 to all."""
    for position, rate, wanted in ((0.4, 0.5, "made"), (0.5, 0.5, "its own"), (1.0, 1.0, "made")):
        bench = _Bench(make, position=position, rate=rate)
        bench.chaos.begin(10.0)
        seen = await bench.call()
        expect(seen == wanted, f"at {position} with a rate of {rate}: saw {seen}")


@chaos.rule("CH7")
async def latency_is_added(make: MakeChaos) -> None:
    """Latency waits for the delay and a share of the spread, and then the operation runs."""
    bench = _Bench(make, ChaosKind.LATENCY, position=0.5, delay_s=2.0, spread_s=4.0)
    bench.chaos.begin(10.0)
    expect(await bench.call() == "its own", "the result was changed")
    expect(bench.clock.slept_s == [4.0], f"waited {bench.clock.slept_s}")


@chaos.rule("CH8")
async def outcomes_are_made(make: MakeChaos) -> None:
    """A made-up outcome is returned, and the operation does not run."""
    bench = _Bench(make, ChaosKind.OUTCOME, outcome=lambda: "made up")
    bench.chaos.begin(10.0)
    expect(await bench.call() == "made up", "another result was returned")
    expect(bench.ran == 0, "the operation ran")


@chaos.rule("CH9")
async def cancellation_is_real(make: MakeChaos) -> None:
    """A cancelled operation cleans up, and its caller gets the rule's error, not the cancelling."""
    bench = _Bench(make, ChaosKind.CANCELLATION)
    cleaned: list[bool] = []

    async def operation() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    bench.chaos.begin(10.0)
    try:
        await bench.chaos.execute(operation)
    except _MadeError:
        expect(cleaned == [True], "the operation did not clean up")
    else:
        raise AssertionError("nothing was raised")


@chaos.rule("CH10")
async def broken_rules_disturb_nothing(make: MakeChaos) -> None:
    """A rule whose function raises, or makes no `Exception`, disturbs nothing."""

    def broken() -> Exception:
        raise LookupError

    for error in (broken, KeyboardInterrupt, lambda: None):
        bench = _Bench(make, error=error)
        bench.chaos.begin(10.0)
        expect(await bench.call() == "its own", "a broken rule disturbed")


@chaos.rule("CH11")
async def configuring_keeps_the_exercise(make: MakeChaos) -> None:
    """Other rules are in force at once, and the exercise keeps its time."""
    bench = _Bench(make)
    bench.chaos.begin(10.0)
    bench.clock.advance(4.0)
    bench.chaos.configure(ChaosConfig(max_s=100.0))
    expect(await bench.call() == "its own", "the old rule is in force")
    expect(bench.chaos.snapshot().left_s == 6.0, f"saw {bench.chaos.snapshot()}")
