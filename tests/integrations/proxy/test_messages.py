"""What passes through a wrapped server: the same as without the guards in between."""

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import Request, RequestParams, Result
from pydantic import ConfigDict

from .wrapping import Notes, connected, said, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

BOTH = [True, False]
ERAS = ["legacy", "auto"]


@pytest.mark.parametrize("mode", ERAS)
async def test_it_offers_what_it_offers(upstreams, mode):
    offered = []
    for bare in BOTH:
        async with connected(upstreams, Notes(), bare=bare, mode=mode) as client:
            offered.append(client.server_capabilities.model_dump(exclude_none=True))
            assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
            assert (client.server_info.name, client.server_info.version) == ("full", "2")
    assert offered[0] == offered[1]
    assert offered[0]["resources"] == {"subscribe": True, "list_changed": True}
    assert ("experimental" in offered[0]) == (mode == "legacy")
    assert ("extensions" in offered[0]) == (mode == "auto")


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("bare", BOTH)
async def test_it_sees_the_client_as_it_is(upstreams, bare, mode):
    async with connected(upstreams, Notes(can=("roots",)), bare=bare, mode=mode) as client:
        seen = (await client.call_tool("seen", {})).structured_content
        assert set(seen["can"]) == {"roots"}
        assert seen["seen"][2] == "mcp"


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("bare", BOTH)
async def test_progress_comes_in_order_before_the_answer(upstreams, bare, mode):
    notes = Notes()
    async with connected(upstreams, notes, bare=bare, mode=mode) as client:
        await client.call_tool("progress", {"count": 100}, progress_callback=notes.on_progress)
        # The client runs a task for each, so that the last may still be on their way.
        await until(lambda: len(notes.progress) == 100)
        assert sorted(notes.progress) == [(n, 100, f"step {n}") for n in range(1, 101)]


async def test_progress_goes_to_the_call_it_belongs_to(upstreams):
    ones, twos = Notes(), Notes()
    async with connected(upstreams, Notes()) as client, anyio.create_task_group() as tasks:

        async def call(notes, count):
            await client.call_tool(
                "progress", {"count": count}, progress_callback=notes.on_progress
            )
            await until(lambda: len(notes.progress) == count)

        tasks.start_soon(call, ones, 30)
        tasks.start_soon(call, twos, 40)
    assert {total for _, total, _ in ones.progress} == {30}
    assert {total for _, total, _ in twos.progress} == {40}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("bare", BOTH)
async def test_cancelling_reaches_it(upstreams, bare, mode, tmp_path):
    called = tmp_path / "called"
    async with connected(upstreams, Notes(), bare=bare, mode=mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "slow", {"called": str(called)})
            await until(called.exists)
            tasks.cancel_scope.cancel()
        await until(called.with_suffix(".cancelled").exists)
        assert int(said(await client.call_tool("pid", {}))) > 0


@pytest.mark.parametrize("bare", BOTH)
@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("accept", "[['accept', {'name': 'me'}]]"),
        ("decline", "[['decline', None]]"),
        ("cancel", "[['cancel', None]]"),
    ],
)
async def test_it_asks_the_user(upstreams, bare, action, answer):
    notes = Notes(action)
    async with connected(upstreams, notes, bare=bare) as client:
        assert said(await client.call_tool("ask", {})) == answer
        assert notes.asked == ["name 0?"]
        assert said(await client.call_tool("url", {})) == action


@pytest.mark.parametrize("bare", BOTH)
async def test_it_asks_the_model_and_for_roots(upstreams, bare):
    notes = Notes()
    async with connected(upstreams, notes, bare=bare) as client:
        assert said(await client.call_tool("sample", {})) == "sampled"
        assert notes.asked == ["hello"]
        assert said(await client.call_tool("roots", {})) == "['file:///mine']"
        await client.session.send_roots_list_changed()

        async def told():
            return (await client.call_tool("seen", {})).structured_content["seen"][1]

        while await told() != 1:  # noqa: ASYNC110 - there is no event across processes
            await anyio.sleep(0.01)


@pytest.mark.parametrize("bare", BOTH)
@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("ask", "Elicitation not supported"),
        ("sample", "Sampling not supported"),
        ("roots", "List roots not supported"),
    ],
)
async def test_what_the_client_can_not_do_is_refused(upstreams, bare, tool, message):
    async with connected(upstreams, Notes(can=()), bare=bare) as client:
        with pytest.raises(MCPError) as raised:
            await client.call_tool(tool, {})
        assert raised.value.message == message
        assert raised.value.code == -32600


@pytest.mark.parametrize("bare", BOTH)
async def test_log_lines_and_their_level_of_the_older_era(upstreams, bare):
    notes = Notes()
    async with connected(upstreams, notes, bare=bare) as client:
        await client.set_logging_level("error")
        assert said(await client.call_tool("log", {})) == "error"
        await until(lambda: len(notes.logged) == 3)
        assert notes.logged == [
            (level, f"a line of {level}") for level in ("debug", "info", "error")
        ]


@pytest.mark.parametrize("bare", BOTH)
async def test_log_lines_come_to_the_request_that_wants_them(upstreams, bare):
    notes = Notes()
    async with connected(upstreams, notes, bare=bare, mode="auto") as client:
        await client.call_tool("log", {})
        wanted = {"io.modelcontextprotocol/logLevel": "info"}
        await client.call_tool("log", {}, meta=wanted)
        await until(lambda: len(notes.logged) == 2)
        assert [level for level, _ in notes.logged] == ["info", "error"]


@pytest.mark.parametrize("bare", BOTH)
async def test_changes_of_the_older_era(upstreams, bare):
    notes = Notes()
    async with connected(upstreams, notes, bare=bare) as client:
        for uri in ("test://one", "test://two"):
            await client.subscribe_resource(uri)
        await client.unsubscribe_resource("test://two")
        seen = (await client.call_tool("seen", {})).structured_content["seen"]
        assert seen[0] == ["test://one"]
        await client.call_tool("change", {})
        await until(lambda: "test://one" in notes.updated())
        assert {
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
        } <= set(notes.methods())
        # The bare server tells of all; behind the guards one hears what one asked for.
        if not bare:
            assert notes.updated() == ["test://one"]
        assert "new" in {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("bare", BOTH)
async def test_changes_of_the_newer_era(upstreams, bare):
    async with connected(upstreams, Notes(), bare=bare, mode="auto") as client:
        async with client.listen(
            tools_list_changed=True, resource_subscriptions=["test://one"]
        ) as events:
            assert events.honored.tools_list_changed is True
            assert events.honored.resource_subscriptions == ["test://one"]
            await client.call_tool("change", {})
            found = {str(await anext(events)), str(await anext(events))}
        assert found == {"ToolsListChanged()", "ResourceUpdated(uri='test://one')"}


class _OddParams(RequestParams):
    value: int


class _Odd(Result):
    model_config = ConfigDict(extra="allow")
    odd: int


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("bare", BOTH)
async def test_methods_of_its_own(upstreams, bare, mode):
    async with connected(upstreams, Notes(), bare=bare, mode=mode) as client:
        request = Request[_OddParams, str](method="odd/do", params=_OddParams(value=3))
        assert (await client.session.send_request(request, _Odd)).odd == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_ten_megabytes_come_whole(upstreams, mode):
    async with connected(upstreams, Notes(), mode=mode) as client:
        assert len(said(await client.call_tool("big", {"size": 10_000_000}))) == 10_000_000
