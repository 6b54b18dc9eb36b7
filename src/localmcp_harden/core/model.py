"""The words in which blocks speak of a call: who calls what, and what was decided.

All records are frozen, so that one can be handed to many readers. Times are
seconds; points in time are seconds since the Unix epoch, in UTC.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, final

from attrs import field, frozen

__all__ = (
    "ALLOW",
    "ANONYMOUS",
    "UNKNOWN_TARGET",
    "Annotations",
    "Call",
    "CallKind",
    "Decision",
    "Effect",
    "Obligation",
    "Outcome",
    "Principal",
    "Reservation",
    "SecurityContext",
    "ToolDeclaration",
    "deny",
    "filled",
)

T = TypeVar("T")

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _changed(record: T, name: str, value: object) -> T:
    """Return a copy of a record that keeps its fields in a dict, with one field changed.

    A tenth of the time of `attrs.evolve`, and half of that of the constructor; every call
    makes two of these.
    """
    copy: T = object.__new__(type(record))
    fields = copy.__dict__
    fields.update(record.__dict__)
    fields[name] = value
    return copy


def filled(kind: type[T], fields: dict[str, Any]) -> T:
    """Return a record that keeps its fields in a dict, with this dict of all of them.

    For the records that every call makes: half the time of the constructor, which stores
    the fields one by one. Nothing is checked and there are no defaults; a test holds that
    whoever calls this names every field.
    """
    record = object.__new__(kind)
    object.__setattr__(record, "__dict__", fields)
    return record


class CallKind(StrEnum):
    """What a call is aimed at."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    PROTOCOL = "protocol"
    """A handshake, a list, a notification: what keeps the conversation going."""
    STAGE = "stage"
    """A pipeline stage or a function of the host, run through the same chain."""
    ADMIN = "admin"


class Effect(StrEnum):
    """What a decision does to a call."""

    ALLOW = "allow"
    DENY = "deny"


@final
@frozen(kw_only=True)
class Principal:
    """Who is calling, as far as it was proved.

    `key` is what state is kept by: three parts, since the same subject may come
    through two clients, and two issuers may know the same subject name.
    """

    issuer: str = ""
    client: str = ""
    subject: str = ""
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str, str]:
        """Return `(issuer, client, subject)`."""
        return (self.issuer, self.client, self.subject)

    @property
    def is_anonymous(self) -> bool:
        """Return whether nothing is known of the caller."""
        return not (self.issuer or self.client or self.subject)


ANONYMOUS: Principal = Principal()
"""The caller of whom nothing is known."""


# A dict and not slots: attrs fills it twice as fast, and every call makes two of these.
@final
@frozen(kw_only=True, slots=False)
class SecurityContext:
    """The facts about a call that guards judge by.

    Args:
        user: The caller.
        project: The project the server works for, `""` when it has none.
        action: The protocol method, or `admin/...` and `stage/...` for other code.
        resource: The canonical URI the call touches, `""` when it touches none.
        timestamp: When the call arrived, seconds since the Unix epoch.
        session_id: The legacy session, None where the protocol has none.
        ip_address: The peer, None on stdio and in memory.
        user_agent: What the client says of itself; a claim, never a proof.
    """

    user: Principal = ANONYMOUS
    project: str = ""
    action: str = ""
    resource: str = ""
    timestamp: float = 0.0
    session_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None

    def with_user(self, user: Principal) -> "SecurityContext":
        """Return the same context with another caller."""
        return _changed(self, "user", user)

    def with_resource(self, resource: str) -> "SecurityContext":
        """Return the same context with another resource."""
        return _changed(self, "resource", resource)


@final
@frozen(kw_only=True)
class Annotations:
    """What a tool says of itself, in the protocol's words; None where it says nothing.

    Annotations are claims. `trusted` says whether the host stands behind them.
    """

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    known: bool = True
    """Whether the server declares this tool, resource or prompt at all."""
    trusted: bool = True

    @property
    def is_repeatable(self) -> bool:
        """Return whether running the call twice does no more than running it once."""
        return self.trusted and self.known and bool(self.read_only or self.idempotent)


UNKNOWN_TARGET: Annotations = Annotations(known=False)
"""What is known of a tool that the server does not declare: nothing."""


