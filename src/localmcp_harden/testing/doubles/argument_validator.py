"""An argument validator that a test can make refuse, and which otherwise works."""

from collections.abc import Sequence
from typing import final

from ...core.model import Call, Decision, ToolDeclaration, deny
from ...security.content.schema import JsonSchemaValidator

__all__ = ("FakeArgumentValidator",)


@final
class FakeArgumentValidator:
    """An `ArgumentValidator` that tells what it was told and asked."""

    def __init__(self) -> None:
        self.declared: dict[str, ToolDeclaration] = {}
        """The newest declaration of each tool."""
        self.calls: list[Call] = []
        """Every call that was asked about."""
        self.refuse_with: str | None = None
        """When set, every call is refused with this reason."""
        self._real = JsonSchemaValidator()

    def declare(self, tools: Sequence[ToolDeclaration], /) -> None:
        """Take over the schemas."""
        self.declared.update((tool.name, tool) for tool in tools)
        self._real.declare(tools)

    def validate(self, call: Call, /) -> Decision:
        """Refuse when told to; otherwise decide."""
        self.calls.append(call)
        if self.refuse_with is not None:
            return deny("invalid_arguments", self.refuse_with)
        return self._real.validate(call)
