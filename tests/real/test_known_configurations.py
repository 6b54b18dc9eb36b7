"""The ready-made configurations before the real servers: nothing forgotten, nothing given away."""

from pathlib import Path

import anyio
import mcp
import pytest
from mcp.shared.exceptions import MCPError

from localmcp_harden import Effect, Hardening, load_config
from localmcp_harden.integrations.proxy import StdioUpstream, wrap

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "wrap"
PROGRAMS = {
    "git": ("git", "mcp-server-git"),
    "fetch": ("mcp-server-fetch",),
    "filesystem": ("node",),
    "memory": ("node",),
}
SERVERS = [pytest.param(name, marks=pytest.mark.real(*PROGRAMS[name])) for name in PROGRAMS]
PLACES = {"git": "/srv/repositories/notes", "filesystem": "/srv/notes"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def guards(tmp_path, site):
    """Return a function: name of a server, its folder, a role -> the guards of its file."""

    def make(name, folder, role):
        text = (EXAMPLES / name / "harden.toml").read_text("utf-8")
        # The folder and the site of this test, in the place of those in the file.
        text = text.replace(PLACES.get(name, "/srv"), str(folder))
        text = text.replace("https://docs.python.org", site.removesuffix("/page"))
        if name == "fetch":
            text = text.replace('"http://127.0.0.1", ', "")
        file = tmp_path / "harden.toml"
        file.write_text(text)
        file.chmod(0o600)
        settings = {
            "authentication": {"local_roles": [role]},
            "audit": {"folder": str(tmp_path / "audit")},
            "logging": {"file": str(tmp_path / "log")},
        }
        return Hardening.from_file(file, environ={}, settings=settings)

    return make


def cases(name, folder, site):
    """Return calls of each role, each with whether it is allowed."""
    here, elsewhere = {"repo_path": str(folder)}, {"repo_path": f"{folder}/../other"}
    shared, bee = f"{folder}/shared", {"name": "bee", "entityType": "x", "observations": []}
    return {
        "git": {
            "reader": [
                ("git_status", here, True),
                ("git_log", elsewhere, False),
                ("git_show", {"repo_path": f"{folder}/.git", "revision": "HEAD"}, False),
                ("git_add", {**here, "files": ["notes.txt"]}, False),
            ],
            "writer": [
                ("git_add", {**here, "files": ["notes.txt"]}, True),
                ("git_commit", {**here, "message": "m"}, True),
                ("git_log", here, True),
                ("git_commit", {**elsewhere, "message": "m"}, False),
            ],
        },
        "fetch": {
            "reader": [
                ("fetch", {"url": site}, True),
                ("fetch", {"url": "https://example.org/"}, False),
                ("fetch", {"url": "http://localhost/"}, False),
                ("fetch", {"url": "http://169.254.169.254/latest"}, False),
                ("fetch", {"url": "http://127.0.0.1:1/"}, False),
            ]
        },
        "filesystem": {
            "reader": [
                ("read_text_file", {"path": f"{shared}/a.txt"}, True),
                ("read_multiple_files", {"paths": [f"{shared}/a.txt"]}, True),
                ("list_allowed_directories", {}, True),
                ("search_files", {"path": shared, "pattern": "*"}, True),
                ("search_files", {"path": str(folder), "pattern": "*"}, False),
                ("read_text_file", {"path": f"{folder}/private/p.txt"}, False),
                ("read_text_file", {"path": f"{shared}/../private/p.txt"}, False),
                ("read_text_file", {"path": f"{shared}/link"}, False),
                (
                    "read_multiple_files",
                    {"paths": [f"{shared}/a.txt", f"{folder}/private/p.txt"]},
                    False,
                ),
                ("write_file", {"path": f"{shared}/b.txt", "content": ""}, False),
            ],
            "writer": [
                ("write_file", {"path": f"{shared}/b.txt", "content": "b"}, True),
                ("move_file", {"source": f"{shared}/b.txt", "destination": f"{shared}/c"}, True),
                ("write_file", {"path": f"{folder}/archive/b.txt", "content": "b"}, False),
                (
                    "move_file",
                    {"source": f"{folder}/archive/o.txt", "destination": f"{shared}/o"},
                    False,
                ),
                (
                    "move_file",
                    {"source": f"{shared}/c", "destination": f"{folder}/private/c"},
                    False,
                ),
            ],
        },
        "memory": {
            "reader": [
                ("read_graph", {}, True),
                ("create_entities", {"entities": [bee]}, False),
            ],
            "writer": [
                ("create_entities", {"entities": [bee]}, True),
                ("delete_entities", {"entityNames": ["bee"]}, False),
                ("create_entities", {"entities": [{**bee, "name": "x" * 70_000}]}, False),
            ],
            "keeper": [("delete_entities", {"entityNames": ["bee"]}, True)],
        },
    }[name]


def fill(name, folder):
    if name == "filesystem":
        for each, file in (("shared", "a.txt"), ("archive", "o.txt"), ("private", "p.txt")):
            (folder / each).mkdir()
            (folder / each / file).write_text("words\n")
        (folder / "shared" / "link").symlink_to(folder / "private" / "p.txt")


async def call(client, tool, arguments):
    """Return whether the guards let the call through; what the server says is its own affair."""
    try:
        result = await client.call_tool(tool, arguments)
    except MCPError as error:
        assert error.data["code"] == "policy_denied", (tool, error)
        return False
    if result.is_error:
        refusal = (result.meta or {}).get("localmcp-harden/refusal", {})
        assert refusal.get("code") == "input_too_large", (tool, result)
        return False
    return True


@pytest.mark.parametrize("name", SERVERS)
async def test_every_tool_that_the_server_lists_is_covered(name, launch, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    loaded = load_config(EXAMPLES / name / "harden.toml", environ={}).config
    with anyio.fail_after(60):
        async with mcp.Client(StdioUpstream(launch(name, folder))) as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}

    allowed = {
        tool for rule in loaded.policy.rules if rule.effect is Effect.ALLOW for tool in rule.tools
    }
    assert listed
    assert allowed - {"*"} == listed == {*loaded.tools}


@pytest.mark.parametrize("name", SERVERS)
async def test_roles_can_do_what_they_may_and_nothing_else(name, launch, guards, site, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    upstream = launch(name, folder)
    fill(name, folder)
    with anyio.fail_after(80):
        for role, calls in cases(name, folder, site).items():
            server = wrap(upstream, guards(name, folder, role))
            async with mcp.Client(server, mode="legacy") as client:
                shown = {tool.name for tool in (await client.list_tools()).tools}
                for tool, arguments, allowed in calls:
                    assert await call(client, tool, arguments) is allowed, (role, tool, arguments)
                    assert not allowed or tool in shown


@pytest.mark.real("node")
async def test_a_reader_reads_the_graph_as_a_resource_too(launch, guards, tmp_path):
    with anyio.fail_after(60):
        server = wrap(launch("memory", tmp_path), guards("memory", tmp_path, "reader"))
        async with mcp.Client(server, mode="legacy") as client:
            result = await client.read_resource("memory://knowledge-graph")
    assert '"entities"' in result.contents[0].text


@pytest.mark.real("mcp-server-fetch")
async def test_the_prompt_that_fetches_is_no_way_round(launch, guards, site, tmp_path):
    with anyio.fail_after(60):
        server = wrap(launch("fetch", tmp_path), guards("fetch", tmp_path, "reader"))
        async with mcp.Client(server, mode="legacy") as client:
            assert (await client.list_prompts()).prompts == []
            with pytest.raises(MCPError) as raised:
                await client.get_prompt("fetch", {"url": site})
    assert raised.value.data["code"] == "policy_denied"
