"""Holds on to the argument schemas of a wrapped server's tools, as many as may be."""

from collections.abc import Mapping
from typing import Any, cast, final

__all__ = ("ToolSchemas",)

_MAX_SCHEMAS = 10_000


@final
class ToolSchemas:
    """The schemas that lists of tools have shown, by tool."""

    def __init__(self) -> None:
        self._found: dict[str, Mapping[str, Any]] = {}

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return a tool's schema, None where no list has shown one."""
        return self._found.get(name)

    def note(self, tools: object) -> None:
        """Take over what a list of tools says, in the form of the wire."""
        if not isinstance(tools, list):
            return
        for tool in cast("list[object]", tools):
            if not isinstance(tool, dict):
                continue
            said = cast("dict[str, object]", tool)
            name, schema = said.get("name"), said.get("inputSchema")
            if isinstance(name, str) and isinstance(schema, dict):
                if name not in self._found and len(self._found) >= _MAX_SCHEMAS:
                    return
                self._found[name] = cast("dict[str, Any]", schema)

    def clear(self) -> None:
        """Forget them all: the tools may be others now."""
        self._found.clear()
