"""The rules of a `Throttle`.

`make(config, /, *, clock, random)` returns a throttle with these settings, which turns a
call away when `random.uniform(0.0, 1.0)` is below the rejection.
"""

from contextlib import suppress
from typing import Any, Protocol

import anyio

from ...core.errors import ThrottledError
from ...core.ports import Clock, Random
from ...protocols.load import Throttle, ThrottleConfig
from ..chance import FakeRandom
from ..clock import FakeClock
from .circuit import BoomError, Held
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeThrottle", "throttle")


class MakeThrottle(Protocol):
    """Makes the throttle that is to be checked."""

    def __call__(self, config: ThrottleConfig, /, *, clock: Clock, random: Random) -> Throttle:
        """Return a throttle with an empty window."""
        ...


throttle: ContractKit[MakeThrottle] = ContractKit("Throttle")


class _Bench:
    """A throttle, its clock and its chance."""

    def __init__(self, make: MakeThrottle, **settings: Any) -> None:
        chosen: dict[str, Any] = {
            "window_s": 40.0,
            "minimum_calls": 4,
            "rejected_on": (ConnectionError,),
            **settings,
        }
        self.clock = FakeClock()
        # Never turned away unless a rule says otherwise.
        self.random = FakeRandom(1.0)
        self.throttle = make(ThrottleConfig(**chosen), clock=self.clock, random=self.random)

    async def call(self, *answers: object) -> str:
        """Call once for each answer; return how the last ended."""
        how = "ok"
        for answer in answers:

            async def operation(answer: object = answer) -> object:
                if isinstance(answer, Exception):
                    raise answer
                return answer

            try:
                await self.throttle.execute(operation)
            except ThrottledError as refusal:
                how = refusal.code
            except Exception as error:  # noqa: BLE001 - the rule looks at it
                how = type(error).__name__
            else:
                how = "ok"
        return how

    def expect_rejection(self, wanted: float) -> None:
        seen = self.throttle.snapshot().rejection
        expect(abs(seen - wanted) < 1e-9, f"the rejection is {seen}, not {wanted}")


def _no() -> ConnectionError:
    return ConnectionError("turned away")


@throttle.rule("TH1")
async def results_and_errors_are_the_callers_own(make: MakeThrottle) -> None:
    """A result and an error are handed back as they are."""
    bench = _Bench(make)
    answer = object()
    boom = BoomError("mine")

    async def good() -> object:
        return answer

    async def bad() -> None:
        raise boom

    expect(await bench.throttle.execute(good) is answer, "the result was changed")
    try:
        await bench.throttle.execute(bad)
    except BoomError as error:
        expect(error is boom, "the error was changed")
    expect(bench.throttle.snapshot().requests == 2, "the calls were not counted")


@throttle.rule("TH2")
async def rejects_by_the_formula(make: MakeThrottle) -> None:
    """The rejection is (requests - multiplier * accepts) / (requests + 1), never below 0."""
    bench = _Bench(make)
    await bench.call(*[1] * 6, *[_no() for _ in range(6)])
    bench.expect_rejection(0.0)
    await bench.call(*[_no() for _ in range(8)])
    bench.expect_rejection(8 / 21)
    harder = _Bench(make, multiplier=1.5)
    await harder.call(*[1] * 6, *[_no() for _ in range(6)])
    harder.expect_rejection(3 / 13)


@throttle.rule("TH3")
async def chance_decides(make: MakeThrottle) -> None:
    """A call is turned away when chance is below the rejection, and then it is not sent."""
    bench = _Bench(make)
    await bench.call(*[_no() for _ in range(8)])
    bench.random.position = 0.85
    expect(await bench.call(1) == "throttled", "8 of 9 are rejected, and chance said .85")
    bench.random.position = 0.95
    expect(await bench.call(1) == "ok", "chance said .95, and the call was turned away")
    bench.random.position = 0.0
    ran: list[int] = []

    async def operation() -> None:
        ran.append(1)

    with suppress(ThrottledError):
        await bench.throttle.execute(operation)
    expect(not ran, "a call that was turned away ran")
    expect(bench.throttle.snapshot().refused == 2, "the refusals were not counted")


@throttle.rule("TH4")
async def what_is_turned_away_counts(make: MakeThrottle) -> None:
    """A call that is turned away is a request: rejection grows while nothing is accepted."""
    bench = _Bench(make, max_rejection=1.0)
    await bench.call(*[_no() for _ in range(4)])
    bench.expect_rejection(4 / 5)
    bench.random.position = 0.0
    await bench.call(*[1] * 5)
    bench.expect_rejection(9 / 10)


@throttle.rule("TH5")
async def some_always_get_through(make: MakeThrottle) -> None:
    """The rejection is never above `max_rejection`, so that recovery is noticed."""
    bench = _Bench(make, max_rejection=0.5)
    await bench.call(*[_no() for _ in range(50)])
    bench.expect_rejection(0.5)
    bench.random.position = 0.6
    expect(await bench.call(1) == "ok", "no call gets through any more")


