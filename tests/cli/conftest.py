"""What the tests of the command line share."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from localmcp_harden.cli.app import app


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run a command in this process, with state and configuration of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runner = CliRunner()

    def run(*arguments):
        return runner.invoke(app, [str(each) for each in arguments], catch_exceptions=False)

    return run


@pytest.fixture
def command(tmp_path):
    """Run a command as a process of its own, and return what came of it."""

    def run(*arguments, stdin="", **variables):
        env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **variables}
        return subprocess.run(
            [sys.executable, "-m", "localmcp_harden", *map(str, arguments)],
            cwd=tmp_path,
            env=env,
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )

    return run
