import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from localmcp_harden.cli import app as module, describe as describe_command
from localmcp_harden.cli.app import run
from localmcp_harden.core.errors import StoreError


def test_the_version_is_that_of_the_package(invoke):
    result = invoke("--version")

    assert result.exit_code == 0
    assert result.stdout == f"localmcp-harden {version('localmcp-harden')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("demo", "--help"),
        ("wrap", "--help"),
        ("describe", "--help"),
        ("doctor", "--help"),
        ("audit", "--help"),
        ("audit", "verify", "--help"),
        ("audit", "head", "--help"),
    ],
)
def test_help_names_the_command(invoke, arguments):
    result = invoke(*arguments)

    assert result.exit_code == (0 if arguments else 2)
    assert "Usage: " in result.output
    assert "placeholder" not in result.output.lower()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("audit",),
        ("describe", "--nope"),
        ("wrap",),
        ("wrap", "--http", "nowhere", "--", "true"),
        ("doctor", "--http", "127.0.0.1:70000"),
        ("describe", "--config", "no-such-file.toml"),
        ("audit", "verify", "no-such-folder"),
        ("audit", "verify", ".", "--expect", "nonsense"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_two(invoke, arguments):
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("localmcp-harden: ")
    assert result.stderr.count("\n") == 1


def test_a_usage_error_says_where_help_is(invoke):
    assert "See `localmcp-harden describe --help`." in invoke("describe", "--nope").stderr


def raising(error):
    def load_config(*_args, **_settings):
        raise error

    return load_config


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (StoreError("the disk is full"), 3, "store_error: the disk is full"),
        (ExceptionGroup("", [StoreError("inside")]), 3, "store_error: inside"),
        (PermissionError(13, "Permission denied", "secret.toml"), 3, "Permission denied"),
    ],
)
def test_an_error_of_ours_is_told_without_a_traceback(invoke, monkeypatch, error, code, told):
    monkeypatch.setattr(describe_command, "load_config", raising(error))
    result = invoke("describe")

    assert result.exit_code == code
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_fault_of_ours_has_a_traceback_and_its_own_code(invoke, monkeypatch):
    monkeypatch.setattr(describe_command, "load_config", raising(ZeroDivisionError("oh")))
    result = invoke("describe")

    assert result.exit_code == 70
    assert "ZeroDivisionError: oh" in result.stderr
    assert "report the traceback" in result.stderr


def test_ctrl_c_ends_with_its_code(invoke, monkeypatch):
    monkeypatch.setattr(describe_command, "load_config", raising(KeyboardInterrupt()))

    assert invoke("describe").exit_code == 130


def test_run_returns_the_code(capsys):
    assert run(["--version"]) == 0
    assert run(["nope"]) == 2
    assert "No such command" in capsys.readouterr().err
    assert module.app.info.name == "localmcp-harden"


def test_the_module_runs_as_a_program(command):
    done = command("describe", "--json")

    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["mode"] == "enforce"


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path):
    for name in ("typer", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError\n")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.argv = ["localmcp-harden", "describe"]
from localmcp_harden.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pip install 'localmcp-harden[cli]'" in done.stderr


def test_importing_the_command_line_loads_no_third_party_until_it_runs():
    program = """
import sys
import localmcp_harden.cli
print(sorted({"typer", "rich", "mcp", "anyio", "uvicorn"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "[]\n"


def test_the_light_commands_do_not_load_the_sdk():
    program = """
import sys
from localmcp_harden.cli.app import run
run(["describe"])
sys.stderr.write(str("mcp" in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=50
    )
    assert done.stderr == "False"
