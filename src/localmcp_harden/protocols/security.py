"""The security family: who calls, what they may do, how often, with which arguments.

Every decision here is a plain function of its arguments and the block's state,
so that a gate can be tested without a server. A gate never raises to deny.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, Self, final

from attrs import field, frozen

from ..core.model import Call, Decision, Effect, Principal, SecurityContext, ToolDeclaration

__all__ = (
    "ArgumentValidator",
    "AuditEntry",
    "AuditHead",
    "AuditLog",
    "AuditReceipt",
    "AuditTicket",
    "Authenticator",
    "Credentials",
    "EditablePolicyGate",
    "InputBounds",
    "LocalAuthenticator",
    "PolicyGate",
    "RateLimiter",
    "Rule",
    "Transport",
    "VerifiedToken",
)


class Transport(StrEnum):
    """How a call came in."""

    STDIO = "stdio"
    HTTP = "http"
    MEMORY = "memory"
    """In process: a test, a pipeline, the host itself."""


@final
@frozen(kw_only=True)
class VerifiedToken:
    """An access token that the server library has already verified.

    Args:
        client: The OAuth client id.
        issuer: Who issued it, `""` when unknown.
        subject: Whom it speaks for, `""` for the client itself.
        scopes: What it was granted.
        expires_at: Seconds since the Unix epoch, None when it does not say.
        audience: The resource it was issued for (RFC 8707), None when it does not say.
    """

    client: str
    issuer: str = ""
    subject: str = ""
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None
    audience: str | None = None


@final
@frozen(kw_only=True)
class Credentials:
    """What the transport knows of a caller.

    Args:
        transport: How the call came in.
        token: The access token the server library verified, if it did.
        bearer: An opaque bearer token as presented. Never printed.
        ip_address: The peer's address.
    """

    transport: Transport = Transport.MEMORY
    token: VerifiedToken | None = None
    bearer: str | None = field(default=None, repr=False)
    ip_address: str | None = None


class Authenticator(Protocol):
    """Tells who is calling."""

    async def authenticate(self, credentials: Credentials, /) -> Principal:
        """Return the caller.

        A credential that is present and wrong is never ignored in favor of a
        weaker one.

        Raises:
            UnauthenticatedError: The caller is not known, or a credential does not hold.
        """
        ...


class LocalAuthenticator(Authenticator, Protocol):
    """An authenticator that needs no I/O, so that it can join the chain as a check."""

    def identify(self, credentials: Credentials, /) -> Principal:
        """Do what `authenticate` does, at once.

        Raises:
            UnauthenticatedError: As `authenticate`.
        """
        ...


@final
@frozen(kw_only=True)
class Rule:
    """One line of policy. A rule matches a call when all four parts match.

    Args:
        id: Unique within the policy.
        effect: Allow or deny; a deny that matches always wins.
        actions: Protocol methods such as `tools/call`, or `*`.
        tools: Tool names, or `*`; a named tool matches tool calls only.
        roles: Roles of the caller, or `*`.
        resources: Prefixes of the canonical resource URI, by whole segments, or `*`.
            `/srv/notes` is short for `file:///srv/notes`; it matches `/srv/notes/a`
            and not `/srv/notes2`.
        reason: What a denied caller may read. Say what to do, not how the rule works.
        source: Where the rule was written, for example `harden.toml:31`.
    """

    id: str
    effect: Effect
    actions: tuple[str, ...] = ("*",)
    tools: tuple[str, ...] = ("*",)
    roles: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)
    reason: str = ""
    source: str = ""


class PolicyGate(Protocol):
    """Decides what a caller may do."""

    def enforce_policy(self, call: Call, /) -> Decision:
        """Decide on one call; it is judged by `call.security` and `call.name`.

        What no rule allows is denied. Handshakes and lists come with
        `CallKind.PROTOCOL`: a gate that denies them closes the server.

        Returns:
            The decision, with the ids of all rules that decided.
        """
        ...

    def permitted(
        self, security: SecurityContext, action: str, names: Collection[str], /
    ) -> frozenset[str]:
        """Return those of `names` on which `action` could be allowed to this caller.

        Lists shown to a caller are filtered with it. It may say yes to what a
        later call is denied (for its resource), never no to what it would be allowed.

        Args:
            security: The caller's context.
            action: The method that would be called, for example `tools/call`.
            names: Tool names, prompt names or resource URIs.
        """
        ...


class EditablePolicyGate(PolicyGate, Protocol):
    """A policy gate whose rules can be changed while calls flow.

    A change is atomic: a call is judged by the rules before it or after it.
    """

    def add_rule(self, rule: Rule, /) -> None:
        """Add a rule.

        Raises:
            ConfigError: A rule with this id exists, or the rule can never match.
        """
        ...

    def remove_rule(self, rule_id: str, /) -> None:
        """Remove a rule.

        Raises:
            ConfigError: There is no rule with this id.
        """
        ...

    def update_rule(self, rule: Rule, /) -> None:
        """Replace the rule that has this rule's id.

        Raises:
            ConfigError: There is no rule with this id, or the new one can never match.
        """
        ...


class RateLimiter(Protocol):
    """Decides whether a caller may make one more call now."""

    def limit(self, call: Call, /) -> Decision:
        """Count the call and decide on it.

        A denied call is not counted. `retry_after_s` of a denial is the time
        after which the same call would have been let through, nothing else
        having come in between.
        """
        ...


class InputBounds(Protocol):
    """Refuses arguments that are too large, whatever the tool."""

    def check_bounds(self, arguments: Mapping[str, Any], /) -> Decision:
        """Decide on the arguments' size, depth and number of parts, in bounded time."""
        ...


