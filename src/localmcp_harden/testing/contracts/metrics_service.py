"""The rules of a `MetricsService`.

`make(*, max_series)` returns a service that keeps at most `max_series` series a metric.
"""

import threading
from typing import Any, Protocol, cast

from ...core.errors import ConfigError
from ...protocols.observability import MetricKind, MetricPoint, MetricsService
from .kit import ContractKit, expect

__all__ = ("MakeMetricsService", "metrics_service")


class MakeMetricsService(Protocol):
    """Makes the service that is to be checked."""

    def __call__(self, *, max_series: int) -> MetricsService:
        """Return a service with room for `max_series` series a metric."""
        ...


metrics_service: ContractKit[MakeMetricsService] = ContractKit("MetricsService")


def _points(metrics: MetricsService, name: str) -> list[MetricPoint]:
    return [point for point in metrics.collect() if point.name == name]


def _refuses(call: Any) -> bool:
    try:
        call()
    except ConfigError:
        return True
    return False


@metrics_service.rule("MS1")
async def counters_add_up(make: MakeMetricsService) -> None:
    """A counter is the sum of what was added under its labels, whatever their order."""
    metrics = make(max_series=10)
    metrics.increment_counter("c", 1.0, {"a": "1", "b": "2"})
    metrics.increment_counter("c", 2.5, {"b": "2", "a": "1"})
    metrics.increment_counter("c", 1.0, {"a": "other", "b": "2"})
    seen = [(point.labels, point.value) for point in _points(metrics, "c")]
    wanted = [((("a", "1"), ("b", "2")), 3.5), ((("a", "other"), ("b", "2")), 1.0)]
    expect(seen == wanted, f"saw {seen}")


@metrics_service.rule("MS2")
async def gauges_hold_the_last_level(make: MakeMetricsService) -> None:
    """A gauge shows the last level it was set to."""
    metrics = make(max_series=10)
    for level in (3.0, -1.5):
        metrics.record_gauge("g", level)
    seen = [point.value for point in _points(metrics, "g")]
    expect(seen == [-1.5], f"saw {seen}")


