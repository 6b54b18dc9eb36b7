"""The rules of a `Deadline`.

`make(*, timeout_s, clock)` returns a deadline whose default is `timeout_s`, None for none.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from ...core.errors import DeadlineExceededError
from ...core.ports import Clock
from ...protocols.resilience import Deadline
from ..clock import FakeClock
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeDeadline", "deadline")


class MakeDeadline(Protocol):
    """Makes the deadline that is to be checked."""

    def __call__(self, *, timeout_s: float | None, clock: Clock) -> Deadline:
        """Return a deadline of `timeout_s` seconds."""
        ...


deadline: ContractKit[MakeDeadline] = ContractKit("Deadline")


class _Run:
    """Runs a coroutine function in a task of its own and keeps how it ended."""

    def __init__(self, function: Callable[[], Awaitable[object]]) -> None:
        self.ended = "running"
        self._function = function

    async def __call__(self) -> None:
        try:
            self.ended = f"result {await self._function()}"
        except Exception as error:  # noqa: BLE001 - the rule looks at it
            self.ended = type(error).__name__
        except BaseException:
            self.ended = "cancelled"
            raise


async def _forever() -> None:
    await anyio.sleep_forever()


@deadline.rule("DL1")
async def what_is_in_time_is_left_alone(make: MakeDeadline) -> None:
    """A result in time is handed back as it is, and so is an error, timeouts included."""
    block = make(timeout_s=5.0, clock=FakeClock())
    answer = object()

    async def good() -> object:
        return answer

    expect(await block.execute(good) is answer, "the result was changed")
    own = TimeoutError("the operation's own")

    async def bad() -> None:
        raise own

    try:
        await block.execute(bad)
    except Exception as error:  # noqa: BLE001
        expect(error is own, f"saw {type(error).__name__}")


@deadline.rule("DL2")
async def cuts_in_time_and_not_before(make: MakeDeadline) -> None:
    """The operation is cancelled when the time is up, and not before."""
    clock = FakeClock()
    block = make(timeout_s=5.0, clock=clock)
    cleaned: list[bool] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    run = _Run(lambda: block.execute(slow))
    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        clock.advance(4.9)
        await anyio.wait_all_tasks_blocked()
        expect(not cleaned, "it was cut before its time")
        clock.advance(0.1)
        await anyio.wait_all_tasks_blocked()
        expect(run.ended == "DeadlineExceededError", f"saw {run.ended}")
        tasks.cancel_scope.cancel()
    expect(cleaned == [True], "the operation was not cancelled")


@deadline.rule("DL3")
async def an_argument_overrides_the_default(make: MakeDeadline) -> None:
    """`timeout_s` of the call counts instead of the default, shorter or longer."""
    for default in (1.0, 100.0, None):
        clock = FakeClock()
        block = make(timeout_s=default, clock=clock)
        run = _Run(lambda block=block: block.execute(_forever, timeout_s=10.0))  # type: ignore[misc]
        async with open_tasks() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            clock.advance(9.9)
            await anyio.wait_all_tasks_blocked()
            expect(run.ended == "running", f"saw {run.ended} before its time")
            clock.advance(0.1)
            await anyio.wait_all_tasks_blocked()
            expect(run.ended == "DeadlineExceededError", f"saw {run.ended}")
            tasks.cancel_scope.cancel()


@deadline.rule("DL4")
async def cancellation_from_outside_passes(make: MakeDeadline) -> None:
    """A cancellation from outside is not taken for the deadline's own."""
    block = make(timeout_s=5.0, clock=FakeClock())
    run = _Run(lambda: block.execute(_forever))
    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    expect(run.ended == "cancelled", f"saw {run.ended}")


@deadline.rule("DL5")
async def nothing_left_means_not_begun(make: MakeDeadline) -> None:
    """With zero, less, or no number at all, the operation is not begun."""
    block = make(timeout_s=5.0, clock=FakeClock())
    ran: list[bool] = []

    async def operation() -> None:
        ran.append(True)

    for nothing in (0.0, -1.0, float("nan")):
        run = _Run(lambda nothing=nothing: block.execute(operation, timeout_s=nothing))  # type: ignore[misc]
        await run()
        expect(run.ended == "DeadlineExceededError", f"{nothing}: saw {run.ended}")
    expect(not ran, "the operation was begun")


