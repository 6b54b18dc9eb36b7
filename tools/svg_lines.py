"""Draws small line charts as one SVG, in a few lines of text and without a library."""

from collections.abc import Sequence
from html import escape

from attrs import frozen

__all__ = ("Chart", "Line", "chart_at", "draw")

_WIDTH, _HEIGHT, _GAP, _TOP = 330, 130, 44, 56


@frozen
class Line:
    """One line of a chart: its name, a value for each step, its color."""

    name: str
    values: Sequence[float]
    color: str


@frozen(kw_only=True)
class Chart:
    """One chart: lines, a shaded span of steps, and a value that is marked."""

    title: str
    lines: tuple[Line, ...]
    shaded: tuple[float, float]
    mark: float


def draw(charts: Sequence[Chart], *, high: float, title: str) -> str:
    """Return charts of one scale, two in a row, as an SVG document."""
    rows = (len(charts) + 1) // 2
    width = 2 * _WIDTH + 3 * _GAP
    height = _TOP + rows * (_HEIGHT + _GAP)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="11" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_GAP}" y="20" font-size="13">{escape(title)}</text>',
    ]
    for place, line in enumerate(charts[0].lines):
        x = _GAP + 110 * place
        parts.append(f'<text x="{x}" y="36" fill="{line.color}">&#9644; {escape(line.name)}</text>')
    for place, chart in enumerate(charts):
        parts.append(chart_at(chart, place, high=high))
    return "\n".join([*parts, "</svg>", ""])


def chart_at(chart: Chart, place: int, *, high: float) -> str:
    """Return one chart's part of the document, where it stands at a place of the list."""
    left = _GAP + (place % 2) * (_WIDTH + _GAP)
    top = _TOP + (place // 2) * (_HEIGHT + _GAP)
    steps = max(len(line.values) for line in chart.lines)
    bottom = top + _HEIGHT

    def x(step: float) -> float:
        return round(left + _WIDTH * step / (steps - 1), 1)

    def y(value: float) -> float:
        return round(bottom - _HEIGHT * min(value, high) / high, 1)

    begin, end = chart.shaded
    parts = [
        (
            f'<rect x="{x(begin)}" y="{top}" width="{round(x(end) - x(begin), 1)}" '
            f'height="{_HEIGHT}" fill="#e5e5e5"/>'
        ),
        f'<path d="M{left} {top}V{bottom}H{left + _WIDTH}" fill="none" stroke="#555555"/>',
        (
            f'<path d="M{left} {y(chart.mark)}H{left + _WIDTH}" stroke="#999999" '
            f'stroke-dasharray="4 3"/>'
        ),
        f'<text x="{left - 4}" y="{y(chart.mark) + 4}" text-anchor="end">{chart.mark:g}</text>',
        f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{high:g}</text>',
        f'<text x="{left + _WIDTH}" y="{bottom + 13}" text-anchor="end">{steps} s</text>',
        f'<text x="{left + 6}" y="{top - 6}" font-weight="bold">{escape(chart.title)}</text>',
    ]
    for line in chart.lines:
        points = " ".join(f"{x(step)},{y(value)}" for step, value in enumerate(line.values))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.5"/>'
        )
    return "\n".join(parts)
