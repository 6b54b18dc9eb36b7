"""The ready-made configurations: on their page letter by letter, valid, and complete."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from localmcp_harden import Effect, Hardening, load_config

ROOT = Path(__file__).parents[2]
FILES = {path.parent.name: path for path in sorted(ROOT.glob("examples/wrap/*/harden.toml"))}
PAGE = ROOT / "docs" / "how-to" / "wrap-known-servers.md"

# mcp-server-sqlite 2025.4.25 needs mcp below version 2, so it can not be started from the
# environment of these tests; what it lists is noted here. The others are asked in
# tests/real/test_known_configurations.py.
SQLITE_TOOLS = {
    "read_query",
    "write_query",
    "create_table",
    "list_tables",
    "describe_table",
    "append_insight",
}


def config(name):
    return load_config(FILES[name], environ={}).config


def test_the_page_shows_every_file_and_nothing_else():
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert sorted(FILES) == ["fetch", "filesystem", "git", "memory", "sqlite"]
    assert sorted(blocks) == sorted(path.read_text("utf-8") for path in FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_a_file_loads_and_is_described_without_problems(name):
    assert Hardening.from_file(FILES[name], environ={}).config == config(name)

    done = subprocess.run(
        [sys.executable, "-m", "localmcp_harden", "describe", "--config", str(FILES[name])],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_grants_by_name_and_by_role(name):
    loaded = config(name)

    assert loaded.disabled == ()
    assert not loaded.authentication.anonymous_http
    assert loaded.authentication.local_roles == {"reader"}
    assert loaded.audit.before_acting != "never"
    for rule in loaded.policy.rules:
        if rule.effect is Effect.ALLOW:
            assert "*" not in {*rule.roles, *rule.actions}, rule.id
            assert "*" not in rule.tools or "*" not in rule.resources, rule.id
            assert {*rule.roles} <= {*loaded.roles}, rule.id


@pytest.mark.parametrize("name", FILES)
def test_what_is_granted_and_what_is_said_of_tools_are_the_same_tools(name):
    loaded = config(name)
    granted = {tool for rule in loaded.policy.rules for tool in rule.tools} - {"*"}

    assert granted == {*loaded.tools}
    assert all(tool.read_only is not None for tool in loaded.tools.values())


@pytest.mark.parametrize("name", FILES)
def test_a_reader_is_granted_no_tool_that_changes_something(name):
    loaded = config(name)
    for rule in loaded.policy.rules:
        if rule.effect is Effect.ALLOW and "reader" in rule.roles:
            writing = [
                tool for tool in rule.tools if tool != "*" and not loaded.tools[tool].read_only
            ]
            assert writing == [], rule.id


def test_every_tool_of_the_sqlite_server_is_covered():
    assert {*config("sqlite").tools} == SQLITE_TOOLS


def test_every_file_says_how_it_is_started():
    for name, path in FILES.items():
        text = path.read_text("utf-8")
        assert text.startswith("# harden.toml for "), name
        assert "# Start: localmcp-harden wrap --config harden.toml" in text, name
        assert tomllib.loads(text)["version"] == 1
