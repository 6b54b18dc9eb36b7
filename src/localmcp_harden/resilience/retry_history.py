"""What is known of the attempts at one operation, on the error that ended it.

All times are seconds. Types and times only: no message, since messages may hold secrets.
"""

from contextlib import suppress
from typing import final

from attrs import frozen

__all__ = ("Attempt", "attempts_of", "remember")

_ATTRIBUTE = "localmcp_harden_attempts"


@final
@frozen(kw_only=True)
class Attempt:
    """One attempt at an operation.

    Args:
        number: Counted from 1.
        duration_s: How long it took.
        error_type: The type of what it raised, `result` when it returned a bad
            result, `""` when it went well.
        waited_s: How long was waited before it.
    """

    number: int
    duration_s: float
    error_type: str = ""
    waited_s: float = 0.0


def attempts_of(error: BaseException, /) -> tuple[Attempt, ...]:
    """Return every attempt of the operation that ended with this error, oldest first.

    Empty when no retry gave up on it. Of an error object that was raised by several
    operations, those of the last one.
    """
    found: object = getattr(error, _ATTRIBUTE, ())
    return found if isinstance(found, tuple) else ()  # pyright: ignore[reportUnknownVariableType]


def remember(error: Exception, attempts: tuple[Attempt, ...]) -> None:
    """Write the attempts on an error, and a note that says the same to who reads a traceback."""
    # An error may refuse attributes and notes; then it is handed on without.
    with suppress(Exception):
        setattr(error, _ATTRIBUTE, attempts)
    kinds = ", ".join(attempt.error_type for attempt in attempts)
    note = f"gave up after {len(attempts)} attempts: {kinds}"
    with suppress(Exception):
        # An error that is made once and raised often must not collect the same note for ever.
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
