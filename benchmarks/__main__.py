"""Run benchmarks: all of them, or those that are named."""

import importlib
import sys
from pathlib import Path

from benchmarks.harness import Bench

_NOT_BENCHMARKS = {"__init__", "__main__", "harness", "tables"}


def names() -> list[str]:
    here = Path(__file__).parent
    return sorted(path.stem for path in here.glob("*.py") if path.stem not in _NOT_BENCHMARKS)


def main(wanted: list[str]) -> int:
    known = names()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    for name in wanted or known:
        bench = Bench(name)
        importlib.import_module(f"benchmarks.{name}").run(bench)
        print(f"\n{name} -> {bench.save()}")
        for row in bench.rows:
            line = f"  {row['case']:<28} {row['subject']:<28} {row['median']:>12.3f} {row['unit']}"
            print(f"{line}  x{row['ratio']:.2f}")
        for target in bench.targets:
            verdict = "met" if target["met"] else "MISSED"
            print(f"  {verdict}: {target['case']}: {target['target']} ({target['value']})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
