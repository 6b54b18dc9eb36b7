"""The import: the package in a fresh interpreter beside attrs, which it stands on.

A whole process is timed, and nothing is subtracted: that is what a user waits for.
"""

import subprocess
import sys

from benchmarks.harness import OURS, Bench

EVERY_NAME = "import localmcp_harden as p; [getattr(p, name) for name in p.__all__]"
PROGRAMS = {
    "no import": "pass",
    "attrs": "import attrs",
    OURS: "import localmcp_harden",
    "localmcp-harden, every name": EVERY_NAME,
}


def run(bench: Bench) -> None:
    bench.rounds = 9

    def interpreter(program: str) -> None:
        # -I leaves out the folder and the user's site, so that all start alike.
        subprocess.run([sys.executable, "-I", "-c", program], check=True)

    subjects = {
        name: lambda program=program: interpreter(program) for name, program in PROGRAMS.items()
    }
    medians = bench.compare("fresh interpreter", subjects, base="attrs")
    ratio = medians[OURS] / medians["attrs"]
    bench.target("fresh interpreter", "at most twice import attrs", ratio, met=ratio <= 2.0)
