"""A well-behaved server of the SDK that does all that a server may do.

Usage: full.py TOKEN [modern]. With `modern` it knows nothing of the older era.
"""

import os
import sys
import warnings
from pathlib import Path

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.runner import _serve_modern_stream
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

warnings.simplefilter("ignore")

NAMES = ["ask", "big", "change", "flood", "log", "pid", "progress", "roots", "sample", "seen"]
NAMES += ["slow", "url"]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
bus = InMemorySubscriptionBus()
state = {
    "level": None,
    "subscribed": [],
    "roots_changed": 0,
    "tools": list(NAMES),
    "pid": os.getpid(),
}


def text(value):
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(value))])


async def list_tools(ctx, params):
    tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in state["tools"]]
    return types.ListToolsResult(tools=tools)


async def call_tool(ctx, params):  # noqa: PLR0912 - a list of what servers do
    arguments = params.arguments or {}
    session = ctx.session
    related = ctx.request_id
    if params.name == "progress":
        for number in range(1, arguments["count"] + 1):
            await session.report_progress(number, arguments["count"], f"step {number}")
        return text("done")
    if params.name == "ask" and ctx.protocol_version >= "2026":
        round_ = int(params.request_state or 0)
        given = params.input_responses or {}
        if round_ >= arguments.get("times", 1):
            return text([each.action for each in given.values()])
        wanted = types.ElicitRequest(
            params=types.ElicitRequestFormParams(message=f"name {round_}?", requested_schema=SCHEMA)
        )
        return types.InputRequiredResult(
            input_requests={"name": wanted}, request_state=str(round_ + 1)
        )
    if params.name == "ask":
        answers = []
        for number in range(arguments.get("times", 1)):
            answer = await session.elicit_form(f"name {number}?", SCHEMA, related)
            answers.append([answer.action, answer.content])
        return text(answers)
    if params.name == "url":
        answer = await session.elicit_url("go", "https://example.org/", "one", related)
        return text(answer.action)
    if params.name == "sample":
        message = types.SamplingMessage(
            role="user", content=types.TextContent(type="text", text="hello")
        )
        result = await session.create_message([message], max_tokens=5, related_request_id=related)
        return text(result.content.text)
    if params.name == "roots":
        roots = (await session.list_roots()).roots
        return text([str(root.uri) for root in roots])
    if params.name == "log":
        for level in ("debug", "info", "error"):
            await session.send_log_message(level, f"a line of {level}", "here", related)
        return text(state["level"])
    if params.name == "flood":
        for number in range(arguments["count"]):
            await session.send_log_message("error", number, None, related)
            await session.report_progress(number + 1, None, None)
            await session.send_tool_list_changed()
        return text("flooded")
    if params.name == "change":
        state["tools"] = [*NAMES, "new"]
        await session.send_tool_list_changed()
        await session.send_prompt_list_changed()
        await session.send_resource_list_changed()
        for uri in ("test://one", "test://two", "test://three"):
            await session.send_resource_updated(uri)
        for event in (ToolsListChanged(), PromptsListChanged(), ResourcesListChanged()):
            await bus.publish(event)
        for uri in ("test://one", "test://two", "test://three"):
            await bus.publish(ResourceUpdated(uri=uri))
        return text("changed")
    if params.name == "slow":
        called = Path(arguments["called"])
        called.touch()  # noqa: ASYNC240
        try:
            await anyio.sleep_forever()
        finally:
            called.with_suffix(".cancelled").touch()
    if params.name == "big":
        return text("x" * arguments["size"])
    if params.name == "seen":
        can = session.client_capabilities
        shown = None if can is None else can.model_dump(by_alias=True, exclude_none=True)
        who = session.client_params.client_info.name if session.client_params else None
        known = [state["subscribed"], state["roots_changed"], who, ctx.protocol_version]
        return types.CallToolResult(content=[], structured_content={"can": shown, "seen": known})
    if params.name == "pid":
        return text(state["pid"])
    return text("new")


async def subscribe(ctx, params):
    state["subscribed"].append(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(ctx, params):
    state["subscribed"].remove(str(params.uri))
    return types.EmptyResult()


async def set_level(ctx, params):
    state["level"] = params.level
    return types.EmptyResult()


async def roots_changed(ctx, params):
    state["roots_changed"] += 1


async def list_resources(ctx, params):
    return types.ListResourcesResult(resources=[types.Resource(uri="test://one", name="one")])


async def list_prompts(ctx, params):
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])


async def odd(ctx, params):
    return {"odd": (ctx.params or {}).get("value")}


server = Server(
    "full",
    version="2",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_subscriptions_listen=ListenHandler(bus),
    on_list_prompts=list_prompts,
    on_set_logging_level=set_level,
    on_roots_list_changed=roots_changed,
)
server.extensions = {"org.example/odd": {"x": 1}}
server.add_request_handler("odd/do", types.RequestParams, odd)


async def main():
    options = server.create_initialization_options(
        NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True),
        experimental_capabilities={"mine": {"y": 2}},
    )
    async with stdio_server() as (read, write):
        if "modern" in sys.argv:
            await _serve_modern_stream(
                server, read, write, lifespan_state={}, raise_exceptions=False
            )
            return
        await server.run(read, write, options)


def run():
    anyio.run(main)


if __name__ == "__main__":
    run()
