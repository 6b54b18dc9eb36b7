"""The fixtures of the 2026 era that need input: they answer with what they want to know."""

from content import NO_ARGUMENTS, answer, text
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CreateMessageResult,
    ElicitResult,
    GetPromptResult,
    InputRequiredResult,
    ListRootsResult,
)


def _form(message, name, kind="string"):
    wanted = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    params = {"message": message, "requestedSchema": wanted}
    return {"method": "elicitation/create", "params": params}


def _sample(words, max_tokens):
    message = {"role": "user", "content": text(words)}
    params = {"messages": [message], "maxTokens": max_tokens}
    return {"method": "sampling/createMessage", "params": params}


_ROOTS = {"method": "roots/list", "params": {}}
_NAME = {"user_name": _form("What is your name?", "name")}
_CONFIRM = {"confirm": _form("Please confirm", "ok", "boolean")}
_CAPITAL = {"capital_question": _sample("What is the capital of France?", 100)}
_ALL = {**_NAME, "greeting": _sample("Generate a greeting", 50), "client_roots": _ROOTS}
_STEP_1 = {"step1": _form("Step 1: What is your name?", "name")}
_STEP_2 = {"step2": _form("Step 2: What is your favorite color?", "color")}
_CONTEXT = {"user_context": _form("What context should the prompt use?", "context")}


def _ask(requests, state=None):
    wanted = {"resultType": "input_required", "inputRequests": requests}
    if state is not None:
        wanted["requestState"] = state
    return InputRequiredResult.model_validate(wanted)


def _given(params, key, kind):
    """Return an answer of the client, or None when it is missing or of another kind."""
    found = (params.input_responses or {}).get(key)
    return found if isinstance(found, kind) else None


def _field(params, key, name):
    """Return what a user wrote into a form, or None."""
    form = _given(params, key, ElicitResult)
    if form is None or form.action != "accept":
        return None
    return (form.content or {}).get(name)


def _require_state(params, expected):
    if params.request_state != expected:
        raise MCPError(INVALID_PARAMS, "Invalid or expired requestState")


async def _elicitation(ctx, params):
    name = _field(params, "user_name", "name")
    return answer(text(f"Hello, {name}!")) if isinstance(name, str) else _ask(_NAME)


async def _sampling(ctx, params):
    got = _given(params, "capital_question", CreateMessageResult)
    return _ask(_CAPITAL) if got is None else answer(text(f"LLM response: {got.content.text}"))


async def _list_roots(ctx, params):
    got = _given(params, "client_roots", ListRootsResult)
    if got is None:
        return _ask({"client_roots": _ROOTS})
    return answer(text("Roots: " + ", ".join(str(root.uri) for root in got.roots)))


async def _request_state(ctx, params):
    if _field(params, "confirm", "ok") is None:
        return _ask(_CONFIRM, "asked to confirm")
    _require_state(params, "asked to confirm")
    return answer(text("state-ok"))


async def _multiple(ctx, params):
    name = _field(params, "user_name", "name")
    greeting = _given(params, "greeting", CreateMessageResult)
    roots = _given(params, "client_roots", ListRootsResult)
    if name is None or greeting is None or roots is None:
        return _ask(_ALL, "asked for three")
    _require_state(params, "asked for three")
    return answer(text(f"{greeting.content.text} {name}, of {len(roots.roots)} roots"))


async def _multi_round(ctx, params):
    if params.request_state is None:
        return _ask(_STEP_1, "step 1")
    if params.request_state == "step 1":
        name = _field(params, "step1", "name")
        return _ask(_STEP_1, "step 1") if name is None else _ask(_STEP_2, f"step 2 of {name}")
    color = _field(params, "step2", "color")
    if color is None:
        return _ask(_STEP_2, params.request_state)
    return answer(text(f"{params.request_state.removeprefix('step 2 of ')} likes {color}"))


async def _capabilities(ctx, params):
    said = ctx.session.client_capabilities
    wanted = {
        **(_NAME if said is not None and said.elicitation is not None else {}),
        **(_CAPITAL if said is not None and said.sampling is not None else {}),
        **({"client_roots": _ROOTS} if said is not None and said.roots is not None else {}),
    }
    if params.input_responses or not wanted:
        return answer(text("Asked only for what the client can do"))
    return _ask(wanted)


TOOLS = {
    "test_input_required_result_elicitation": (NO_ARGUMENTS, _elicitation),
    "test_streaming_elicitation": (NO_ARGUMENTS, _elicitation),
    "test_input_required_result_sampling": (NO_ARGUMENTS, _sampling),
    "test_input_required_result_list_roots": (NO_ARGUMENTS, _list_roots),
    "test_input_required_result_request_state": (NO_ARGUMENTS, _request_state),
    "test_input_required_result_tampered_state": (NO_ARGUMENTS, _request_state),
    "test_input_required_result_multiple_inputs": (NO_ARGUMENTS, _multiple),
    "test_input_required_result_multi_round": (NO_ARGUMENTS, _multi_round),
    "test_input_required_result_capabilities": (NO_ARGUMENTS, _capabilities),
}

PROMPT = "test_input_required_result_prompt"


async def get_prompt(ctx, params):
    context = _field(params, "user_context", "context")
    if context is None:
        return _ask(_CONTEXT)
    message = {"role": "user", "content": text(f"Use this context: {context}")}
    return GetPromptResult.model_validate({"messages": [message]})
