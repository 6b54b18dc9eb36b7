"""Authentication: table tokens, verified tokens and stdio; PyJWT's HS256 for reference."""

import hashlib
import itertools
import time

from benchmarks.harness import OURS, Bench
from localmcp_harden.protocols.security import Credentials, Transport, VerifiedToken
from localmcp_harden.security.access.identity import AuthenticationConfig, DefaultAuthenticator
from localmcp_harden.security.access.roles import RoleConfig, RoleMap
from localmcp_harden.security.access.tokens import TokenEntry, generate_token, hash_token

TOKENS = 1_000


def run(bench: Bench) -> None:
    import jwt

    later = time.time() + 3600
    tokens = [generate_token() for _ in range(TOKENS)]
    entries = tuple(
        TokenEntry(sha256=hash_token(token), client=f"c{number}", expires_at=later)
        for number, token in enumerate(tokens)
    )
    roles = RoleMap(
        {
            "viewer": RoleConfig(scopes=("notes:read",)),
            "editor": RoleConfig(includes=("viewer",), scopes=("notes:write",)),
        }
    )
    block = DefaultAuthenticator(AuthenticationConfig(tokens=entries), roles=roles)

    presented = itertools.cycle(
        [Credentials(transport=Transport.HTTP, bearer=token) for token in tokens]
    )
    table = {entry.sha256: entry for entry in entries}
    bare = itertools.cycle(tokens)

    def floor() -> object:
        return table.get(hashlib.sha256(next(bare).encode()).hexdigest())

    key = "k" * 32
    claims = {"sub": "s", "exp": later, "aud": "me", "iss": "i"}
    signed = jwt.encode(claims, key, algorithm="HS256")

    def verify_jwt() -> object:
        return jwt.decode(signed, key, algorithms=["HS256"], audience="me", issuer="i")

    case = "opaque bearer, 1,000 tokens"
    medians = bench.compare(
        case,
        {
            "sha256 and dict": floor,
            OURS: lambda: block.identify(next(presented)),
            "PyJWT HS256": verify_jwt,
        },
        base="sha256 and dict",
    )
    ratio = medians[OURS] / medians["sha256 and dict"]
    bench.target(case, "at most 3 of sha256 and dict", ratio, met=ratio <= 3)
    ratio = medians[OURS] / medians["PyJWT HS256"]
    bench.target(case, "at most 0.1 of PyJWT HS256", ratio, met=ratio <= 0.1)

    stdio = Credentials(transport=Transport.STDIO)
    token = VerifiedToken(
        client="c", issuer="i", subject="s", scopes=frozenset({"notes:write"}), expires_at=later
    )
    verified = Credentials(transport=Transport.HTTP, token=token)
    bench.compare(
        "other callers",
        {
            "sha256 and dict": floor,
            f"{OURS}, stdio": lambda: block.identify(stdio),
            f"{OURS}, verified token": lambda: block.identify(verified),
        },
        base="sha256 and dict",
    )
