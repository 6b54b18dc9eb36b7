"""The observability family: what is written down and what is counted.

No method here blocks, and none raises because of what it is given: a log line
that can not be written is counted, not thrown at the caller.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

__all__ = (
    "BindableMetrics",
    "BoundCounter",
    "BoundGauge",
    "BoundHistogram",
    "BufferedLogging",
    "DeferringLogger",
    "LogLevel",
    "Logger",
    "LoggingConfig",
    "LoggingService",
    "MetricKind",
    "MetricPoint",
    "MetricsService",
    "SettledContext",
)


S = TypeVar("S")


class LogLevel(IntEnum):
    """How loud a line is; the numbers are those of the standard library."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50

    @classmethod
    def _missing_(cls, value: object) -> "LogLevel | None":
        # Configuration files name levels: `level = "info"`.
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


def _are_levels(_owner: object, attribute: Any, value: object) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(level, LogLevel)
        for name, level in cast("Mapping[object, object]", value).items()
    ):
        raise ValueError(f"{attribute.name} must be a table of logger names and levels")


@final
@frozen(kw_only=True)
class LoggingConfig:
    """What is written, where, and how much of it may wait.

    Args:
        level: The quietest level that is written (INFO; DEBUG is for looking into a case).
        levels: Levels of single loggers, by name.
        file: The file that lines are appended to, readable by its owner only; None
            writes to standard error, since standard output belongs to the protocol.
        max_queued_lines: How many lines may wait for a slow sink (16 to 1,000,000;
            8,192, a second of a busy server). Beyond half of it DEBUG lines are
            dropped, beyond three quarters INFO, beyond nine tenths WARNING.
        max_line_bytes: How long one line may be (4,096 to 10,000,000; 16,384, what a
            collector takes). The context of a longer one is left out.
        linger_s: How long lines may gather before they are written (0 to 5; 0.05,
            soon enough for a reader, and one wake-up for many lines).
        close_timeout_s: How long closing waits for a slow sink (0 to 60; 2).
        report_interval_s: How often lost lines are reported at most (0.1 to 3,600; 10).
    """

    level: LogLevel = field(default=LogLevel.INFO, validator=instance_of(LogLevel))
    levels: Mapping[str, LogLevel] = field(factory=dict[str, LogLevel], validator=_are_levels)
    file: Path | None = field(default=None, validator=optional(instance_of(Path)))
    max_queued_lines: int = field(
        default=8_192, validator=[instance_of(int), and_(ge(16), le(1_000_000))]
    )
    max_line_bytes: int = field(
        default=16_384, validator=[instance_of(int), and_(ge(4_096), le(10_000_000))]
    )
    linger_s: float = field(default=0.05, validator=and_(ge(0.0), le(5.0)))
    close_timeout_s: float = field(default=2.0, validator=and_(ge(0.0), le(60.0)))
    report_interval_s: float = field(default=10.0, validator=and_(ge(0.1), le(3_600.0)))


@final
class SettledContext(dict[str, object]):
    """A context that nobody changes any more and that holds no secret.

    Readers of a `CallRecord` hand this over: a record is redacted and frozen, so a
    logging service may keep the context without copying or redacting it again.
    """


class Logger(Protocol):
    """Writes lines under one name."""

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Write one line. `context` is nested under one key, so it can forge no field."""
        ...


class DeferringLogger(Logger, Protocol):
    """A logger that makes lines when it writes them, off the path of whoever logs."""

    def log_later(
        self, level: LogLevel, make: Callable[[S], tuple[str, SettledContext]], source: S, /
    ) -> None:
        """Write the line that `make(source)` returns.

        Args:
            level: The line's level.
            make: Returns message and context; called in any thread, for a line that is
                written and for no other.
            source: What the line is made of; nobody changes it any more.
        """
        ...


class LoggingService(Protocol):
    """Structured lines, one JSON object each, that can not be forged from within."""

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Write one line under the service's own name."""
        ...

    def create_logger(self, name: str, /) -> Logger:
        """Return a logger whose lines carry `name`."""
        ...

    def set_correlation_id(self, correlation_id: str | None, /) -> None:
        """Put an id on every line of this task and the tasks it starts; None takes it away."""
        ...

    def get_correlation_id(self) -> str | None:
        """Return the id of this task."""
        ...

    def set_log_level(self, level: LogLevel, /, *, logger: str | None = None) -> None:
        """Write only lines at `level` and above, for one logger or for all without their own."""
        ...

    def configure(self, config: LoggingConfig, /) -> None:
        """Put a new configuration in force; levels set before are forgotten."""
        ...


