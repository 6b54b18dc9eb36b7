"""Prove that the installed package is fully typed, as pyright sees it from outside.

Run it with the Python of an environment into which the wheel is installed.
"""

import json
import subprocess
import sys
import tempfile

PACKAGE = "localmcp_harden"


def main() -> int:
    """Run `pyright --verifytypes` away from the sources; print what is not typed."""
    command = ["pyright", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson"]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(command, cwd=elsewhere, check=False, capture_output=True, text=True)
    if not done.stdout.strip():
        print(done.stderr, file=sys.stderr)
        return 1
    report = json.loads(done.stdout)["typeCompleteness"]
    counts = report["exportedSymbolCounts"]
    total = sum(counts.values())
    for symbol in report["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            for note in symbol["diagnostics"]:
                print(f"{symbol['name']}: {note['message']}", file=sys.stderr)
    score = report["completenessScore"]
    print(f"verifytypes: {total} symbols, {score:.2%} typed")
    # A call that was set up wrongly finds no symbol and no fault.
    return 0 if total > 0 and score == 1.0 and not counts["withUnknownType"] else 1


if __name__ == "__main__":
    sys.exit(main())
