"""Makes HTML in which every text is escaped: only `Html` passes as it is."""

from html import escape
from typing import TypeAlias, final

__all__ = ("Content", "Html", "join", "tag")

_VOID = frozenset({"br", "col", "hr"})


@final
class Html(str):
    """Text that is HTML already. Made by `tag` and `join`; never of what a server said."""

    __slots__ = ()


Content: TypeAlias = str | Html
"""What may stand in an element: plain text is escaped, `Html` is not."""


def tag(name: str, *content: Content, **attributes: str) -> Html:
    """Return an element.

    Args:
        name: The element's name.
        *content: What stands in it.
        **attributes: Its attributes; `class_` stands for `class`, `_` for `-`.
    """
    parts = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID and not content:
        return Html(f"<{name}{parts}>")
    return Html(f"<{name}{parts}>{join(*content)}</{name}>")


def join(*content: Content) -> Html:
    """Return contents one after another, plain text escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in content))
