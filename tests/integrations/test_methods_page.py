"""The page of methods and integrations says what holds: everything in it is tried."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.timeout(240)
def test_what_the_page_says_of_each_method_and_integration_holds():
    done = subprocess.run(
        [sys.executable, "-m", "method_matrix"],
        cwd=TOOLS,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