class BufferedLogging(Protocol):
    """What a logging service adds when lines wait before they are written."""

    def get_dropped(self) -> Mapping[LogLevel, int]:
        """Return how many lines were lost so far, by level."""
        ...

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every line logged so far is written or counted as lost.

        Args:
            timeout_s: Seconds to wait; None takes the time that closing would take.

        Returns:
            False when the time was over first.
        """
        ...

    def close(self) -> None:
        """Write what waits, for a stated time, and stop. A later line starts it again."""
        ...


class MetricKind(StrEnum):
    """What a metric can do."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@final
@frozen(kw_only=True)
class MetricPoint:
    """One series at one moment.

    Args:
        name: The metric's name.
        kind: What it is.
        labels: Name and value of each label, sorted by name.
        value: The count, the level, or a histogram's sum.
        count: How many values a histogram took.
        buckets: A histogram's upper bounds, each with the count at or below it.
        description: What the metric means, one sentence.
        unit: The unit in UCUM form: `s`, `By`, `{call}`; `""` when it has none.
    """

    name: str
    kind: MetricKind
    labels: tuple[tuple[str, str], ...] = ()
    value: float = 0.0
    count: int = 0
    buckets: tuple[tuple[float, int], ...] = field(default=())
    description: str = ""
    unit: str = ""


class MetricsService(Protocol):
    """Counts, levels and distributions, with a bound on how many series there can be.

    A series past the bound is counted under the label value `__overflow__`.
    """

    def increment_counter(
        self, name: str, amount: float = 1.0, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add to a counter; a negative amount is counted as misuse and ignored."""
        ...

    def record_gauge(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Set a level."""
        ...

    def record_histogram(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add a value to a distribution."""
        ...

    def create_custom_metric(
        self,
        name: str,
        kind: MetricKind,
        /,
        *,
        description: str = "",
        unit: str = "",
        buckets: tuple[float, ...] | None = None,
    ) -> None:
        """Declare a metric before its first value; declaring the same again changes nothing.

        Args:
            name: Letters, digits, `_` and `.`, beginning with a letter.
            kind: What it is.
            description: What it means, one sentence.
            unit: The unit in UCUM form: `s`, `By`, `{call}`.
            buckets: A histogram's upper bounds, rising and finite.

        Raises:
            ConfigError: The name is not a metric name, or is declared otherwise, or the
                bounds do not rise, or there is no room for another metric.
        """
        ...

    def record_custom_metric(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Give a declared metric a value, whatever its kind.

        Raises:
            ConfigError: The metric was not declared.
        """
        ...

    def collect(self) -> tuple[MetricPoint, ...]:
        """Return every series, sorted by name and labels."""
        ...


class BoundCounter(Protocol):
    """One series of a counter."""

    def inc(self, amount: float = 1.0, /) -> None:
        """Add to the count; what is negative or not a number is ignored as misuse."""
        ...


class BoundGauge(Protocol):
    """One series of a gauge."""

    def set(self, value: float, /) -> None:
        """Set the level."""
        ...


class BoundHistogram(Protocol):
    """One series of a histogram."""

    def observe(self, value: float, /) -> None:
        """Add a value to the distribution."""
        ...


class BindableMetrics(Protocol):
    """What a metrics service adds for hot paths: a series looked up once, used often."""

    def bind_counter(self, name: str, /, labels: Mapping[str, str] | None = None) -> BoundCounter:
        """Return the counter's series for these labels."""
        ...

    def bind_gauge(self, name: str, /, labels: Mapping[str, str] | None = None) -> BoundGauge:
        """Return the gauge's series for these labels."""
        ...

    def bind_histogram(
        self, name: str, /, labels: Mapping[str, str] | None = None
    ) -> BoundHistogram:
        """Return the histogram's series for these labels."""
        ...
