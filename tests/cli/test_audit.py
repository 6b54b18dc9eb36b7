import json
import sqlite3
from contextlib import closing

import anyio
import pytest

from localmcp_harden.cli.audit import format_head, parse_head
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.protocols.security import AuditEntry, AuditHead
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "log"

    async def write():
        # Both at once, as two processes would be: one after the other shares a file.
        async with (
            SqliteAuditLog(AuditConfig(folder=where)) as first,
            SqliteAuditLog(AuditConfig(folder=where)) as second,
        ):
            for log in (first, second):
                for number in range(5):
                    await log.append(AuditEntry(kind="outcome", call_id=str(number)))

    anyio.run(write)
    return where


def change(folder, statement):
    file = min(folder.glob("*.db"))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(statement)


def heads(invoke, folder):
    return invoke("audit", "head", folder).stdout.split()


def test_a_log_verifies_with_a_line_for_each_writer(invoke, folder):
    result = invoke("audit", "verify", folder)

    assert result.exit_code == 0
    assert result.stdout.count("5 entries, head ") == 2
    assert result.stdout.endswith("2 writers, 10 entries: verifies\n")
    assert result.stderr == ""


def test_json_has_stable_keys(invoke, folder):
    document = json.loads(invoke("audit", "verify", folder, "--json").stdout)

    assert document["ok"] is True
    assert document["entries"] == 10
    assert set(document) == {"ok", "folder", "entries", "writers"}
    for writer in document["writers"]:
        assert set(writer) == {"writer", "entries", "head", "problem"}
        assert parse_head(writer["head"]).sequence == 5


def test_an_edited_entry_is_named(invoke, folder):
    change(folder, "UPDATE entries SET body = CAST(body || ' ' AS BLOB) WHERE sequence = 3")
    result = invoke("audit", "verify", folder)

    assert result.exit_code == 1
    assert "entry 3 is edited" in result.stderr
    assert result.stderr.startswith("localmcp-harden: audit_verification: ")
    assert result.stderr.count("\n") == 1
    assert "DOES NOT VERIFY" in result.stdout


def test_json_names_the_bad_entry_and_exits_with_one(invoke, folder):
    change(folder, "DELETE FROM entries WHERE sequence = 2")
    result = invoke("audit", "verify", folder, "--json")
    document = json.loads(result.stdout)

    assert result.exit_code == 1
    assert document["ok"] is False
    problems = [each["problem"] for each in document["writers"] if each["problem"]]
    assert [(each["sequence"], each["kind"]) for each in problems] == [(2, "missing")]


def test_a_cut_tail_shows_only_against_a_head_kept_elsewhere(invoke, folder):
    kept = heads(invoke, folder)
    change(folder, "DELETE FROM entries WHERE sequence > 3")

    assert invoke("audit", "verify", folder).exit_code == 0
    result = invoke("audit", "verify", folder, "--expect", kept[0], "--expect", kept[1])
    assert result.exit_code == 1
    assert "entry 4 is truncated" in result.stderr


def test_heads_that_were_kept_are_found_again(invoke, folder):
    kept = heads(invoke, folder)

    assert len(kept) == 2
    result = invoke("audit", "verify", folder, "--expect", kept[0], "--expect", kept[1])
    assert result.exit_code == 0


def test_heads_as_json(invoke, folder):
    document = json.loads(invoke("audit", "head", folder, "--json").stdout)

    assert document["heads"] == heads(invoke, folder)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_head_of_a_log_that_does_not_verify(invoke, folder, more):
    change(folder, "DELETE FROM entries WHERE sequence = 1")
    result = invoke("audit", "head", folder, *more)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "does not verify" in result.stderr


def test_a_folder_without_audit_files_is_no_proof(invoke, tmp_path):
    (tmp_path / "empty").mkdir()
    result = invoke("audit", "verify", tmp_path / "empty")

    assert result.exit_code == 1
    assert "there is no audit file in it" in result.stderr


def test_the_folder_comes_from_the_configuration(invoke, folder, tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text(f"[audit]\nfolder = {json.dumps(str(folder))}\n")
    result = invoke("audit", "verify", "--config", file)

    assert result.exit_code == 0
    assert "10 entries: verifies" in result.stdout


def test_without_a_word_it_is_the_state_folder(invoke, folder, tmp_path):
    state = tmp_path / "state" / "localmcp-harden"
    state.mkdir(parents=True)
    folder.rename(state / "audit")

    assert "10 entries: verifies" in invoke("audit", "verify").stdout


def test_the_exit_code_reaches_the_shell(command, folder):
    assert command("audit", "verify", folder).returncode == 0
    change(folder, "DELETE FROM entries WHERE sequence = 2")
    done = command("audit", "verify", folder)

    assert done.returncode == 1
    assert "entry 2 is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_head_survives_being_written_down():
    head = AuditHead(writer="20260101T000000Z-ab", sequence=12, hash="0f" * 32)

    assert parse_head(f" {format_head(head)}\n") == head


@pytest.mark.parametrize(
    "text",
    [
        "",
        "writer",
        "writer:1",
        f":1:{'0' * 64}",
        f"writer:x:{'0' * 64}",
        f"writer:-1:{'0' * 64}",
        f"writer:{'9' * 30}:{'0' * 64}",
        f"writer:1:{'0' * 63}",
        f"writer:1:{'G' * 64}",
        f"writer:1:{'0' * 64}:more",
    ],
)
def test_what_is_no_head_is_refused(text):
    with pytest.raises(ConfigError, match="WRITER:SEQUENCE:HASH"):
        parse_head(text)
