"""Refresh docs/explanation/performance.md from the results: `python -m benchmarks.tables`.

What stands between the two marks is rewritten; the prose around it stays.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS, RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN = "<!-- results: written by `python -m benchmarks.tables` -->"
END = "<!-- end of results -->"


def cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def amount(value: float, unit: str) -> str:
    """Return three digits and a unit in which they read well."""
    if unit == "us" and value >= 1000:
        value, unit = value / 1000, "ms"
    digits = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {'µs' if unit == 'us' else unit}"


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def section(name: str, result: dict[str, Any]) -> str:
    """Return one benchmark: its targets, then what was measured."""
    machine = result.get("machine", {})
    parts = [f"### {name}"]
    if machine:
        python, system = machine["python"], machine["system"]
        parts.append(f"Measured on {machine['measured_on']}, Python {python}, {system}.")
    targets = [
        [made["case"], made["target"], f"{made['value']:g}", "yes" if made["met"] else "**missed**"]
        for made in result["targets"]
    ]
    if targets:
        parts.append(table(["case", "target", "measured", "met"], targets))
    rows = [
        [
            row["case"],
            f"**{row['subject']}**" if row["subject"] == OURS else row["subject"],
            amount(row["median"], row["unit"]),
            f"{row['ratio']:.2f}",
        ]
        for row in result["rows"]
    ]
    parts.append(table(["case", "subject", "median", "ratio"], rows))
    return "\n\n".join(parts)


def render(results: Path = RESULTS) -> str:
    """Return what stands between the marks."""
    loaded = {path.stem: json.loads(path.read_text("utf-8")) for path in results.glob("*.json")}
    return "\n\n".join(section(name, loaded[name]) for name in sorted(loaded))


def refresh(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Rewrite the tables of a page."""
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page.name} must hold the lines {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n\n{render(results)}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    refresh()
    print(f"tables of {PAGE.name} refreshed")
