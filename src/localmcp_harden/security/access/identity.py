"""Refuses callers that nobody knows, and says of the others who they are.

In this order: an access token that the server library verified, a bearer token
from the table, and where there is no network the configured local caller. A
credential that is there and wrong ends the search.
"""

from typing import final

from attrs import field, frozen
from attrs.validators import deep_iterable, instance_of

from ...core.errors import UnauthenticatedError
from ...core.events import EventSink, discard
from ...core.model import ANONYMOUS, Principal
from ...core.ports import Clock, Random
from ...mechanisms.clock import SystemClock
from ...protocols.security import Credentials, Transport, VerifiedToken
from .fields import is_name_or_none, is_names
from .roles import RoleMap
from .tokens import Lookup, TokenEntry, TokenTable

__all__ = ("LOCAL_ISSUER", "TOKEN_ISSUER", "AuthenticationConfig", "DefaultAuthenticator")

LOCAL_ISSUER: str = "local"
"""The issuer of the caller on stdio and in memory: this server itself."""

TOKEN_ISSUER: str = "token"  # noqa: S105 - a name, not a secret
"""The issuer of callers from the token table."""

_RESERVED = frozenset({LOCAL_ISSUER, TOKEN_ISSUER})
_LOCAL = frozenset({Transport.STDIO, Transport.MEMORY})
_WRONG = "the credentials are not valid"
_NONE = "credentials are required"


@final
@frozen(kw_only=True)
class AuthenticationConfig:
    """Who may call.

    Args:
        audience: The resource that access tokens must have been issued for (RFC 8707),
            compared letter by letter (None, not checked: the server library checks it;
            set it wherever that library was not told to).
        require_expiry: Whether an access token must say when it expires (False, since
            a verifier that looks tokens up often does not say).
        tokens: Opaque bearer tokens, by hash (none).
        local_client: The client on stdio and in memory, where whoever calls has started
            this process (`local`, so that stdio works without settings; None refuses).
        local_roles: The roles of that caller beside those the role map grants (`local`).
        anonymous_http: Whether calls over HTTP may come without credentials (False:
            being reachable must not mean being open).
    """

    audience: str | None = field(default=None, validator=is_name_or_none)
    require_expiry: bool = field(default=False, validator=instance_of(bool))
    tokens: tuple[TokenEntry, ...] = field(
        default=(), validator=deep_iterable(instance_of(TokenEntry), instance_of(tuple))
    )
    local_client: str | None = field(default="local", validator=is_name_or_none)
    local_roles: frozenset[str] = field(
        default=frozenset({"local"}),
        validator=is_names,
    )
    anonymous_http: bool = field(default=False, validator=instance_of(bool))


@final
class DefaultAuthenticator:
    """The default `LocalAuthenticator`: no I/O, no waiting.

    Args:
        config: Who may call.
        roles: What they are; nobody has a granted role by default.
        clock: Says when a token has expired.
        random: Not used.
        sink: Not used: what is decided is in the call's record.

    Raises:
        ConfigError: Two token entries have the same hash.
    """

    def __init__(
        self,
        config: AuthenticationConfig | None = None,
        *,
        roles: RoleMap | None = None,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - a refusal is in the call's record
    ) -> None:
        self.config: AuthenticationConfig = config or AuthenticationConfig()
        clock = clock or SystemClock()
        self._wall = clock.wall
        self._roles = roles or RoleMap()
        self._table = TokenTable(self.config.tokens, clock=clock)
        # What can be known beforehand is: a call on stdio or with a table token costs a lookup.
        self._known = {
            entry.sha256: self._principal(
                TOKEN_ISSUER, entry.client, entry.subject, entry.scopes, entry.roles
            )
            for entry in self.config.tokens
        }
        self._local: Principal | None = None
        if self.config.local_client is not None:
            self._local = self._principal(
                LOCAL_ISSUER, self.config.local_client, "", frozenset(), self.config.local_roles
            )

    async def authenticate(self, credentials: Credentials, /) -> Principal:
        """Return the caller.

        Raises:
            UnauthenticatedError: The caller is not known, or a credential does not hold.
        """
        return self.identify(credentials)

    def identify(self, credentials: Credentials, /) -> Principal:
        """Return the caller, at once.

        Raises:
            UnauthenticatedError: As `authenticate`. Its note (`__notes__`) says for the
                record what was wrong; its reason says the same whatever was wrong.
        """
        if credentials.token is not None:
            return self._verified(credentials.token)
        if credentials.bearer is not None:
            found = self._table.lookup(credentials.bearer)
            if isinstance(found, Lookup):
                raise _refusal(_WRONG, f"bearer_{found.value}")
            return self._known[found.sha256]
        if credentials.transport in _LOCAL:
            if self._local is None:
                raise _refusal(_NONE, "local_not_allowed")
            return self._local
        if self.config.anonymous_http and credentials.transport is Transport.HTTP:
            return ANONYMOUS
        raise _refusal(_NONE, "none")

    def _verified(self, token: VerifiedToken) -> Principal:
        expires_at = token.expires_at
        if expires_at is None:
            if self.config.require_expiry:
                raise _refusal(_WRONG, "token_without_expiry")
        elif not self._wall() < expires_at:
            # Written so that a time that is no number has passed.
            raise _refusal(_WRONG, "token_expired")
        if self.config.audience is not None and token.audience != self.config.audience:
            raise _refusal(_WRONG, "token_for_another_audience")
        if token.issuer in _RESERVED or not token.client:
            raise _refusal(_WRONG, "token_with_reserved_issuer_or_no_client")
        return self._principal(
            token.issuer, token.client, token.subject, frozenset(token.scopes), frozenset()
        )

    def _principal(
        self,
        issuer: str,
        client: str,
        subject: str,
        scopes: frozenset[str],
        roles: frozenset[str],
    ) -> Principal:
        granted = self._roles.roles_of(issuer=issuer, client=client, subject=subject, scopes=scopes)
        return Principal(
            issuer=issuer,
            client=client,
            subject=subject,
            roles=granted | self._roles.expand(roles),
            scopes=scopes,
        )


def _refusal(reason: str, for_the_record: str) -> UnauthenticatedError:
    error = UnauthenticatedError(reason)
    error.add_note(f"authentication:{for_the_record}")
    return error
