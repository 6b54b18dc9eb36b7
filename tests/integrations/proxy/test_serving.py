"""The era of a stream is the one its client opens it with, and nothing is lost on the way."""

import anyio
import mcp
import pytest
from mcp.server import runner
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest

from localmcp_harden.integrations.proxy import wrap

from .wrapping import guards, on_streams

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    ("mode", "missing"),
    [
        ("auto", None),
        ("legacy", None),
        # The SDK's own loop needs the other one here.
        ("auto", "_serve_legacy_stream"),
        ("legacy", "_serve_modern_stream"),
    ],
)
async def test_both_eras_are_served_with_and_without_what_is_private(
    upstreams, monkeypatch, mode, missing
):
    if missing is not None:
        monkeypatch.delattr(runner, missing)
    server = wrap(upstreams.server(), guards())
    with anyio.fail_after(40):
        async with mcp.Client(on_streams(server), mode=mode) as client:
            assert (await client.call_tool("echo", {})).content[0].text == "echo"


async def test_what_comes_before_the_first_request_decides_nothing(upstreams):
    server = wrap(upstreams.server(), guards())
    note = JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with anyio.fail_after(40):
        async with on_streams(server) as (read, write):
            for _ in range(20):
                await write.send(SessionMessage(note))
            for number in (1, 2):
                params = {"name": "echo", "arguments": {}, "_meta": meta}
                request = JSONRPCRequest(
                    jsonrpc="2.0", id=number, method="tools/call", params=params
                )
                await write.send(SessionMessage(request))
                answer = (await read.receive()).message
                assert (answer.id, answer.result["resultType"]) == (number, "complete")
