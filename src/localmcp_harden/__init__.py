"""Production hardening for MCP servers, as typed building blocks.

The names below load on first use; importing the package itself loads nothing
else. Blocks are imported from the module that is theirs, for example
`localmcp_harden.security.access.limits`, protocols from `localmcp_harden.protocols`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compose.chain import Mode as Mode
    from .compose.config import HardenConfig as HardenConfig, ToolConfig as ToolConfig
    from .compose.hardening import Hardening as Hardening
    from .compose.loading import load_config as load_config
    from .core.errors import (
        ConfigError as ConfigError,
        HardenError as HardenError,
        RefusedError as RefusedError,
    )
    from .core.model import (
        ALLOW as ALLOW,
        Call as Call,
        CallKind as CallKind,
        Decision as Decision,
        Effect as Effect,
        Outcome as Outcome,
        Principal as Principal,
        SecurityContext as SecurityContext,
        deny as deny,
    )
    from .protocols.security import Credentials as Credentials, Rule as Rule

__all__ = (
    "ALLOW",
    "Call",
    "CallKind",
    "ConfigError",
    "Credentials",
    "Decision",
    "Effect",
    "HardenConfig",
    "HardenError",
    "Hardening",
    "Mode",
    "Outcome",
    "Principal",
    "RefusedError",
    "Rule",
    "SecurityContext",
    "ToolConfig",
    "__version__",
    "deny",
    "load_config",
)

__version__: str = "0.1.0"

_HOMES: dict[str, str] = {
    "ALLOW": "core.model",
    "Call": "core.model",
    "CallKind": "core.model",
    "ConfigError": "core.errors",
    "Credentials": "protocols.security",
    "Decision": "core.model",
    "Effect": "core.model",
    "HardenConfig": "compose.config",
    "HardenError": "core.errors",
    "Hardening": "compose.hardening",
    "Mode": "compose.chain",
    "Outcome": "core.model",
    "Principal": "core.model",
    "RefusedError": "core.errors",
    "Rule": "protocols.security",
    "SecurityContext": "core.model",
    "ToolConfig": "compose.config",
    "deny": "core.model",
    "load_config": "compose.loading",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Imported here and not above: it is what makes the package cheap to import.
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