@throttle.rule("TH6")
async def the_window_slides(make: MakeThrottle) -> None:
    """What happened before the window is forgotten."""
    bench = _Bench(make)
    await bench.call(*[_no() for _ in range(20)])
    bench.clock.advance(38.0)
    expect(bench.throttle.snapshot().rejection > 0.8, "it forgot too early")
    bench.clock.advance(3.0)
    bench.expect_rejection(0.0)
    expect(bench.throttle.snapshot().requests == 0, "it did not forget")


@throttle.rule("TH7")
async def few_calls_say_nothing(make: MakeThrottle) -> None:
    """With fewer than `minimum_calls` answered calls in the window none is turned away."""
    bench = _Bench(make, minimum_calls=10)
    await bench.call(*[_no() for _ in range(9)])
    bench.expect_rejection(0.0)
    await bench.call(_no())
    expect(bench.throttle.snapshot().rejection > 0.8, "it does not throttle at all")


@throttle.rule("TH8")
async def cancelled_calls_say_nothing(make: MakeThrottle) -> None:
    """A cancelled call counts as neither request nor accept."""
    bench = _Bench(make)
    await bench.call(*[_no() for _ in range(8)])
    for _ in range(20):
        async with open_tasks() as tasks:
            tasks.start_soon(bench.throttle.execute, Held())
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    seen = bench.throttle.snapshot()
    expect((seen.requests, seen.accepts) == (8, 0), f"saw {seen}")
    bench.expect_rejection(8 / 9)


@throttle.rule("TH9")
async def business_errors_are_accepted(make: MakeThrottle) -> None:
    """An error that is not in `rejected_on` is the answer of a target that took the call."""
    bench = _Bench(make)
    await bench.call(*[BoomError() for _ in range(20)])
    bench.expect_rejection(0.0)
    expect(bench.throttle.snapshot().accepts == 20, "the answers were not counted")
    mixed = _Bench(make)
    await mixed.call(*[ExceptionGroup("tasks", [_no()]) for _ in range(20)])
    expect(mixed.throttle.snapshot().accepts == 0, "a group of rejections was accepted")


@throttle.rule("TH10")
async def rejecting_results_count(make: MakeThrottle) -> None:
    """A result that `is_rejection` is handed back, and is not accepted."""
    bench = _Bench(make, is_rejection=_is_no)
    expect(await bench.call("no") == "ok", "the result was not handed back")
    await bench.call(*["no"] * 9)
    seen = bench.throttle.snapshot()
    expect((seen.requests, seen.accepts) == (10, 0), f"saw {seen}")


@throttle.rule("TH11")
async def a_burst_is_not_turned_away(make: MakeThrottle) -> None:
    """Calls that have only just begun say nothing: 200 at once all get through."""
    bench = _Bench(make)
    bench.random.position = 0.0
    held = Held()
    async with open_tasks() as tasks:
        for _ in range(200):
            tasks.start_soon(bench.throttle.execute, held)
        await anyio.wait_all_tasks_blocked()
        expect(held.running == 200, f"{held.running} of 200 got through")
        held.end()
    expect(bench.throttle.snapshot().accepts == 200, "not all were accepted")


@throttle.rule("TH12")
async def a_target_that_never_answers_is_noticed(make: MakeThrottle) -> None:
    """Calls that were sent and hang are requests without an accept: others are turned away."""
    bench = _Bench(make)
    held = Held()
    async with open_tasks() as tasks:
        for _ in range(50):
            tasks.start_soon(bench.throttle.execute, held)
        await anyio.wait_all_tasks_blocked()
        bench.clock.advance(20.0)
        expect(bench.throttle.snapshot().rejection > 0.8, "50 hanging calls say nothing to it")
        bench.random.position = 0.0
        expect(await bench.call(1) == "throttled", "the call was sent to a target that hangs")
        held.end()


@throttle.rule("TH13")
async def it_recovers(make: MakeThrottle) -> None:
    """A target that is well again gets all calls again, before the window is over."""
    bench = _Bench(make)
    await bench.call(*[_no() for _ in range(20)])
    expect(bench.throttle.snapshot().rejection > 0.8, "it does not throttle at all")
    bench.random.position = 0.95
    await bench.call(*[1] * 30)
    bench.expect_rejection(0.0)


@throttle.rule("TH14")
async def settings_change_live(make: MakeThrottle) -> None:
    """`configure` takes other settings without forgetting what the same window holds."""
    bench = _Bench(make)
    await bench.call(*[_no() for _ in range(20)])
    bench.throttle.configure(ThrottleConfig(window_s=40.0, max_rejection=0.25))
    bench.expect_rejection(0.25)


def _is_no(result: object) -> bool:
    return result == "no"
