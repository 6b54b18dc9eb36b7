"""Metrics as Prometheus text 0.0.4 and as OpenMetrics 1.0.

Names follow the OpenTelemetry rules for Prometheus: dots become underscores, a unit
becomes a suffix (`_seconds`, `_bytes`), a counter ends in `_total`. Text is escaped,
so that no label value can end its line.
"""

import math
import re
from collections.abc import Iterable, Iterator

from ...protocols.observability import MetricKind, MetricPoint

__all__ = ("OPENMETRICS_TYPE", "PROMETHEUS_TYPE", "render", "render_for")

PROMETHEUS_TYPE: str = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the older format, which every scraper reads."""
OPENMETRICS_TYPE: str = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of the newer format, which can carry exemplars and units."""

_UNITS = {"s": "seconds", "By": "bytes"}
_NOT_A_NAME = re.compile("[^A-Za-z0-9_]")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_SURROGATE = re.compile("[\ud800-\udfff]")


def render(points: Iterable[MetricPoint], *, openmetrics: bool = False) -> str:
    """Return the exposition of `points`.

    Args:
        points: What `MetricsService.collect` returns; series of one metric need not
            stand together.
        openmetrics: Whether to write OpenMetrics 1.0, which ends in `# EOF`.
    """
    metrics: dict[tuple[str, MetricKind], list[MetricPoint]] = {}
    for point in points:
        metrics.setdefault((point.name, point.kind), []).append(point)
    taken: set[str] = set()
    lines: list[str] = []
    for (_, kind), series in metrics.items():
        name = _free_name(series[0], taken)
        lines.extend(_head(name, kind, series[0], openmetrics=openmetrics))
        for point in series:
            lines.extend(_samples(name, point))
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


def render_for(accept: str, points: Iterable[MetricPoint]) -> tuple[str, str]:
    """Return content type and body for a scraper that sends this `Accept` header."""
    wanted = "application/openmetrics-text" in accept
    return OPENMETRICS_TYPE if wanted else PROMETHEUS_TYPE, render(points, openmetrics=wanted)


def _free_name(point: MetricPoint, taken: set[str]) -> str:
    """Return the metric's name without `_total`, changed where another one has it already."""
    name = _NOT_A_NAME.sub("_", point.name)
    name = name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"
    unit = _unit(point)
    if point.kind is MetricKind.COUNTER:
        name = name.removesuffix("_total")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    # A second TYPE line for a name would make scrapers refuse the whole page.
    while taken & _sample_names(name, point.kind):
        name = f"{name}_{point.kind}"
    taken |= _sample_names(name, point.kind)
    return name


def _unit(point: MetricPoint) -> str:
    if point.unit == "1":
        # A share is a level; a counter or a distribution without a unit is no ratio.
        return "ratio" if point.kind is MetricKind.GAUGE else ""
    return _UNITS.get(point.unit, "")


def _sample_names(name: str, kind: MetricKind) -> set[str]:
    if kind is MetricKind.COUNTER:
        return {name, f"{name}_total"}
    if kind is MetricKind.HISTOGRAM:
        return {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return {name}


def _head(name: str, kind: MetricKind, point: MetricPoint, *, openmetrics: bool) -> Iterator[str]:
    # The older format names a counter with its suffix, the newer one without.
    shown = f"{name}_total" if kind is MetricKind.COUNTER and not openmetrics else name
    if point.description:
        escapes = _ESCAPES if openmetrics else _HELP_ESCAPES
        yield f"# HELP {shown} {_clean(point.description).translate(escapes)}"
    yield f"# TYPE {shown} {kind.value}"
    unit = _unit(point)
    if openmetrics and unit and name.endswith(f"_{unit}"):
        yield f"# UNIT {shown} {unit}"


def _samples(name: str, point: MetricPoint) -> Iterator[str]:
    labels = _labels(point.labels)
    if point.kind is MetricKind.HISTOGRAM:
        for bound, count in (*point.buckets, (math.inf, point.count)):
            limit = f'le="{_number(bound)}"'
            yield f"{name}_bucket{_braces(labels, limit)} {count}"
        yield f"{name}_sum{_braces(labels)} {_number(point.value)}"
        yield f"{name}_count{_braces(labels)} {point.count}"
    elif point.kind is MetricKind.COUNTER:
        yield f"{name}_total{_braces(labels)} {_number(point.value)}"
    else:
        yield f"{name}{_braces(labels)} {_number(point.value)}"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return ",".join(
        f'{_NOT_A_NAME.sub("_", label)}="{_clean(value).translate(_ESCAPES)}"'
        for label, value in labels
    )


def _braces(*parts: str) -> str:
    inside = ",".join(part for part in parts if part)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def _clean(text: str) -> str:
    # Half a surrogate pair has no UTF-8 form; a carriage return ends lines for some readers.
    return _SURROGATE.sub("\ufffd", text).replace("\r", "\ufffd")
