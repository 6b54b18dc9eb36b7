"""Where state lives on this machine, as its operating system would have it."""

from pathlib import Path

__all__ = ("state_folder",)

_APPLICATION = "localmcp-harden"


def state_folder(part: str) -> Path:
    """Return the folder where `part` of this user's state is kept; it need not exist.

    Args:
        part: What is kept there, for example `audit`.
    """
    # Imported here: a host that names its own folders never pays for it.
    from platformdirs import user_state_path  # noqa: PLC0415

    return user_state_path(_APPLICATION, appauthor=False) / part
