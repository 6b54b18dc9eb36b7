"""Run the integrations' tests with each supported pair of server libraries.

python tools/versions.py            every pair
python tools/versions.py 4.1.6      those with this fastmcp, or this mcp

Each pair gets a scratch environment of its own, made with uv where it is there and with
venv and pip elsewhere. The exit code is 1 when a pair fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

PAIRS = (
    # mcp, fastmcp
    ("2.2.0", "4.0.0"),
    ("2.2.0", "4.1.2"),
    ("2.3.0", "4.0.0"),
    ("2.3.0", "4.1.0"),
    ("2.3.0", "4.1.2"),
    ("2.3.0", "4.1.6"),
)
"""The lowest and the newest of each, and what lies between."""

TESTS = (
    "tests/integrations/test_mcp_sdk.py",
    "tests/integrations/test_fastmcp.py",
    "tests/integrations/test_fastmcp_servers.py",
)
_NEEDED = ("hypothesis", "pytest", "pytest-randomly", "pytest-timeout", "trio")


def main() -> int:
    """Try the pairs; return 1 when one fails."""
    wanted = set(sys.argv[1:])
    pairs = [pair for pair in PAIRS if not wanted or wanted & set(pair)]
    if not pairs:
        print(f"no supported pair has {', '.join(sorted(wanted))}", file=sys.stderr)
        return 1
    failed = [pair for pair in pairs if not works(*pair)]
    for mcp, fastmcp in pairs:
        print(f"mcp {mcp}  fastmcp {fastmcp}  {'FAILED' if (mcp, fastmcp) in failed else 'ok'}")
    return 1 if failed else 0


def works(mcp: str, fastmcp: str) -> bool:
    """Install one pair, and return whether the tests pass with it."""
    print(f"== mcp {mcp}, fastmcp {fastmcp}", flush=True)
    with tempfile.TemporaryDirectory(prefix="localmcp-versions-") as folder:
        python = make_environment(Path(folder))
        try:
            # Some releases want a newer package of certificates than an index may have. So
            # what fastmcp needs comes with whichever release resolves, and then this one.
            install(python, "-e", str(ROOT), f"mcp=={mcp}", "fastmcp>=4.0,<5", *test_needs())
            install(
                python,
                "--no-deps",
                f"fastmcp=={fastmcp}",
                f"fastmcp-slim=={fastmcp}",
                f"mcp=={mcp}",
            )
        except subprocess.CalledProcessError as error:
            print(f"installing ended with {error.returncode}", flush=True)
            return False
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def make_environment(folder: Path) -> str:
    """Return the interpreter of a new environment."""
    uv = shutil.which("uv")
    made = [uv, "venv", "--quiet", "--python"] if uv else None
    if made:
        subprocess.run([*made, sys.executable, str(folder / "venv")], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    return str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")


def install(python: str, *targets: str) -> None:
    """Install into an environment."""
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", python, *targets]
    else:
        command = [python, "-m", "pip", "install", "--quiet", *targets]
    subprocess.run(command, check=True)


def test_needs() -> list[str]:
    """Return what the tests need, in the bounds of the test group."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = groups["dependency-groups"]["test"]
    return [each for each in wanted if each.split(">")[0].split("=")[0] in _NEEDED]


if __name__ == "__main__":
    sys.exit(main())
