"""The configuration tree: layers, sources, and errors that name the place."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.compose.chain import Mode
from localmcp_harden.compose.config import HardenConfig, ToolConfig
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


@pytest.mark.parametrize(
    "content",
    [
        "rate_limit.burst = " + "9" * 5_000,
        "rate_limit.burst = 0x" + "f" * 5_000,
        ".".join(["a"] * 3_000) + " = 1",
        "[" + ".".join(["a"] * 3_000) + "]",
        "version = 0",
        "version = -3",
    ],
)
def test_monstrous_values_are_config_errors(file, content):
    with pytest.raises(ConfigError):
        load(file(content))


@pytest.mark.parametrize("name", ["RATE_LIMIT__BURST", "__".join(["A"] * 3_000)])
def test_monstrous_variables_are_config_errors(name):
    with pytest.raises(ConfigError):
        load(environ={f"{ENVIRONMENT_PREFIX}{name}": "9" * 5_000})


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "off"},
        {"disabled": "policy"},
        {"disabled": ("polcy",)},
        {"trust_annotations": "false"},
        {"project": 1},
    ],
)
def test_code_can_not_misspell_a_setting_either(wrong):
    with pytest.raises((ValueError, TypeError)):
        HardenConfig(**wrong)


def test_a_mode_may_be_given_as_text_in_code():
    assert HardenConfig(mode="observe").mode is Mode.OBSERVE


@pytest.mark.parametrize("wrong", [{"paths": "path"}, {"uris": ["a"]}, {"read_only": "no"}])
def test_code_can_not_misspell_a_tools_setting(wrong):
    with pytest.raises((ValueError, TypeError)):
        ToolConfig(**wrong)


def test_what_was_read_can_be_read_again(file):
    path = file("[rate_limit]\nburst = 1\n")
    environ = {f"{ENVIRONMENT_PREFIX}PROJECT": "x"}
    loaded = load(path, environ, settings={"mode": "observe"})
    path.write_text("[rate_limit]\nburst = 2\nrate_per_s = 3\n")

    again = loaded.load_again()

    assert again.config.rate_limit.burst == 2
    assert again.config.mode is Mode.OBSERVE
    assert again.config.project == "x"


def test_missing_and_huge_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="can not be read: No such file"):
        load(tmp_path / "none.toml")
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as stream:
        stream.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load(huge)


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
