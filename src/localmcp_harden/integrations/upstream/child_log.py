"""Listens to what a child writes to standard error: bounded, redacted, at a limited rate."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias, final

import anyio

from ...core.ports import Redactor
from ...mechanisms.gcra import GcraTable
from ...protocols.observability import LogLevel
from ..wire.framing import LineSplitter

__all__ = ("ChildLog", "UpstreamLog", "ignore")

UpstreamLog: TypeAlias = Callable[[LogLevel, str, Mapping[str, object]], None]
"""Takes what a child says and does, for the log: level, message, context."""

_LINE_BYTES = 4_096
_SHOWN_CHARS = 300
_KEPT_LINES = 5
_LINES_PER_S = 20.0
_LINES_AT_ONCE = 100


def ignore(_level: LogLevel, _message: str, _context: Mapping[str, object]) -> None:
    """Do nothing; the log of a child that nobody listens to."""


@final
class ChildLog:
    """What one child said.

    Args:
        name: The name of the child, for the log.
        redactor: Takes secrets out before anybody sees a line.
        log: Takes the lines, at most 20 a second after the first 100.
    """

    def __init__(self, name: str, *, redactor: Redactor, log: UpstreamLog) -> None:
        self._name = name
        self._redactor = redactor
        self._log = log
        self._lines = LineSplitter(_LINE_BYTES)
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rate = GcraTable(rate_per_s=_LINES_PER_S, burst=_LINES_AT_ONCE, max_keys=1)
        self._left_out = 0

    @property
    def last_words(self) -> str:
        """Return the last lines in one."""
        return " | ".join(self._last)

    def feed(self, chunk: bytes) -> None:
        """Take what was read from standard error."""
        for line in self._lines.feed(chunk):
            self._hear(line.data)

    def finish(self) -> None:
        """Take the end of standard error."""
        if (rest := self._lines.finish()) is not None:
            self._hear(rest.data)

    def report(self, level: LogLevel, message: str, facts: Mapping[str, object]) -> None:
        """Log a message about the child, unless there were too many."""
        if self._rate.hit("", anyio.current_time()):
            self._left_out += 1
            return
        context = {"server": self._name, **facts}
        if self._left_out:
            context["left_out"] = self._left_out
            self._left_out = 0
        self._log(level, message, context)

    def _hear(self, data: bytes) -> None:
        text = self._redactor.redact_text(data.decode("utf-8", "replace"))
        # What is not printable could act on the terminal of whoever reads the log.
        text = "".join(character if character.isprintable() else " " for character in text)
        if text := text.strip():
            self._last.append(text[:_SHOWN_CHARS])
            self.report(LogLevel.INFO, "the server wrote to standard error", {"line": text})
