"""The rules of `DeadlineScopes`: a deadline that can limit a body of code.

`make(*, timeout_s, clock)` returns a deadline whose default is `timeout_s`, None for none.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import anyio

from ...core.errors import DeadlineExceededError
from ...core.ports import Clock
from ..clock import FakeClock
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("LimitingDeadline", "MakeDeadlineScopes", "deadline_scopes")


class LimitingDeadline(Protocol):
    """What the rules need of a deadline."""

    def limit(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Return a context whose body has `timeout_s` seconds."""
        ...

    def remaining_s(self) -> float | None:
        """Return the seconds left to the current task."""
        ...


class MakeDeadlineScopes(Protocol):
    """Makes the deadline that is to be checked."""

    def __call__(self, *, timeout_s: float | None, clock: Clock) -> LimitingDeadline:
        """Return a deadline of `timeout_s` seconds."""
        ...


deadline_scopes: ContractKit[MakeDeadlineScopes] = ContractKit("DeadlineScopes")


@deadline_scopes.rule("DS1")
async def a_body_in_time_is_left_alone(make: MakeDeadlineScopes) -> None:
    """A body in time ends as it ends, with its own error too, and leaves no limit behind."""
    block = make(timeout_s=5.0, clock=FakeClock())
    with block.limit():
        expect(block.remaining_s() == 5.0, f"saw {block.remaining_s()}")
    own = TimeoutError("the body's own")
    try:
        with block.limit(1.0):
            raise own
    except TimeoutError as error:
        expect(error is own, "the error was changed")
    expect(block.remaining_s() is None, "the limit stayed")


@deadline_scopes.rule("DS2")
async def a_body_is_cut_off(make: MakeDeadlineScopes) -> None:
    """A body is cancelled when its time is up, and its caller told so."""
    clock = FakeClock()
    block = make(timeout_s=5.0, clock=clock)
    ended: list[str] = []

    async def run() -> None:
        try:
            with block.limit():
                await anyio.sleep_forever()
        except DeadlineExceededError:
            ended.append("deadline")

    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        clock.advance(4.9)
        await anyio.wait_all_tasks_blocked()
        expect(not ended, "it was cut before its time")
        clock.advance(0.1)
        await anyio.wait_all_tasks_blocked()
        expect(ended == ["deadline"], f"saw {ended}")
        tasks.cancel_scope.cancel()


@deadline_scopes.rule("DS3")
async def cancellation_from_outside_passes(make: MakeDeadlineScopes) -> None:
    """A cancellation from outside is not taken for the deadline's own."""
    block = make(timeout_s=5.0, clock=FakeClock())
    ended: list[str] = []

    async def run() -> None:
        try:
            with block.limit():
                await anyio.sleep_forever()
        except Exception as error:  # noqa: BLE001 - the rule looks at it
            ended.append(type(error).__name__)

    async with open_tasks() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    expect(not ended, f"the cancellation became {ended}")


@deadline_scopes.rule("DS4")
async def nothing_left_means_not_begun(make: MakeDeadlineScopes) -> None:
    """With zero, less, or no number at all, the body is not begun."""
    block = make(timeout_s=5.0, clock=FakeClock())
    begun: list[float] = []
    for nothing in (0.0, -1.0, float("nan")):
        try:
            with block.limit(nothing):
                begun.append(nothing)
        except DeadlineExceededError:
            continue
        raise AssertionError(f"a body with {nothing} seconds was not refused")
    expect(not begun, f"bodies were begun with {begun} seconds")


@deadline_scopes.rule("DS5")
async def the_earlier_counts(make: MakeDeadlineScopes) -> None:
    """Of nested limits the earlier counts, and the outer one holds again after the inner."""
    clock = FakeClock()
    block = make(timeout_s=10.0, clock=clock)
    seen: list[float | None] = []
    with block.limit():
        with block.limit(50.0):
            seen.append(block.remaining_s())
        with block.limit(2.0):
            seen.append(block.remaining_s())
            clock.advance(1.0)
        seen.append(block.remaining_s())
    expect(seen == [10.0, 2.0, 9.0], f"saw {seen}")
