import os
import subprocess
import sys
from pathlib import Path

import pytest

from localmcp_harden.cli.demo import scenery as module
from localmcp_harden.cli.demo.configurations import quoted
from localmcp_harden.cli.demo.scenery import build_scenery, find_program, git_environment
from localmcp_harden.cli.demo.story import Caller
from localmcp_harden.cli.exits import MissingComponentError
from localmcp_harden.compose.loading import load_config

needs_git = pytest.mark.real("git")


@pytest.fixture
def fake_server(monkeypatch):
    """Stand in for the git server, which these tests do not start."""
    find = find_program
    monkeypatch.setattr(
        module, "find_program", lambda name: Path("/bin/sh") if "mcp" in name else find(name)
    )


def test_a_program_is_found_beside_the_interpreter_first(tmp_path, monkeypatch):
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        tool = tmp_path / folder / "some-tool"
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    assert find_program("some-tool") == tmp_path / "beside" / "some-tool"
    (tmp_path / "beside" / "some-tool").unlink()
    assert find_program("some-tool") == tmp_path / "path" / "some-tool"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("mcp-server-git", "pip install mcp-server-git"), ("git", "install git")],
)
def test_what_is_missing_is_named_with_the_remedy(tmp_path, monkeypatch, name, remedy):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingComponentError, match=remedy):
        find_program(name)


def test_a_demo_without_its_server_ends_with_three(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke("demo", "--report", tmp_path / "report")

    assert result.exit_code == 3
    assert "missing_component" in result.stderr
    assert "install" in result.stderr
    assert result.stderr.count("\n") == 1


@needs_git
def test_the_scenery_is_made_and_taken_down(fake_server):
    with build_scenery() as scenery:
        assert (scenery.repository / ".git").is_dir()
        assert (scenery.private / ".git").is_dir()
        assert not (scenery.repository / ".git" / "hooks").exists()
        assert scenery.link.resolve() == scenery.private
        assert scenery.root == scenery.root.resolve()
        assert not scenery.private.is_relative_to(scenery.root / "workspace")
    assert not scenery.root.exists()


@needs_git
def test_the_scenery_is_kept_when_asked(fake_server, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with build_scenery(keep=True) as scenery:
        pass

    assert scenery.root.is_dir()
    assert scenery.root.parent == tmp_path.resolve()


@needs_git
def test_the_scenery_goes_when_something_fails(fake_server):
    seen = []

    def fail():
        with build_scenery() as scenery:
            seen.append(scenery.root)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not seen[0].exists()


@needs_git
def test_hooks_and_settings_of_the_user_do_nothing(fake_server, monkeypatch, tmp_path):
    trap = tmp_path / "sprung"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-commit", "commit-msg", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {trap}\nexit 1\n")
        (hooks / name).chmod(0o700)
    settings = tmp_path / ".gitconfig"
    settings.write_text(f"[core]\nhooksPath = {hooks}\n[init]\ntemplateDir = {tmp_path}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))

    with build_scenery() as scenery:
        log = subprocess.run(
            ["git", "-C", str(scenery.repository), "log", "--format=%an %s"],
            env={"PATH": os.environ["PATH"], **git_environment(scenery.root)},
            check=True,
            capture_output=True,
            text=True,
        )
    assert log.stdout == "Demo Add the plan\nDemo Begin the project\n"
    assert not trap.exists()
    assert not (tmp_path / "elsewhere").exists()


@needs_git
def test_the_configurations_are_valid_and_private(fake_server):
    with build_scenery() as scenery:
        for server in ("git", "files", "notes"):
            file = scenery.configuration(server)
            config = load_config(file, environ={}).config
            assert config.audit.folder == scenery.audit(server)
            assert config.logging.file == scenery.records(server)
            assert file.stat().st_mode & 0o077 == 0
            text = file.read_text()
            assert not [secret for secret in scenery.secrets() if secret in text]


@needs_git
def test_without_the_file_server_nothing_is_made_for_it(monkeypatch):
    find = find_program

    def without(name):
        if name == "mcp-server-filesystem":
            raise MissingComponentError(name)
        return Path("/bin/sh") if "mcp" in name else find(name)

    monkeypatch.setattr(module, "find_program", without)
    with build_scenery() as scenery:
        assert scenery.servers == ("git", "notes")
        assert not scenery.configuration("files").exists()


@needs_git
def test_secrets_are_in_no_repr(fake_server):
    with build_scenery() as scenery:
        assert not [secret for secret in scenery.secrets() if secret in repr(scenery)]
        assert len(set(scenery.tokens.values())) == 3
        assert Caller.NOBODY not in scenery.tokens


def test_a_path_is_quoted_for_toml():
    assert quoted(Path('/a "b"\\c/\u00e9')) == '"/a \\"b\\"\\\\c/\u00e9"'
