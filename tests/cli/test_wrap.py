import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from localmcp_harden.cli.upstreams import (
    LimitOptions,
    UrlOptions,
    make_child,
    make_environment,
    make_headers,
    make_remote,
    parse_size,
)
from localmcp_harden.cli.wrap import load_settings
from localmcp_harden.compose.chain import Mode
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.security.access.tokens import generate_token, hash_token
from localmcp_harden.security.audit.verify import read_entries, verify_folder

SERVER = (sys.executable, str(Path(__file__).with_name("small_server.py")))
CONFIG = """\
version = 1

[audit]
folder = {folder}

[[policy.rules]]
id = "allowed"
effect = "allow"
tools = ["where", "variable"]

[[authentication.tokens]]
sha256 = "{token}"
client = "tester"
"""

GREETING = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text(CONFIG.format(folder=json.dumps(str(tmp_path / "audit")), token="0" * 64))
    file.chmod(0o600)
    return file


def arguments(*more):
    return ["-m", "localmcp_harden", "wrap", *map(str, more), "--", *SERVER]


async def over_stdio(arguments, folder, act, **variables):
    """Let a client act on a wrapped server, and return what it wrote to standard error."""
    with (folder / "stderr").open("w+") as errors:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=arguments,
            cwd=folder,
            env={"XDG_STATE_HOME": str(folder / "state"), **variables},
        )
        with anyio.fail_after(40):
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                await act(client)
        errors.seek(0)
        return errors.read()


def text(result):
    return result.content[0].text


def test_what_is_allowed_passes_and_the_rest_does_not(config, tmp_path):
    async def act(client):
        listed = await client.list_tools()
        assert sorted(tool.name for tool in listed.tools) == ["variable", "where"]
        assert text(await client.call_tool("where", {})) == str(tmp_path)
        with pytest.raises(MCPError, match="policy_denied"):
            await client.call_tool("forbidden", {})

    anyio.run(over_stdio, arguments("--config", config), tmp_path, act)

    assert verify_folder(tmp_path / "audit").ok
    outcomes = [entry for entry in read_entries(tmp_path / "audit") if entry.kind == "outcome"]
    assert [entry.data["outcome"] for entry in outcomes] == ["ok", "refused"]


def test_the_server_gets_the_folder_and_the_variables_it_is_given(config, tmp_path):
    (tmp_path / "below").mkdir()

    async def act(client):
        async def variable(name):
            return text(await client.call_tool("variable", {"name": name}))

        assert text(await client.call_tool("where", {})) == str(tmp_path / "below")
        assert await variable("GIVEN") == "a=b"
        assert await variable("HANDED_ON") == "from outside"
        assert await variable("NOT_NAMED") == "(not set)"

    more = ("--cwd", tmp_path / "below", "--env", "GIVEN=a=b", "--env", "HANDED_ON")
    variables = {"HANDED_ON": "from outside", "NOT_NAMED": "a secret"}

    async def play():
        await over_stdio(arguments("-c", config, *more), tmp_path, act, **variables)

    anyio.run(play)


def test_observing_lets_everything_pass_and_says_so(config, tmp_path):
    async def act(client):
        assert text(await client.call_tool("forbidden", {})) == "reached"

    async def play():
        return await over_stdio(arguments("--config", config, "--observe"), tmp_path, act)

    said = anyio.run(play)

    assert "localmcp-harden: warn: observe mode" in said
    entries = [entry for entry in read_entries(tmp_path / "audit") if entry.kind == "outcome"]
    assert entries[-1].data["would_refuse"] == ["policy_denied"]


def test_standard_output_holds_nothing_but_messages(config, command):
    done = command(
        "wrap", "-c", config, "--observe", "--", *SERVER, stdin=json.dumps(GREETING) + "\n"
    )

    assert done.returncode == 0
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert [message["id"] for message in messages] == [1]
    assert messages[0]["result"]["serverInfo"]["name"] == "small"


