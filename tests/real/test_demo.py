"""The demo against the real git server: it passes, and it notices what goes otherwise."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from string import Template

import pytest
from attrs import evolve
from rich.console import Console
from typer.testing import CliRunner

from localmcp_harden.cli.app import app
from localmcp_harden.cli.demo import command, scenery as scenery_module
from localmcp_harden.cli.demo.configurations import GIT_CONFIGURATION
from localmcp_harden.cli.demo.live import Live
from localmcp_harden.cli.demo.run import perform
from localmcp_harden.cli.demo.scenery import build_scenery
from localmcp_harden.cli.demo.script import STORY
from localmcp_harden.cli.demo.story import Act, Verdict
from localmcp_harden.protocols.security import AuditHead
from localmcp_harden.security.audit.verify import verify_folder

pytestmark = pytest.mark.real("git", "mcp-server-git")


def start(folder, *arguments):
    scratch = folder / "scratch"
    scratch.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "localmcp_harden", "demo", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has the signal ignored, and so would we.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def processes_of(folder):
    """Return the processes that were started with something of this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line and entry.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.fixture
def file_server(node_server, monkeypatch):
    """Put the file server, which is written for Node.js, on the path."""
    node, script = node_server("server-filesystem")
    folders = [Path(script).parents[3] / ".bin", Path(node).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))


@pytest.mark.usefixtures("file_server")
def test_everything_goes_as_the_story_says(tmp_path):
    process = start(tmp_path, "--json", "--report", "out")
    out, show = process.communicate(timeout=58)

    assert process.returncode == 0, show
    facts = json.loads(out)
    assert facts["passed"] is True
    assert facts["duration_s"] < 60
    assert [step["id"] for step in facts["steps"]] == [step.id for step in STORY]
    assert "NOT AS EXPECTED" not in show
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == facts
    assert "Everything went as the story says" in (tmp_path / "out" / "report.html").read_text()
    for head in facts["heads"]:
        kept = AuditHead(writer=head["writer"], sequence=head["sequence"], hash=head["hash"])
        assert verify_folder(tmp_path / "out" / "audit" / head["server"], expected_heads=[kept]).ok
    assert list((tmp_path / "scratch").iterdir()) == []
    assert processes_of(tmp_path / "scratch") == []


def test_the_act_of_a_server_that_is_not_here_is_left_out_and_named(tmp_path):
    story = [step for step in STORY if step.id in {"files-list", "git-status", "reader-reads"}]
    with build_scenery() as scenery:
        alone = evolve(scenery, file_server=None)
        performance = perform(story, alone, lambda _: None)
    console = Console(file=io.StringIO(), width=200)
    Live(console).begin("scratch", alone.servers)

    assert [result.step.id for result in performance.results] == ["git-status", "reader-reads"]
    assert "server-filesystem" in console.file.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_demo_that_is_stopped_cleans_up(tmp_path, number):
    process = start(tmp_path)
    for line in process.stdout:
        if "git_status" in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list((tmp_path / "scratch").iterdir()) == []
    assert processes_of(tmp_path / "scratch") == []


def flipped(step_id):
    """Return the story up to a step, of which the opposite is expected."""
    steps = [step for step in STORY if step.act is not Act.WRAPPED]
    index = next(index for index, step in enumerate(steps) if step.id == step_id)
    step = steps[index]
    allowed = step.expect.verdict is Verdict.ALLOWED
    other = Verdict.REFUSED if allowed else Verdict.ALLOWED
    return (*steps[:index], evolve(step, expect=evolve(step.expect, verdict=other)))


def test_a_story_that_lies_ends_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STORY", flipped("reader-writes"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = CliRunner().invoke(app, ["demo", "--report", str(tmp_path / "report")])

    assert result.exit_code == 1
    assert "NOT AS EXPECTED: expected verdict 'allowed', the client saw 'refused'" in result.stdout
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["passed"] is False
    assert [step["id"] for step in facts["steps"] if not step["passed"]] == ["reader-writes"]


@pytest.mark.parametrize(
    ("old", "new", "noticed"),
    [
        ("version = 1", 'version = 1\nmode = "observe"', {"git-outside-role", "escape-absolute"}),
        (
            "version = 1",
            'version = 1\ndisabled = ["canonicalise"]',
            {"git-status"},  # without a resource no rule allows the call
        ),
        ('effect = "deny"', 'effect = "allow"', {"git-outside-role"}),
        ("resources = [$workspace]", "", {"escape-absolute", "escape-dots", "escape-link"}),
        ("max_bytes = 65536", "", {"git-oversized"}),
    ],
)
def test_a_guard_that_is_weakened_is_noticed(monkeypatch, old, new, noticed):
    template = GIT_CONFIGURATION.template
    assert old in template
    monkeypatch.setattr(scenery_module, "GIT_CONFIGURATION", Template(template.replace(old, new)))
    story = [
        step
        for step in STORY
        if step.id in {"git-status", "git-outside-role", "git-oversized"}
        or step.id.startswith("escape-")
    ]
    with build_scenery() as scenery:
        performance = perform(story, scenery, lambda _: None)

    assert not performance.passed
    assert {result.step.id for result in performance.results if not result.passed} >= noticed


def test_a_server_that_does_not_start_ends_with_four(tmp_path, monkeypatch):
    broken = Template(GIT_CONFIGURATION.template.replace("version = 1", "version = 99"))
    monkeypatch.setattr(scenery_module, "GIT_CONFIGURATION", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = CliRunner().invoke(app, ["demo", "--report", str(tmp_path / "report")])

    assert result.exit_code == 4
    assert "the git server does not answer" in result.stderr
    assert "format version 99 is newer" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
