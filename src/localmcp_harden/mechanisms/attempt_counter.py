"""Counts attempts by stamina, without its hooks: the one module that imports stamina.

stamina is shown neither errors nor results, and waits for nothing. Its process-wide
switches (`set_active`, `set_testing`) are respected and never set. Its process-wide hooks
are not run for attempts counted here: they log under stamina's own name, one of them to
standard output, and a host is told by our events already.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import stamina

__all__ = ("AttemptCounter",)


class _AttemptFailedError(Exception):
    """What stamina is shown instead of what happened."""


@final
class AttemptCounter:
    """Says whether one more attempt may follow. Its first attempt has begun.

    Args:
        attempts: How many there are at most.
    """

    __slots__ = ("_turn", "_turns")

    def __init__(self, attempts: int) -> None:
        import stamina  # noqa: PLC0415 - heavy, and only needed once something has failed

        self._turns: Iterator[stamina.Attempt] = iter(
            stamina.retry_context(
                on=_repeat_at_once,
                attempts=attempts,
                timeout=None,
                wait_initial=0.0,
                wait_max=0.0,
                wait_jitter=0.0,
            )
        )
        self._turn = next(self._turns)
        _silence(self._turn)

    def go_on(self) -> bool:
        """Count the attempt as failed; return whether another one may follow."""
        # Handed over, not raised: a raised one would carry the frames and, as its context,
        # the error itself to whatever stamina calls.
        self._turn.__exit__(_AttemptFailedError, _AttemptFailedError(), None)
        try:
            self._turn = next(self._turns)
        except _AttemptFailedError as spent:
            # tenacity leaves a cycle of it and the frames of whoever called.
            spent.__traceback__ = None
            return False
        return True


def _repeat_at_once(error: Exception) -> float | bool:
    # Zero: stamina waits for nothing, since our clock does the waiting.
    return 0.0 if isinstance(error, _AttemptFailedError) else False


def _silence(turn: "stamina.Attempt") -> None:
    """Take the hooks away from this one loop; no other loop of the process is touched.

    stamina 26.1 has no public way. Where it keeps its loop elsewhere, its hooks run for
    our attempts too, and still learn nothing: they are shown an error without content.
    """
    state: object = getattr(getattr(turn, "_t_attempt", None), "retry_state", None)
    loop: Any = getattr(state, "retry_object", None)
    if hasattr(loop, "before_sleep"):
        loop.before_sleep = None
        # Even a sleep of nothing gives the processor away, for as long as 60 us on Linux.
        loop.sleep = _wait_for_nothing


def _wait_for_nothing(_seconds: float) -> None:
    pass
