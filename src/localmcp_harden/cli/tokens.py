"""`localmcp-harden token`: a new bearer token, and the entry that a configuration needs."""

import json
from typing import Annotated

from ..security.access.tokens import generate_token, hash_token
from .terminal import AsJson, print_json, say, typer

__all__ = ("token",)


def token(
    *,
    client: Annotated[str, typer.Option(metavar="NAME", help="The client that will hold it.")],
    subject: Annotated[str, typer.Option(metavar="NAME", help="Whom it speaks for.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="A role. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a bearer token, and print the entry that lets a server know it.

    The token is shown once and kept nowhere: the entry holds its hash alone.
    """
    secret = generate_token()
    entry = {"sha256": hash_token(secret), "client": client}
    if subject:
        entry["subject"] = subject
    roles = role or []
    if as_json:
        print_json({"token": secret, "entry": {**entry, "roles": roles}})
        return
    say("Hand this token to the client; it is not shown again:")
    typer.echo(secret)
    say("Put this into the server's configuration:")
    typer.echo("[[authentication.tokens]]")
    for key, value in entry.items():
        # A JSON string is a TOML string, whatever is in it.
        typer.echo(f"{key} = {json.dumps(value)}")
    typer.echo(f"roles = {json.dumps(roles)}")
