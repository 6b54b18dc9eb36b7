"""Where the audit log is that a configuration means."""

from pathlib import Path

from ..compose.config import HardenConfig
from ..mechanisms.platform import state_folder

__all__ = ("audit_folder",)


def audit_folder(config: HardenConfig) -> Path:
    """Return the folder of the audit log; it need not exist."""
    return (config.audit.folder or state_folder("audit")).absolute()
