"""The rules of a `Bulkhead`.

`make(config, /, *, clock)` returns a bulkhead with these settings.
"""

import anyio
import anyio.lowlevel

from ...protocols.load import (
    BulkheadConfig,
    BulkheadState,
    Priority,
    QueueOrder,
)
from ..clock import FakeClock
from .bulkhead_limits import bulkhead_limits
from .circuit import BoomError
from .crowd import Crowd, MakeBulkhead, in_crowd
from .kit import ContractKit, expect

__all__ = ("MakeBulkhead", "bulkhead")


bulkhead: ContractKit[MakeBulkhead] = ContractKit("Bulkhead")


@bulkhead.rule("BH1")
async def results_and_errors_are_the_callers_own(make: MakeBulkhead) -> None:
    """A result and an error are handed back as they are, and both give the permit back."""
    block = make(BulkheadConfig(max_concurrent=1, max_queue=0), clock=FakeClock())
    answer = object()
    boom = BoomError("mine")

    async def good() -> object:
        return answer

    async def bad() -> None:
        raise boom

    for _ in range(3):
        expect(await block.execute(good) is answer, "the result was changed")
        try:
            await block.execute(bad)
        except BoomError as error:
            expect(error is boom, "the error was changed")
    expect(block.snapshot().running == 0, "a permit was not given back")


@bulkhead.rule("BH2")
async def permits_hold_in_a_crowd(make: MakeBulkhead) -> None:
    """Of 200 callers at once never more than `max_concurrent` run, and all have their turn."""
    block = make(BulkheadConfig(max_concurrent=7, max_queue=200), clock=FakeClock())
    running: list[int] = []
    most: list[int] = []

    async def operation() -> None:
        running.append(1)
        most.append(len(running))
        await anyio.lowlevel.checkpoint()
        running.pop()

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(block.execute, operation)
    expect(max(most) == 7, f"{max(most)} ran at once, not 7")
    expect(len(most) == 200, f"{len(most)} of 200 had their turn")


@bulkhead.rule("BH3")
async def the_queue_is_bounded(make: MakeBulkhead) -> None:
    """With `max_queue` callers waiting, the next is refused at once with `bulkhead_full`."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b", "c", "d")
        crowd.expect_running("a")
        crowd.expect_ended(d="full")
        seen = crowd.bulkhead.snapshot()
        expect(seen.refused_full == 1, f"saw {seen}")
        expect("d" not in crowd.begun, "the refused operation ran")

    await in_crowd(make, max_queue=2)(body)

    async def without(crowd: Crowd) -> None:
        await crowd.call("a", "b")
        crowd.expect_ended(b="full")

    await in_crowd(make, max_queue=0)(without)


@bulkhead.rule("BH4")
async def first_come_first_served(make: MakeBulkhead) -> None:
    """Of one priority, who came first is let in first."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b", "c", "d")
        crowd.expect_running("a")
        for name in ("a", "b", "c", "d"):
            await crowd.end(name)
        expect(crowd.begun == ["a", "b", "c", "d"], f"saw {crowd.begun}")

    await in_crowd(make)(body)


@bulkhead.rule("BH5")
async def waiting_is_bounded(make: MakeBulkhead) -> None:
    """Who waited for `max_wait_s` is refused with `overloaded`, not before, and leaves."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b")
        await crowd.advance(4.9)
        await crowd.call("c")
        crowd.expect_ended(b="has not ended")
        await crowd.advance(0.1)
        crowd.expect_ended(b="overloaded", c="has not ended")
        seen = crowd.bulkhead.snapshot()
        expect(seen.refused_waited == 1, f"saw {seen}")
        await crowd.end("a")
        crowd.expect_running("c")

    await in_crowd(make, max_wait_s=5.0)(body)


@bulkhead.rule("BH6")
async def a_cancelled_waiter_leaves(make: MakeBulkhead) -> None:
    """A cancelled waiter takes no permit and leaves its place to others."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b", "c")
        await crowd.cancel("b")
        crowd.expect_ended(b="cancelled")
        await crowd.call("d")
        crowd.expect_ended(d="has not ended")
        await crowd.end("a")
        crowd.expect_running("c")
        await crowd.end("c")
        crowd.expect_running("d")

    await in_crowd(make, max_queue=2)(body)


