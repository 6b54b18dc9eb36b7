"""How a command ends: its exit code, and the one line that says why."""

import re
from enum import IntEnum
from typing import ClassVar, final

from ..core.errors import (
    ConfigError,
    HardenError,
    MissingExtraError,
    StoreError,
    UpstreamError,
)

__all__ = (
    "PROGRAM",
    "ExitCode",
    "MissingComponentError",
    "exit_code_of",
    "failure_line",
    "unwrapped",
)

PROGRAM: str = "localmcp-harden"
"""The name in front of every message."""

_LINE_LIMIT = 2_000
# What could end the line early, move the cursor, or reorder what is read.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
)


@final
class ExitCode(IntEnum):
    """The exit codes. They are part of the interface and do not change."""

    OK = 0
    FAILED = 1
    """A check failed or something was refused: the answer of the command is no."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    ENVIRONMENT = 3
    """Something that this machine should have is missing or can not be used."""
    UPSTREAM = 4
    """A wrapped server did not start or went away."""
    FAULT = 70
    """A fault in this program; a traceback is on standard error."""
    INTERRUPTED = 130
    """Ended from outside, by Ctrl-C."""


class MissingComponentError(HardenError):
    """A program that a command needs is not on this machine; the message says how to get it."""

    code: ClassVar[str] = "missing_component"


def exit_code_of(error: HardenError) -> ExitCode:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    if isinstance(error, (MissingComponentError, MissingExtraError, StoreError)):
        return ExitCode.ENVIRONMENT
    if isinstance(error, UpstreamError):
        return ExitCode.UPSTREAM
    return ExitCode.FAILED


def failure_line(message: str, code: str = "") -> str:
    """Return `localmcp-harden: code: message` as one line that can not act on a terminal."""
    parts = (PROGRAM, code, message)
    line = _UNPRINTABLE.sub(" ", ": ".join(part for part in parts if part)).strip()
    return line if len(line) <= _LINE_LIMIT else f"{line[: _LINE_LIMIT - 1]}\u2026"


def unwrapped(error: BaseException) -> BaseException:
    """Return the one error that a group of one holds, and an error that is no group itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
