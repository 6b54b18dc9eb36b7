"""The real mcp-server-git, bare and wrapped: equal tools, equal results, on every way in."""

import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import mcp
import pytest
from mcp.shared.exceptions import MCPError

from localmcp_harden import Effect, HardenConfig, Hardening, Rule, ToolConfig
from localmcp_harden.integrations.http_server import serve_http
from localmcp_harden.integrations.proxy import StdioUpstream, UpstreamConfig, wrap
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.policy.gate import PolicyConfig

pytestmark = [pytest.mark.anyio, pytest.mark.real("mcp-server-git"), pytest.mark.timeout(120)]

ALL = (Rule(id="all", effect=Effect.ALLOW),)
PROGRAM = """
import sys
import anyio
from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.integrations.proxy import UpstreamConfig, wrap
from localmcp_harden.integrations.stdio import serve_stdio
from localmcp_harden.security.policy.gate import PolicyConfig

rules = (Rule(id="all", effect=Effect.ALLOW),)
config = HardenConfig(disabled=("audit",), policy=PolicyConfig(rules=rules))
upstream = UpstreamConfig(command="mcp-server-git", args=("--repository", sys.argv[1]))
anyio.run(serve_stdio, wrap(upstream, Hardening(config)))
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments):
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "-b", "main")
    for number in range(3):
        (folder / "notes.txt").write_text(f"note {number}\n" * 3)
        git("add", "notes.txt")
        git("commit", "-m", f"note {number}")
    (folder / "notes.txt").write_text("changed\n")
    return folder


def upstream(repository):
    return UpstreamConfig(
        command="mcp-server-git",
        args=("--repository", str(repository)),
        start_timeout_s=60,
        stop_grace_s=10,
    )


def hardening(*rules, **config):
    return Hardening(
        HardenConfig(
            disabled=("audit",),
            authentication=AuthenticationConfig(anonymous_http=True),
            policy=PolicyConfig(rules=rules or ALL),
            **config,
        )
    )


async def story(client, repository):
    """Return what a client sees of it: itself, every tool, results and errors."""
    path = {"repo_path": str(repository)}
    calls = [
        ("git_status", path),
        ("git_log", {**path, "max_count": 2}),
        ("git_diff_unstaged", path),
        ("git_show", {**path, "revision": "HEAD"}),
        ("git_branch", {**path, "branch_type": "local"}),
        ("git_log", {"repo_path": str(repository / "none")}),
    ]
    seen = [
        client.server_info,
        client.instructions,
        client.server_capabilities,
        (await client.list_tools()).tools,
    ]
    for name, arguments in calls:
        try:
            result = await client.call_tool(name, arguments)
            seen.append((name, result.content, result.structured_content, result.is_error))
        except MCPError as error:
            seen.append((name, error.error))
    return seen


@asynccontextmanager
async def in_memory(repository):
    yield wrap(upstream(repository), hardening())


@asynccontextmanager
async def over_stdio(repository):
    program = repository.parent / "program.py"
    program.write_text(PROGRAM)
    yield StdioUpstream(
        UpstreamConfig(
            command=sys.executable,
            args=(str(program), str(repository)),
            start_timeout_s=60,
            stop_grace_s=20,
        )
    )


@asynccontextmanager
async def over_http(repository):
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status):
            server = wrap(upstream(repository), hardening())
            await serve_http(server, port=0, task_status=task_status, handle_signals=False)

        port = await tasks.start(serve)
        yield f"http://127.0.0.1:{port}/mcp"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("way", [in_memory, over_stdio, over_http])
async def test_nobody_can_tell_the_difference(repository, anyio_backend_name, way, mode):
    if way is over_http and anyio_backend_name != "asyncio":
        pytest.skip("uvicorn runs on asyncio only")
    with anyio.fail_after(100):
        async with mcp.Client(StdioUpstream(upstream(repository)), mode=mode) as client:
            bare = await story(client, repository)
            version = client.protocol_version
        async with way(repository) as target, mcp.Client(target, mode=mode) as client:
            wrapped = await story(client, repository)
            assert client.protocol_version == version
    assert len(bare[3]) == 12
    assert wrapped == bare


async def test_reading_one_folder_is_all_that_is_granted(repository, tmp_path):
    read = ("git_status", "git_log", "git_diff", "git_diff_unstaged", "git_show")
    rule = Rule(
        id="read",
        effect=Effect.ALLOW,
        actions=("tools/call",),
        tools=read,
        resources=(str(repository),),
    )
    tools = {name: ToolConfig(paths=("repo_path",), read_only=True) for name in read}
    with anyio.fail_after(60):
        async with mcp.Client(wrap(upstream(repository), hardening(rule, tools=tools))) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == set(read)
            allowed = await client.call_tool("git_log", {"repo_path": str(repository)})
            assert "note 2" in allowed.content[0].text
            outside = {"repo_path": f"{repository}/../../elsewhere"}
            for name, arguments in (
                ("git_log", outside),
                ("git_commit", {"repo_path": str(repository), "message": "no"}),
            ):
                with pytest.raises(MCPError) as raised:
                    await client.call_tool(name, arguments)
                assert raised.value.data["code"] == "policy_denied"
