"""Counts, levels and distributions in memory, bounded whatever they are fed.

Each metric holds at most `max_series` series; what comes after shares one series
labelled `__overflow__`, and how much that was is counted. Wrong names, labels and
values are counted as misuse by kind, never raised: measuring must not break what is
measured. See `docs/blocks/metrics.md`.
"""

import math
import re
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import final

from attrs import define, field, frozen
from attrs.validators import and_, ge, instance_of, le

from ..core.errors import ConfigError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.lines import UNSAFE_CHARACTERS
from ..protocols.observability import MetricKind, MetricPoint
from .names import DURATION_BUCKETS_S, METRICS_MISUSE, METRICS_OVERFLOW, OVERFLOW
from .series import CounterSeries, GaugeSeries, HistogramSeries, Labels, Series

__all__ = ("MetricsConfig", "MetricsRegistry")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,127}")
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
_UNSAFE = re.compile(f"[{UNSAFE_CHARACTERS}\ud800-\udfff]")
_MAX_LABELS = 16
_MAX_OVERFLOW_SERIES = 8
_MAX_BUCKETS = 200
_MAX_UNIT_CHARS = 32
_MAX_DESCRIPTION_CHARS = 1_000
_RESERVED_LABELS = frozenset({"le", "quantile"})
_REASONS = {
    "name": "a name is a letter and up to 127 letters, digits, `_` and `.`, and differs from "
    "all others even when `.` is read as `_`",
    "kind": "the kind is counter, gauge or histogram",
    "too_many_metrics": "there are `max_metrics` metrics already",
}


def _rising(bounds: tuple[float, ...]) -> bool:
    return (
        0 < len(bounds) <= _MAX_BUCKETS
        and all(math.isfinite(bound) for bound in bounds)
        and all(low < high for low, high in pairwise(bounds))
    )


def _check_bounds(_: object, __: object, bounds: tuple[float, ...]) -> None:
    if not _rising(bounds):
        raise ValueError("default_buckets must be 1 to 200 finite numbers that rise")


@final
@frozen(kw_only=True)
class MetricsConfig:
    """How much is kept.

    Args:
        max_metrics: How many metrics there may be (1 to 100,000; 1,000).
        max_series: How many series one metric may have before the overflow series
            (1 to 1,000,000; 1,000, about 0.3 MB of counters or 1 MB of histograms).
        max_label_chars: How long a label's value may be; the rest is cut off
            (8 to 10,000; 128).
        default_buckets: The upper bounds of a histogram that declares none (1 to 200
            rising numbers; the seconds of the MCP semantic conventions).
    """

    max_metrics: int = field(default=1_000, validator=[instance_of(int), and_(ge(1), le(100_000))])
    max_series: int = field(default=1_000, validator=[instance_of(int), and_(ge(1), le(1_000_000))])
    max_label_chars: int = field(default=128, validator=[instance_of(int), and_(ge(8), le(10_000))])
    default_buckets: tuple[float, ...] = field(
        default=DURATION_BUCKETS_S, validator=[instance_of(tuple), _check_bounds]
    )


@define
class _Family:
    """One metric: what was declared, and its series by their sorted labels."""

    kind: MetricKind
    buckets: tuple[float, ...]
    description: str = ""
    unit: str = ""
    declared: bool = False
    series: dict[Labels, Series] = field(factory=dict[Labels, Series])
    # The same series by their labels in the order in which callers write them.
    found: dict[Labels, Series] = field(factory=dict[Labels, Series])
    # One for each set of label names, so that a point past the bound keeps its shape.
    overflow: dict[tuple[str, ...], Series] = field(factory=dict[tuple[str, ...], Series])


