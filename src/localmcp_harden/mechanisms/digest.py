"""Names a secret without telling it: enough to see that two are the same."""

import hashlib

__all__ = ("short_digest",)


def short_digest(text: str) -> str:
    """Return eight hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
