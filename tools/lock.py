"""Rewrite constraints.txt: `python tools/lock.py [--upgrade]`, or `nox -s lock`.

One file holds for every supported Python; where versions differ, an environment
marker says so. Without `--upgrade`, a pin changes only if it has to.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = """\
# Every direct and indirect dependency of all extras and groups, for every
# supported Python. Rewritten by `nox -s lock` (`-- --upgrade` for newer versions).
"""


def main(options: list[str]) -> int:
    """Compile the pins and write them without any address."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [part for name in pyproject["dependency-groups"] for part in ("--group", name)]
    target = ROOT / "constraints.txt"
    lowest = pyproject["project"]["requires-python"].removeprefix(">=")
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--all-extras", *groups]
    command += ["--python-version", lowest, "--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--no-emit-find-links", "--quiet", "--output-file", target.name, *options]
    subprocess.run(command, cwd=ROOT, check=True)
    lines = target.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if "==" in line and not line.startswith(("#", "-"))]
    target.write_text(HEADER + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"constraints.txt: {len(pins)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
