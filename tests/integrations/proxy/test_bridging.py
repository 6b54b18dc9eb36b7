"""A client of one era before a wrapped server of the other."""

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import InputRequiredResult

from localmcp_harden.integrations.proxy import WrapConfig

from .wrapping import Notes, connected, said, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.fixture
def newer(upstreams):
    """Connect a client of 2026 before a server of 2025."""

    def newer(notes=None, config=None):
        return connected(
            upstreams,
            notes or Notes(),
            mode="auto",
            config=config,
            upstream_mode="legacy",
        )

    return newer


@pytest.fixture
def older(upstreams):
    """Connect a client of 2025 before a server of 2026."""

    def older(notes=None, config=None):
        return connected(upstreams, notes or Notes(), "modern", mode="legacy", config=config)

    return older


async def test_a_newer_client_finds_what_an_older_server_offers(newer):
    async with newer() as client:
        assert client.protocol_version == "2026-07-28"
        assert client.server_info.name == "full"
        assert client.server_capabilities.tools.list_changed is True
        tools = await client.list_tools()
        assert (tools.ttl_ms, tools.cache_scope) == (0, "private")
        assert tools.meta["io.modelcontextprotocol/serverInfo"]["name"] == "full"
        assert (await client.list_resources()).resources[0].uri == "test://one"
        assert (await client.list_prompts()).prompts[0].name == "greet"
        seen = (await client.call_tool("seen", {})).structured_content
        assert seen["seen"][2:] == ["mcp", "2025-11-25"]
        assert set(seen["can"]) == {"elicitation", "roots", "sampling"}


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_an_older_server_asks_a_newer_client(newer, action):
    notes = Notes(action)
    async with newer(notes) as client:
        content = {"name": "me"} if action == "accept" else None
        result = await client.call_tool("ask", {"times": 3})
        assert said(result) == str([[action, content]] * 3)
        assert notes.asked == ["name 0?", "name 1?", "name 2?"]


async def test_an_older_server_asks_for_samples_and_roots(newer):
    async with newer() as client:
        assert said(await client.call_tool("sample", {})) == "sampled"
        assert said(await client.call_tool("roots", {})) == "['file:///mine']"


async def test_what_a_newer_client_can_not_do_is_refused(newer):
    async with newer(Notes(can=())) as client:
        with pytest.raises(MCPError) as raised:
            await client.call_tool("ask", {})
        assert raised.value.message == "Elicitation not supported"


async def test_a_call_that_waits_is_continued_once_and_as_it_was(newer):
    async with newer() as client:

        async def call(arguments, **more):
            return await client.session.call_tool(
                "ask", arguments, allow_input_required=True, **more
            )

        first = await call({})
        assert isinstance(first, InputRequiredResult)
        (key,) = first.input_requests
        answers = {key: {"action": "accept", "content": {"name": "x"}}}
        again = {"input_responses": answers, "request_state": first.request_state}
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await call({"times": 2}, **again)
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await call({}, input_responses=answers, request_state="made up")
        assert "{'name': 'x'}" in said(await call({}, **again))
        with pytest.raises(MCPError, match="the call that asked for input is over"):
            await call({}, **again)


async def test_calls_that_wait_are_bounded_in_number_and_in_time(newer):
    config = WrapConfig(max_parked=2, park_s=0.5)
    async with newer(config=config) as client:

        async def call():
            return await client.session.call_tool("ask", {}, allow_input_required=True)

        first, _ = await call(), await call()
        with pytest.raises(MCPError, match="too many calls wait"):
            await call()
        with anyio.fail_after(20):
            while True:
                try:
                    await call()
                    break
                except MCPError:
                    await anyio.sleep(0.01)
        with pytest.raises(MCPError, match="Invalid or expired"):
            await client.session.call_tool(
                "ask",
                {},
                input_responses={},
                request_state=first.request_state,
                allow_input_required=True,
            )


