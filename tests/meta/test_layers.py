"""The import rules hold, and the check that holds them can fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "localmcp_harden"


def lint_imports(folder):
    env = {**os.environ, "PYTHONPATH": str(folder / "src")}
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        command, cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=50
    )


def test_imports_go_down_only(tmp_path):
    done = lint_imports(copy_of_the_package(tmp_path))

    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("core/model.py", "from ..mechanisms import clock", "Imports go down only"),
        ("mechanisms/gcra.py", "from ..testing import clock", "Imports go down only"),
        ("resilience/planted.py", "from ..security.access import limits", "Imports go down only"),
        ("resilience/retry.py", "from . import breaker", "Blocks do not import each other"),
        (
            "security/policy/gate.py",
            "from ..access import planted_too",
            "The parts of security do not import each other",
        ),
        ("planted/__init__.py", "", "Imports go down only"),
        ("core/ports.py", "import anyio", "The ground stands on attrs and the standard library"),
        (
            "security/access/limits.py",
            "import mcp",
            "Only integrations and the command line know the server libraries",
        ),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, broken):
    folder = copy_of_the_package(tmp_path)
    target = folder / "src" / "localmcp_harden" / file
    target.parent.mkdir(exist_ok=True)
    (folder / "src" / "localmcp_harden" / "security" / "access" / "planted_too.py").touch()
    with target.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")

    done = lint_imports(folder)

    assert done.returncode != 0
    assert broken in done.stdout


def copy_of_the_package(folder):
    shutil.copytree(
        PACKAGE,
        folder / "src" / "localmcp_harden",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder
