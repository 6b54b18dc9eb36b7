"""serve_stdio() and serve_http(): bounds before parsing, clean ends, loopback unless told."""

import json
import os
import signal
import socket
import sys
import textwrap
from contextlib import asynccontextmanager

import anyio
import httpx2
import mcp
import pytest
from mcp.server import MCPServer

from localmcp_harden.core.errors import ConfigError, UpstreamError
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.proxy import StdioUpstream, UpstreamConfig
from localmcp_harden.integrations.stdio import serve_stdio
from localmcp_harden.integrations.wire.framing import LineSplitter
from localmcp_harden.integrations.wire.streams import FdReader, FdWriter

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused


class Fd:
    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd


class Wire:
    """A client that writes what it likes."""

    def __init__(self):
        self.server_in, self._to_server = os.pipe()
        self._from_server, self.server_out = os.pipe()
        self._writer = FdWriter(self._to_server)
        self._reader = FdReader(self._from_server)
        self._splitter = LineSplitter(100_000_000)
        self._lines = []

    @property
    def client_in(self):
        return self._from_server

    async def send(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        await self._writer.write(data)

    async def receive(self):
        while not self._lines:
            chunk = await self._reader.read()
            if not chunk:
                return None
            self._lines.extend(self._splitter.feed(chunk))
        return json.loads(self._lines.pop(0).data)

    async def call(self, request, method, **params):
        await self.send({"jsonrpc": "2.0", "id": request, "method": method, "params": params})

    def end_input(self):
        self._writer.__exit__()
        if self._to_server is not None:
            os.close(self._to_server)
            self._to_server = None

    def end_output(self):
        if self._from_server is not None:
            os.close(self._from_server)
            self._from_server = None

    def close(self):
        self.end_input()
        self.end_output()
        os.close(self.server_in)
        os.close(self.server_out)


@pytest.fixture
def wire(upstreams):
    made = Wire()
    yield made
    made.close()


def server():
    made = MCPServer("test", log_level="ERROR")

    @made.tool()
    def echo(text: str) -> str:
        return text

    @made.tool()
    async def wait() -> str:
        await anyio.sleep_forever()
        return ""

    return made


async def serving(wire, made=None, **options):
    await serve_stdio(
        made or server(), stdin=Fd(wire.server_in), stdout=Fd(wire.server_out), **options
    )


@asynccontextmanager
async def greeted(wire):
    """A client after the handshake, and a server that ends when its input does."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire, max_message_bytes=100_000, max_open_requests=3))
            await wire.send(HELLO)
            assert (await wire.receive())["result"]["serverInfo"]["name"] == "test"
            await wire.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            yield wire
            wire.end_input()


async def test_calls_are_answered(wire):
    async with greeted(wire) as session:
        await session.call(1, "tools/call", name="echo", arguments={"text": "\u2028é"})
        answer = await session.receive()
        assert answer["id"] == 1
        assert answer["result"]["content"][0]["text"] == "\u2028é"


def padded(size, **members):
    """Return a line with the members in their order, and more than `size` bytes."""
    text = json.dumps({"jsonrpc": "2.0", **members})
    return text.replace('"PAD"', '"' + "x" * size + '"').encode() + b"\n"


LONG = {"method": "tools/call", "params": {"name": "echo", "id": 99, "arguments": {"text": "PAD"}}}


@pytest.mark.parametrize(
    ("members", "answered"),
    [
        ({"id": 5, **LONG}, 5),
        ({"id": "five", **LONG}, "five"),
        ({**LONG, "id": 5}, 5),
        ({**LONG, "id": 'fi"ve'}, 'fi"ve'),
        (LONG, None),
        ({"params": {"id": 7, "text": "PAD"}, "method": "x", "id": 5}, None),
        ({"method": "PAD", "id": 5}, 5),
    ],
)
@pytest.mark.parametrize("size", [100_000, 10_000_000])
async def test_a_line_that_is_too_long_is_answered(wire, members, answered, size):
    async with greeted(wire) as session:
        await session.send(padded(size, **members))
        answer = await session.receive()
        assert answer["id"] == answered
        assert answer["error"] == {
            "code": -32602,
            "message": "input_too_large: the message has more than 100000 bytes",
            "data": {"code": "input_too_large"},
        }
        await session.call(6, "tools/call", name="echo", arguments={"text": "on"})
        assert (await session.receive())["id"] == 6


@pytest.mark.parametrize("depth", [65, 10_000])
async def test_a_message_that_is_too_deep_is_answered(wire, depth):
    async with greeted(wire) as session:
        nested = "[" * depth + "]" * depth
        await session.send(
            f'{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{nested}}}\n'.encode()
        )
        answer = await session.receive()
        assert answer["id"] == 5
        assert answer["error"]["data"] == {"code": "input_too_large"}


async def test_a_refused_answer_of_the_client_is_not_answered(wire):
    async with greeted(wire) as session:
        await session.send(padded(200_000, id=5, result={"text": "PAD"}))
        await session.call(6, "ping")
        assert (await session.receive())["id"] == 6


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"not json\n", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":\n', -32700, None),
        (b"\xff\xfe\n", -32700, None),
        (b"[]\n", -32600, None),
        (b'{"id":5,"method":"x"}\n', -32600, 5),
        (b'{"jsonrpc":"2.0","id":{},"method":"x"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"x","params":[1]}\n', -32600, 5),
    ],
)
async def test_what_is_no_message_is_answered_without_its_content(wire, line, code, request_id):
    async with greeted(wire) as session:
        await session.send(line)
        answer = await session.receive()
        assert (answer["error"]["code"], answer["id"]) == (code, request_id)
        assert "method" not in answer["error"]["message"]
        await session.call(6, "ping")
        assert (await session.receive())["id"] == 6


async def test_blank_lines_are_nothing(wire):
    async with greeted(wire) as session:
        await session.send(b"\n \r\n\n")
        await session.call(6, "ping")
        assert (await session.receive())["id"] == 6


async def test_an_id_that_is_in_use_is_refused(wire):
    async with greeted(wire) as session:
        await session.call(1, "tools/call", name="wait", arguments={})
        await session.call("1", "ping")
        answer = await session.receive()
        assert answer["id"] == "1"
        assert answer["error"]["data"] == {"code": "invalid_request"}


async def test_too_many_open_requests_are_refused_until_some_end(wire):
    async with greeted(wire) as session:
        for request in range(1, 4):
            await session.call(request, "tools/call", name="wait", arguments={})
        await session.call(4, "ping")
        assert (await session.receive())["error"]["data"] == {"code": "too_many_requests"}
        await session.send(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
        )
        await session.call(5, "ping")
        assert await session.receive() == {"jsonrpc": "2.0", "id": 5, "result": {}}


async def test_a_large_answer_comes_whole(wire, upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire, max_message_bytes=20_000_000))
            await wire.send(HELLO)
            await wire.receive()
            text = "x" * 10_000_000
            tasks.start_soon(
                lambda: wire.call(1, "tools/call", name="echo", arguments={"text": text})
            )
            assert (await wire.receive())["result"]["content"][0]["text"] == text
            wire.end_input()


async def test_an_answer_that_is_being_written_is_written_to_its_end(wire, upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire, max_message_bytes=20_000_000))
            await wire.send(HELLO)
            await wire.receive()
            await wire.call(1, "tools/call", name="echo", arguments={"text": "x" * 5_000_000})
            await anyio.wait_readable(wire.client_in)
            wire.end_input()
            answer = await wire.receive()
            assert len(answer["result"]["content"][0]["text"]) == 5_000_000


async def test_a_last_line_without_its_end_is_read(wire, upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire))
            await wire.send(b"nonsense")
            wire.end_input()
            assert (await wire.receive())["error"]["code"] == -32700


async def test_a_client_that_leaves_ends_it_even_in_mid_call(wire, upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire))
            await wire.send(HELLO)
            await wire.receive()
            await wire.call(1, "tools/call", name="wait", arguments={})
            wire.end_input()


async def test_a_client_that_reads_no_more_ends_it(wire, upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            wire.end_output()
            tasks.start_soon(lambda: serving(wire))
            await wire.send(HELLO)


async def test_a_client_that_never_reads_does_not_hold_up_the_end(wire, upstreams, monkeypatch):
    monkeypatch.setattr("localmcp_harden.integrations.stdio._LAST_WORDS_S", 0.05)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serving(wire))
            await wire.send(HELLO)
            for request in range(1, 20):
                await wire.call(
                    request, "tools/call", name="echo", arguments={"text": "x" * 30_000}
                )
            wire.end_input()


async def test_cancelling_ends_it(wire, upstreams):
    with anyio.fail_after(30):
        with anyio.move_on_after(0.05) as scope:
            await serving(wire)
        assert scope.cancelled_caught


async def test_it_serves_over_sockets(upstreams):
    ours, theirs = socket.socketpair()
    with ours, theirs, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serve_stdio(server(), stdin=theirs, stdout=theirs))
            line = json.dumps(HELLO).encode() + b"\n"
            await anyio.wait_writable(ours)
            ours.sendall(line)
            await anyio.wait_readable(ours)
            assert json.loads(ours.recv(100_000))["id"] == 0
            ours.shutdown(socket.SHUT_WR)


async def test_it_serves_from_a_file_to_a_file(tmp_path, upstreams):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("nonsense\n")
    with source.open("rb") as stdin, target.open("wb") as stdout, anyio.fail_after(30):
        await serve_stdio(server(), stdin=stdin, stdout=stdout)
    assert json.loads(target.read_text())["error"]["code"] == -32700


@pytest.mark.parametrize(
    "options", [{"max_message_bytes": 1}, {"max_depth": 1_000}, {"max_open_requests": 0}]
)
async def test_bounds_out_of_range_are_refused(wire, options):
    with pytest.raises(ConfigError):
        await serving(wire, **options)


PROGRAM = """
import os, subprocess, sys, anyio
from mcp.server import MCPServer
from localmcp_harden.integrations.stdio import serve_stdio

server = MCPServer("printing", log_level="ERROR")

@server.tool()
def shout() -> str:
    print("from print")
    sys.stdout.flush()
    os.write(1, b"from the descriptor\\n")
    subprocess.run(["echo", "from a child"], check=True)
    return repr(sys.stdin.read())

try:
    anyio.run(lambda: serve_stdio(server), backend=sys.argv[1])
finally:
    print("orderly")
"""


@pytest.fixture
def program(tmp_path, anyio_backend_name, upstreams):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return UpstreamConfig(
        command=sys.executable,
        args=(str(path), anyio_backend_name, upstreams.token),
        start_timeout_s=20,
        stop_grace_s=10,
        max_garbage_lines=1,
    )


async def test_what_is_printed_does_not_reach_the_client(program, upstreams):
    heard = []
    log = lambda level, message, context: heard.append((message, context))
    with anyio.fail_after(30):
        async with mcp.Client(StdioUpstream(program, log=log)) as client:
            result = await client.call_tool("shout", {})
    assert result.content[0].text == "''"
    lines = [context["line"] for message, context in heard if "standard error" in message]
    assert {"from print", "from the descriptor", "from a child"} <= set(lines)
    # Standard output is given back at the end, and was the protocol's until then.
    assert [message for message, _ in heard if "no message" in message] in ([], [heard[-1][0]])


async def test_a_signal_ends_it_in_order(program, upstreams):
    transport = StdioUpstream(program)
    with anyio.fail_after(30):
        async with mcp.Client(transport):
            (process,) = upstreams.running()
            os.kill(process, signal.SIGTERM)
            await transport.ended.wait()
    assert "ended with exit code 0" in str(transport.fault)


async def test_a_wrapped_server_that_does_not_start_is_named(wire, upstreams):
    from localmcp_harden import HardenConfig, Hardening
    from localmcp_harden.integrations.proxy import wrap

    hardening = Hardening(HardenConfig(disabled=("audit",)))
    with anyio.fail_after(30), pytest.raises(UpstreamError, match="ended with exit code 3"):
        await serving(wire, wrap(upstreams.start("dies"), hardening))


# serve_http: asyncio only, as uvicorn is.


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_http_serves_on_loopback_and_ends_when_cancelled(upstreams, host):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(http, host)
            async with mcp.Client(f"http://{host}:{port}/mcp") as client:
                result = await client.call_tool("echo", {"text": "a"})
                assert result.content[0].text == "a"
            tasks.cancel_scope.cancel()


async def http(host="127.0.0.1", *, task_status=anyio.TASK_STATUS_IGNORED, **options):
    await serve_http(server(), host=host, port=0, task_status=task_status, **options)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_http_ends_in_order_at_a_signal(upstreams):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(http)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"content-length": "5000000"}, 413),
    ],
)
async def test_http_refuses_foreign_names_and_large_bodies(upstreams, headers, status):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(http)
            async with httpx2.AsyncClient() as client:
                headers = {"content-type": "application/json", **headers}
                body = b" " * int(headers.get("content-length", 2))
                url = f"http://127.0.0.1:{port}/mcp"
                response = await client.post(url, headers=headers, content=body)
            assert response.status_code == status
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("host", [EVERY_ADDRESS, "::", "192.0.2.1", "mcp.example", ""])
async def test_http_refuses_to_be_reachable_unless_told(upstreams, host):
    with pytest.raises(ConfigError, match="allow_remote=True"):
        await http(host)
    with pytest.raises(ConfigError, match="name the hosts"):
        await http(host, allow_remote=True)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_http_takes_the_hosts_it_was_told(upstreams):
    options = {
        "allow_remote": True,
        "allow_unauthenticated": True,
        "allowed_hosts": ["mcp.example:*"],
    }
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(
                lambda task_status: http(EVERY_ADDRESS, task_status=task_status, **options)
            )
            async with httpx2.AsyncClient() as client:
                for name, expected in ((f"mcp.example:{port}", 400), (f"127.0.0.1:{port}", 421)):
                    response = await client.post(
                        f"http://127.0.0.1:{port}/mcp",
                        headers={"host": name, "content-type": "application/json"},
                        content=b"{}",
                    )
                    assert response.status_code == expected
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_http_names_a_port_that_is_taken(upstreams):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="can not listen on port"),
    ):
        await serve_http(server(), port=taken.getsockname()[1])
    with pytest.raises(ConfigError, match="from 0 to 65535"):
        await serve_http(server(), port=70_000)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_http_says_that_it_needs_asyncio(upstreams):
    with pytest.raises(RuntimeError, match="asyncio only"):
        await http()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_http_names_a_wrapped_server_that_does_not_start(upstreams):
    from localmcp_harden import HardenConfig, Hardening
    from localmcp_harden.integrations.proxy import wrap

    hardening = Hardening(HardenConfig(disabled=("audit",)))
    with anyio.fail_after(30), pytest.raises(UpstreamError, match="ended with exit code 3"):
        await serve_http(wrap(upstreams.start("dies"), hardening), port=0)
