"""Makes the bytes of a log line, in the thread that writes them."""

import time
from typing import Any, final

from ..core.ports import Redactor
from ..mechanisms.lines import encode_line
from ..mechanisms.plain import describe
from ..protocols.observability import LogLevel
from .line_sink import Entry

__all__ = ("LineEncoder",)

_MAX_CUT_CHARS = 48
_LEVEL_NAMES = {int(level): level.name.lower() for level in LogLevel}


@final
class LineEncoder:
    """Makes lines of entries.

    Args:
        redactor: Takes secrets out of messages, and of contexts that are not settled.
        max_line_bytes: The bound of a line; a longer one loses its context.
    """

    def __init__(self, redactor: Redactor, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self._redactor = redactor
        self._second = -1
        self._prefix = ""

    def encode(self, entry: Entry) -> bytes:
        """Return one line with its end; never raises."""
        try:
            return self._encode(entry) + b"\n"
        except Exception as error:  # noqa: BLE001 - a host's redactor may raise; the thread lives on
            fields = {"level": "error", "logger": "localmcp", "message": "a line was unreadable"}
            return encode_line(fields | {"ctx": {"error_type": type(error).__name__}}) + b"\n"

    def _encode(self, entry: Entry) -> bytes:
        level, at, name, message, correlation, context, settled = entry
        if settled is None:
            # Put down by `log_later`: the line is made here of what it is about.
            message, context = message(context)
            settled = True
        fields: dict[str, Any] = {
            "ts": self._time(at),
            "level": _LEVEL_NAMES.get(level) or f"level_{level}",
            "logger": name,
            "message": self._redactor.redact_text(message),
        }
        if correlation.correlation_id is not None:
            fields["correlation_id"] = correlation.correlation_id
        if correlation.trace_id is not None:
            fields["trace_id"] = correlation.trace_id
            fields["span_id"] = correlation.span_id
        if context:
            fields["ctx"] = context if settled else self._redactor.redact(context)
        line = encode_line(fields)
        if len(line) > self.max_line_bytes:
            # Escaping makes up to twelve bytes of a character, so these parts fit for certain.
            fields["message"] = fields["message"][: self.max_line_bytes // 32]
            for part in fields.keys() & {"logger", "correlation_id"}:
                fields[part] = fields[part][:_MAX_CUT_CHARS]
            fields["ctx"] = {"left_out_bytes": len(line)}
            line = encode_line(fields)
        return line

    def _time(self, at: float) -> str:
        try:
            second = int(at)
            if second != self._second:
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
                self._second = second
            return f"{self._prefix}.{int((at - second) * 1e6):06d}Z"
        except (OverflowError, ValueError, OSError, TypeError):
            return describe(at)
