"""The fixtures that answer by themselves: tools with every kind of content, resources, prompts."""

import json
import struct
import zlib
from base64 import b64encode

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolResult,
    GetPromptResult,
    Prompt,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)

TEMPLATE_START, TEMPLATE_END = "test://template/", "/data"


def _chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


_ONE_PIXEL = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
PNG = b64encode(
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", _ONE_PIXEL)
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    + _chunk(b"IEND", b"")
).decode()
_SAMPLES = bytes(8)
_FORMAT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
WAV = b64encode(
    struct.pack("<4sI4s", b"RIFF", 4 + len(_FORMAT) + 8 + len(_SAMPLES), b"WAVE")
    + _FORMAT
    + struct.pack("<4sI", b"data", len(_SAMPLES))
    + _SAMPLES
).decode()

IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}


def text(words):
    return {"type": "text", "text": words}


def embedded(uri, words, mime_type="text/plain"):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": words}}


def answer(*content, is_error=False):
    return CallToolResult.model_validate({"content": content, "isError": is_error})


def _constant(*content, is_error=False):
    async def tool(ctx, params):
        return answer(*content, is_error=is_error)

    return tool


async def _echo(ctx, params):
    return answer(text(json.dumps(params.arguments or {}, sort_keys=True)))


NO_ARGUMENTS = {"type": "object"}
FULL_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
# An argument that a client repeats in a header, for those who route by it.
HEADER_SCHEMA = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}

MIXED = json.dumps({"test": "data", "value": 123}, separators=(",", ":"))
TOOLS = {
    "test_simple_text": (
        NO_ARGUMENTS,
        _constant(text("This is a simple text response for testing.")),
    ),
    "test_image_content": (NO_ARGUMENTS, _constant(IMAGE)),
    "test_audio_content": (
        NO_ARGUMENTS,
        _constant({"type": "audio", "data": WAV, "mimeType": "audio/wav"}),
    ),
    "test_embedded_resource": (
        NO_ARGUMENTS,
        _constant(embedded("test://embedded-resource", "This is an embedded resource content.")),
    ),
    "test_multiple_content_types": (
        NO_ARGUMENTS,
        _constant(
            text("Multiple content types test:"),
            IMAGE,
            embedded("test://mixed-content-resource", MIXED, "application/json"),
        ),
    ),
    "test_error_handling": (
        NO_ARGUMENTS,
        _constant(text("This tool intentionally returns an error for testing"), is_error=True),
    ),
    "json_schema_2020_12_tool": (FULL_SCHEMA, _echo),
    "test_header": (HEADER_SCHEMA, _echo),
}

RESOURCES = (
    Resource(
        uri="test://static-text",
        name="static-text",
        description="A text that stays as it is",
        mime_type="text/plain",
    ),
    Resource(
        uri="test://static-binary",
        name="static-binary",
        description="An image that stays as it is",
        mime_type="image/png",
    ),
    Resource(
        uri="test://watched-resource",
        name="watched-resource",
        description="A text that clients may subscribe to",
        mime_type="text/plain",
    ),
)
TEMPLATES = (
    ResourceTemplate(
        uri_template=f"{TEMPLATE_START}{{id}}{TEMPLATE_END}",
        name="template",
        description="Data by id",
        mime_type="application/json",
    ),
)


def _contents(uri):
    if uri == "test://static-text":
        words = "This is the content of the static text resource."
        return {"uri": uri, "mimeType": "text/plain", "text": words}
    if uri == "test://static-binary":
        return {"uri": uri, "mimeType": "image/png", "blob": PNG}
    if uri == "test://watched-resource":
        return {"uri": uri, "mimeType": "text/plain", "text": "Watched resource content"}
    if uri.startswith(TEMPLATE_START) and uri.endswith(TEMPLATE_END):
        found = uri.removeprefix(TEMPLATE_START).removesuffix(TEMPLATE_END)
        data = {"id": found, "templateTest": True, "data": f"Data for ID: {found}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
    raise MCPError(INVALID_PARAMS, "Resource not found", {"uri": uri})


async def read_resource(ctx, params):
    return ReadResourceResult.model_validate({"contents": [_contents(params.uri)]})


PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


def declare_prompt(name, arguments):
    wanted = [{"name": each, "description": f"The {each}", "required": True} for each in arguments]
    described = {"name": name, "description": f"The fixture {name}", "arguments": wanted}
    return Prompt.model_validate(described)


def get_prompt(name, given):
    if name not in PROMPTS:
        raise MCPError(INVALID_PARAMS, "Prompt not found", {"name": name})
    contents = {
        "test_simple_prompt": lambda: [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": lambda: [
            text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")
        ],
        "test_prompt_with_embedded_resource": lambda: [
            embedded(given["resourceUri"], "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image": lambda: [IMAGE, text("Please analyze the image above.")],
    }[name]()
    messages = [{"role": "user", "content": content} for content in contents]
    return GetPromptResult.model_validate({"messages": messages})


def tool_not_found(name):
    return MCPError(METHOD_NOT_FOUND, "Tool not found", {"name": name})
