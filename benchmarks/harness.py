"""How every benchmark measures: interleaved repeats, medians, ratios to a named subject.

A benchmark file defines `run(bench)`, which times cases and sets targets. The
result is `{"rows": [{case, subject, unit, median, ratio}], "targets": [{case,
target, value, met}], "machine": ...}`; `ratio` is to the case's base subject, and
a target that is missed stays in the file as missed.

    python -m benchmarks NAME [NAME ...]

A time here says the order of magnitude; the requirement is the ratio.
"""

import asyncio
import gc
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

OURS = "localmcp-harden"
RESULTS = Path(__file__).parent / "results"


@attrs.define
class Bench:
    """One benchmark's rows and targets.

    Args:
        name: The benchmark's name, that of its file.
        rounds: How often each subject is measured; rounds are interleaved.
        budget_s: About how long one measurement takes.
    """

    name: str
    rounds: int = 15
    budget_s: float = 0.02
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    targets: list[dict[str, Any]] = attrs.field(factory=list)

    def compare(
        self, case: str, subjects: Mapping[str, Callable[[], object]], *, base: str
    ) -> dict[str, float]:
        """Time plain functions against each other; seconds of one call, by subject."""

        def measure(function: Callable[[], object], calls: int) -> float:
            repeat = range(calls)
            start = time.perf_counter()
            for _ in repeat:
                function()
            return (time.perf_counter() - start) / calls

        return self._record(case, subjects, measure, base)

    def compare_async(
        self, case: str, subjects: Mapping[str, Callable[[], Awaitable[object]]], *, base: str
    ) -> dict[str, float]:
        """Time coroutine functions against each other on one asyncio loop."""
        with asyncio.Runner() as runner:

            async def loop(function: Callable[[], Awaitable[object]], calls: int) -> float:
                repeat = range(calls)
                start = time.perf_counter()
                for _ in repeat:
                    await function()
                return (time.perf_counter() - start) / calls

            def measure(function: Callable[[], Awaitable[object]], calls: int) -> float:
                return runner.run(loop(function, calls))

            return self._record(case, subjects, measure, base)

    def row(self, case: str, subject: str, unit: str, median: float, ratio: float) -> None:
        """Add a row that was measured in another way."""
        self.rows.append(
            {"case": case, "subject": subject, "unit": unit, "median": median, "ratio": ratio}
        )

    def target(self, case: str, target: str, value: float, *, met: bool) -> None:
        """Set down a requirement and what was measured against it."""
        self.targets.append({"case": case, "target": target, "value": round(value, 4), "met": met})

    def _record(
        self,
        case: str,
        subjects: Mapping[str, Callable[[], Any]],
        measure: Callable[[Any, int], float],
        base: str,
    ) -> dict[str, float]:
        calls = {name: self._calls(function, measure) for name, function in subjects.items()}
        samples: dict[str, list[float]] = {name: [] for name in subjects}
        gc.collect()
        gc.disable()
        try:
            for _ in range(self.rounds):
                for name, function in subjects.items():
                    samples[name].append(measure(function, calls[name]))
        finally:
            gc.enable()
        medians = {name: statistics.median(values) for name, values in samples.items()}
        for name, median in medians.items():
            self.row(case, name, "us", round(median * 1e6, 4), round(median / medians[base], 4))
        return medians

    def _calls(self, function: Any, measure: Callable[[Any, int], float]) -> int:
        measure(function, 1)
        once = measure(function, 10)
        return max(5, min(200_000, int(self.budget_s / max(once, 1e-8))))

    def save(self) -> Path:
        """Write the result and return its path."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        machine = {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "measured_on": time.strftime("%Y-%m-%d"),
        }
        body = {"rows": self.rows, "targets": self.targets, "machine": machine}
        path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        return path
