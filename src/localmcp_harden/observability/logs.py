"""Structured logging: one JSON object a line, written by a thread of its own.

Whoever logs never waits and never gets an exception. Context is nested under `ctx`,
so that it can forge no field; every value passes the redactor; every character that
could break a line or act on a terminal is escaped. See `docs/blocks/logging.md`.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TypeVar, cast, final

from attrs import evolve

from ..core.events import EventSink, StoreFailed, discard
from ..core.ports import Clock, Random, Redactor
from ..mechanisms.clock import SystemClock
from ..mechanisms.correlation import get_correlation, set_correlation_id
from ..mechanisms.redact import KeyRedactor
from ..protocols.observability import Logger, LoggingConfig, LogLevel, SettledContext
from .line_encoder import LineEncoder
from .line_sink import LineSink, LineSinkLimits, LossCounter
from .line_targets import ByteStream, FileTarget, StderrTarget, StreamTarget

__all__ = ("JsonLoggingService",)

S = TypeVar("S")

_SCALARS = frozenset({int, float, bool, type(None)})
_MAX_NAME_CHARS = 128
_MAX_FIELDS = 64
_MAX_WAITING_CHARS = 1_024
_NEVER = -1e9


@final
class JsonLoggingService:
    """The default `LoggingService` and `BufferedLogging`.

    Lines go to standard error, or to `config.file`, or to `stream`; never to standard
    output unless a host hands that over itself. Losses are counted in `get_dropped`
    and reported as `StoreFailed` events, on the thread of whoever logs next, at most
    once in `report_interval_s`.

    Args:
        config: What is written, where, and how much may wait.
        clock: The time of lines and of reports.
        random: Not used; part of the constructor that every block has.
        sink: Hears of lost lines.
        stream: A binary stream to write to instead; it stays the host's to close.
        redactor: What takes secrets out of messages and context.
    """

    def __init__(
        self,
        config: LoggingConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
        stream: ByteStream | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        # The function itself: a method around it costs each call two frames more.
        self.set_correlation_id: Callable[[str | None], None] = set_correlation_id
        """Put an id on every line of this task and the tasks it starts; None takes it away."""
        self.config: LoggingConfig = config or LoggingConfig()
        clock = clock or SystemClock()
        self._wall = clock.wall
        self._monotonic = clock.monotonic
        self._report = sink
        self._reported_at = _NEVER
        self._stream = stream
        self._redactor: Redactor = redactor or KeyRedactor()
        self._losses = LossCounter()
        self._encoder = LineEncoder(self._redactor, self.config.max_line_bytes)
        self._lock = threading.Lock()
        self._levels: dict[str, LogLevel] = dict(self.config.levels)
        self._loggers: weakref.WeakValueDictionary[str, _NamedLogger] = (
            weakref.WeakValueDictionary()
        )
        self._lines = self._open()
        self._own = self._logger("localmcp")

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Write one line under the service's own name."""
        self._own.log(level, message, context)

    def create_logger(self, name: str, /) -> Logger:
        """Return the logger of that name; names are cut at 128 characters."""
        return self._logger(name)

    def get_correlation_id(self) -> str | None:
        """Return the id of this task."""
        return get_correlation().correlation_id

    def set_log_level(self, level: LogLevel, /, *, logger: str | None = None) -> None:
        """Write only lines at `level` and above, for one logger or for all without their own."""
        with self._lock:
            if logger is None:
                self.config = evolve(self.config, level=LogLevel(level))
            else:
                self._levels[logger] = LogLevel(level)
            self._set_thresholds()

    def configure(self, config: LoggingConfig, /) -> None:
        """Put a new configuration in force.

        A new sink is opened only when where or how lines are written has changed; what
        waits in the old one is still written.
        """
        with self._lock:
            previous, self.config = self.config, config
            self._levels = dict(config.levels)
            self._encoder.max_line_bytes = config.max_line_bytes
            keep = evolve(previous, level=config.level, levels=config.levels)
            keep = evolve(
                keep,
                report_interval_s=config.report_interval_s,
                max_line_bytes=config.max_line_bytes,
            )
            if keep != config:
                self._release()
                self._lines.request_stop()
                self._lines = self._open()
            self._set_thresholds()

    def get_dropped(self) -> Mapping[LogLevel, int]:
        """Return how many lines were lost so far, by level."""
        return self._losses.snapshot()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every line logged so far is written or counted as lost."""
        return self._lines.flush(self.config.close_timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Write what waits for up to `close_timeout_s`, and stop the thread.

        Closing twice is harmless. A line that is logged later starts a new thread.
        """
        with self._lock:
            self._release()
            lines, self._lines = self._lines, self._open()
        lines.close()

    def write(
        self, level: int, name: str, message: str, context: Mapping[str, object] | None
    ) -> None:
        """Take down one line that passed its level; what loggers of this service call."""
        try:
            if type(level) is not LogLevel:
                level = _known_level(level)
            settled = True
            if context is not None and type(context) is not SettledContext:
                if _may_wait(context):
                    # A copy of what can not change: redaction is left to the thread.
                    context = dict(context)
                    settled = False
                else:
                    context = self._redactor.redact(context)
            if type(message) is not str or len(message) > _MAX_WAITING_CHARS:
                message = self._redactor.redact_text(message)
            entry = (level, self._wall(), name, message, get_correlation(), context, settled)
            self._lines.put(entry)
            if self._losses.unreported:
                self._report_losses()
        except Exception as error:  # noqa: BLE001 - nothing a caller logs may harm the caller
            self._losses.add(LogLevel.ERROR, type(error).__name__)

    def write_later(
        self,
        level: int,
        name: str,
        make: Callable[[S], tuple[str, SettledContext]],
        source: S,
    ) -> None:
        """Take down what a line is to be made of; what loggers of this service call."""
        try:
            self._lines.put((level, self._wall(), name, make, get_correlation(), source, None))
            if self._losses.unreported:
                self._report_losses()
        except Exception as error:  # noqa: BLE001 - nothing a caller logs may harm the caller
            self._losses.add(LogLevel.ERROR, type(error).__name__)

    def _open(self) -> LineSink:
        config = self.config
        target: FileTarget | StreamTarget | StderrTarget
        if config.file is not None:
            target = FileTarget(config.file)
        elif self._stream is not None:
            target = StreamTarget(self._stream)
        else:
            target = StderrTarget()
        limits = LineSinkLimits(
            max_queued_lines=config.max_queued_lines,
            linger_s=config.linger_s,
            close_timeout_s=config.close_timeout_s,
        )
        lines = LineSink(target, self._encoder.encode, limits, self._losses)
        # A service that is thrown away unclosed must not leave its thread behind.
        self._release = weakref.finalize(self, lines.request_stop).detach
        return lines

    def _logger(self, name: str) -> "_NamedLogger":
        name = str(name)[:_MAX_NAME_CHARS]
        with self._lock:
            logger = self._loggers.get(name)
            if logger is None:
                logger = _NamedLogger(self, name, self._levels.get(name, self.config.level))
                self._loggers[name] = logger
            return logger

    def _set_thresholds(self) -> None:
        for logger in list(self._loggers.values()):
            logger.threshold = int(self._levels.get(logger.name, self.config.level))

    def _report_losses(self) -> None:
        now = self._monotonic()
        if now - self._reported_at < self.config.report_interval_s:
            return
        # Set first: the report may come back here as a line of its own.
        self._reported_at = now
        count, cause = self._losses.take_unreported()
        self._report(
            StoreFailed(
                at=self._wall(), store="log", error_type=cause, detail=f"{count} lines lost"
            )
        )