@metrics_service.rule("MS3")
async def histograms_count_below_bounds(make: MakeMetricsService) -> None:
    """A histogram shows sum, count, and for each bound how many values are at or below it."""
    metrics = make(max_series=10)
    metrics.create_custom_metric("h", MetricKind.HISTOGRAM, buckets=(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        metrics.record_histogram("h", value)
    point = _points(metrics, "h")[0]
    expect(point.buckets == ((1.0, 2), (2.0, 3)), f"buckets are {point.buckets}")
    expect((point.count, point.value) == (4, 12.0), f"saw {point.count} and {point.value}")


@metrics_service.rule("MS4")
async def misuse_changes_nothing(make: MakeMetricsService) -> None:
    """Wrong names, labels and values are ignored and never raised."""
    metrics = make(max_series=10)
    metrics.increment_counter("c", 1.0)
    metrics.record_gauge("g", 1.0)
    wrong: list[Any] = [float("nan"), float("inf"), float("-inf"), "1", None, object(), 10**400]
    for value in (*wrong, -1.0):
        metrics.increment_counter("c", value)
    for value in wrong:
        metrics.record_gauge("g", value)
        metrics.record_histogram("h", value)
    for name in ("", "1a", "a b", "a\n", "x" * 1_000, cast("Any", None), cast("Any", [])):
        metrics.increment_counter(name)
    wrong_labels: list[Any] = [{"a": 1}, {1: "a"}, {"a b": "1"}, {"le": "1"}, {"a": []}, 3]
    for labels in wrong_labels:
        metrics.increment_counter("c", 1.0, labels)
    metrics.record_gauge("c", 7.0)
    seen = {point.name: point.value for point in metrics.collect() if point.name in {"c", "g"}}
    expect(seen == {"c": 1.0, "g": 1.0}, f"saw {seen}")
    expect(sum(point.count for point in _points(metrics, "h")) == 0, "a wrong value was counted")


@metrics_service.rule("MS5")
async def series_are_bounded(make: MakeMetricsService) -> None:
    """Past the bound values share one series labelled `__overflow__`, and none is lost."""
    metrics = make(max_series=5)
    for number in range(50):
        metrics.increment_counter("c", 1.0, {"user": str(number)})
    metrics.increment_counter("c", 1.0, {"user": "0"})
    points = _points(metrics, "c")
    expect(len(points) == 6, f"{len(points)} series for a bound of 5 and the overflow")
    values = {point.labels[0][1]: point.value for point in points}
    expect(values.get("__overflow__") == 45.0, f"the overflow series holds {values}")
    expect(values.get("0") == 2.0, "a known series lost its values to the overflow")


@metrics_service.rule("MS6")
async def overflow_is_not_for_writing(make: MakeMetricsService) -> None:
    """A label that claims to be `__overflow__` makes no second series of that name."""
    metrics = make(max_series=1)
    for label in ("__overflow__", "a", "b"):
        metrics.increment_counter("c", 1.0, {"user": label})
    labels = [point.labels for point in _points(metrics, "c")]
    expect(len(labels) == len(set(labels)), f"saw {labels}")


@metrics_service.rule("MS7")
async def declarations_hold(make: MakeMetricsService) -> None:
    """Declaring the same twice is fine, declaring otherwise or nonsense is a ConfigError."""
    metrics = make(max_series=10)
    for _ in range(2):
        metrics.create_custom_metric("c", MetricKind.COUNTER, description="d", unit="{call}")
    metrics.record_custom_metric("c", 2.0)
    point = _points(metrics, "c")[0]
    seen = (point.value, point.description, point.unit)
    expect(seen == (2.0, "d", "{call}"), f"saw {seen}")
    kinds = MetricKind
    expect(_refuses(lambda: metrics.create_custom_metric("c", kinds.GAUGE)), "another kind")
    expect(_refuses(lambda: metrics.create_custom_metric("a b", kinds.GAUGE)), "a bad name")
    for bounds in ((), (2.0, 1.0), (float("nan"),)):

        def declare(bounds: tuple[float, ...] = bounds) -> None:
            metrics.create_custom_metric("h", kinds.HISTOGRAM, buckets=bounds)

        expect(_refuses(declare), f"bounds of length {len(bounds)} that do not rise")


@metrics_service.rule("MS8")
async def undeclared_is_refused(make: MakeMetricsService) -> None:
    """A value for a custom metric that nobody declared is a ConfigError."""
    metrics = make(max_series=10)
    expect(_refuses(lambda: metrics.record_custom_metric("x", 1.0)), "it was taken")


@metrics_service.rule("MS9")
async def custom_values_go_by_kind(make: MakeMetricsService) -> None:
    """A value for a custom metric adds, sets or is sorted in, by the metric's kind."""
    metrics = make(max_series=10)
    for kind in MetricKind:
        metrics.create_custom_metric(kind.value, kind)
        metrics.record_custom_metric(kind.value, 2.0)
        metrics.record_custom_metric(kind.value, 3.0)
    seen = {point.kind: (point.value, point.count) for point in metrics.collect()}
    wanted = {
        MetricKind.COUNTER: (5.0, 0),
        MetricKind.GAUGE: (3.0, 0),
        MetricKind.HISTOGRAM: (5.0, 2),
    }
    expect(seen == wanted, f"saw {seen}")


@metrics_service.rule("MS10")
async def collection_is_sorted(make: MakeMetricsService) -> None:
    """Series come sorted by name and labels."""
    metrics = make(max_series=10)
    for name in ("b", "a"):
        for label in ("2", "1"):
            metrics.increment_counter(name, 1.0, {"l": label})
    seen = [(point.name, point.labels) for point in metrics.collect()]
    expect(seen == sorted(seen), f"saw {seen}")


@metrics_service.rule("MS11")
async def threads_lose_nothing(make: MakeMetricsService) -> None:
    """Updates from several threads all count while another one collects."""
    metrics = make(max_series=100)

    def work() -> None:
        for number in range(2_000):
            metrics.increment_counter("c", 1.0, {"n": str(number % 7)})
            metrics.record_histogram("h", number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.collect()
    for thread in threads:
        thread.join()
    total = sum(point.value for point in _points(metrics, "c"))
    expect(total == 8_000, f"{total} of 8,000 were counted")
    expect(_points(metrics, "h")[0].count == 8_000, "a histogram lost values")
