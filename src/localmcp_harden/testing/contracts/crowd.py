"""What the rules of a bulkhead stand on: a bulkhead, its clock, and callers by number."""

from collections.abc import Callable
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from ...core.errors import BulkheadFullError, OverloadedError
from ...core.ports import Clock
from ...protocols.load import Bulkhead, BulkheadConfig, Priority
from ..clock import FakeClock
from .kit import expect
from .tasks import open_tasks

__all__ = ("Crowd", "MakeBulkhead", "in_crowd")


class MakeBulkhead(Protocol):
    """Makes the bulkhead that is to be checked."""

    def __call__(self, config: BulkheadConfig, /, *, clock: Clock) -> Bulkhead:
        """Return a bulkhead through which nothing runs."""
        ...


class Crowd:
    """Callers of one bulkhead, each with a name; a rule says when each one ends.

    Args:
        tasks: Where the callers run.
        bulkhead: What they go through.
        clock: Its clock.
    """

    def __init__(self, tasks: TaskGroup, bulkhead: Bulkhead, clock: FakeClock) -> None:
        self.bulkhead: Bulkhead = bulkhead
        self.clock: FakeClock = clock
        self.begun: list[str] = []
        """Who was let in, in that order."""
        self.ended: dict[str, str] = {}
        """How each caller ended: `ok`, `full`, `overloaded`, `cancelled`, an error's name."""
        self._tasks = tasks
        self._ends: dict[str, anyio.Event] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}

    async def call(self, *names: str, priority: Priority = Priority.NORMAL) -> None:
        """Let callers come, one after the other, each running or waiting before the next."""
        for name in names:
            self._tasks.start_soon(self._one, name, priority)
            await anyio.wait_all_tasks_blocked()

    async def end(self, *names: str) -> None:
        """End the operations of these callers in the same moment."""
        self.end_now(*names)
        await anyio.wait_all_tasks_blocked()

    def end_now(self, *names: str) -> None:
        """Let the operations of these callers end, without a turn of the event loop."""
        for name in names:
            self._ends[name].set()

    def cancel_now(self, *names: str) -> None:
        """Cancel these callers, without a turn of the event loop."""
        for name in names:
            self._scopes[name].cancel()

    async def cancel(self, *names: str) -> None:
        """Cancel these callers."""
        self.cancel_now(*names)
        await anyio.wait_all_tasks_blocked()

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()

    @property
    def running(self) -> list[str]:
        """Who runs now, in the order in which they were let in."""
        return [name for name in self.begun if name not in self.ended]

    def expect_running(self, *names: str) -> None:
        """Raise `AssertionError` unless exactly these run."""
        expect(sorted(self.running) == sorted(names), f"{self.running} run, not {list(names)}")
        seen = self.bulkhead.snapshot().running
        expect(seen == len(names), f"the snapshot says {seen} run, not {len(names)}")

    def expect_ended(self, **how: str) -> None:
        """Raise `AssertionError` unless these ended so."""
        seen = {name: self.ended.get(name, "has not ended") for name in how}
        expect(seen == how, f"saw {seen}, not {how}")

    async def _one(self, name: str, priority: Priority) -> None:
        end = self._ends[name] = anyio.Event()

        async def operation() -> None:
            self.begun.append(name)
            await end.wait()

        how = "cancelled"
        with anyio.CancelScope() as scope:
            self._scopes[name] = scope
            try:
                await self.bulkhead.execute(operation, priority=priority)
                how = "ok"
            except BulkheadFullError as refusal:
                how = "full" if refusal.code == "bulkhead_full" else refusal.code
            except OverloadedError as refusal:
                how = refusal.code
            except Exception as error:  # noqa: BLE001 - the rule looks at it
                how = type(error).__name__
        self.ended[name] = how


class in_crowd:  # noqa: N801 - it is used like a function
    """Run a rule's body with a crowd, whose callers are cancelled afterwards.

    Args:
        make: Makes the bulkhead.
        settings: Of the bulkhead, besides one permit and a queue of ten.
    """

    def __init__(self, make: MakeBulkhead, **settings: Any) -> None:
        self.clock: FakeClock = FakeClock()
        chosen: dict[str, Any] = {"max_concurrent": 1, "max_queue": 10, **settings}
        self._bulkhead = make(BulkheadConfig(**chosen), clock=self.clock)

    async def __call__(self, body: Callable[[Crowd], Any]) -> Bulkhead:
        """Run the body; return the bulkhead, through which nothing runs any more."""
        async with open_tasks() as tasks:
            await body(Crowd(tasks, self._bulkhead, self.clock))
            tasks.cancel_scope.cancel()
        left = self._bulkhead.snapshot()
        expect(left.running == 0, f"{left.running} permits were lost")
        expect(sum(left.waiting) == 0, f"{left.waiting} still wait, though nobody does")
        return self._bulkhead
