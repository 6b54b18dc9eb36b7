"""One operation that is being repeated: how its attempts ended, and when. All times are seconds."""

from typing import Generic, TypeVar, final

from ..core.model import Outcome
from ..mechanisms.backoff import Backoff
from .retry_history import Attempt

__all__ = ("Ended", "RepeatedRun", "leaves_of")

T = TypeVar("T")

_MAX_LEAVES = 1_000


@final
class Ended(Generic[T]):
    """How one attempt ended: with an error or a result, and what went wrong in either."""

    __slots__ = ("bad", "cause", "error", "kind", "result")

    def __init__(self, error: Exception | None, result: T | None = None, *, bad: bool) -> None:
        self.error: Exception | None = error
        self.result: T | None = result
        self.bad: bool = bad
        # The chain's results say in a field what their handler raised.
        self.cause: Exception | None = result.failure if isinstance(result, Outcome) else error
        self.kind: str = "result" if self.cause is None else type(self.cause).__name__


@final
class RepeatedRun:
    """What is known of one operation: its attempts, its times. It holds no error."""

    __slots__ = ("attempts", "backoff", "name", "taken", "until", "waited_s")

    def __init__(self, name: str, backoff: Backoff, until: float) -> None:
        self.name: str = name
        self.backoff: Backoff = backoff
        self.until: float = until
        self.attempts: list[Attempt] = []
        self.waited_s: float = 0.0
        self.taken: float = 0.0

    def add(self, kind: str, duration_s: float, waited_s: float = 0.0) -> None:
        """Take note of an attempt that has ended; `kind` is `""` when it went well."""
        self.waited_s += waited_s
        attempt = Attempt(
            number=len(self.attempts) + 1,
            # A clock that goes back must not make a duration of less than nothing.
            duration_s=max(0.0, duration_s),
            error_type=kind,
            waited_s=waited_s,
        )
        self.attempts.append(attempt)


def leaves_of(cause: Exception | None) -> list[BaseException]:
    """Return what an exception group is made of, the error itself when it is none."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [] if cause is None else [cause]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        else:
            found.append(each)
        if len(found) + len(waiting) > _MAX_LEAVES:
            return []
    return found
