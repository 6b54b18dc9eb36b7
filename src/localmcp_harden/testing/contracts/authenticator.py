"""The rules of an `Authenticator`, and those of a `LocalAuthenticator` beside them.

`make(bearers=..., expires_at=..., clock=...)` returns an authenticator that knows
these bearer tokens, takes tokens that the server library verified, lets calls on
stdio through without credentials, and nobody over HTTP.
"""

from collections.abc import Mapping
from typing import Protocol

from ...core.errors import UnauthenticatedError
from ...core.model import Principal
from ...core.ports import Clock
from ...protocols.security import (
    Authenticator,
    Credentials,
    LocalAuthenticator,
    Transport,
    VerifiedToken,
)
from ..clock import FakeClock
from .kit import ContractKit, expect

__all__ = (
    "MakeAuthenticator",
    "MakeLocalAuthenticator",
    "authenticator",
    "local_authenticator",
)


class MakeAuthenticator(Protocol):
    """Makes the authenticator that is to be checked."""

    def __call__(
        self, *, bearers: Mapping[str, Principal], expires_at: float | None, clock: Clock
    ) -> Authenticator:
        """Return an authenticator.

        Args:
            bearers: Whom each bearer token stands for: client, subject, roles, scopes.
                The issuer is the authenticator's to say.
            expires_at: When all of them expire, seconds since the Unix epoch, None for never.
            clock: The time.
        """
        ...


class MakeLocalAuthenticator(Protocol):
    """Makes the local authenticator that is to be checked."""

    def __call__(
        self, *, bearers: Mapping[str, Principal], expires_at: float | None, clock: Clock
    ) -> LocalAuthenticator:
        """Return an authenticator, as `MakeAuthenticator`."""
        ...


authenticator: ContractKit[MakeAuthenticator] = ContractKit("Authenticator")
local_authenticator: ContractKit[MakeLocalAuthenticator] = ContractKit("LocalAuthenticator")

_GOOD = "kit-bearer-of-ann-0123456789"
_WRONG = "kit-bearer-of-nobody-9876543210"
_ANN = Principal(
    client="kit", subject="ann", roles=frozenset({"editor"}), scopes=frozenset({"notes"})
)
_BOB = Principal(client="kit", subject="bob")
_BEARERS = {_GOOD: _ANN, "kit-bearer-of-bob-0123456789": _BOB}


async def _refusal(block: Authenticator, credentials: Credentials) -> UnauthenticatedError:
    try:
        await block.authenticate(credentials)
    except UnauthenticatedError as error:
        return error
    raise AssertionError(f"credentials on {credentials.transport} were taken that do not hold")


@authenticator.rule("AU1")
async def knows_bearers(make: MakeAuthenticator) -> None:
    """A known bearer is its principal, with its roles and scopes, on every transport."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    for transport in Transport:
        user = await block.authenticate(Credentials(transport=transport, bearer=_GOOD))
        seen = (user.client, user.subject, user.scopes)
        expect(seen == ("kit", "ann", _ANN.scopes), f"on {transport} saw {seen}")
        expect(user.roles >= _ANN.roles, f"on {transport} the roles are {sorted(user.roles)}")


@authenticator.rule("AU2")
async def a_wrong_bearer_never_falls_through(make: MakeAuthenticator) -> None:
    """A bearer that is unknown, empty, odd or huge is refused, also where none is needed."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    for bearer in (_WRONG, "", " ", _GOOD + " ", _GOOD[:-1], "\ud800", "\x00", "a" * 1_000_000):
        for transport in Transport:
            await _refusal(block, Credentials(transport=transport, bearer=bearer))


@authenticator.rule("AU3")
async def http_needs_credentials(make: MakeAuthenticator) -> None:
    """A call over HTTP without credentials is refused, wherever it comes from."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    for address in (None, "127.0.0.1", "::1", "192.0.2.1"):
        await _refusal(block, Credentials(transport=Transport.HTTP, ip_address=address))


@authenticator.rule("AU4")
async def stdio_has_a_caller(make: MakeAuthenticator) -> None:
    """A call on stdio without credentials has a caller with a name to keep state by."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    user = await block.authenticate(Credentials(transport=Transport.STDIO))
    expect(not user.is_anonymous, "the caller on stdio is anonymous")


