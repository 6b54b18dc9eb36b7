"""Limits on a child process: they hold from its first instruction, or it does not start."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import mcp
import pytest

from localmcp_harden.core.errors import UpstreamError
from localmcp_harden.integrations.upstream import limits as limits_module
from localmcp_harden.integrations.upstream.child import (
    UpstreamConfig,
    start_child,
    stop_child,
    wait_for_exit,
)
from localmcp_harden.integrations.upstream.limits import ChildLimits, limited_command
from localmcp_harden.integrations.upstream.stdio_upstream import StdioUpstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MIB = 1024 * 1024
REPORT = """
import json, os, resource, signal
names = ("AS", "CPU", "NOFILE", "NPROC", "FSIZE", "CORE")
print(json.dumps({
    **{name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names},
    "nice": os.nice(0),
    "ignored": int(next(line for line in open("/proc/self/status")
                        if line.startswith("SigIgn")).split()[1], 16),
    "environ": sorted(os.environ),
}))
"""


async def run(upstreams, code, limits=None, **settings):
    """Return the exit code, the output and the last words of a child."""
    config = UpstreamConfig(
        command=sys.executable, args=("-c", code, upstreams.token), limits=limits, **settings
    )
    with anyio.fail_after(30):
        process = await start_child(config)
        try:
            texts = {}

            async def read(name):
                texts[name] = b"".join([chunk async for chunk in getattr(process, name)]).decode()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, "stdout")
                tasks.start_soon(read, "stderr")
            await wait_for_exit(process, 20)
        finally:
            with anyio.CancelScope(shield=True):
                await stop_child(process, 0.0)
    return process.returncode, texts["stdout"], texts["stderr"]


async def test_a_server_under_limits_is_spoken_to_as_without(upstreams):
    limits = ChildLimits(memory_bytes=1024 * MIB, open_files=64, cpu_s=60, file_bytes=0, nice=5)
    with anyio.fail_after(20):
        async with mcp.Client(StdioUpstream(upstreams.server(limits=limits))) as client:
            result = await client.call_tool("echo", {"a": 1})
            (process,) = upstreams.running()
            assert os.getsid(process) == process
            assert os.getpriority(os.PRIO_PROCESS, process) == os.nice(0) + 5
    assert result.structured_content["arguments"] == {"a": 1}


async def test_every_limit_is_in_force_when_the_command_begins(upstreams):
    limits = ChildLimits(memory_bytes=512 * MIB, cpu_s=7, open_files=32, file_bytes=4_096, nice=3)
    code, out, err = await run(upstreams, REPORT, limits)
    seen = json.loads(out)

    assert code == 0, err
    assert seen["AS"] == [512 * MIB] * 2
    assert seen["CPU"] == [7, 8]
    assert seen["NOFILE"] == [32, 32]
    assert seen["FSIZE"] == [4_096] * 2
    assert seen["CORE"] == [0, 0]
    assert seen["NPROC"] == list(resource.getrlimit(resource.RLIMIT_NPROC))
    assert seen["nice"] == os.nice(0) + 3


async def test_what_is_not_limited_stays_as_it_is(upstreams):
    _, plain, _ = await run(upstreams, REPORT)
    _, limited, _ = await run(upstreams, REPORT, ChildLimits(core_dumps=True))
    assert json.loads(limited) == json.loads(plain)


async def test_the_way_there_leaves_no_mark_on_the_environment(upstreams, monkeypatch):
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_CTYPE", raising=False)
    monkeypatch.setenv("LANG", "C")
    # What the interpreter of the child itself adds is there without limits, too.
    script = "env"
    for limits in (None, ChildLimits()):
        config = UpstreamConfig(command="sh", args=("-c", script), limits=limits)
        process = await start_child(config)
        text = b"".join([chunk async for chunk in process.stdout]).decode()
        await stop_child(process, 1.0)
        assert "LC_CTYPE" not in text


async def test_signals_are_as_the_command_expects_them(upstreams):
    seen = []
    for limits in (None, ChildLimits()):
        # No Python, which ignores some by itself.
        config = UpstreamConfig(command="grep", args=("SigIgn", "/proc/self/status"), limits=limits)
        process = await start_child(config)
        seen.append(b"".join([chunk async for chunk in process.stdout]))
        await stop_child(process, 1.0)
    assert seen[0] == seen[1] != b""


async def test_memory_really_ends(upstreams):
    code, out, err = await run(
        upstreams,
        "x = bytearray(50 * 2**20); print('some', flush=True); x = bytearray(10**9); print('all')",
        ChildLimits(memory_bytes=256 * MIB),
    )
    assert code == 1
    assert out == "some\n"
    assert "MemoryError" in err


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # a second each; no loop has a part
async def test_processor_time_really_ends(upstreams):
    code, _, _ = await run(upstreams, "while True: pass", ChildLimits(cpu_s=1))
    assert code == -signal.SIGXCPU


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # a second each; no loop has a part
async def test_processor_time_ends_for_one_that_does_not_listen(upstreams):
    endless = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    code, _, _ = await run(upstreams, endless, ChildLimits(cpu_s=1))
    assert code == -signal.SIGKILL


async def test_open_files_really_end(upstreams):
    opens = "x = [open('/dev/null') for _ in range(100)]"
    code, _, err = await run(upstreams, opens, ChildLimits(open_files=32))
    assert code == 1
    assert "Too many open files" in err


async def test_the_size_of_a_file_really_ends(upstreams, tmp_path):
    file = tmp_path / "file"
    writes = f"open({str(file)!r}, 'wb', buffering=0).write(b'x' * 10_000)"
    code, _, _ = await run(upstreams, writes + "\n" + writes, ChildLimits(file_bytes=4_096))
    # Python ignores SIGXFSZ by itself, and then sees an error; a write is cut short first.
    assert code in {0, 1, -signal.SIGXFSZ}
    assert file.stat().st_size == 4_096


async def test_limits_hold_for_what_the_child_starts(upstreams):
    starts = (
        "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', "
        "'import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))'], text=True))"
    )
    _, out, _ = await run(upstreams, starts, ChildLimits(open_files=40))
    assert out.strip() == "(40, 40)"


@pytest.mark.skipif(os.geteuid() == 0, reason="the kernel exempts root")
async def test_processes_really_end(upstreams):
    forks = "import os\nfor _ in range(100_000): os.fork() or os._exit(0)"
    code, _, err = await run(upstreams, forks, ChildLimits(processes=1))
    assert code == 1
    assert "Resource temporarily unavailable" in err


async def test_processes_of_root_can_not_be_limited_and_that_is_said(upstreams, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UpstreamError, match="does not limit the processes of root"):
        await run(upstreams, "", ChildLimits(processes=10))


async def test_a_platform_without_limits_starts_nothing(upstreams, monkeypatch):
    monkeypatch.setattr(limits_module, "find_spec", lambda name: None)
    with pytest.raises(UpstreamError, match="need a POSIX system"):
        await run(upstreams, "", ChildLimits())


async def test_a_limit_that_the_platform_does_not_have_starts_nothing(upstreams, monkeypatch):
    monkeypatch.delattr(resource, "RLIMIT_AS")
    with pytest.raises(UpstreamError, match="no RLIMIT_AS"):
        await run(upstreams, "", ChildLimits(memory_bytes=256 * MIB))
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UpstreamError, match="'end_with_parent' needs Linux"):
        await run(upstreams, "", ChildLimits(end_with_parent=True))


@pytest.mark.parametrize("limits", [None, ChildLimits()])
async def test_a_command_that_can_not_be_run_is_named_as_without_limits(
    upstreams, tmp_path, limits
):
    program = tmp_path / "program"
    program.write_text("nothing")
    for command, settings, said in (
        ("no-such-command-here", {}, "there is no such command"),
        ("/no/such/command", {}, "there is no such command"),
        (str(program), {}, "it is not executable"),
        ("./program", {"cwd": tmp_path}, "it is not executable"),
        (sys.executable, {"cwd": tmp_path / "none"}, "its working folder does not exist"),
    ):
        config = UpstreamConfig(command=command, limits=limits, **settings)
        with pytest.raises(UpstreamError, match=said):
            await start_child(config)


async def test_a_command_is_found_beside_its_working_folder_and_on_its_own_path(
    upstreams, tmp_path
):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho $0\n")
    program.chmod(0o700)
    for command, settings in (
        ("./program", {"cwd": tmp_path}),
        ("program", {"env": {"PATH": f"{tmp_path}:/usr/bin:/bin"}}),
    ):
        config = UpstreamConfig(command=command, limits=ChildLimits(), **settings)
        process = await start_child(config)
        text = b"".join([chunk async for chunk in process.stdout]).decode()
        await stop_child(process, 1.0)
        assert text.strip().endswith("/program")


async def test_a_program_that_no_system_can_run_says_so_in_its_last_words(upstreams, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o700)
    config = UpstreamConfig(command=str(program), limits=ChildLimits())
    with anyio.fail_after(20), pytest.raises(UpstreamError, match="could not be run"):
        async with mcp.Client(StdioUpstream(config)):
            pytest.fail("it was greeted")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it")
async def test_a_child_ends_with_a_parent_that_is_killed(upstreams):
    """A parent of its own starts the child and is killed; nobody else could end it."""
    child = upstreams.start("stubborn")
    parent = (
        "import os, subprocess, sys\n"
        "from localmcp_harden.integrations.upstream.limits import ChildLimits, limited_command\n"
        "line = limited_command(sys.executable, tuple(sys.argv[1:]),"
        " ChildLimits(end_with_parent=sys.stdin.readline() == 'end\\n'), os.environ)\n"
        "child = subprocess.Popen(line, start_new_session=True, stdin=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    for order, survives in ((b"stay\n", True), (b"end\n", False)):
        process = subprocess.Popen(  # noqa: ASYNC220 - it starts and is killed
            [sys.executable, "-c", parent, *child.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdin.write(order)
        process.stdin.close()
        number = int(process.stdout.readline())
        with anyio.fail_after(20):
            # Not before it has become the stubborn one.
            while b"start.py" not in _command(number) or b"limits_shim" in _command(number):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            if survives:
                assert number in upstreams.running()
                os.kill(number, signal.SIGKILL)
            while number in upstreams.running():  # noqa: ASYNC110
                await anyio.sleep(0.01)


def _command(number):
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


def test_secrets_in_arguments_stay_arguments():
    line = limited_command("sh", ("--key=s3cret",), ChildLimits(), os.environ)
    assert line[-2:] == ["sh", "--key=s3cret"]
    assert "s3cret" not in "".join(line[:-1])


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"memory_bytes": 1}, "memory_bytes"),
        ({"memory_bytes": 1e9}, "memory_bytes"),
        ({"cpu_s": 0}, "cpu_s"),
        ({"open_files": 7}, "open_files"),
        ({"processes": 0}, "processes"),
        ({"file_bytes": -1}, "file_bytes"),
        ({"nice": 20}, "nice"),
        ({"nice": -1}, "nice"),
        ({"end_with_parent": 1}, "end_with_parent"),
        ({"core_dumps": None}, "core_dumps"),
    ],
)
def test_limits_out_of_range_are_refused(settings, field):
    with pytest.raises((ValueError, TypeError), match=field):
        ChildLimits(**settings)