@bulkhead.rule("BH7")
async def a_permit_given_to_the_cancelled_goes_on(make: MakeBulkhead) -> None:
    """A permit handed to a waiter that is cancelled in the same moment goes to the next."""
    for cancel_first in (True, False):

        async def body(crowd: Crowd, cancel_first: bool = cancel_first) -> None:  # noqa: FBT001
            await crowd.call("a", "b", "c")
            if cancel_first:
                crowd.cancel_now("b")
                await crowd.end("a")
            else:
                # One turn: the permit is handed over, and its new owner has not run yet.
                crowd.end_now("a")
                while "a" not in crowd.ended:
                    await anyio.lowlevel.checkpoint()
                await crowd.cancel("b")
            expect("c" in crowd.running or "b" in crowd.begun, "the permit was lost")
            await crowd.end("c")
            await crowd.call("d")
            crowd.expect_running("d")

        await in_crowd(make)(body)


@bulkhead.rule("BH8")
async def a_cancelled_call_gives_back(make: MakeBulkhead) -> None:
    """A call that is cancelled while it runs gives its permit to the next."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b")
        await crowd.cancel("a")
        crowd.expect_running("b")

    await in_crowd(make)(body)


@bulkhead.rule("BH9")
async def priorities_go_first(make: MakeBulkhead) -> None:
    """A waiter of a higher priority is let in before one of a lower, whoever came first."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("running")
        await crowd.call("low", priority=Priority.LOW)
        await crowd.call("normal")
        await crowd.call("critical", priority=Priority.CRITICAL)
        await crowd.call("high", priority=Priority.HIGH)
        seen = crowd.bulkhead.snapshot().waiting
        expect(seen == (1, 1, 1, 1), f"{seen} wait by priority")
        for name in ("running", "critical", "high", "normal"):
            await crowd.end(name)
        expect(
            crowd.begun == ["running", "critical", "high", "normal", "low"], f"saw {crowd.begun}"
        )

    await in_crowd(make)(body)


@bulkhead.rule("BH10")
async def the_least_important_gives_way(make: MakeBulkhead) -> None:
    """In a full queue the newest of the lowest priority gives way to a higher, never to its own."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("running")
        await crowd.call("normal")
        await crowd.call("low1", "low2", priority=Priority.LOW)
        await crowd.call("low3", priority=Priority.LOW)
        crowd.expect_ended(low3="full")
        await crowd.call("high", priority=Priority.HIGH)
        crowd.expect_ended(low2="overloaded", low1="has not ended")
        await crowd.call("normal2")
        crowd.expect_ended(low1="overloaded")
        await crowd.call("normal3")
        crowd.expect_ended(normal3="full", normal="has not ended")
        seen = crowd.bulkhead.snapshot()
        expect((seen.displaced, seen.refused_full) == (2, 2), f"saw {seen}")

    await in_crowd(make, max_queue=3)(body)


@bulkhead.rule("BH11")
async def nobody_is_overtaken(make: MakeBulkhead) -> None:
    """Who comes while a permit is on its way to a waiter does not take it."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b")
        crowd.end_now("a")
        while "a" not in crowd.ended:
            await anyio.lowlevel.checkpoint()
        await crowd.call("c")
        expect(crowd.begun == ["a", "b"], f"saw {crowd.begun}")

    await in_crowd(make)(body)


