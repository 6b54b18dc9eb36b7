"""The configuration tree: layers, sources, and errors that name the place."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.compose.chain import Mode
from localmcp_harden.compose.config import STAGES, HardenConfig, StageName
from localmcp_harden.compose.loading import ENVIRONMENT_PREFIX, load_config
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.model import Effect

DOCUMENT = """\
version = 1
mode = "observe"
project = "notes"

[rate_limit]
rate_per_s = 5
burst = 7

[rate_limit.tools.slow]
rate_per_s = 0.5
burst = 1

[roles.reader]
subjects = ["ann"]

[[policy.rules]]
id = "read"
effect = "allow"
actions = ["tools/call"]
roles = ["reader"]

[[policy.rules]]
id = "no-etc"
effect = "deny"
resources = ["/etc"]

[tools.search]
paths = ["folder"]
deadline_s = 2.5
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "harden.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(path=None, environ=None, **options):
    return load_config(path, environ=environ or {}, **options)


def test_a_file_fills_the_tree(file):
    config = load(file(DOCUMENT)).config

    assert config.mode is Mode.OBSERVE
    assert config.rate_limit.burst == 7
    assert config.rate_limit.tools["slow"].rate_per_s == 0.5
    assert config.roles["reader"].subjects == ("ann",)
    assert [rule.id for rule in config.policy.rules] == ["read", "no-etc"]
    assert config.policy.rules[1].effect is Effect.DENY
    assert config.tools["search"].paths == ("folder",)
    assert config.breaker == HardenConfig().breaker


def test_environment_wins_over_file_and_keyword_over_environment(file):
    path = file(DOCUMENT)
    environ = {
        f"{ENVIRONMENT_PREFIX}RATE_LIMIT__BURST": "8",
        f"{ENVIRONMENT_PREFIX}PROJECT": "letters",
        f"{ENVIRONMENT_PREFIX}DISABLED": '["retry"]',
        "OTHER__RATE_LIMIT__BURST": "99",
    }
    loaded = load(path, environ, settings={"rate_limit": {"burst": 9}})

    assert loaded.config.rate_limit.burst == 9
    assert loaded.config.rate_limit.rate_per_s == 5
    assert loaded.config.project == "letters"
    assert loaded.config.disabled == ("retry",)


def test_every_value_knows_where_it_came_from(file):
    environ = {f"{ENVIRONMENT_PREFIX}PROJECT": "x"}
    loaded = load(file(DOCUMENT), environ, settings={"audit": {"max_queued": 10}})

    assert loaded.source_of("rate_limit.burst") == "harden.toml:7"
    assert loaded.source_of("rate_limit.tools.slow.burst") == "harden.toml:11"
    assert loaded.source_of("tools.search.deadline_s") == "harden.toml:29"
    assert loaded.source_of("project") == f"environment {ENVIRONMENT_PREFIX}PROJECT"
    assert loaded.source_of("audit.max_queued") == "keyword"
    assert loaded.source_of("breaker.open_s") == "default"


def test_rules_know_their_lines(file):
    rules = load(file(DOCUMENT)).config.policy.rules
    assert [rule.source for rule in rules] == ["harden.toml:16", "harden.toml:22"]


@pytest.mark.parametrize(
    ("text", "place", "path", "says"),
    [
        ("\nburts = 1\n", "harden.toml:2", "burts", "not a known key"),
        ("[rate_limit]\nburts = 1\n", "harden.toml:2", "rate_limit.burts", "'burst'"),
        ('[rate_limit]\nburst = "7"\n', "harden.toml:2", "rate_limit.burst", "string of 1"),
        ("[rate_limit]\nburst = true\n", "harden.toml:2", "rate_limit.burst", "boolean"),
        ("[rate_limit]\nburst = 7.5\n", "harden.toml:2", "rate_limit.burst", "whole number"),
        ("[rate_limit]\nburst = 0\n", "harden.toml:2", "rate_limit.burst", ">= 1"),
        ("rate_limit = 5\n", "harden.toml:1", "rate_limit", "a table"),
        ('mode = "off"\n', "harden.toml:1", "mode", "'enforce', 'observe'"),
        ('disabled = ["retri"]\n', "harden.toml:1", "disabled[0]", "did you mean 'retry'"),
        ('disabled = "retry"\n', "harden.toml:1", "disabled", "must be a list"),
        ('disabled = ["freeze"]\n', "harden.toml:1", "disabled", "can not be disabled"),
        ("version = 2\n", "harden.toml:1", "version", "newer"),
        ("[breaker]\nis_failure = 1\n", "harden.toml:2", "breaker.is_failure", "not a known key"),
        (
            '[[policy.rules]]\nid = "a"\neffect = "alow"\n',
            "harden.toml:3",
            "policy.rules[0].effect",
            "'allow', 'deny'",
        ),
        ('[[policy.rules]]\nid = "a"\n', "harden.toml:1", "policy.rules[0].effect", "missing"),
        ("[tools.x]\ndeadline_s = -1\n", "harden.toml:2", "tools.x.deadline_s", "> 0"),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(file, text, place, path, says):
    with pytest.raises(ConfigError) as caught:
        load(file(text))

    assert caught.value.path == path
    assert caught.value.source == place
    assert says in str(caught.value)


def test_a_wrong_value_is_never_quoted(file):
    with pytest.raises(ConfigError) as caught:
        load(file('[rate_limit]\nburst = "hunter2-is-the-password"\n'))
    assert "hunter2" not in str(caught.value)


def test_all_mistakes_are_told_at_once(file):
    with pytest.raises(ConfigError) as caught:
        load(file('mode = "off"\nburts = 1\n[audit]\nx = 1\n'))
    for part in ("mode", "burts", "audit.x", "harden.toml:4"):
        assert part in str(caught.value)


def test_mistakes_in_the_environment_name_the_variable():
    name = f"{ENVIRONMENT_PREFIX}RATE_LIMIT__BURST"
    with pytest.raises(ConfigError, match="environment") as caught:
        load(environ={name: "many"})
    assert caught.value.source == f"environment {name}"
    with pytest.raises(ConfigError, match="name the setting"):
        load(environ={ENVIRONMENT_PREFIX: "1"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"mode = \n", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a = " + b"[" * 20_000, "TOML|deep"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, says):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        load(path)
    assert "bad.toml" in str(caught.value)


def test_missing_and_huge_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="can not be read: No such file"):
        load(tmp_path / "none.toml")
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as stream:
        stream.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load(huge)


def test_stage_names_and_their_type_agree():
    assert StageName.__args__ == STAGES


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.sampled_from(
        ["rate_limit", "policy", "tools", "roles", "audit", "authentication", "mode", "disabled"]
    ),
)
def test_whatever_is_in_a_section_the_answer_is_a_config_or_a_config_error(value, section):
    try:
        loaded = load(settings={section: value})
    except ConfigError as error:
        assert error.path.startswith(section)
    else:
        assert isinstance(loaded.config, HardenConfig)
