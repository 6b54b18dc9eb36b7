"""The fixtures that talk to the client while they run: logs, progress, questions, changes."""

import anyio
from content import NO_ARGUMENTS, answer, text
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY, SamplingMessage, TextContent

PAUSE_S = 0.05
BUS = InMemorySubscriptionBus()


async def _logging(ctx, params):
    for pause, words in (
        (0, "Tool execution started"),
        (PAUSE_S, "Tool processing data"),
        (PAUSE_S, "Tool execution completed"),
    ):
        await anyio.sleep(pause)
        await ctx.session.send_log_message("info", words, related_request_id=ctx.request_id)
    return answer(text("Logged three lines"))


async def _progress(ctx, params):
    for pause, done in ((0, 0), (PAUSE_S, 50), (PAUSE_S, 100)):
        await anyio.sleep(pause)
        await ctx.session.report_progress(done, 100)
    return answer(text("Reported progress three times"))


async def _sampling(ctx, params):
    asked = SamplingMessage(role="user", content=TextContent(text=params.arguments["prompt"]))
    got = await ctx.session.create_message(
        [asked], max_tokens=100, related_request_id=ctx.request_id
    )
    return answer(text(f"LLM response: {got.content.text}"))


async def _elicit(ctx, message, properties, required=()):
    wanted = {"type": "object", "properties": properties, "required": list(required)}
    got = await ctx.session.elicit_form(message, wanted, related_request_id=ctx.request_id)
    return f"action={got.action}, content={got.content}"


async def _elicitation(ctx, params):
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    got = await _elicit(ctx, params.arguments["message"], properties, properties)
    return answer(text(f"User response: {got}"))


async def _defaults(ctx, params):
    statuses = ["active", "inactive", "pending"]
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": statuses, "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    got = await _elicit(ctx, "Please review these values", properties)
    return answer(text(f"Elicitation completed: {got}"))


def _titled(values, titles):
    return [{"const": value, "title": title} for value, title in zip(values, titles, strict=True)]


async def _enums(ctx, params):
    options, values = ["option1", "option2", "option3"], ["value1", "value2", "value3"]
    ordinals = ("First", "Second", "Third")
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {
            "type": "string",
            "oneOf": _titled(values, [f"{each} Option" for each in ordinals]),
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _titled(values, [f"{each} Choice" for each in ordinals])},
        },
    }
    got = await _elicit(ctx, "Please choose", properties)
    return answer(text(f"Elicitation completed: {got}"))


async def _reconnection(ctx, params):
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    # The answer must wait until the client notices and comes back.
    await anyio.sleep(2 * PAUSE_S)
    return answer(text("Reconnection test completed"))


async def _missing_capability(ctx, params):
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this tool needs a client that can sample",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return answer(text("The client can sample"))


async def _change_tools(ctx, params):
    await BUS.publish(ToolsListChanged())
    return answer(text("Told of changed tools"))


async def _change_prompts(ctx, params):
    await BUS.publish(PromptsListChanged())
    return answer(text("Told of changed prompts"))


def _one_text(name):
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


TOOLS = {
    "test_tool_with_logging": (NO_ARGUMENTS, _logging),
    "test_logging_tool": (NO_ARGUMENTS, _logging),
    "test_tool_with_progress": (NO_ARGUMENTS, _progress),
    "test_sampling": (_one_text("prompt"), _sampling),
    "test_elicitation": (_one_text("message"), _elicitation),
    "test_elicitation_sep1034_defaults": (NO_ARGUMENTS, _defaults),
    "test_elicitation_sep1330_enums": (NO_ARGUMENTS, _enums),
    "test_reconnection": (NO_ARGUMENTS, _reconnection),
    "test_missing_capability": (NO_ARGUMENTS, _missing_capability),
    "test_trigger_tool_change": (NO_ARGUMENTS, _change_tools),
    "test_trigger_prompt_change": (NO_ARGUMENTS, _change_prompts),
}
