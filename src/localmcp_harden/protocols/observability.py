"""The observability family: what is written down and what is counted.

No method here blocks, and none raises because of what it is given: a log line
that can not be written is counted, not thrown at the caller.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Protocol, final

from attrs import field, frozen

__all__ = (
    "LogLevel",
    "Logger",
    "LoggingService",
    "MetricKind",
    "MetricPoint",
    "MetricsService",
)


class LogLevel(IntEnum):
    """How loud a line is; the numbers are those of the standard library."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


class Logger(Protocol):
    """Writes lines under one name."""

    def log(
        self, level: LogLevel, message: str, /, context: Mapping[str, object] | None = None
    ) -> None:
        """Write one line. `context` is nested under one key, so it can forge no field."""
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
    """

    name: str
    kind: MetricKind
    labels: tuple[tuple[str, str], ...] = ()
    value: float = 0.0
    count: int = 0
    buckets: tuple[tuple[float, int], ...] = field(default=())


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
        buckets: tuple[float, ...] | None = None,
    ) -> None:
        """Declare a metric before its first value.

        Raises:
            ConfigError: The name is not a metric name, or is declared as another kind.
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