@deadline.rule("DL6")
async def a_longer_inner_deadline_extends_nothing(make: MakeDeadline) -> None:
    """Of nested deadlines the outer one counts when it is the earlier."""
    clock = FakeClock()
    outer, inner = make(timeout_s=5.0, clock=clock), make(timeout_s=50.0, clock=clock)
    seen: list[str] = []

    async def nested() -> None:
        try:
            await inner.execute(_forever)
        except DeadlineExceededError:
            seen.append("inner")
            raise

    run = _Run(lambda: outer.execute(nested))
    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        clock.advance(5.0)
        await anyio.wait_all_tasks_blocked()
        expect(run.ended == "DeadlineExceededError", f"saw {run.ended}")
        tasks.cancel_scope.cancel()
    expect(not seen, "the inner deadline took the outer one's cut for its own")


@deadline.rule("DL7")
async def a_shorter_inner_deadline_cuts_only_itself(make: MakeDeadline) -> None:
    """Of nested deadlines the inner one counts when it is the earlier; the outer goes on."""
    clock = FakeClock()
    outer, inner = make(timeout_s=50.0, clock=clock), make(timeout_s=5.0, clock=clock)

    async def nested() -> str:
        try:
            await inner.execute(_forever)
        except DeadlineExceededError:
            return f"went on with {outer.remaining_s()}"
        return "was not cut"

    run = _Run(lambda: outer.execute(nested))
    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        clock.advance(5.0)
        await anyio.wait_all_tasks_blocked()
        expect(run.ended == "result went on with 45.0", f"saw {run.ended}")
        tasks.cancel_scope.cancel()


@deadline.rule("DL8")
async def remaining_counts_down(make: MakeDeadline) -> None:
    """`remaining_s` counts down to the earliest deadline, and is None where there is none."""
    clock = FakeClock()
    block = make(timeout_s=10.0, clock=clock)
    seen: list[float | None] = []

    async def innermost() -> None:
        seen.append(block.remaining_s())

    async def operation() -> None:
        seen.append(block.remaining_s())
        clock.advance(4.0)
        seen.append(block.remaining_s())
        await block.execute(innermost, timeout_s=1.0)
        await block.execute(innermost, timeout_s=100.0)
        seen.append(block.remaining_s())

    seen.append(block.remaining_s())
    await block.execute(operation)
    seen.append(block.remaining_s())
    expect(seen == [None, 10.0, 6.0, 1.0, 6.0, 6.0, None], f"saw {seen}")


@deadline.rule("DL9")
async def no_timeout_is_no_limit(make: MakeDeadline) -> None:
    """Without a timeout nothing is cut, however long it takes."""
    clock = FakeClock()
    block = make(timeout_s=None, clock=clock)
    wake = anyio.Event()

    async def slow() -> float | None:
        await wake.wait()
        return block.remaining_s()

    run = _Run(lambda: block.execute(slow))
    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1e6)
        await anyio.wait_all_tasks_blocked()
        wake.set()
    expect(run.ended == "result None", f"saw {run.ended}")


@deadline.rule("DL10")
async def tasks_are_apart(make: MakeDeadline) -> None:
    """Each task has its own deadline; a task that an operation starts has the operation's."""
    clock = FakeClock()
    block = make(timeout_s=10.0, clock=clock)
    seen: dict[str, float | None] = {}

    async def look(name: str) -> None:
        seen[name] = block.remaining_s()

    async def operation(name: str) -> None:
        await anyio.wait_all_tasks_blocked()
        async with open_tasks() as tasks:
            tasks.start_soon(look, name)

    async def limited(name: str, timeout_s: float) -> None:
        await block.execute(lambda: operation(name), timeout_s=timeout_s)

    async with open_tasks() as tasks:
        tasks.start_soon(limited, "short", 3.0)
        tasks.start_soon(limited, "long", 30.0)
        tasks.start_soon(look, "none")
    expect(seen == {"short": 3.0, "long": 30.0, "none": None}, f"saw {seen}")


@deadline.rule("DL11")
async def refusal_is_coded(make: MakeDeadline) -> None:
    """What is cut off has the code `deadline_exceeded` and a reason that can be read."""
    block = make(timeout_s=5.0, clock=FakeClock())

    async def nothing() -> None:
        return None

    try:
        await block.execute(nothing, timeout_s=0.0)
    except DeadlineExceededError as error:
        expect(error.code == "deadline_exceeded", f"the code is {error.code}")
        expect(error.reason, "the reason is empty")
    else:
        raise AssertionError("an operation without time was begun")
