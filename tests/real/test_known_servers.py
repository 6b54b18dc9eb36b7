"""Real servers, bare and wrapped: equal in every tool, resource and prompt, for every client."""

import json
import os
import re
import shutil
import sys
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import fastmcp
import mcp
import pytest
from fastmcp.client.transports import StdioTransport
from mcp.shared.exceptions import MCPError
from mcp_types import SERVER_INFO_META_KEY

from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.proxy import StdioUpstream, UpstreamConfig, wrap
from localmcp_harden.protocols.observability import LoggingConfig
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.policy.gate import PolicyConfig

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

MODERN, LEGACY = "2026-07-28", "2025-11-25"
# Many calls, and some of them wrong: no reason to refuse the next one.
ALLOWING = """
disabled = ["audit", "rate_limit", "breaker"]
[authentication]
anonymous_http = true
[[policy.rules]]
id = "all"
effect = "allow"
"""


class Known(NamedTuple):
    """What to do with one server."""

    protocol: str
    calls: tuple
    """Tools and arguments, in an order in which every call makes sense."""
    resources: tuple = ()
    prompts: tuple = ()
    differs: str = r"(?!)"
    """What two equal runs do not have in common."""
    lacks: tuple = ()
    """Capabilities that are not passed on: those that the protocol no longer has."""


def git_calls(folder, site):
    here = {"repo_path": str(folder)}
    return (
        ("git_status", here),
        ("git_diff_unstaged", here),
        ("git_add", {**here, "files": ["notes.txt"]}),
        ("git_diff_staged", {**here, "context_lines": 1}),
        ("git_reset", here),
        ("git_add", {**here, "files": ["notes.txt"]}),
        ("git_commit", {**here, "message": "changed"}),
        ("git_log", {**here, "max_count": 2}),
        ("git_show", {**here, "revision": "HEAD"}),
        ("git_diff", {**here, "target": "HEAD~1"}),
        ("git_create_branch", {**here, "branch_name": "new"}),
        ("git_checkout", {**here, "branch_name": "other"}),
        ("git_branch", {**here, "branch_type": "local"}),
        ("git_log", {"repo_path": f"{folder}/none"}),
        ("git_none", here),
    )


def time_calls(folder, site):
    tokyo = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    return (
        ("get_current_time", {"timezone": "UTC"}),
        ("convert_time", tokyo),
        ("convert_time", {**tokyo, "time": "noon"}),
        ("get_current_time", {"timezone": "Nowhere/None"}),
    )


def fetch_calls(folder, site):
    return (
        ("fetch", {"url": site}),
        ("fetch", {"url": site, "raw": True, "max_length": 20, "start_index": 3}),
        ("fetch", {"url": f"{site}/../none?x=1", "raw": True}),
    )


