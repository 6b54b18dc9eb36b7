import socket
import tempfile
from functools import partial
from pathlib import Path

import anyio
import pytest
from hypothesis import given, strategies as st
from mcp.server import MCPServer

from localmcp_harden.integrations import readiness
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.readiness import notify_ready, notify_status, notify_stopping


@pytest.fixture(params=["path", "abstract"])
def manager(request):
    """A service manager's socket, and what NOTIFY_SOCKET says of it."""
    # Not tmp_path: the path of a socket has room for 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="ready") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.settimeout(5)
        if request.param == "path":
            name = str(Path(folder) / "notify")
            receiver.bind(name)
        else:
            name = f"@{Path(folder).name}"
            receiver.bind(f"\0{name[1:]}")
        yield receiver, {"NOTIFY_SOCKET": name}


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        (lambda environ: notify_ready(environ=environ), b"READY=1"),
        (lambda environ: notify_ready("on 8000", environ=environ), b"READY=1\nSTATUS=on 8000"),
        (lambda environ: notify_status("busy", environ=environ), b"STATUS=busy"),
        (lambda environ: notify_stopping(environ=environ), b"STOPPING=1"),
        (lambda environ: notify_stopping("bye", environ=environ), b"STOPPING=1\nSTATUS=bye"),
    ],
)
def test_the_manager_reads_what_was_said(manager, notify, expected):
    receiver, environ = manager
    assert notify(environ) is True
    assert receiver.recv(4096) == expected


def test_the_environment_of_the_process_counts_by_default(manager, monkeypatch):
    receiver, environ = manager
    monkeypatch.setenv("NOTIFY_SOCKET", environ["NOTIFY_SOCKET"])
    assert notify_ready() is True
    assert receiver.recv(4096) == b"READY=1"


@given(status=st.text(st.characters(), max_size=2_000))
def test_a_status_is_one_field_whatever_it_holds(status):
    with (
        tempfile.TemporaryDirectory(prefix="ready") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.settimeout(5)
        name = str(Path(folder) / "s")
        receiver.bind(name)
        assert notify_ready(status, environ={"NOTIFY_SOCKET": name})
        first, *rest = receiver.recv(65_536).decode().split("\n")
    assert first == "READY=1"
    assert len(rest) == bool(status)
    assert all(line.startswith("STATUS=") and len(line.encode()) <= 507 for line in rest)


@pytest.mark.parametrize(
    "address", [None, "", "relative", "/nobody/listens/here", "@", "@nobody", "/" + "x" * 200]
)
def test_nothing_happens_where_nobody_listens(address):
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    assert notify_ready("on", environ=environ) is False
    assert notify_status("on", environ=environ) is False
    assert notify_stopping("on", environ=environ) is False


def test_a_null_byte_in_the_address_is_nobody():
    assert notify_ready(environ={"NOTIFY_SOCKET": "/a\0b"}) is False


def test_a_manager_that_does_not_read_is_not_waited_for(manager, monkeypatch):
    _, environ = manager
    monkeypatch.setattr(readiness, "_TIMEOUT_S", 0.001)
    assert notify_status("first", environ=environ) is True
    assert any(not notify_status("x" * 400, environ=environ) for _ in range(5_000))


def test_systems_without_such_sockets_are_left_alone(manager, monkeypatch):
    _, environ = manager
    monkeypatch.delattr(readiness.socket, "AF_UNIX")
    assert notify_ready(environ=environ) is False


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_serving_over_http_says_when_it_begins_and_ends(manager, monkeypatch):
    receiver, environ = manager
    monkeypatch.setenv("NOTIFY_SOCKET", environ["NOTIFY_SOCKET"])
    serve = partial(serve_http, MCPServer("notes"), port=0, handle_signals=False)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            assert await anyio.to_thread.run_sync(receiver.recv, 4096) == b"READY=1"
            tasks.cancel_scope.cancel()
    assert receiver.recv(4096) == b"STOPPING=1"
