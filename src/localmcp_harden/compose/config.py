"""The configuration tree: every setting of a hardened server, in one frozen object.

Each block's own config is defined beside the block; this names the sections they
have in a file. `loading` makes the tree from files, the environment and keywords.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, final, get_args

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, in_, instance_of, le, optional

from ..core.errors import ConfigError
from ..mechanisms.redact import RedactionConfig
from ..observability.metrics import MetricsConfig
from ..protocols.degradation import DegradationConfig
from ..protocols.load import BulkheadConfig
from ..protocols.observability import LoggingConfig
from ..protocols.resilience import BreakerConfig
from ..resilience.deadline import DeadlineConfig
from ..resilience.health import HealthConfig
from ..resilience.retry import RetryConfig
from ..security.access.identity import AuthenticationConfig
from ..security.access.limits import RateLimitConfig
from ..security.access.roles import RoleConfig
from ..security.audit.log import AuditConfig
from ..security.content.bounds import BoundsConfig
from ..security.content.schema import SchemaConfig
from ..security.policy.gate import PolicyConfig
from ..security.transport.config import HttpConfig
from .chain import Mode

__all__ = ("CONFIG_VERSION", "STAGES", "HardenConfig", "StageName", "ToolConfig")

CONFIG_VERSION = 1
"""The version of the configuration format; a newer file is refused."""

StageName = Literal[
    "correlate",
    "authenticate",
    "rate_limit",
    "catalog",
    "bounds",
    "schema",
    "canonicalise",
    "policy",
    "freeze",
    "audit",
    "degradation",
    "deadline",
    "bulkhead",
    "retry",
    "breaker",
]

STAGES: tuple[StageName, ...] = get_args(StageName)
"""The package's own stages, outermost first."""

_ALWAYS: frozenset[str] = frozenset({"catalog", "freeze"})


_are_names = deep_iterable(instance_of(str), instance_of(tuple))


@final
@frozen(kw_only=True)
class ToolConfig:
    """What the host knows of one tool and the tool does not say, or not reliably.

    Args:
        paths: Arguments that hold file paths (a string or a list of strings). They
            are resolved as the operating system will, judged by policy, and handed
            on in the resolved form, so that what is opened is what was judged.
        uris: Arguments that hold URIs, treated likewise.
        deadline_s: Seconds the tool may take, instead of the general deadline.
        bulkhead: How many of its calls run at once, None for as many as come.
        read_only: The host's word that the tool changes nothing.
        idempotent: The host's word that calling it twice does no more than once.
    """

    paths: tuple[str, ...] = field(default=(), validator=_are_names)
    uris: tuple[str, ...] = field(default=(), validator=_are_names)
    deadline_s: float | None = field(default=None, validator=optional(and_(gt(0.0), le(86_400.0))))
    bulkhead: BulkheadConfig | None = field(
        default=None, validator=optional(instance_of(BulkheadConfig))
    )
    read_only: bool | None = field(default=None, validator=optional(instance_of(bool)))
    idempotent: bool | None = field(default=None, validator=optional(instance_of(bool)))


@final
@frozen(kw_only=True)
class HardenConfig:
    """Every setting.

    Args:
        version: The format's version (1).
        mode: `enforce`, or `observe` to see what would be refused without refusing.
        project: The name of what the server works for; appears in every record.
        base_folder: Where relative paths in arguments start (the working folder).
        trust_annotations: Whether a tool's own annotations count. True for a server
            of the host's own; `wrap` sets it to false, since an unknown server may lie.
        disabled: Stages to leave out, by name, `catalog` and `freeze` excepted.
            `describe` and `doctor` point at them.
        authentication: Who may call.
        roles: What callers are, by role name.
        rate_limit: How often they may call.
        bounds: How large arguments may be.
        schema: How arguments are checked against the tools' schemas.
        policy: What callers may do.
        tools: What the host knows of single tools, by name.
        deadline: How long a call may take.
        bulkhead: How many calls run at once over all, None for as many as come.
        degradation: The levels of service, which tools are off at each; None for one
            level at which everything is on.
        health: Bounds of the health registry.
        retry: How failing calls are repeated.
        breaker: When a failing tool is left in peace.
        redaction: What is taken out of records.
        logging: What is written down.
        metrics: What is counted.
        audit: What is kept for good.
        http: What requests over HTTP may look like.
    """

    version: int = field(default=CONFIG_VERSION, validator=[instance_of(int), ge(1)])
    # Converted, since a plain string compares equal to no mode and would enforce nothing.
    mode: Mode = field(default=Mode.ENFORCE, converter=Mode)
    project: str = field(default="", validator=instance_of(str))
    base_folder: Path | None = None
    trust_annotations: bool = field(default=True, validator=instance_of(bool))
    disabled: tuple[StageName, ...] = field(
        default=(), validator=deep_iterable(in_(STAGES), instance_of(tuple))
    )
    authentication: AuthenticationConfig = field(factory=AuthenticationConfig)
    roles: Mapping[str, RoleConfig] = field(factory=dict[str, RoleConfig])
    rate_limit: RateLimitConfig = field(factory=RateLimitConfig)
    bounds: BoundsConfig = field(factory=BoundsConfig)
    schema: SchemaConfig = field(factory=SchemaConfig)
    policy: PolicyConfig = field(factory=PolicyConfig)
    tools: Mapping[str, ToolConfig] = field(factory=dict[str, ToolConfig])
    deadline: DeadlineConfig = field(factory=DeadlineConfig)
    bulkhead: BulkheadConfig | None = field(
        default=None, validator=optional(instance_of(BulkheadConfig))
    )
    degradation: DegradationConfig | None = field(
        default=None, validator=optional(instance_of(DegradationConfig))
    )
    health: HealthConfig = field(factory=HealthConfig)
    retry: RetryConfig = field(factory=RetryConfig)
    breaker: BreakerConfig = field(factory=BreakerConfig)
    redaction: RedactionConfig = field(factory=RedactionConfig)
    logging: LoggingConfig = field(factory=LoggingConfig)
    metrics: MetricsConfig = field(factory=MetricsConfig)
    audit: AuditConfig = field(factory=AuditConfig)
    http: HttpConfig = field(factory=HttpConfig)

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.version > CONFIG_VERSION:
            raise ConfigError(
                f"format version {self.version} is newer than this release reads "
                f"({CONFIG_VERSION}); upgrade localmcp-harden",
                "version",
            )
        for name in self.disabled:
            if name in _ALWAYS:
                raise ConfigError(f"stage {name!r} can not be disabled", "disabled")
