import json

CONFIG = """\
version = 1
project = "shop"
disabled = ["retry"]

[rate_limit]
burst = 7

[[policy.rules]]
id = "all"
effect = "allow"
tools = ["search"]
"""


def write(folder):
    file = folder / "harden.toml"
    file.write_text(CONFIG)
    return file


def test_the_chain_is_printed_with_settings_and_sources(invoke, tmp_path):
    result = invoke("describe", "--config", write(tmp_path))

    assert result.exit_code == 0
    assert "project = shop  [harden.toml:2]" in result.stdout
    assert "rate_limit.burst = 7  [harden.toml:6]" in result.stdout
    assert "rate_limit.rate_per_s = 20.0  [default]" in result.stdout
    assert "disabled = retry  [harden.toml:3]" in result.stdout
    lines = result.stdout.splitlines()
    stages = [line.split()[1] for line in lines if line[:2].strip().isdigit()]
    assert stages.index("rate_limit") < stages.index("policy") < stages.index("breaker")
    assert "retry" not in stages


def test_the_environment_wins_and_is_named(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALMCP_HARDEN__RATE_LIMIT__BURST", "9")
    result = invoke("describe", "-c", write(tmp_path))

    assert "rate_limit.burst = 9  [environment LOCALMCP_HARDEN__RATE_LIMIT__BURST]" in result.stdout


def test_json_says_the_same(invoke, tmp_path):
    file = write(tmp_path)
    document = json.loads(invoke("describe", "--config", file, "--json").stdout)

    assert set(document) == {"file", "general", "mode", "version", "disabled", "stages"}
    assert document["file"] == str(file)
    assert document["mode"] == "enforce"
    assert document["disabled"] == ["retry"]
    general = {setting["path"]: setting for setting in document["general"]}
    assert general["project"] == {"path": "project", "value": "shop", "source": "harden.toml:2"}
    assert general["base_folder"]["value"] == "none"
    limit = next(stage for stage in document["stages"] if stage["name"] == "rate_limit")
    assert set(limit) == {"name", "kind", "implementation", "settings"}
    burst = next(each for each in limit["settings"] if each["path"] == "rate_limit.burst")
    assert burst == {"path": "rate_limit.burst", "value": "7", "source": "harden.toml:6"}


def test_describing_leaves_nothing_behind(invoke, tmp_path):
    write(tmp_path)
    invoke("describe", "--config", tmp_path / "harden.toml")

    assert [path.name for path in tmp_path.iterdir()] == ["harden.toml"]


def test_a_wrong_setting_is_named_with_its_place(invoke, tmp_path):
    file = write(tmp_path)
    file.write_text(CONFIG.replace("burst = 7", "burts = 7"))
    result = invoke("describe", "--config", file)

    assert result.exit_code == 2
    assert "config_error: harden.toml:6: rate_limit.burts: is not a known key" in result.stderr
    assert result.stderr.count("\n") == 1
