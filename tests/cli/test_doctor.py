import json
import os
import sys

import pytest

from localmcp_harden.cli.checks import installed, machine
from localmcp_harden.cli.checks.finding import Level
from localmcp_harden.cli.checks.settings import check_address, check_settings, is_loopback
from localmcp_harden.compose.loading import load_config
from localmcp_harden.core.errors import StoreError
from localmcp_harden.security.access.tokens import hash_token
from localmcp_harden.security.audit.log import AuditConfig

RULE = {"id": "all", "effect": "allow", "tools": ["search"]}
ANYWHERE = "0.0.0.0"  # noqa: S104 - judged, never listened on
SOUND = {"policy": {"rules": [RULE]}, "audit": {"before_acting": "writes"}}


def settings(**more):
    return load_config(environ={}, settings={**SOUND, **more})


def found(findings):
    return {finding.id: finding for finding in findings}


def document(result):
    return json.loads(result.stdout)


def test_a_sound_machine_passes(invoke, tmp_path):
    result = invoke("doctor")

    assert result.exit_code == 0
    assert "0 failures" in result.stdout
    assert "audit.durability" in result.stdout
    assert not (tmp_path / "state").exists()


def test_json_has_stable_keys(invoke):
    facts = document(invoke("doctor", "--json"))

    assert set(facts) == {"ok", "versions", "findings"}
    assert facts["ok"] is True
    assert facts["versions"]["mcp"].startswith("2.")
    assert facts["versions"]["sqlite"].startswith("3.")
    for finding in facts["findings"]:
        assert set(finding) == {"id", "level", "sentence", "remedy"}
        assert finding["level"] in {"ok", "warn", "fail"}
        assert bool(finding["remedy"]) == (finding["level"] != "ok")


def test_every_finding_has_an_id_of_its_own(invoke):
    ids = [finding["id"] for finding in document(invoke("doctor", "--json"))["findings"]]

    assert len(ids) == len(set(ids))


def test_a_wrong_configuration_fails_and_the_rest_is_still_examined(invoke, tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text("[rate_limit]\nburst = 0\n")
    file.chmod(0o600)
    result = invoke("doctor", "--config", file, "--json")
    findings = {finding["id"]: finding for finding in document(result)["findings"]}

    assert result.exit_code == 1
    assert document(result)["ok"] is False
    assert findings["config.valid"]["level"] == "fail"
    assert "harden.toml:2: rate_limit.burst" in findings["config.valid"]["sentence"]
    assert findings["audit.durability"]["level"] == "ok"


def test_a_failure_reaches_the_shell(command, tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text("version = 1\n")
    file.chmod(0o666)
    done = command("doctor", "--config", file)

    assert done.returncode == 1
    assert "fail  config.permissions" in done.stdout
    assert f"fix: chmod go-w {file}" in done.stdout


def test_nothing_is_said_against_sound_settings():
    levels = {finding.level for finding in check_settings(settings())}

    assert levels == {Level.OK}


@pytest.mark.parametrize(
    ("more", "finding"),
    [
        ({"mode": "observe"}, "config.mode"),
        ({"policy": {}}, "config.rules"),
        ({"policy": {"rules": [{"id": "a", "effect": "deny"}]}}, "config.rules"),
        ({"policy": {"rules": [{"id": "a", "effect": "allow"}]}}, "config.open_rule"),
        ({"authentication": {"anonymous_http": True}}, "config.anonymous_http"),
        ({"audit": {}}, "config.audit_intent"),
        (
            {
                "authentication": {
                    "tokens": [{"sha256": hash_token("t"), "client": "c", "expires_at": 5.0}]
                }
            },
            "config.expired_tokens",
        ),
    ],
)
def test_a_setting_that_weakens_is_pointed_out(more, finding):
    one = found(check_settings(settings(**more)))[finding]

    assert one.level is Level.WARN
    assert one.remedy


@pytest.mark.parametrize(
    "stage",
    [
        "correlate",
        "authenticate",
        "rate_limit",
        "bounds",
        "schema",
        "canonicalise",
        "policy",
        "audit",
        "deadline",
        "retry",
        "breaker",
    ],
)
def test_a_disabled_stage_is_pointed_out_with_what_is_lost(stage):
    one = found(check_settings(settings(disabled=[stage])))[f"config.disabled.{stage}"]

    assert one.level is Level.WARN
    assert "a guard is missing" not in one.sentence


@pytest.mark.parametrize(
    ("host", "more", "levels"),
    [
        ("127.0.0.1", {}, {"http.address": Level.OK}),
        (ANYWHERE, {}, {"http.plaintext": Level.WARN, "http.tokens": Level.WARN}),
        (
            ANYWHERE,
            {"authentication": {"anonymous_http": True}},
            {"http.plaintext": Level.WARN, "http.anonymous": Level.FAIL},
        ),
        (
            ANYWHERE,
            {"disabled": ["authenticate"]},
            {"http.plaintext": Level.WARN, "http.anonymous": Level.FAIL},
        ),
        (
            "192.0.2.7",
            {"authentication": {"tokens": [{"sha256": hash_token("t"), "client": "c"}]}},
            {"http.plaintext": Level.WARN},
        ),
    ],
)
def test_an_address_is_judged(host, more, levels):
    findings = check_address(settings(**more).config, host, 8000)

    assert {finding.id: finding.level for finding in findings} == levels


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        (ANYWHERE, False),
        ("::", False),
        ("localhost.example", False),
        ("192.0.2.7", False),
    ],
)
def test_what_is_loopback(host, expected):
    assert is_loopback(host) is expected


MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:5 / /home rw shared:1 - nfs4 server:/home rw
3 1 0:6 / /home/me/my\\040disk rw - ext4 /dev/sdb rw
4 1 0:7 / /tmp rw - tmpfs tmpfs rw
5 4 0:8 / /tmp rw - xfs /dev/sdc rw
nonsense
6 1 0:9 / /short
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib", "ext4"),
        ("/home/me/state", "nfs4"),
        ("/home/me/my disk/state", "ext4"),
        ("/homes", "ext4"),
        ("/tmp/x", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path, expected):
    assert machine.file_system_of(machine.Path(path), MOUNTS) == expected


def test_a_file_system_may_be_unknown():
    assert machine.file_system_of(machine.Path("/x"), "") is None


@pytest.mark.parametrize(
    ("kind", "level"),
    [("nfs4", "fail"), ("tmpfs", "warn"), (None, "warn"), ("ext4", "ok")],
)
def test_a_share_fails_and_memory_warns(monkeypatch, tmp_path, kind, level):
    monkeypatch.setattr(machine, "file_system_of", lambda _: kind)
    findings = found(machine.check_machine(tmp_path, AuditConfig()))

    assert findings["audit.file_system"].level.value == level


@pytest.mark.parametrize(("mode", "level"), [(0o700, "ok"), (0o710, "fail"), (0o701, "fail")])
def test_an_open_folder_fails(tmp_path, mode, level):
    folder = tmp_path / "audit"
    folder.mkdir()
    folder.chmod(mode)
    findings = found(machine._folder(folder))

    assert findings["audit.permissions"].level == level


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, "ok"), (0o644, "ok"), (0o620, "fail"), (0o602, "fail")]
)
def test_a_configuration_that_others_can_change_fails(tmp_path, mode, level):
    file = tmp_path / "harden.toml"
    file.write_text("version = 1\n")
    file.chmod(mode)
    findings = found(check_settings(load_config(file, environ={})))

    assert findings["config.permissions"].level == level


def test_the_address_is_judged_with_the_rest(invoke):
    facts = document(invoke("doctor", "--http", f"{ANYWHERE}:80", "--json"))

    assert "http.plaintext" in {finding["id"] for finding in facts["findings"]}


def test_a_trial_leaves_nothing_behind(tmp_path):
    findings = found(machine.check_machine(tmp_path / "not" / "yet", AuditConfig()))

    assert findings["audit.durability"].level is Level.OK
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_is_a_failure(monkeypatch, tmp_path):
    async def fail(_):
        raise StoreError("no room")

    monkeypatch.setattr(machine, "_append", fail)
    finding = found(machine.check_machine(tmp_path, AuditConfig()))["audit.durability"]

    assert finding.level is Level.FAIL
    assert "no room" in finding.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_does_not_verify_is_a_failure(monkeypatch, tmp_path):
    class Bad:
        ok = False

    monkeypatch.setattr(machine, "verify_folder", lambda _: Bad)

    assert found(machine.check_machine(tmp_path, AuditConfig()))["audit.durability"].level == "fail"


def test_a_folder_that_can_not_be_written_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert found(machine.check_machine(tmp_path, AuditConfig()))["audit.folder"].level == "fail"


@pytest.mark.parametrize(("user", "level"), [(0, "warn"), (1000, "ok")])
def test_running_as_root_is_pointed_out(monkeypatch, tmp_path, user, level):
    monkeypatch.setattr(os, "geteuid", lambda: user)

    assert found(machine.check_machine(tmp_path, AuditConfig()))["process.user"].level == level


@pytest.mark.parametrize(
    ("python", "enabled", "level"),
    [((3, 13, 0), True, "ok"), ((3, 14, 0), True, "warn"), ((3, 14, 0), False, "ok")],
)
def test_remote_debugging_is_pointed_out(monkeypatch, tmp_path, python, enabled, level):
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setattr(sys, "is_remote_debug_enabled", lambda: enabled, raising=False)

    findings = [machine._remote_debugging()]
    assert findings[0].level == level


@pytest.mark.parametrize(
    ("sqlite", "level"),
    [("3.51.2", "fail"), ("3.51.3", "ok"), ("3.52.0", "fail"), ("3.53.0", "ok"), ("3.60", "ok")],
)
def test_a_sqlite_that_loses_transactions_fails(monkeypatch, sqlite, level):
    monkeypatch.setattr(installed, "_sqlite_version", lambda: sqlite)

    assert found(installed.check_installed())["installed.sqlite"].level == level


@pytest.mark.parametrize(
    ("module", "finding", "level"),
    [("re2", "installed.google-re2", "fail"), ("uvicorn", "installed.uvicorn", "warn")],
)
def test_what_is_missing_is_named_with_the_install_line(monkeypatch, module, finding, level):
    monkeypatch.setitem(sys.modules, module, None)
    one = found(installed.check_installed())[finding]

    assert one.level == level
    assert one.remedy.startswith("pip install ")


@pytest.mark.parametrize(
    ("python", "level"), [((3, 10, 1), "fail"), ((3, 12, 1), "ok"), ((3, 99, 0), "warn")]
)
def test_the_python_is_judged(monkeypatch, python, level):
    monkeypatch.setattr(sys, "version_info", python)

    assert installed._python().level == level