@pytest.fixture
def waiting(tmp_path):
    """Run `wrap` for a client that says hello and waits."""

    def run(*arguments):
        hello = json.dumps(GREETING).encode() + b"\n"
        reader, writer = os.pipe()
        os.write(writer, hello)
        try:
            return subprocess.run(
                [sys.executable, "-m", "localmcp_harden", "wrap", *map(str, arguments)],
                cwd=tmp_path,
                env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
                stdin=reader,
                check=False,
                capture_output=True,
                text=True,
                timeout=50,
            )
        finally:
            os.close(reader)
            os.close(writer)

    return run


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (("--", "no-such-program-here"), "there is no such command"),
        (("--", *SERVER, "--die"), "nothing works today"),
        (("--url", "http://127.0.0.1:1/"), "no connection could be made"),
    ],
)
def test_a_server_that_does_not_start_is_named_and_four(config, waiting, server, told):
    done = waiting("--config", config, *server)

    assert done.returncode == 4
    # A client that has asked already is told why.
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["error"]["code"] for each in answers] in ([], [-32057])
    last = done.stderr.splitlines()[-1]
    assert last.startswith("localmcp-harden: upstream_unavailable: ")
    assert told in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--config", "none.toml"), "none.toml: can not be read"),
        (("--cwd", "nowhere"), "--cwd nowhere: is not a folder"),
        (("--env", "NOT_SET_ANYWHERE"), "--env NOT_SET_ANYWHERE: is not set here"),
        (("--env", "=x"), "--env: must be NAME=VALUE or NAME"),
        (("--http", "0.0.0.0:0"), "--allow-host"),
        (("--url", "https://example.org/"), "a command and --url are two servers"),
        (("--plain-http",), "are for --url"),
        (("--max-memory", "lots"), "--max-memory: must be a size"),
        (("--max-memory", "1K"), "'memory_bytes' must be >= 16777216"),
        (("--max-cpu", "0"), "'cpu_s' must be >= 1"),
        (("--nice", "-1"), "'nice' must be >= 0"),
    ],
)
def test_a_wrong_option_is_one_line_and_two(invoke, more, told):
    result = invoke("wrap", *more, "--", *SERVER)

    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "name the server: -- COMMAND, or --url"),
        (("--url", "http://example.org/s3cret"), "--url: must be https"),
        (("--url", "ftp://example.org/s3cret"), "--url: must be http://HOST/PATH"),
        (
            ("--url", "https://u:s3cret@example.org/"),  # pragma: allowlist secret
            "--url: must hold no credentials",
        ),
        (("--url", "https://example.org", "--env", "HOME"), "are for a command"),
        (("--url", "https://example.org", "--nice", "1"), "are for a command"),
        (("--url", "https://example.org", "--ca-file", "none.pem"), "is not a file"),
        (("--url", "https://example.org", "--header-env", "A"), "must be HEADER=VARIABLE"),
        (
            ("--url", "https://example.org", "--header-env", "A=s3cret-in-the-wrong-place"),
            "--header-env A: names a variable that is not set here",
        ),
        (("--url", "https://example.org", "--header-env", "Host=PATH"), "it is set here"),
    ],
)
def test_a_wrong_address_is_one_line_and_two(invoke, options, told):
    result = invoke("wrap", *options)

    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]
    assert "s3cret" not in result.stderr


def test_a_server_at_an_address_is_served_with_a_header_from_the_environment(config, tmp_path):
    """One wrapped server over HTTP is wrapped once more, over stdio."""
    token = generate_token()
    inner = tmp_path / "inner.toml"
    folder = json.dumps(str(tmp_path / "inner"))
    inner.write_text(CONFIG.format(folder=folder, token=hash_token(token)))
    inner.chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, *arguments("--config", inner, "--http", "127.0.0.1:0")],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stderr=subprocess.PIPE,
        text=True,
    )

    async def act(client):
        assert text(await client.call_tool("where", {})) == str(tmp_path)
        with pytest.raises(MCPError, match="policy_denied"):
            await client.call_tool("forbidden", {})

    try:
        line = ""
        while "listening on " not in line:
            line = process.stderr.readline()
            assert line, "it ended before it listened"
        address = line.split("listening on ")[1].strip()
        outer = ["-m", "localmcp_harden", "wrap", "--config", str(config), "--url", address]
        outer += ["--shared", "--header-env", "Authorization=THE_TOKEN"]

        async def play():
            return await over_stdio(outer, tmp_path, act, THE_TOKEN=f"Bearer {token}")

        said = anyio.run(play)
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert token not in said
    assert process.returncode == 0


