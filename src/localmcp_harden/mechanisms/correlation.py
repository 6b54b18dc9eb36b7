"""What ties the lines of one call together, carried by the task that runs it.

One context variable holds one immutable record. Tasks and worker threads inherit it;
what a task sets is not seen by the one that started it. A worker that is fed by a
stream does not inherit the sender's: put the record into the item.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ("Correlation", "get_correlation", "set_correlation", "set_correlation_id")

_MAX_ID_CHARS = 128


class Correlation(NamedTuple):
    """The ids that a line carries. A tuple, since every call makes one.

    Args:
        correlation_id: The id of the call.
        trace_id: The trace, 32 hexadecimal digits.
        span_id: The span, 16 hexadecimal digits.
    """

    correlation_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


_NONE = Correlation()
# The variable is a key, not state: each task has a value of its own under it.
_CURRENT: ContextVar[Correlation] = ContextVar("localmcp_harden_correlation", default=_NONE)

get_correlation: Callable[[], Correlation] = _CURRENT.get
"""Return the record of this task. Bound, since every line asks for it."""


def set_correlation(correlation: Correlation, /) -> None:
    """Put a record on this task and on the tasks it starts from now on."""
    _CURRENT.set(correlation)


def set_correlation_id(correlation_id: str | None, /) -> None:
    """Change the correlation id of this task; None takes it away. Ids are cut at 128 characters."""
    cut = correlation_id
    if cut is not None and (type(cut) is not str or len(cut) > _MAX_ID_CHARS):
        cut = str(cut)[:_MAX_ID_CHARS]
    now = _CURRENT.get()
    if cut is None and now.trace_id is None and now.span_id is None:
        # Most calls end here: what was put on the task is taken away again.
        _CURRENT.set(_NONE)
        return
    _CURRENT.set(tuple.__new__(Correlation, (cut, now.trace_id, now.span_id)))
