"""Draining: how a server leaves without dropping calls.

First nobody is to send calls any more, then those that run finish, then comes the end.
"""

from types import TracebackType
from typing import Protocol, Self, final

from attrs import frozen

__all__ = ("Drain", "DrainReport", "DrainableHealth")


class DrainableHealth(Protocol):
    """A registry that can say that no more calls should come."""

    @property
    def is_draining(self) -> bool:
        """Whether readiness has been withdrawn."""
        ...

    def begin_drain(self) -> None:
        """Make readiness unhealthy from now on; liveness stays as it is."""
        ...


@final
@frozen(kw_only=True)
class DrainReport:
    """How draining ended.

    Args:
        finished: Calls that ended while it waited.
        left: Calls that were still running when the time was up.
        waited_s: How long it took, seconds.
    """

    finished: int
    left: int
    waited_s: float


class Drain(Protocol):
    """Ends a server's work in order: no more calls, those that run finish, then the end."""

    def __enter__(self) -> Self:
        """Count a call that has begun."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Count it as ended."""
        ...

    async def drain(self) -> DrainReport:
        """Withdraw readiness and wait for the calls that run, for a bounded time."""
        ...