class ArgumentValidator(Protocol):
    """Refuses arguments that do not fit the tool's schema."""

    def declare(self, tools: Sequence[ToolDeclaration], /) -> None:
        """Take over the schemas of these tools; others known before are kept.

        A schema that can not be checked safely (a remote `$ref`, a pattern that is
        not linear, a nesting beyond bounds) is kept as a refusal: calls of that tool
        are denied.
        """
        ...

    def validate(self, call: Call, /) -> Decision:
        """Decide on a call's arguments. A tool without a schema is allowed."""
        ...


@final
@frozen(kw_only=True)
class AuditEntry:
    """What is to be kept for good.

    Args:
        kind: `intent`, `outcome`, or a rare event's name.
        call_id: The call it speaks of, `""` for none.
        data: JSON values, secrets taken out.
    """

    kind: str
    call_id: str = ""
    data: Mapping[str, Any] = field(factory=dict[str, Any])


@final
@frozen(kw_only=True)
class AuditReceipt:
    """Proof that an entry is durable: its place and its hash (hexadecimal SHA-256)."""

    writer: str
    sequence: int
    hash: str


@final
@frozen(kw_only=True)
class AuditHead:
    """The newest entry of one writer's chain; keep it elsewhere to detect a cut tail."""

    writer: str
    sequence: int
    hash: str


class AuditTicket(Protocol):
    """A place in the queue, taken before a call acts, so that its outcome has room."""

    def record(self, entry: AuditEntry, /) -> None:
        """Hand over the entry the place was taken for. Never blocks, never raises."""
        ...

    def discard(self) -> None:
        """Give the place back; after `record` it does nothing."""
        ...


class AuditLog(Protocol):
    """Keeps entries in order and tamper-evident. Apart from logs: it never drops.

    An async context manager: entering opens the files, leaving writes all that is
    queued and closes them.
    """

    async def __aenter__(self) -> Self:
        """Open the log.

        Raises:
            StoreError: The folder or the file can not be used.
        """
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Write what is queued and close."""
        ...

    def reserve(self) -> AuditTicket:
        """Take a place in the queue, at once.

        Raises:
            AuditUnavailableError: The queue is full, or the store has failed.
        """
        ...

    async def append(self, entry: AuditEntry, /) -> AuditReceipt:
        """Write one entry and wait until it is durable.

        Raises:
            AuditUnavailableError: It could not be made durable.
        """
        ...

    def get_head(self) -> AuditHead | None:
        """Return the newest durable entry, None when there is none yet."""
        ...
