"""Upstream servers for these tests, and proof that nothing of them is left."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import anyio
import pytest

from localmcp_harden.integrations.proxy import UpstreamConfig

UPSTREAMS = Path(__file__).parent / "upstreams"


def _processes(is_wanted):
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and is_wanted(folder):
                found.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return found


def _status(folder):
    return (folder / "stat").read_text().rpartition(")")[2].split()


class Upstreams:
    """Makes configurations, and knows which of their processes are there."""

    def __init__(self, ready):
        self.token = f"test-{uuid.uuid4().hex}"
        self._ready = ready

    def server(self, era="both", **settings):
        settings = {"start_timeout_s": 20.0, "stop_grace_s": 5.0, **settings}
        args = (str(UPSTREAMS / "server.py"), era, self.token)
        return UpstreamConfig(command=sys.executable, args=args, **settings)

    def full(self, *words, **settings):
        """Return the server of the SDK, ready to be started at once."""
        settings = {"start_timeout_s": 20.0, "restart_delay_s": 0.05, **settings}
        # Without site: this one needs nothing that is installed.
        args = ("-I", "-S", str(UPSTREAMS / "ready.py"), self._ready, self.token, *words)
        return UpstreamConfig(command=sys.executable, args=args, **settings)

    def start(self, what, **settings):
        settings = {"stop_grace_s": 5.0, **settings}
        args = (str(UPSTREAMS / "start.py"), what, self.token)
        return UpstreamConfig(command=sys.executable, args=args, **settings)

    def running(self):
        """Return the processes that carry our token, zombies aside."""

        def is_ours(folder):
            command = (folder / "cmdline").read_bytes()
            return self.token.encode() in command and _status(folder)[0] != "Z"

        return _processes(is_ours)

    def kill(self):
        for process in self.running():
            os.kill(process, signal.SIGKILL)

    async def gone(self):
        """Wait until none runs; a killed process is there until its parent has noticed."""
        with anyio.fail_after(20):
            while self.running():  # noqa: ASYNC110 - there is no event across processes
                await anyio.sleep(0.01)


def _left():
    return {
        "children": len(_processes(lambda folder: int(_status(folder)[1]) == os.getpid())),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": _tasks(),
    }


def _tasks():
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # trio runs
        return len(anyio.get_running_tasks())
    # sse-starlette keeps one watcher a thread, for good.
    return len([each for each in tasks if "_shutdown_watcher" not in repr(each)])


@pytest.fixture(scope="session")
def ready():
    """A process that has imported the SDK once for all servers that need it."""
    # Short, since the name of a socket may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ready-") as folder:
        path = str(Path(folder) / "s")
        command = [sys.executable, str(UPSTREAMS / "ready.py"), "serve", path]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout.read(1) == b"!"
                yield path
            finally:
                process.kill()


def _more_than(before):
    """Return what there is now more of; less may be, when older things have gone."""
    return {what: count for what, count in _left().items() if count > before[what]}


@pytest.fixture
async def upstreams(anyio_backend, ready):
    """Upstreams of which nothing may be left at the end: processes, descriptors, tasks."""
    made = Upstreams(ready)
    # What an earlier test left to the garbage collector is not ours to keep.
    gc.collect()
    before = _left()
    yield made
    try:
        await made.gone()
        with anyio.move_on_after(5):
            while _more_than(before):
                gc.collect()
                await anyio.sleep(0.01)
        assert _more_than(before) == {}
    finally:
        made.kill()