def test_limits_reach_the_server(config, tmp_path):
    async def act(client):
        assert text(await client.call_tool("where", {})) == str(tmp_path)

    more = ("--max-open-files", "64", "--nice", "1", "--max-memory", "2G")
    anyio.run(over_stdio, arguments("--config", config, *more), tmp_path, act)

    def limits(**options):
        options = LimitOptions(**options)
        return make_child(["x"], env={}, cwd=None, options=options).limits

    assert limits() is None
    made = limits(max_memory="1G", max_cpu=5, max_open_files=9, max_processes=8, nice=2)
    assert (made.memory_bytes, made.cpu_s, made.open_files) == (1 << 30, 5, 9)
    assert (made.processes, made.nice, made.end_with_parent) == (8, 2, False)
    assert limits(end_with_parent=True).end_with_parent


def test_sizes_have_units():
    sizes = {"100": 100, "1k": 1_024, "512M": 512 << 20, "2GiB": 2 << 30, " 1 T".strip(): None}
    for given, expected in sizes.items():
        if expected is None:
            with pytest.raises(ConfigError, match="512M or 2G"):
                parse_size(given, "--x")
        else:
            assert parse_size(given, "--x") == expected


def test_headers_come_from_variables():
    environ = {"TOKEN": " Bearer abc\n"}
    options = UrlOptions(header_env=["Authorization=TOKEN"])

    assert make_headers(["Authorization=TOKEN"], environ) == {"Authorization": "Bearer abc"}
    assert make_remote("https://example.org/mcp", options, environ).headers == {
        "Authorization": "Bearer abc"
    }
    with pytest.raises(ConfigError, match="HEADER=VARIABLE"):
        make_headers(["=TOKEN"], environ)


def test_strangers_from_other_machines_are_not_let_in(invoke, tmp_path):
    file = tmp_path / "open.toml"
    file.write_text("[authentication]\nanonymous_http = true\n")
    result = invoke("wrap", "-c", file, "--http", "0.0.0.0:0", "--allow-host", "x:*", "--", *SERVER)

    assert result.exit_code == 2
    assert "anonymous callers are let in" in result.stderr


def test_over_http_it_says_where_and_ends_in_order(tmp_path):
    token = generate_token()
    file = tmp_path / "harden.toml"
    folder = json.dumps(str(tmp_path / "audit"))
    file.write_text(CONFIG.format(folder=folder, token=hash_token(token)))
    file.chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, *arguments("--config", file, "--http", "127.0.0.1:0")],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    async def call(address, headers):
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as web,
            Client(streamable_http_client(address, http_client=web)) as client,
        ):
            return text(await client.call_tool("where", {}))

    try:
        line = ""
        while "listening on " not in line:
            line = process.stderr.readline()
            assert line, "it ended before it listened"
        address = line.split("listening on ")[1].strip()
        assert address.startswith("http://127.0.0.1:")
        assert anyio.run(call, address, {"Authorization": f"Bearer {token}"}) == str(tmp_path)
        with pytest.raises(ExceptionGroup) as refused:
            anyio.run(call, address, {})
        assert refused.group_contains(MCPError, match="unauthenticated")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert out == ""
    assert verify_folder(tmp_path / "audit").ok


def test_variables_are_given_or_handed_on():
    environ = {"A": "1", "B": "2"}

    assert make_environment(["A", "C=", "D=x=y"], environ) == {"A": "1", "C": "", "D": "x=y"}
    with pytest.raises(ConfigError, match="is not set here"):
        make_environment(["E"], environ)
    with pytest.raises(ConfigError, match="NAME=VALUE or NAME"):
        make_environment(["=1"], environ)


def test_observing_wins_over_the_file(tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text('mode = "enforce"\n')

    assert load_settings(file, observe=True).config.mode is Mode.OBSERVE
    assert load_settings(file, observe=False).config.mode is Mode.ENFORCE
