"""The values behind a metric: one object a series, which adds up under a lock.

An update costs one comparison, one lock and one addition, so that a series can be
held and used on a hot path. What is no finite number is counted as misuse.
"""

import math
import threading
from bisect import bisect_left
from collections.abc import Callable
from typing import TypeAlias, final

from ..protocols.observability import MetricKind, MetricPoint

__all__ = ("CounterSeries", "GaugeSeries", "HistogramSeries", "Labels", "Misused", "Series")

Labels: TypeAlias = tuple[tuple[str, str], ...]
Misused: TypeAlias = Callable[[str], None]
"""Told the kind of a misuse; never raises."""

_INFINITY = math.inf


@final
class CounterSeries:
    """A count that only grows."""

    __slots__ = ("_lock", "_misused", "_total", "labels")

    def __init__(self, labels: Labels, misused: Misused) -> None:
        self.labels: Labels = labels
        self._misused = misused
        self._lock = threading.Lock()
        self._total = 0.0

    def inc(self, amount: float = 1.0, /) -> None:
        """Add to the count; what is negative or not a finite number is ignored as misuse."""
        try:
            if 0.0 <= amount < _INFINITY:
                with self._lock:
                    self._total += amount
                return
        except Exception:  # noqa: BLE001, S110  # nosec B110 - it is no number: see below
            pass
        self._misused("value")

    record = inc

    def point(self, name: str, description: str, unit: str) -> MetricPoint:
        """Return the count now."""
        return MetricPoint(
            name=name, kind=MetricKind.COUNTER, labels=self.labels, value=_as_float(self._total),
            description=description, unit=unit,
        )  # fmt: skip


@final
class GaugeSeries:
    """A level that goes up and down."""

    __slots__ = ("_level", "_misused", "labels")

    def __init__(self, labels: Labels, misused: Misused) -> None:
        self.labels: Labels = labels
        self._misused = misused
        self._level = 0.0

    def set(self, value: float, /) -> None:
        """Set the level; what is not a finite number is ignored as misuse."""
        try:
            if -_INFINITY < value < _INFINITY:
                # One assignment: whoever reads sees the old level or the new one.
                self._level = float(value)
                return
        except Exception:  # noqa: BLE001, S110  # nosec B110 - it is no number: see below
            pass
        self._misused("value")

    record = set  # noqa: A003 - the method above

    def point(self, name: str, description: str, unit: str) -> MetricPoint:
        """Return the level now."""
        return MetricPoint(
            name=name, kind=MetricKind.GAUGE, labels=self.labels, value=self._level,
            description=description, unit=unit,
        )  # fmt: skip


@final
class HistogramSeries:
    """A distribution in buckets with given upper bounds, the last one open."""

    __slots__ = ("_bounds", "_counts", "_lock", "_misused", "_sum", "labels")

    def __init__(self, labels: Labels, misused: Misused, bounds: tuple[float, ...]) -> None:
        self.labels: Labels = labels
        self._misused = misused
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float, /) -> None:
        """Add a value; what is not a finite number is ignored as misuse."""
        try:
            if -_INFINITY < value < _INFINITY:
                at = bisect_left(self._bounds, value)
                with self._lock:
                    # The sum first: it is what can fail, and then nothing is counted.
                    self._sum += value
                    self._counts[at] += 1
                return
        except Exception:  # noqa: BLE001, S110  # nosec B110 - it is no number: see below
            pass
        self._misused("value")

    record = observe

    def point(self, name: str, description: str, unit: str) -> MetricPoint:
        """Return the distribution now, its buckets added up from the lowest."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        below, buckets = 0, list[tuple[float, int]]()
        for bound, count in zip(self._bounds, counts, strict=False):
            below += count
            buckets.append((bound, below))
        return MetricPoint(
            name=name, kind=MetricKind.HISTOGRAM, labels=self.labels, value=_as_float(total),
            count=below + counts[-1], buckets=tuple(buckets),
            description=description, unit=unit,
        )  # fmt: skip


Series: TypeAlias = CounterSeries | GaugeSeries | HistogramSeries


def _as_float(total: float) -> float:
    # An amount of a foreign number type can have turned the sum into that type.
    try:
        return float(total)
    except (TypeError, ValueError, OverflowError):
        return math.nan