@final
class _NamedLogger:
    """One name and its threshold; `DeferringLogger` of a `JsonLoggingService`."""

    __slots__ = ("__weakref__", "_service", "name", "threshold")

    def __init__(self, service: JsonLoggingService, name: str, threshold: int) -> None:
        self._service = service
        self.name = name
        self.threshold = int(threshold)

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Write one line, unless the level is too quiet."""
        try:
            if level < self.threshold:
                return
        except Exception:  # noqa: BLE001 - what is no number is taken for an error, see write()
            level = LogLevel.ERROR
        self._service.write(level, self.name, message, context)

    def log_later(
        self, level: LogLevel, make: Callable[[S], tuple[str, SettledContext]], source: S, /
    ) -> None:
        """Write the line that `make(source)` returns, unless the level is too quiet."""
        if level >= self.threshold:
            self._service.write_later(level, self.name, make, source)


def _known_level(level: object) -> int:
    """Return `level` as a number between 1 and 99; what is no integer is an error's level."""
    if not isinstance(level, int):
        return LogLevel.ERROR
    return min(99, max(1, int.__add__(level, 0)))


def _may_wait(context: Mapping[str, object]) -> bool:
    """Return whether a shallow copy of `context` is small and can not change any more."""
    if type(context) is not dict or len(cast("dict[object, object]", context)) > _MAX_FIELDS:
        return False
    for key, value in cast("dict[object, object]", context).items():
        if type(key) is not str or len(key) > _MAX_NAME_CHARS:
            return False
        kind = type(value)
        if kind is str:
            if len(cast("str", value)) > _MAX_WAITING_CHARS:
                return False
        elif kind not in _SCALARS:
            return False
    return True
