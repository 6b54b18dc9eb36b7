"""Counts the notifications of a wrapped server that were not passed on, and says so."""

import math
from typing import final

import anyio

from ...protocols.observability import LogLevel
from ..upstream.child_log import UpstreamLog

__all__ = ("Losses",)

_TELL_S = 5.0


@final
class Losses:
    """The count, with a log line at most every five seconds.

    Args:
        label: What the server is called.
        log: Takes the lines.
    """

    def __init__(self, label: str, log: UpstreamLog) -> None:
        self.total: int = 0
        """How many were lost so far."""
        self._label = label
        self._log = log
        self._told = 0
        self._told_at = -math.inf

    def count(self, lost: int) -> None:
        """Count notifications that were lost."""
        self.total += lost
        now = anyio.current_time()
        if now - self._told_at < _TELL_S:
            return
        new, self._told, self._told_at = self.total - self._told, self.total, now
        self._log(
            LogLevel.WARNING,
            "notifications of the server were dropped",
            {"server": self._label, "count": new, "in_all": self.total},
        )