async def test_progress_log_lines_and_cancelling_cross_to_an_older_server(newer, tmp_path):
    notes = Notes()
    async with newer(notes) as client:
        await client.call_tool("progress", {"count": 9}, progress_callback=notes.on_progress)
        await until(lambda: len(notes.progress) == 9)
        meta = {"io.modelcontextprotocol/logLevel": "info"}
        assert said(await client.call_tool("log", {}, meta=meta)) == "info"
        await until(lambda: len(notes.logged) == 2)
        called = tmp_path / "called"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "slow", {"called": str(called)})
            await until(called.exists)
            tasks.cancel_scope.cancel()
        await until(called.with_suffix(".cancelled").exists)


async def test_a_newer_client_listens_to_an_older_server(newer):
    async with newer() as client:
        async with client.listen(
            prompts_list_changed=True, resource_subscriptions=["test://one"]
        ) as events:
            assert events.honored.prompts_list_changed is True
            seen = (await client.call_tool("seen", {})).structured_content["seen"]
            assert seen[0] == ["test://one"]
            await client.call_tool("change", {})
            found = {str(await anext(events)), str(await anext(events))}
            assert found == {"PromptsListChanged()", "ResourceUpdated(uri='test://one')"}

        async def subscribed():
            return (await client.call_tool("seen", {})).structured_content["seen"][0]

        while await subscribed():  # noqa: ASYNC110 - there is no event across processes
            await anyio.sleep(0.01)


async def test_an_older_client_finds_what_a_newer_server_offers(older):
    async with older() as client:
        assert client.protocol_version == "2025-11-25"
        assert client.server_info.name == "full"
        assert client.server_capabilities.resources.subscribe is True
        assert len((await client.list_tools()).tools) == 12
        seen = (await client.call_tool("seen", {})).structured_content
        assert seen["seen"][2:] == ["mcp", "2026-07-28"]
        assert set(seen["can"]) == {"elicitation", "roots", "sampling"}


async def test_a_newer_server_asks_an_older_client(older):
    notes = Notes("decline")
    async with older(notes) as client:
        assert said(await client.call_tool("ask", {"times": 3})) == "['decline']"
        assert notes.asked == ["name 0?", "name 1?", "name 2?"]


async def test_a_newer_server_asks_an_older_client_so_often_and_no_more(older):
    notes = Notes()
    async with older(notes, WrapConfig(max_rounds=2)) as client:
        assert said(await client.call_tool("ask", {"times": 2})) == "['accept']"
        with pytest.raises(MCPError, match="asked for input more than 2 times"):
            await client.call_tool("ask", {"times": 4})


async def test_an_older_client_that_can_not_be_asked(older):
    async with older(Notes(can=())) as client:
        with pytest.raises(MCPError, match="needs elicitation, which this client does not"):
            await client.call_tool("ask", {})


async def test_an_older_client_hears_of_changes_at_a_newer_server(older):
    notes = Notes()
    async with older(notes) as client:
        await client.subscribe_resource("test://one")
        await client.subscribe_resource("test://two")
        await client.unsubscribe_resource("test://two")
        await client.call_tool("change", {})
        await until(lambda: {"notifications/tools/list_changed"} <= set(notes.methods()))
        await until(lambda: notes.updated() == ["test://one"])


async def test_progress_and_log_lines_cross_to_a_newer_server(older):
    notes = Notes()
    async with older(notes) as client:
        await client.call_tool("progress", {"count": 9}, progress_callback=notes.on_progress)
        await until(lambda: len(notes.progress) == 9)
        await client.call_tool("log", {})
        await client.set_logging_level("error")
        await client.call_tool("log", {})
        await until(lambda: len(notes.logged) == 1)
        assert notes.logged == [("error", "a line of error")]


async def test_without_bridges_an_older_client_is_told_what_the_server_speaks(older):
    with pytest.raises((MCPError, ExceptionGroup)) as raised:
        async with older(config=WrapConfig(bridge_eras=False)):
            pytest.fail("it was greeted")
    error = raised.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert error.code == -32022
    assert error.data["supported"] == ["2026-07-28"]
