"""Input bounds that a test can make refuse, and which otherwise work."""

from collections.abc import Mapping
from typing import Any, final

from ...core.model import Decision, deny
from ...security.content.bounds import BoundsConfig, DefaultInputBounds

__all__ = ("FakeInputBounds",)


@final
class FakeInputBounds:
    """`InputBounds` that tell what they were asked.

    Args:
        max_bytes: Bytes of strings and keys.
        max_depth: Levels of nesting.
        max_parts: Values.
    """

    def __init__(
        self, *, max_bytes: int = 1_000_000, max_depth: int = 32, max_parts: int = 10_000
    ) -> None:
        self.checked: list[Mapping[str, Any]] = []
        """All arguments that were asked about."""
        self.refuse = False
        """When true, everything is refused."""
        self._real = DefaultInputBounds(
            BoundsConfig(max_bytes=max_bytes, max_depth=max_depth, max_parts=max_parts)
        )

    def check_bounds(self, arguments: Mapping[str, Any], /) -> Decision:
        """Refuse when told to; otherwise decide."""
        self.checked.append(arguments)
        if self.refuse:
            return deny("input_too_large", "scripted refusal")
        return self._real.check_bounds(arguments)