@final
@frozen(kw_only=True)
class ToolDeclaration:
    """A tool as its server declares it: name, JSON Schema of the arguments, annotations."""

    name: str
    input_schema: Mapping[str, Any] | None = None
    annotations: Annotations = field(factory=Annotations)


# A dict and not slots: attrs fills it twice as fast, and every call makes two of these.
@final
@frozen(kw_only=True, slots=False)
class Call:
    """One request on its way through the chain.

    Args:
        id: Unique within the process, and with great likelihood beyond.
        parent_id: The call that made this one, None for a caller's own.
        kind: What the call is aimed at.
        method: The protocol method, for example `tools/call`.
        name: The tool, the prompt or the resource URI; `""` for the rest.
        arguments: The arguments as sent.
        annotations: What the target says of itself.
        meta: Facts of the transport: trace ids, protocol version, transport name.
        security: Who, where, when.
    """

    id: str
    kind: CallKind
    method: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default=_EMPTY)
    annotations: Annotations = field(factory=Annotations)
    meta: Mapping[str, Any] = field(default=_EMPTY)
    security: SecurityContext = field(factory=SecurityContext)
    parent_id: str | None = None

    def with_user(self, user: Principal) -> "Call":
        """Return the same call by another caller."""
        # As `_changed` twice, without its frames: every call comes here.
        security, call = object.__new__(SecurityContext), object.__new__(Call)
        fields = security.__dict__
        fields.update(self.security.__dict__)
        fields["user"] = user
        fields = call.__dict__
        fields.update(self.__dict__)
        fields["security"] = security
        return call

    def with_annotations(self, annotations: Annotations) -> "Call":
        """Return the same call, knowing more of its target."""
        return _changed(self, "annotations", annotations)

    def with_security(self, security: SecurityContext) -> "Call":
        """Return the same call in another security context."""
        return _changed(self, "security", security)


class Reservation(Protocol):
    """A share that a decision holds until the call is over.

    The record stage settles each reservation exactly once, on every way out.
    """

    def commit(self) -> None:
        """Keep the share: the call did what it was taken for."""

    def release(self) -> None:
        """Give the share back: the call did nothing."""


@final
@frozen(kw_only=True)
class Obligation:
    """A duty that comes with an allowing decision, by kind and parameters."""

    kind: str
    parameters: Mapping[str, Any] = field(default=_EMPTY)


@final
@frozen(kw_only=True)
class Decision:
    """What one guard decided.

    Args:
        effect: Allow or deny.
        code: The stable code of a denial, that of its error class; `""` when allowed.
        reason: One sentence that the caller may read. It teaches no rule.
        rules: The ids of all rules that decided. For records, never for the caller.
        obligations: Duties of an allowing decision.
        reservation: A share held until the call is over.
        retry_after_s: Seconds after which the same call may succeed.
    """

    effect: Effect
    code: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    reservation: Reservation | None = None
    retry_after_s: float | None = None

    @property
    def allowed(self) -> bool:
        """Return whether the call may go on."""
        return self.effect is Effect.ALLOW


ALLOW: Decision = Decision(effect=Effect.ALLOW)
"""The decision of a guard that has nothing against a call and nothing to add."""


def deny(
    code: str, reason: str, *, rules: tuple[str, ...] = (), retry_after_s: float | None = None
) -> Decision:
    """Return a denying decision."""
    return Decision(
        effect=Effect.DENY, code=code, reason=reason, rules=rules, retry_after_s=retry_after_s
    )


# A dict and not slots: attrs fills it twice as fast, and every call makes one of these.
@final
@frozen(kw_only=True, slots=False)
class Outcome:
    """How a call ended: with a value, a refusal, or a failure. Never with two of them.

    Args:
        value: What the handler returned, in the form of the integration.
        is_error: Whether the value itself reports an error (the protocol's `isError`).
        refusal: The denying decision, when a guard refused.
        failure: What the handler raised.
        duration_s: Seconds from arrival to outcome; 0 until the record stage knows it.
    """

    value: Any = None
    is_error: bool = False
    refusal: Decision | None = None
    failure: Exception | None = None
    duration_s: float = 0.0

    @property
    def is_success(self) -> bool:
        """Return whether the handler ran and reported no error."""
        return self.refusal is None and self.failure is None and not self.is_error
