"""DefaultAuthenticator: the contracts, and what is its own."""

import math

import pytest

from localmcp_harden.core.errors import ConfigError, UnauthenticatedError
from localmcp_harden.core.model import ANONYMOUS, Principal
from localmcp_harden.protocols.security import Credentials, Transport, VerifiedToken
from localmcp_harden.security.access.identity import (
    LOCAL_ISSUER,
    TOKEN_ISSUER,
    AuthenticationConfig,
    DefaultAuthenticator,
)
from localmcp_harden.security.access.roles import RoleConfig, RoleMap
from localmcp_harden.security.access.tokens import TokenEntry, hash_token
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.authenticator import authenticator, local_authenticator
from localmcp_harden.testing.doubles.authenticator import FakeAuthenticator

pytestmark = pytest.mark.anyio


def make_default(*, bearers, expires_at, clock):
    tokens = tuple(
        TokenEntry(
            sha256=hash_token(bearer),
            client=user.client,
            subject=user.subject,
            roles=user.roles,
            scopes=user.scopes,
            expires_at=expires_at,
        )
        for bearer, user in bearers.items()
    )
    return DefaultAuthenticator(AuthenticationConfig(tokens=tokens), clock=clock)


@pytest.mark.parametrize("rule", authenticator.rules + local_authenticator.rules, ids=str)
@pytest.mark.parametrize("make", [make_default, FakeAuthenticator], ids=["default", "fake"])
async def test_contract(make, rule):
    await rule.check(make)


ROLES = RoleMap(
    {
        "editor": RoleConfig(includes=("viewer",), scopes=("notes",)),
        "viewer": RoleConfig(clients=("c",)),
        "here": RoleConfig(issuers=(LOCAL_ISSUER,)),
        "table": RoleConfig(issuers=(TOKEN_ISSUER,)),
        "member": RoleConfig(includes=("viewer",)),
    }
)


def identify(credentials, *, clock=None, **settings):
    return DefaultAuthenticator(
        AuthenticationConfig(**settings), roles=ROLES, clock=clock or FakeClock()
    ).identify(credentials)


def refusal(credentials, **settings):
    with pytest.raises(UnauthenticatedError) as caught:
        identify(credentials, **settings)
    return caught.value


def http(**parts):
    return Credentials(transport=Transport.HTTP, **parts)


def test_roles_of_a_verified_token_come_from_the_map():
    token = VerifiedToken(client="x", scopes=frozenset({"notes", "editor"}))
    assert identify(http(token=token)).roles == {"editor", "viewer"}


def test_roles_of_a_table_token_are_its_own_and_the_maps():
    entry = TokenEntry(sha256=hash_token("t"), client="x", roles=frozenset({"member", "own"}))
    user = identify(http(bearer="t"), tokens=(entry,))
    assert user == Principal(
        issuer=TOKEN_ISSUER, client="x", roles=frozenset({"member", "viewer", "own", "table"})
    )


@pytest.mark.parametrize("transport", [Transport.STDIO, Transport.MEMORY])
def test_the_local_caller_is_configured(transport):
    user = identify(Credentials(transport=transport))
    assert user == Principal(
        issuer=LOCAL_ISSUER, client="local", roles=frozenset({"local", "here"})
    )
    named = identify(
        Credentials(transport=transport), local_client="c", local_roles=frozenset({"member"})
    )
    assert named.client == "c"
    assert named.roles == {"member", "viewer", "here"}


def test_the_local_caller_can_be_refused():
    assert refusal(Credentials(transport=Transport.STDIO), local_client=None)


def test_http_is_open_only_by_name():
    refusal(http())
    assert identify(http(), anonymous_http=True) is ANONYMOUS
    refusal(http(bearer="wrong"), anonymous_http=True)
    refusal(Credentials(transport=Transport.STDIO), anonymous_http=True, local_client=None)


@pytest.mark.parametrize(
    ("audience", "fits"),
    [
        ("https://me/mcp", True),
        (None, False),
        ("", False),
        ("https://me/mcp/", False),
        ("https://me", False),
        ("https://other/mcp", False),
    ],
)
def test_tokens_for_others_are_refused(audience, fits):
    credentials = http(token=VerifiedToken(client="c", audience=audience))
    if fits:
        identify(credentials, audience="https://me/mcp")
    else:
        refusal(credentials, audience="https://me/mcp")
    identify(credentials)


@pytest.mark.parametrize(
    "token",
    [
        VerifiedToken(client=""),
        VerifiedToken(client="c", issuer=LOCAL_ISSUER),
        VerifiedToken(client="c", issuer=TOKEN_ISSUER),
        VerifiedToken(client="c", expires_at=math.nan),
        VerifiedToken(client="c", expires_at=-1),
    ],
)
def test_odd_tokens_are_refused(token):
    assert refusal(http(token=token))


def test_expiry_can_be_required():
    credentials = http(token=VerifiedToken(client="c"))
    identify(credentials)
    assert refusal(credentials, require_expiry=True)


def test_the_record_learns_what_the_caller_does_not():
    clock = FakeClock()
    entry = TokenEntry(sha256=hash_token("t"), client="x", expires_at=clock.wall())
    cases = {
        "bearer_unknown": http(bearer="wrong"),
        "bearer_malformed": http(bearer=""),
        "bearer_expired": http(bearer="t"),
        "token_expired": http(token=VerifiedToken(client="c", expires_at=1)),
        "token_for_another_audience": http(token=VerifiedToken(client="c")),
    }
    errors = {
        name: refusal(credentials, tokens=(entry,), clock=clock, audience="https://me")
        for name, credentials in cases.items()
    }
    assert len({error.reason for error in errors.values()}) == 1
    for name, error in errors.items():
        assert error.__notes__ == [f"authentication:{name}"]


def test_one_token_is_one_caller():
    entry = TokenEntry(sha256=hash_token("t"), client="x")
    with pytest.raises(ConfigError, match="same hash"):
        DefaultAuthenticator(AuthenticationConfig(tokens=(entry, entry)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"audience": ""},
        {"local_client": ""},
        {"local_roles": "local"},
        {"tokens": ("token",)},
        {"anonymous_http": "no"},
        {"require_expiry": 1},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        AuthenticationConfig(**wrong)


async def test_the_fake_does_as_told():
    fake = FakeAuthenticator()
    fake.principal = Principal(client="anyone")
    assert await fake.authenticate(http()) == fake.principal
    fake.refuse_because = "not today"
    with pytest.raises(UnauthenticatedError, match="not today"):
        fake.identify(http())
    assert len(fake.seen) == 2
