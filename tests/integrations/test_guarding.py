"""What a request tells of a call: by its headers, or by what the guard in front has read."""

from types import SimpleNamespace

import pytest

from localmcp_harden import Hardening
from localmcp_harden.compose.opened import SCOPE_KEY
from localmcp_harden.core.model import CallKind
from localmcp_harden.integrations.guarding import (
    call_of_message,
    credentials_of_request,
    facts_of_opened,
    facts_of_request,
)
from localmcp_harden.integrations.protocol import target_of

NO_SPAN = SimpleNamespace(is_valid=False)


def request_of(*headers, client=("192.0.2.1", 5), opened=None):
    scope = {"type": "http", "headers": list(headers), "client": client}
    if opened is not None:
        scope[SCOPE_KEY] = opened
    return SimpleNamespace(scope=scope)


def test_the_first_of_a_header_counts_and_a_claim_is_cut():
    request = request_of(
        (b"mcp-session-id", b"first"),
        (b"mcp-session-id", b"second"),
        (b"user-agent", b"a" * 300),
    )
    assert facts_of_request(request) == {
        "session_id": "first",
        "ip_address": "192.0.2.1",
        "user_agent": "a" * 200,
    }


def test_a_request_may_say_nothing():
    nothing = {"session_id": None, "ip_address": None, "user_agent": None}
    assert facts_of_request(request_of(client=None)) == nothing


@pytest.mark.parametrize("length", [1, 199, 200, 300])
def test_what_the_guard_has_read_is_what_the_headers_say(length):
    session = "s" * length
    request = request_of((b"mcp-session-id", session.encode()), (b"user-agent", b"agent"))
    # As the guard opens it: what a client says is cut for the record.
    opened = Hardening().open_request("http/POST", session_id=session[:200], user_agent="agent")
    assert facts_of_opened(opened, request) == facts_of_request(request)


def test_a_call_adopts_the_request_that_brought_it():
    hardening = Hardening()
    opened = hardening.open_request("http/POST", session_id="s", meta={"linked_trace_id": "t"})
    request = request_of((b"mcp-session-id", b"s"), opened=opened)
    target = target_of("tools/call", {"name": "echo", "arguments": {"text": "a"}})

    call = call_of_message(
        hardening, "tools/call", target, protocol_version="v", span=NO_SPAN, request=request
    )
    assert (call.id, call.kind, call.name) == (opened.id, CallKind.TOOL, "echo")
    assert (call.parent_id, call.arguments) == (None, {"text": "a"})
    assert (call.security.session_id, call.security.ip_address) == ("s", "192.0.2.1")
    assert call.security.timestamp == opened.call.security.timestamp
    assert call.meta == {"linked_trace_id": "t", "protocol_version": "v", "transport": "http"}


@pytest.mark.parametrize(
    ("headers", "bearer"),
    [((), None), (((b"authorization", b"Bearer  abc "),), "abc"),
     (((b"authorization", b"Basic abc"),), ""),
     (((b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")), "a")],
)  # fmt: skip
def test_credentials_are_those_of_the_first_header(headers, bearer):
    credentials = credentials_of_request(request_of(*headers), lambda: None)
    assert (credentials.bearer, credentials.ip_address) == (bearer, "192.0.2.1")


@pytest.mark.parametrize(
    ("params", "name", "arguments"),
    [({"name": "a", "arguments": {"b": 1}}, "a", {"b": 1}), ({}, "", {}), (None, "", {}),
     ({"name": 7, "arguments": [1]}, "", {})],
)  # fmt: skip
def test_a_tool_call_is_aimed_at_its_tool(params, name, arguments):
    target = target_of("tools/call", params)
    assert (target.kind, target.name, dict(target.arguments)) == (CallKind.TOOL, name, arguments)