@final
class MetricsRegistry:
    """The default `MetricsService` and `BindableMetrics`.

    Updates and `collect` may come from any thread. The registry's own health is two
    counters that `collect` adds once they are not zero: `localmcp.metrics.overflow`
    by metric, and `localmcp.metrics.misuse` by kind.
    """

    def __init__(
        self,
        config: MetricsConfig | None = None,
        *,
        clock: Clock | None = None,  # noqa: ARG002 - the constructor every block has
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - misuse is a count, not an event
    ) -> None:
        self.config: MetricsConfig = config or MetricsConfig()
        self._lock = threading.Lock()
        # A lock of its own, since misuse is found while the other one is held.
        self._misuse_lock = threading.Lock()
        self._families: dict[str, _Family] = {}
        self._exposed: set[str] = set()
        self._misuse: dict[str, CounterSeries] = {}
        self._overflowed: dict[str, CounterSeries] = {}

    def increment_counter(
        self, name: str, amount: float = 1.0, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add to a counter; a negative amount is counted as misuse and ignored."""
        series = self._find(name, MetricKind.COUNTER, labels)
        if series is not None:
            series.record(amount)

    def record_gauge(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Set a level."""
        series = self._find(name, MetricKind.GAUGE, labels)
        if series is not None:
            series.record(value)

    def record_histogram(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add a value to a distribution."""
        series = self._find(name, MetricKind.HISTOGRAM, labels)
        if series is not None:
            series.record(value)

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

        Raises:
            ConfigError: The name is not a metric name, or is declared otherwise, or the
                bounds do not rise, or there is no room for another metric.
        """
        bounds = self.config.default_buckets if buckets is None else tuple(buckets)
        if not _rising(bounds):
            raise ConfigError("bounds must be 1 to 200 finite numbers that rise", "buckets")
        with self._lock:
            family = self._families.get(name) if type(name) is str else None
            if family is None:
                added = self._add(name, kind, bounds)
                if not isinstance(added, _Family):
                    raise ConfigError(f"the metric can not be made: {_REASONS[added]}", "name")
                family = added
            elif family.kind is not kind:
                raise ConfigError(f"the metric is a {family.kind} already", "kind")
            elif buckets is not None and family.buckets != bounds:
                if family.series or family.declared:
                    raise ConfigError("the histogram has other bounds already", "buckets")
                family.buckets = bounds
            family.description = description[:_MAX_DESCRIPTION_CHARS] or family.description
            family.unit = unit[:_MAX_UNIT_CHARS] or family.unit
            family.declared = True

    def record_custom_metric(
        self, name: str, value: float, /, labels: Mapping[str, str] | None = None
    ) -> None:
        """Give a declared metric a value, whatever its kind.

        Raises:
            ConfigError: The metric was not declared.
        """
        family = self._families.get(name) if type(name) is str else None
        if family is None:
            raise ConfigError("the metric is not declared; create_custom_metric does it", "name")
        series = self._find(name, family.kind, labels)
        if series is not None:
            series.record(value)

    def collect(self) -> tuple[MetricPoint, ...]:
        """Return every series, sorted by name and labels."""
        with self._lock:
            held = [
                (name, family, [*family.series.values(), *family.overflow.values()])
                for name, family in self._families.items()
            ]
            misuse, overflowed = list(self._misuse.values()), list(self._overflowed.values())
        points = [
            series.point(name, family.description, family.unit)
            for name, family, all_series in held
            for series in all_series
        ]
        points += [one.point(METRICS_MISUSE, "Updates ignored, by kind of misuse.", "")
                   for one in misuse]  # fmt: skip
        points += [one.point(METRICS_OVERFLOW, "Updates past the bound of series.", "")
                   for one in overflowed]  # fmt: skip
        return tuple(sorted(points, key=lambda point: (point.name, point.labels)))

    def configure(self, config: MetricsConfig, /) -> None:
        """Go on under other bounds; what was counted stays, even what is past a lower bound."""
        self.config = config

    def bind_counter(self, name: str, /, labels: Mapping[str, str] | None = None) -> CounterSeries:
        """Return the counter's series for these labels; a misuse gets one that nobody collects."""
        found = self._find(name, MetricKind.COUNTER, labels)
        return found if isinstance(found, CounterSeries) else CounterSeries((), self._misused)

    def bind_gauge(self, name: str, /, labels: Mapping[str, str] | None = None) -> GaugeSeries:
        """Return the gauge's series for these labels; a misuse gets one that nobody collects."""
        found = self._find(name, MetricKind.GAUGE, labels)
        return found if isinstance(found, GaugeSeries) else GaugeSeries((), self._misused)

    def bind_histogram(
        self, name: str, /, labels: Mapping[str, str] | None = None
    ) -> HistogramSeries:
        """Return the histogram's series; a misuse gets one that nobody collects."""
        found = self._find(name, MetricKind.HISTOGRAM, labels)
        if isinstance(found, HistogramSeries):
            return found
        return HistogramSeries((), self._misused, self.config.default_buckets)

    def _find(self, name: str, kind: MetricKind, labels: Mapping[str, str] | None) -> Series | None:
        """Return the series, made when it is new; None, and a count, when it is misuse."""
        try:
            family = self._families[name]
            if family.kind is kind:
                return family.found[tuple(labels.items()) if labels else ()]
        except Exception:  # noqa: BLE001, S110  # nosec B110 - new, or misuse: see below
            pass
        try:
            with self._lock:
                return self._make(name, kind, labels)
        except Exception:  # noqa: BLE001 - hostile labels may raise anything
            self._misused("labels")
            return None

    def _make(self, name: str, kind: MetricKind, labels: Mapping[str, str] | None) -> Series | None:
        family = self._families.get(name) if type(name) is str else None
        if family is None:
            added = self._add(name, kind, self.config.default_buckets)
            if not isinstance(added, _Family):
                self._misused(added)
                return None
            family = added
        if family.kind is not kind:
            self._misused("kind")
            return None
        given = tuple(labels.items()) if labels else ()
        sorted_labels = self._check_labels(given)
        if sorted_labels is None:
            self._misused("labels")
            return None
        series = family.series.get(sorted_labels)
        if series is None:
            if len(family.series) >= self.config.max_series:
                return self._overflow(name, family, sorted_labels)
            series = family.series[sorted_labels] = self._new(family, sorted_labels)
        # Values that were cut or cleaned can be written in endless ways: keep only a few.
        if len(family.found) < 2 * self.config.max_series:
            family.found[given] = series
        return series

    def _add(self, name: str, kind: MetricKind, bounds: tuple[float, ...]) -> "_Family | str":
        """Return a new metric, or the kind of misuse that asking for it is."""
        if type(name) is not str or not _NAME.fullmatch(name):
            return "name"
        exposed = name.replace(".", "_")
        if exposed in self._exposed or name in {METRICS_MISUSE, METRICS_OVERFLOW}:
            return "name"
        if type(kind) is not MetricKind:
            return "kind"
        if len(self._families) >= self.config.max_metrics:
            return "too_many_metrics"
        self._exposed.add(exposed)
        family = self._families[name] = _Family(kind, bounds)
        return family

    def _check_labels(self, given: tuple[tuple[str, str], ...]) -> Labels | None:
        """Return the labels sorted, cut and cleaned; None when they are not labels."""
        if len(given) > _MAX_LABELS:
            return None
        checked: list[tuple[str, str]] = []
        for label, value in given:
            if type(label) is not str or type(value) is not str:
                return None
            if not _LABEL_NAME.fullmatch(label) or label in _RESERVED_LABELS:
                return None
            text = value[: self.config.max_label_chars]
            text = text if text.isalnum() else _UNSAFE.sub("\ufffd", text)
            # The overflow series must not be written to under its own name.
            checked.append((label, f"_{text}" if text == OVERFLOW else text))
        if len({label.replace(".", "_") for label, _ in checked}) < len(checked):
            return None
        return tuple(sorted(checked))

    def _overflow(self, name: str, family: _Family, labels: Labels) -> Series:
        counted = self._overflowed.get(name)
        if counted is None:
            counted = CounterSeries((("metric", name),), self._misused)
            self._overflowed[name] = counted
        counted.inc()
        names = tuple(label for label, _ in labels)
        if names not in family.overflow and len(family.overflow) >= _MAX_OVERFLOW_SERIES - 1:
            names = ("overflow",)
        series = family.overflow.get(names)
        if series is None:
            series = self._new(family, tuple((label, OVERFLOW) for label in names))
            family.overflow[names] = series
        return series

    def _new(self, family: _Family, labels: Labels) -> Series:
        if family.kind is MetricKind.COUNTER:
            return CounterSeries(labels, self._misused)
        if family.kind is MetricKind.GAUGE:
            return GaugeSeries(labels, self._misused)
        return HistogramSeries(labels, self._misused, family.buckets)

    def _misused(self, kind: str) -> None:
        with self._misuse_lock:
            counted = self._misuse.get(kind)
            if counted is None:
                counted = self._misuse[kind] = CounterSeries((("kind", kind),), self._misused)
        counted.inc()