def everything_calls(folder, site):
    return (
        ("echo", {"message": "Grüße \N{WAVING HAND SIGN}"}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-env", {}),
        ("get-resource-links", {"count": 2}),
        ("get-resource-reference", {"resourceType": "Blob", "resourceId": 2}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-sum", {"a": 2, "b": 3.5}),
        ("get-tiny-image", {}),
        ("gzip-file-as-resource", {"name": "a.gz", "data": "data:text/plain;base64,YQ=="}),
        ("toggle-simulated-logging", {}),
        ("toggle-simulated-logging", {}),
        ("toggle-subscriber-updates", {}),
        ("toggle-subscriber-updates", {}),
        ("trigger-long-running-operation", {"duration": 0.2, "steps": 2}),
        ("simulate-research-query", {"topic": "bees"}),
        ("none", {}),
    )


def filesystem_calls(folder, site):
    notes, made = f"{folder}/notes.txt", f"{folder}/made/new.txt"
    return (
        ("list_allowed_directories", {}),
        ("read_file", {"path": notes, "head": 1}),
        ("read_text_file", {"path": notes, "tail": 1}),
        ("read_media_file", {"path": f"{folder}/deep/dot.png"}),
        ("read_multiple_files", {"paths": [notes, f"{folder}/deep/more.md"]}),
        ("create_directory", {"path": f"{folder}/made"}),
        ("write_file", {"path": made, "content": "a\nb\n"}),
        ("edit_file", {"path": made, "edits": [{"oldText": "b", "newText": "c"}]}),
        ("move_file", {"source": made, "destination": f"{folder}/made/old.txt"}),
        ("list_directory", {"path": str(folder)}),
        ("list_directory_with_sizes", {"path": str(folder), "sortBy": "size"}),
        ("directory_tree", {"path": str(folder)}),
        ("search_files", {"path": str(folder), "pattern": "**/*.md"}),
        ("get_file_info", {"path": notes}),
        ("read_text_file", {"path": "/etc/hostname"}),
        ("read_text_file", {"path": f"{folder}/none"}),
    )


def memory_calls(folder, site):
    bee = {"name": "bee", "entityType": "insect", "observations": ["flies"]}
    link = {"from": "bee", "to": "hive", "relationType": "lives in"}
    hive = {"name": "hive", "entityType": "place", "observations": []}
    more = [{"entityName": "bee", "contents": ["hums"]}]
    return (
        ("create_entities", {"entities": [bee, hive]}),
        ("create_relations", {"relations": [link]}),
        ("add_observations", {"observations": more}),
        ("read_graph", {}),
        ("search_nodes", {"query": "hum"}),
        ("open_nodes", {"names": ["hive"]}),
        ("delete_observations", {"deletions": [{"entityName": "bee", "observations": ["hums"]}]}),
        ("delete_relations", {"relations": [link]}),
        ("delete_entities", {"entityNames": ["bee"]}),
        ("read_graph", {}),
        ("add_observations", {"observations": more}),
    )


DOCUMENT = "demo://resource/static/document/features.md"
KNOWN = {
    "git": Known(MODERN, git_calls),
    "time": Known(MODERN, time_calls, differs=r"\d{4}-\d\d-\d\dT[\d:]+(?=\+00:00)|\d{4}-\d\d-\d\d"),
    "fetch": Known(MODERN, fetch_calls, prompts=(("fetch", "url"),)),
    "everything": Known(
        LEGACY,
        everything_calls,
        resources=(DOCUMENT, "demo://resource/dynamic/text/1", "demo://none"),
        prompts=(
            ("simple-prompt", None),
            ("args-prompt", {"city": "Berlin"}),
            ("completable-prompt", {"department": "Sales", "name": "Ann"}),
            ("resource-prompt", {"resourceType": "Text", "resourceId": "1"}),
            ("none", None),
        ),
        # The time: in words, in those of a binary resource, in a compressed file's header.
        differs=r"\d+:\d\d:\d\d [AP]M|UmVzb3VyY2Ug[\w+/=]+|H4sI[\w+/=]+",
        lacks=("tasks",),
    ),
    "filesystem": Known(LEGACY, filesystem_calls, differs=r"(?:created|modified|accessed): [^\\]+"),
    "memory": Known(LEGACY, memory_calls, resources=("memory://knowledge-graph",)),
}
PROGRAMS = {
    "git": ("git", "mcp-server-git"),
    "time": ("mcp-server-time",),
    "fetch": ("mcp-server-fetch",),
    "everything": ("node",),
    "filesystem": ("node",),
    "memory": ("node",),
}
SERVERS = [pytest.param(name, marks=pytest.mark.real(*PROGRAMS[name])) for name in KNOWN]


@pytest.fixture
def anyio_backend():
    return "asyncio"  # FastMCP's client and uvicorn know no other


@asynccontextmanager
async def sdk(target, mode):
    transport = StdioUpstream(target) if isinstance(target, UpstreamConfig) else target
    async with mcp.Client(transport, mode=mode) as client:
        yield client, ""


@asynccontextmanager
async def fast(target, mode):
    if isinstance(target, UpstreamConfig):
        target = StdioTransport(
            target.command, list(target.args), env=dict(os.environ), keep_alive=False
        )
    async with fastmcp.Client(target) as client:
        yield client, "_mcp"


LISTS = {
    "tools": ("list_tools",),
    "resources": ("list_resources", "list_resource_templates"),
    "prompts": ("list_prompts",),
}
CLIENTS = {"auto": sdk, "legacy": sdk, MODERN: sdk, "fastmcp": fast}


async def attempt(seen, label, make):
    """Note what came back: a result, or the error as the protocol has it."""
    try:
        result = (await make()).model_dump(mode="json", exclude_none=True)
        # Part of the envelope of 2026, and the same for every answer.
        result.get("meta", {}).pop(SERVER_INFO_META_KEY, None)
        if not result.get("meta"):
            result.pop("meta", None)
        for tool in result.get("tools", ()):
            tool.pop("execution", None)  # of tasks, which 2026 does not have
        if label[1:] == ("get-env",) and "content" in result:
            # Which variables come first is the client library's choice.
            result["content"] = sorted(json.loads(result["content"][0]["text"]).items())
        if "resources" in result:
            # What an earlier client made stays, where all share one process.
            own = [each for each in result["resources"] if "/session/" not in each["uri"]]
            result["resources"] = own
    except MCPError as error:
        result = {"error": error.error.model_dump(mode="json", exclude_none=True)}
    except Exception as error:
        result = {"raised": type(error).__name__, "words": str(error)}
    seen[label] = result


async def tell(client, suffix, known, folder, site):
    """Return all that a client can see of a server."""
    seen = {}
    if client.server_info is not None:  # a client that insists on a version asks nothing
        seen["info"] = client.server_info.model_dump(exclude_none=True)
        seen["instructions"] = client.instructions
        seen["capabilities"] = {*client.server_capabilities.model_dump(exclude_none=True)}

    def ask(name, *arguments):
        return lambda: getattr(client, name + suffix)(*arguments)

    for capability, lists in LISTS.items():
        if capability in seen.get("capabilities", LISTS):
            for each in lists:
                await attempt(seen, each, ask(each))
    for number, (tool, arguments) in enumerate(known.calls(folder, site)):
        await attempt(seen, (number, tool), ask("call_tool", tool, arguments))
    for uri in known.resources:
        await attempt(seen, uri, ask("read_resource", uri))
    for prompt, given in known.prompts:
        arguments = {"url": site} if given == "url" else given
        await attempt(seen, ("prompt", prompt), ask("get_prompt", prompt, arguments))
    return seen


def plain(seen, known):
    """Return what was seen, without what two runs of one server do not have in common."""
    shown = {
        str(label): re.sub(known.differs, "...", json.dumps(value, sort_keys=True, default=sorted))
        for label, value in seen.items()
    }
    if "capabilities" in seen:
        shown["capabilities"] = str(sorted({*seen["capabilities"]} - {*known.lacks}))
    return shown


def assert_equal(wrapped, bare, known, mode):
    there = plain(bare, known)
    here = plain(wrapped, known)
    for label, expected in there.items():
        if MODERN in mode and label in {"info", "instructions", "capabilities"}:
            continue
        assert here[label] == expected, f"{mode}: {label}"


@asynccontextmanager
async def behind_stdio(upstream, folder):
    """Give what starts `localmcp-harden wrap` before the server, as a client's settings do."""
    config = folder / "harden.toml"
    config.write_text(ALLOWING)
    named = [f"--env={name}={value}" for name, value in upstream.env.items()]
    yield UpstreamConfig(
        command=sys.executable,
        args=(
            *("-m", "localmcp_harden", "wrap", "--config", str(config), *named, "--"),
            *(upstream.command, *upstream.args),
        ),
        start_timeout_s=60,
        stop_grace_s=20,
    )


@asynccontextmanager
async def behind_http(upstream, folder):
    config = HardenConfig(
        disabled=("audit", "rate_limit", "breaker"),
        authentication=AuthenticationConfig(anonymous_http=True),
        policy=PolicyConfig(rules=(Rule(id="all", effect=Effect.ALLOW),)),
        logging=LoggingConfig(file=folder / "log"),
    )
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status):
            server = wrap(upstream, Hardening(config))
            await serve_http(server, port=0, task_status=task_status, handle_signals=False)

        port = await tasks.start(serve)
        yield f"http://127.0.0.1:{port}/mcp"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", SERVERS)
async def test_nobody_can_tell_that_it_is_wrapped(name, launch, site, tmp_path):
    known, folder = KNOWN[name], tmp_path / "work"

    def fresh():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return launch(name, folder)

    async def visit(target, mode):
        async with CLIENTS[mode](target, mode) as (client, suffix):
            seen = await tell(client, suffix, known, folder, site)
            return client.protocol_version, seen

    with anyio.fail_after(170):
        bare = {mode: await visit(fresh(), mode) for mode in ("auto", "legacy")}
        for way in (behind_stdio, behind_http):
            async with way(fresh(), tmp_path) as target:
                for mode in CLIENTS:
                    fresh()
                    version, wrapped = await visit(target, mode)
                    # Of either era, whatever the server speaks.
                    assert version == (LEGACY if mode == "legacy" else MODERN), mode
                    _, expected = bare["legacy" if mode == "legacy" else "auto"]
                    assert_equal(wrapped, expected, known, f"{way.__name__}, {mode}")

    version, seen = bare["auto"]
    assert version == known.protocol
    listed = {tool["name"] for tool in seen["list_tools"]["tools"]}
    assert listed <= {tool for tool, _ in known.calls(folder, site)}
    answers = [seen[key] for key in seen if isinstance(key, tuple)]
    refused = [each for each in answers if "content" not in each and "messages" not in each]
    assert len(refused) < len(answers) / 2, refused
