"""Reads and makes FastMCP's own objects: messages, tools, results."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, final

try:
    import mcp_types
    from fastmcp.tools import Tool, ToolResult
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ..core.errors import MissingExtraError

    raise MissingExtraError("fastmcp", "hardening a FastMCP server") from _missing

from ..compose.hardening import Hardening
from ..core.model import Annotations, ToolDeclaration
from .guarding import declaration

__all__ = (
    "NAME_OF_ITEM",
    "ListedTools",
    "parameters_of",
    "tool_result",
    "with_arguments",
)

NAME_OF_ITEM: Mapping[str, str] = {
    "tools": "name",
    "resources": "uri",
    "resourceTemplates": "uri_template",
    "prompts": "name",
}
"""The attribute by which policy knows an item of a list, by the list's key on the wire."""

# FastMCP also finds a tool of an app by the hash of its identity, before its own name.
_HASHED = re.compile(r"[0-9a-f]{12}_.", re.DOTALL)
_HASH_LENGTH = 12
_MAX_HASHES = 10_000


def parameters_of(message: Any) -> Mapping[str, Any] | None:
    """Return a message's parameters in the form of the wire, None where they do not matter."""
    match message:
        case mcp_types.CallToolRequestParams() | mcp_types.GetPromptRequestParams():
            return {"name": message.name, "arguments": message.arguments or {}}
        case mcp_types.ReadResourceRequestParams():
            return {"uri": str(message.uri)}
        case Mapping():
            return message
        case _:
            return None


def with_arguments(message: Any, arguments: dict[str, Any]) -> Any:
    """Return a message with other arguments."""
    if isinstance(message, Mapping):
        return {**message, "arguments": arguments}
    return message.model_copy(update={"arguments": arguments})


def tool_result(result: Mapping[str, Any]) -> ToolResult:
    """Return a result in the form of the wire as FastMCP's own."""
    parsed = mcp_types.CallToolResult.model_validate(result)
    return ToolResult(content=parsed.content, meta=parsed.meta, is_error=bool(parsed.is_error))


@final
class ListedTools:
    """What FastMCP lists of its tools, and the names by which rules know them.

    Args:
        hardening: Keeps the declarations.
    """

    def __init__(self, hardening: Hardening) -> None:
        self._hardening = hardening
        self._hashes: dict[str, str | None] = {}

    def learn(self, tools: Iterable[Tool]) -> None:
        """Take over a list."""
        hashes: dict[str, str | None] = {}
        declared: dict[str, ToolDeclaration] = {}
        for tool in tools:
            hints = tool.annotations.model_dump(by_alias=True) if tool.annotations else None
            said = declaration(tool.name, tool.parameters, hints)
            version = declared.get(tool.name)
            declared[tool.name] = said if version is None else _common(said, version)
            identity = ((tool.meta or {}).get("fastmcp") or {}).get("tool_hash")
            if isinstance(identity, str):
                # Two tools of one identity: nothing says which one a call would reach.
                same = hashes.get(identity, tool.name) == tool.name
                hashes[identity] = tool.name if same else None
        # Never complete: who asks, and in which session, decides what FastMCP lists.
        self._hardening.declare_tools(list(declared.values()))
        for identity, name in hashes.items():
            # Nor when another caller's list has another tool of this identity.
            same = self._hashes.get(identity, name) == name
            self._hashes[identity] = name if same else None
        for oldest in list(self._hashes)[: max(0, len(self._hashes) - _MAX_HASHES)]:
            del self._hashes[oldest]

    def is_hashed(self, name: str) -> bool:
        """Return whether a name is not that of a known tool but may reach one by its hash."""
        return not self._hardening.knows_tool(name) and _HASHED.match(name) is not None

    def name_for_rules(self, name: str) -> str:
        """Return the listed name of the tool that a name reaches; the name itself if unknown."""
        if self.is_hashed(name):
            return self._hashes.get(name[:_HASH_LENGTH]) or name
        return name


def _common(one: ToolDeclaration, other: ToolDeclaration) -> ToolDeclaration:
    """Return what holds for two versions of a tool; FastMCP itself checks their arguments."""

    def agreed(hint: str) -> bool | None:
        value: bool | None = getattr(one.annotations, hint)
        return value if value == getattr(other.annotations, hint) else None

    return ToolDeclaration(
        name=one.name,
        input_schema=one.input_schema if one.input_schema == other.input_schema else None,
        annotations=Annotations(
            read_only=agreed("read_only"),
            destructive=agreed("destructive"),
            idempotent=agreed("idempotent"),
            open_world=agreed("open_world"),
        ),
    )
