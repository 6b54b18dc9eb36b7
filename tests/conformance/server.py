"""The server that the conformance suite talks to: every fixture that a scenario asks for.

Written on the low-level `Server`, so that schemas and results are exactly what is said
here. As a program it serves over standard input and output.
"""

import warnings

import anyio
import asking
import content
import talking
from mcp.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import (
    CompleteResult,
    Completion,
    EmptyResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    Tool,
)

NAME = "conformance-fixtures"
TOOLS = {**content.TOOLS, **talking.TOOLS, **asking.TOOLS}


def _declare(name):
    schema, _ = TOOLS[name]
    return Tool(name=name, description=f"The fixture {name}", input_schema=schema)


async def _list_tools(ctx, params):
    return ListToolsResult(tools=[_declare(name) for name in TOOLS])


async def _call_tool(ctx, params):
    if params.name not in TOOLS:
        raise content.tool_not_found(params.name)
    _, handle = TOOLS[params.name]
    return await handle(ctx, params)


async def _list_resources(ctx, params):
    return ListResourcesResult(resources=list(content.RESOURCES))


async def _list_templates(ctx, params):
    return ListResourceTemplatesResult(resource_templates=list(content.TEMPLATES))


async def _list_prompts(ctx, params):
    prompts = [content.declare_prompt(*each) for each in content.PROMPTS.items()]
    return ListPromptsResult(prompts=[*prompts, content.declare_prompt(asking.PROMPT, ())])


async def _get_prompt(ctx, params):
    if params.name == asking.PROMPT:
        return await asking.get_prompt(ctx, params)
    return content.get_prompt(params.name, params.arguments or {})


async def _complete(ctx, params):
    known = ("paris", "park", "party")
    values = [each for each in known if each.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))


async def _accept(ctx, params):
    return EmptyResult()


def make_server():
    server = Server(
        NAME,
        version="1.0",
        instructions="Fixtures for the conformance suite.",
        get_tool_input_schema=lambda name: TOOLS[name][0] if name in TOOLS else None,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=content.read_resource,
        on_subscribe_resource=_accept,
        on_unsubscribe_resource=_accept,
        on_subscriptions_listen=ListenHandler(talking.BUS),
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
        on_set_logging_level=_accept,
    )
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME)
    )
    return server


def accept_the_old_era():
    """Let logs and sampling be used without a word: the suite asks for them."""
    warnings.simplefilter("ignore", MCPDeprecationWarning)


async def _main():
    server = make_server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    accept_the_old_era()
    anyio.run(_main)
