"""A metrics service that answers a test's questions about single series."""

from collections.abc import Mapping
from typing import final

from ...observability.metrics import MetricsConfig, MetricsRegistry
from ...protocols.observability import MetricKind, MetricPoint

__all__ = ("FakeMetricsService",)


@final
class FakeMetricsService:
    """A `MetricsService` that counts like the real one and can be asked.

    Args:
        max_series: How many series one metric may have.
    """

    def __init__(self, *, max_series: int = 1_000) -> None:
        self._real = MetricsRegistry(MetricsConfig(max_series=max_series))

    def point(self, name: str, labels: Mapping[str, str] | None = None) -> MetricPoint | None:
        """Return the one series with exactly these labels, or None."""
        wanted = tuple(sorted((labels or {}).items()))
        for point in self._real.collect():
            if point.name == name and point.labels == wanted:
                return point
        return None

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """Return a counter's count, a gauge's level or a histogram's sum; 0 when there is none."""
        point = self.point(name, labels)
        return 0.0 if point is None else point.value

    def increment_counter(
        self, name: str, amount: float = 1.0, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add to a counter."""
        self._real.increment_counter(name, amount, labels)

    def record_gauge(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Set a level."""
        self._real.record_gauge(name, value, labels)

    def record_histogram(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add a value to a distribution."""
        self._real.record_histogram(name, value, labels)

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
        """Declare a metric before its first value.

        Raises:
            ConfigError: As `MetricsService` says.
        """
        self._real.create_custom_metric(
            name, kind, description=description, unit=unit, buckets=buckets
        )

    def record_custom_metric(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Give a declared metric a value, whatever its kind.

        Raises:
            ConfigError: The metric was not declared.
        """
        self._real.record_custom_metric(name, value, labels)

    def collect(self) -> tuple[MetricPoint, ...]:
        """Return every series, sorted by name and labels."""
        return self._real.collect()
