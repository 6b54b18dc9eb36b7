"""Run the MCP conformance suite against our fixtures: `python tools/conformance.py`.

The same fixture server is served bare, hardened in process, and behind `wrap`. All
checks must pass in every variant, and the variants must have the same checks, so that a
scenario which vanishes is a failure too. Prints a table, writes nothing, and ends with 1
when anything differs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import node_packages

FOLDER = Path(__file__).parents[1] / "tests" / "conformance"
VARIANTS = ("bare", "hardened", "wrapped")
TIMEOUT_S = 300
STOP_S = 15


class Suite(NamedTuple):
    """One run of the suite: a version of it, and the version of the protocol it is for."""

    name: str
    package: str
    arguments: tuple[str, ...]
    scenarios: int
    """How many scenarios it has; the version is pinned, so none may go missing."""
    upstream: str
    """The era in which `wrap` speaks to the fixtures: that of the suite's own client."""
    known: frozenset[str] = frozenset()
    """Checks that do not pass with the bare server either, for a reason given below."""


SUITES = (
    Suite("2026-07-28", "conformance", ("--spec-version", "2026-07-28"), 40, "auto"),
    Suite("2025-11-25", "conformance", ("--spec-version", "2025-11-25"), 33, "legacy"),
    Suite(
        "0.1.16",
        "conformance-old",
        (),
        32,
        "legacy",
        # It asks for a stream of protocol 2025-03-26, which has no priming event.
        frozenset({"server-sse-priming-event", "server-sse-retry-field"}),
    ),
)

EXCUSED: Mapping[str, frozenset[str]] = {
    # A server behind standard output has no stream of events that it could close.
    "wrapped": frozenset({"server-sse-disconnect-resume"}),
}
"""Checks that a variant may lack, with the reason."""

Check = tuple[str, str]
Results = Mapping[str, Counter[Check]]
"""By scenario: how often each check had which status."""


def read_results(folder: Path) -> Results:
    """Read what the suite left in its output folder.

    What is only information is left out: how much of it there is depends on timing.
    """
    found: dict[str, Counter[Check]] = {}
    for file in sorted(folder.rglob("checks.json")):
        named = re.fullmatch(r"server-(.+?)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
        if named is None:
            raise ValueError(f"not the output folder of a scenario: {file.parent.name}")
        checks = json.loads(file.read_text(encoding="utf-8"))
        said = ((check["id"], check["status"]) for check in checks)
        found[named[1]] = Counter(each for each in said if each[1] != "INFO")
    return found


def count(results: Results, status: str) -> int:
    """Return how many checks ended so."""
    return sum(
        number
        for checks in results.values()
        for (_, found), number in checks.items()
        if found == status
    )


def find_problems(
    suite: Suite, results: Results, bare: Results, *, excused: frozenset[str] = frozenset()
) -> list[str]:
    """Return what is wrong with a variant's results, in words; nothing when all is well.

    Args:
        suite: What was run.
        results: The variant's results.
        bare: Those of the bare server.
        excused: Checks that the variant may lack.
    """
    problems = []
    if len(results) != suite.scenarios:
        problems.append(f"{len(results)} scenarios have results, not {suite.scenarios}")
    for scenario in sorted({*results, *bare}):
        if scenario not in results:
            problems.append(f"{scenario}: vanished")
            continue
        here, there = results[scenario], bare.get(scenario, Counter())
        for check in sorted({check for check, _ in [*here, *there]}):
            got, wanted = _statuses(here, check), _statuses(there, check)
            if got != wanted and not (check in excused and not got):
                problems.append(f"{scenario}: {check}: {_say(got)}, but {_say(wanted)} when bare")
            elif {*got} - {"SUCCESS"} and check not in suite.known:
                problems.append(f"{scenario}: {check}: {_say(got)}")
    return problems


def _statuses(checks: Counter[Check], check: str) -> dict[str, int]:
    return {status: number for (each, status), number in checks.items() if each == check}


def _say(statuses: Mapping[str, int]) -> str:
    said = (f"{number} {status}" for status, number in sorted(statuses.items()))
    return ", ".join(said) or "nothing"


@contextmanager
def served(variant: str, upstream: str, log: Path) -> Iterator[str]:
    """Serve a variant while the block runs, and give its address."""
    command = [sys.executable, str(FOLDER / "serve.py"), variant, "--upstream", upstream]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            if not port:
                raise RuntimeError(f"{variant} does not start:\n{log.read_text()}")
            yield f"http://localhost:{port}/mcp"
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def run(suite: Suite, variant: str, modules: Path) -> Results:
    """Run a suite against a variant."""
    node = node_packages.find_node()
    if node is None:
        raise node_packages.NodePackagesError("node is not here")
    script = modules / suite.package / "dist" / "index.js"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        out = folder / "out"
        out.mkdir()
        with served(variant, suite.upstream, folder / "log") as url:
            command = [node, str(script), "server", "--url", url, "--suite", "all", "-o", str(out)]
            subprocess.run(
                [*command, *suite.arguments],
                cwd=folder,
                check=False,  # its word is in the results
                capture_output=True,
                timeout=TIMEOUT_S,
            )
        return read_results(out)


def main(suites: list[str], variants: list[str]) -> int:
    """Run the suites named, or all, against the variants named, or all."""
    modules = node_packages.install(FOLDER)
    line = "{:<12} {:<9} {:>9} {:>7} {:>7} {:>9} {:>8} {:>6}"
    titles = ("suite", "variant", "scenarios", "passed", "failed", "warnings", "skipped", "s")
    print(line.format(*titles))
    problems = []
    for suite in SUITES:
        if suites and suite.name not in suites:
            continue
        bare: Results = {}
        for variant in VARIANTS:
            # Bare always runs: it is what the others are measured against.
            if variants and variant not in {*variants, "bare"}:
                continue
            began = time.monotonic()
            results = run(suite, variant, modules)
            took = f"{time.monotonic() - began:.1f}"
            counts = [count(results, each) for each in ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")]
            print(line.format(suite.name, variant, len(results), *counts, took), flush=True)
            if variant == "bare":
                bare = results
            excused = EXCUSED.get(variant, frozenset())
            found = find_problems(suite, results, bare, excused=excused)
            problems += [f"{suite.name}, {variant}: {problem}" for problem in found]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=[each.name for each in SUITES])
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    chosen = parser.parse_args()
    try:
        sys.exit(main(chosen.suite or [], chosen.variant or []))
    except node_packages.NodePackagesError as error:
        sys.exit(f"conformance: {error}")
