"""Keeps what the server declares of its tools, and whose word counts.

A host's configuration wins over a tool's own annotations; a tool's own count
only where the configuration trusts them.
"""

from collections.abc import Mapping, Sequence
from typing import final

from attrs import evolve

from ..core.model import UNKNOWN_TARGET, Annotations, ToolDeclaration
from ..protocols.security import ArgumentValidator
from .config import ToolConfig

__all__ = ("ToolCatalog",)

_MAX_TOOLS = 10_000


@final
class ToolCatalog:
    """The declared tools of one server."""

    def __init__(self) -> None:
        self._declared: dict[str, ToolDeclaration] = {}
        self._annotations: dict[str, Annotations] = {}
        self._settings: Mapping[str, ToolConfig] = {}
        self._trust = True

    def __len__(self) -> int:
        """Return how many tools are declared."""
        return len(self._declared)

    def configure(self, settings: Mapping[str, ToolConfig], *, trust: bool) -> None:
        """Take over what the host says of its tools, and whether their own word counts."""
        self._settings = settings
        self._trust = trust
        self._annotations = {
            name: self._judge(declaration) for name, declaration in self._declared.items()
        }

    def declare(
        self, tools: Sequence[ToolDeclaration], validator: ArgumentValidator, *, complete: bool
    ) -> None:
        """Take over declarations; a tool that was declared before is replaced.

        The first 10,000 tools are kept; further ones stay unknown.

        Args:
            tools: The declarations.
            validator: Takes over the schemas.
            complete: Whether these are all there are, so that others are forgotten.
        """
        if complete:
            listed = {tool.name for tool in tools}
            for name in self._declared.keys() - listed:
                del self._declared[name], self._annotations[name]
        fresh: list[ToolDeclaration] = []
        for tool in tools:
            known = self._declared.get(tool.name)
            if known == tool or (known is None and len(self._declared) >= _MAX_TOOLS):
                continue
            fresh.append(tool)
            self._declared[tool.name] = tool
            self._annotations[tool.name] = self._judge(tool)
        if fresh:
            validator.declare(fresh)

    def redeclare(self, validator: ArgumentValidator) -> None:
        """Tell another validator what is declared."""
        if self._declared:
            validator.declare(list(self._declared.values()))

    def get_annotations(self, name: str) -> Annotations:
        """Return what is known of a tool; `UNKNOWN_TARGET` when it is not declared."""
        return self._annotations.get(name, UNKNOWN_TARGET)

    def _judge(self, tool: ToolDeclaration) -> Annotations:
        own = tool.annotations if self._trust else Annotations(trusted=True)
        said = self._settings.get(tool.name)
        if said is None:
            return own
        return evolve(
            own,
            read_only=own.read_only if said.read_only is None else said.read_only,
            idempotent=own.idempotent if said.idempotent is None else said.idempotent,
        )
