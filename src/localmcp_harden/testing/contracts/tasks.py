"""A task group in which a rule may use `expect`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

__all__ = ("open_tasks",)


@asynccontextmanager
async def open_tasks() -> AsyncGenerator[TaskGroup, None]:
    """Open a task group that raises a broken expectation as it is, not in a group.

    The other tasks are cancelled then.
    """
    broken: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except* AssertionError as group:
        broken = group
        while isinstance(broken, BaseExceptionGroup):
            broken = broken.exceptions[0]
    if broken is not None:
        raise broken
