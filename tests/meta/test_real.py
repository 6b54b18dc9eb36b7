"""A real test without its component is skipped, or fails where the component is required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.real("pytest")
def test_here():
    pass

@pytest.mark.real("pytest", "no-such-component")
def test_not_here():
    pass
"""


@pytest.mark.parametrize(
    ("required", "code", "summary"),
    [
        ("", 0, "1 passed, 1 skipped"),
        ("pytest", 0, "1 passed, 1 skipped"),
        ("pytest,no-such-component", 1, "1 passed, 1 error"),
        ("all", 1, "1 passed, 1 error"),
    ],
)
def test_absence_counts_where_it_is_said_to(tmp_path, required, code, summary):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real\n")
    (tmp_path / "test_components.py").write_text(TESTS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "real"],
        cwd=tmp_path,
        env={**os.environ, "LOCALMCP_REQUIRE": required},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == code, done.stdout
    assert summary in done.stdout
