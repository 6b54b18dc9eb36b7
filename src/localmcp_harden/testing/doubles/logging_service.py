"""A logging service that keeps its lines as data, at once and in order."""

import json
from collections.abc import Mapping
from typing import Any, final

from attrs import evolve

from ...core.ports import Clock, Redactor
from ...mechanisms.correlation import get_correlation, set_correlation_id
from ...mechanisms.lines import encode_line
from ...mechanisms.redact import KeyRedactor
from ...protocols.observability import Logger, LoggingConfig, LogLevel
from ..clock import FakeClock

__all__ = ("FakeLoggingService",)


@final
class FakeLoggingService:
    """A `LoggingService` and `BufferedLogging` without a thread.

    Args:
        config: The levels; where lines go and how many may wait means nothing here.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(self, config: LoggingConfig | None = None, *, clock: Clock | None = None) -> None:
        self.config: LoggingConfig = config or LoggingConfig()
        self.written: list[bytes] = []
        """Every line as it would be written, without its end."""
        self._wall = (clock or FakeClock()).wall
        self._redactor: Redactor = KeyRedactor()
        self._levels: dict[str, LogLevel] = dict(self.config.levels)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line as data."""
        return [json.loads(line) for line in self.written]

    @property
    def messages(self) -> list[str]:
        """The message of every line."""
        return [line["message"] for line in self.lines]

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Keep one line under the service's own name."""
        self.write(level, "localmcp", message, context)

    def create_logger(self, name: str, /) -> Logger:
        """Return a logger whose lines carry `name`."""
        return _FakeLogger(self, name)

    def set_correlation_id(self, correlation_id: str | None, /) -> None:
        """Put an id on every line of this task and the tasks it starts; None takes it away."""
        set_correlation_id(correlation_id)

    def get_correlation_id(self) -> str | None:
        """Return the id of this task."""
        return get_correlation().correlation_id

    def set_log_level(self, level: LogLevel, /, *, logger: str | None = None) -> None:
        """Keep only lines at `level` and above, for one logger or for all without their own."""
        if logger is None:
            self.config = evolve(self.config, level=level)
        else:
            self._levels[logger] = level

    def configure(self, config: LoggingConfig, /) -> None:
        """Put a new configuration in force; levels set before are forgotten."""
        self.config = config
        self._levels = dict(config.levels)

    def get_dropped(self) -> Mapping[LogLevel, int]:
        """Return nothing: no line is lost here."""
        return {}

    def flush(self, timeout_s: float | None = None) -> bool:  # noqa: ARG002 - nothing waits here
        """Return True: no line waits here."""
        return True

    def close(self) -> None:
        """Do nothing; lines are still kept afterwards."""

    def write(
        self, level: LogLevel, name: str, message: str, context: Mapping[str, object] | None
    ) -> None:
        """Keep one line; what loggers of this service call."""
        try:
            known = LogLevel(level)
        except Exception:  # noqa: BLE001 - what is no level is taken for an error's
            known = LogLevel.ERROR
        if known < self._levels.get(name, self.config.level):
            return
        fields: dict[str, Any] = {
            "ts": self._wall(),
            "level": known.name.lower(),
            "logger": name,
            "message": self._redactor.redact_text(message),
        }
        correlation_id = self.get_correlation_id()
        if correlation_id is not None:
            fields["correlation_id"] = correlation_id
        if context is not None:
            fields["ctx"] = self._redactor.redact(context)
        self.written.append(encode_line(fields))


@final
class _FakeLogger:
    """One name of a `FakeLoggingService`."""

    def __init__(self, service: FakeLoggingService, name: str) -> None:
        self._service = service
        self._name = name

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Keep one line."""
        self._service.write(level, self._name, message, context)