@bulkhead.rule("BH12")
async def a_standing_queue_is_turned_round(make: MakeBulkhead) -> None:
    """With `adaptive_lifo` the newest is next while the queue stands, the oldest otherwise."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("running", "a", "b", "c", "d", "e")
        await crowd.advance(0.05)
        await crowd.end("running")
        expect(crowd.begun[-1] == "a", "it was turned round before it stood")
        await crowd.advance(0.1)
        await crowd.end("a")
        expect(crowd.begun[-1] == "e", f"{crowd.begun[-1]} was next in a standing queue")
        await crowd.call("f")
        await crowd.end("e")
        expect(crowd.begun[-1] == "f", f"{crowd.begun[-1]} was next in a standing queue")
        expect(crowd.bulkhead.get_state() is BulkheadState.OVERLOADED, "it says it is well")
        for name in ("f", "d", "c", "b"):
            await crowd.end(name)
        await crowd.call("g", "h", "i")
        await crowd.advance(0.05)
        await crowd.end("g")
        expect(crowd.begun[-1] == "h", "it stayed turned round after it had been empty")

    await in_crowd(make, order=QueueOrder.ADAPTIVE_LIFO, target_wait_s=0.01, interval_s=0.1)(body)


@bulkhead.rule("BH13")
async def the_newest_go_first_where_the_oldest_give_way(make: MakeBulkhead) -> None:
    """With `adaptive_lifo`, the oldest gives way to a newcomer when a standing queue is full."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("running", "a", "b", "c")
        await crowd.call("full")
        crowd.expect_ended(full="full")
        await crowd.advance(0.05)
        await crowd.end("running")
        await crowd.advance(0.1)
        await crowd.end("a")
        await crowd.call("d", "e", "f")
        crowd.expect_ended(b="overloaded", d="has not ended", e="has not ended", f="has not ended")

    await in_crowd(
        make,
        order=QueueOrder.ADAPTIVE_LIFO,
        target_wait_s=0.01,
        interval_s=0.1,
        max_queue=3,
    )(body)


@bulkhead.rule("BH14")
async def codel_turns_the_late_away(make: MakeBulkhead) -> None:
    """With `codel`, who waited twice the target in a standing queue is refused, a burst is not."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("running", "a", "b", "c")
        await crowd.advance(0.09)
        await crowd.end("running")
        crowd.expect_running("a")
        await crowd.advance(0.1)
        await crowd.call("new")
        await crowd.end("a")
        crowd.expect_ended(b="overloaded", c="overloaded")
        crowd.expect_running("new")
        expect(crowd.bulkhead.snapshot().shed == 2, f"saw {crowd.bulkhead.snapshot()}")

    await in_crowd(make, codel=True, target_wait_s=0.01, interval_s=0.1)(body)

    async def never(crowd: Crowd) -> None:
        await crowd.call("running", "a", "b", "c")
        for name in ("running", "a"):
            await crowd.advance(0.1)
            await crowd.end(name)
        await crowd.advance(0.1)
        crowd.expect_ended(c="has not ended")

    await in_crowd(make, target_wait_s=0.01, interval_s=0.1)(never)


@bulkhead.rule("BH15")
async def more_permits_let_more_in(make: MakeBulkhead) -> None:
    """`configure` with more permits lets in as many waiters; with fewer, nobody loses its own."""

    async def body(crowd: Crowd) -> None:
        await crowd.call("a", "b", "c", "d")
        crowd.bulkhead.configure(BulkheadConfig(max_concurrent=3, max_queue=10))
        await anyio.wait_all_tasks_blocked()
        crowd.expect_running("a", "b", "c")
        crowd.bulkhead.configure(BulkheadConfig(max_concurrent=1, max_queue=10))
        await crowd.end("a")
        await crowd.end("b")
        crowd.expect_running("c")
        await crowd.end("c")
        crowd.expect_running("d")

    await in_crowd(make)(body)


@bulkhead.rule("BH16")
async def it_says_how_busy_it_is(make: MakeBulkhead) -> None:
    """It is free, busy or overloaded as its permits and its queue are."""

    async def body(crowd: Crowd) -> None:
        seen = [crowd.bulkhead.get_state()]
        for name in ("a", "b", "c"):
            await crowd.call(name)
            seen.append(crowd.bulkhead.get_state())
        wanted = [
            BulkheadState.FREE,
            BulkheadState.BUSY,
            BulkheadState.BUSY,
            BulkheadState.OVERLOADED,
        ]
        expect(seen == wanted, f"saw {seen}")
        expect(crowd.bulkhead.snapshot().state is BulkheadState.OVERLOADED, "the snapshot differs")

    await in_crowd(make, max_queue=2)(body)


bulkhead.include(bulkhead_limits)