@authenticator.rule("AU5")
async def takes_over_verified_tokens(make: MakeAuthenticator) -> None:
    """A verified token's issuer, client, subject and scopes are those of the principal."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    token = VerifiedToken(
        issuer="https://id.example", client="c", subject="s", scopes=frozenset({"x"})
    )
    user = await block.authenticate(Credentials(transport=Transport.HTTP, token=token))
    expect(user.key == ("https://id.example", "c", "s"), f"the key is {user.key}")
    expect(user.scopes == frozenset({"x"}), f"the scopes are {sorted(user.scopes)}")


@authenticator.rule("AU6")
async def expired_tokens_are_refused(make: MakeAuthenticator) -> None:
    """A verified token is refused from its expiry on, whatever other credential is beside it."""
    clock = FakeClock()
    block = make(bearers=_BEARERS, expires_at=None, clock=clock)
    token = VerifiedToken(client="c", expires_at=clock.wall() + 10)
    await block.authenticate(Credentials(transport=Transport.HTTP, token=token))
    clock.advance(10)
    for transport in Transport:
        for bearer in (None, _GOOD):
            await _refusal(block, Credentials(transport=transport, token=token, bearer=bearer))


@authenticator.rule("AU7")
async def expired_bearers_are_refused(make: MakeAuthenticator) -> None:
    """A bearer is refused from its expiry on, by the wall clock, and sounds like an unknown one."""
    clock = FakeClock()
    block = make(bearers=_BEARERS, expires_at=clock.wall() + 10, clock=clock)
    credentials = Credentials(transport=Transport.HTTP, bearer=_GOOD)
    clock.advance(9)
    await block.authenticate(credentials)
    clock.step_wall(1)
    expired = await _refusal(block, credentials)
    unknown = await _refusal(block, Credentials(transport=Transport.HTTP, bearer=_WRONG))
    odd = await _refusal(block, Credentials(transport=Transport.HTTP, bearer=""))
    expect(expired.reason == unknown.reason == odd.reason, "the reasons tell what was wrong")


@authenticator.rule("AU8")
async def bearers_are_never_printed(make: MakeAuthenticator) -> None:
    """Neither a refusal nor the authenticator's own repr shows a bearer."""
    clock = FakeClock()
    block = make(bearers=_BEARERS, expires_at=clock.wall() + 10, clock=clock)
    clock.advance(10)
    for bearer in (_GOOD, _WRONG):
        error = await _refusal(block, Credentials(transport=Transport.HTTP, bearer=bearer))
        notes = getattr(error, "__notes__", [])
        shown = f"{error} {error!r} {error.args} {notes} {error.__cause__!r} {block!r}"
        expect(bearer not in shown, "a bearer was printed")


@authenticator.rule("AU9")
async def callers_are_apart(make: MakeAuthenticator) -> None:
    """Different callers have different keys, and none passes for another kind of caller."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    users = [
        await block.authenticate(credentials)
        for credentials in (
            *(Credentials(bearer=bearer) for bearer in _BEARERS),
            Credentials(transport=Transport.STDIO),
            Credentials(token=VerifiedToken(client="kit", subject="ann")),
            Credentials(token=VerifiedToken(client="local")),
            Credentials(token=VerifiedToken(client="local", issuer="https://id.example")),
        )
    ]
    expect(len({user.key for user in users}) == len(users), "two callers share a key")


@authenticator.rule("AU10")
async def callers_stay_themselves(make: MakeAuthenticator) -> None:
    """The same credentials give the same principal again."""
    block = make(bearers=_BEARERS, expires_at=None, clock=FakeClock())
    for credentials in (Credentials(bearer=_GOOD), Credentials(transport=Transport.STDIO)):
        first = await block.authenticate(credentials)
        expect(await block.authenticate(credentials) == first, "the principal changed")


@local_authenticator.rule("LAU1")
async def identify_agrees(make: MakeLocalAuthenticator) -> None:
    """`identify` returns what `authenticate` returns, and refuses what it refuses."""
    clock = FakeClock()
    block = make(bearers=_BEARERS, expires_at=None, clock=clock)
    for credentials in (
        Credentials(bearer=_GOOD),
        Credentials(transport=Transport.STDIO),
        Credentials(token=VerifiedToken(client="c", scopes=frozenset({"x"}))),
    ):
        same = block.identify(credentials) == await block.authenticate(credentials)
        expect(same, "identify and authenticate disagree on who calls")
    for credentials in (
        Credentials(bearer=_WRONG),
        Credentials(transport=Transport.HTTP),
        Credentials(token=VerifiedToken(client="c", expires_at=clock.wall())),
    ):
        await _refusal(block, credentials)
        try:
            block.identify(credentials)
        except UnauthenticatedError:
            continue
        raise AssertionError("identify took what authenticate refuses")
