"""An authenticator that says what a test wants, and which otherwise works."""

from collections.abc import Mapping
from typing import final

from ...core.errors import UnauthenticatedError
from ...core.model import Principal
from ...core.ports import Clock
from ...protocols.security import Credentials
from ...security.access.identity import AuthenticationConfig, DefaultAuthenticator
from ...security.access.tokens import TokenEntry, hash_token
from ..clock import FakeClock

__all__ = ("FakeAuthenticator",)


@final
class FakeAuthenticator:
    """A `LocalAuthenticator` that records what it is shown.

    Args:
        bearers: Whom each bearer token stands for; the issuer is not taken over.
        expires_at: When all of them expire, None for never.
        clock: The clock; a fake one of its own by default.
    """

    def __init__(
        self,
        *,
        bearers: Mapping[str, Principal] | None = None,
        expires_at: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.seen: list[Credentials] = []
        """Every set of credentials that was shown."""
        self.principal: Principal | None = None
        """When set, every caller is this one, whatever it shows."""
        self.refuse_because: str | None = None
        """When set, every caller is refused with this reason."""
        tokens = tuple(
            TokenEntry(
                sha256=hash_token(bearer),
                client=user.client,
                subject=user.subject,
                roles=user.roles,
                scopes=user.scopes,
                expires_at=expires_at,
            )
            for bearer, user in (bearers or {}).items()
        )
        self._real = DefaultAuthenticator(
            AuthenticationConfig(tokens=tokens), clock=clock or FakeClock()
        )

    async def authenticate(self, credentials: Credentials, /) -> Principal:
        """Do what `identify` does.

        Raises:
            UnauthenticatedError: As told, or because the credentials do not hold.
        """
        return self.identify(credentials)

    def identify(self, credentials: Credentials, /) -> Principal:
        """Answer as told; otherwise look at the credentials.

        Raises:
            UnauthenticatedError: As told, or because the credentials do not hold.
        """
        self.seen.append(credentials)
        if self.refuse_because is not None:
            raise UnauthenticatedError(self.refuse_because)
        return self.principal or self._real.identify(credentials)
