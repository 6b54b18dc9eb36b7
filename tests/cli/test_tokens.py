import json
import tomllib

from localmcp_harden import Credentials, load_config
from localmcp_harden.protocols.security import Transport
from localmcp_harden.security.access.identity import DefaultAuthenticator

ARGUMENTS = ("token", "--client", "ci", "--subject", 'b"ob', "--role", "reader", "--role", "writer")


def principal_of(entry, secret):
    config = load_config(environ={}, settings={"authentication": {"tokens": [entry]}}).config
    authenticator = DefaultAuthenticator(config.authentication)
    return authenticator.identify(Credentials(transport=Transport.HTTP, bearer=secret))


def test_what_is_printed_lets_the_holder_in(invoke):
    result = invoke(*ARGUMENTS)
    secret, _, entry = result.stdout.partition("\n")

    principal = principal_of(tomllib.loads(entry)["authentication"]["tokens"][0], secret)

    assert principal.key == ("token", "ci", 'b"ob')
    assert principal.roles == {"reader", "writer"}
    assert secret not in entry


def test_a_program_gets_the_same(invoke):
    document = json.loads(invoke(*ARGUMENTS, "--json").stdout)

    assert principal_of(document["entry"], document["token"]).client == "ci"


def test_every_token_is_another(invoke):
    seen = {invoke("token", "--client", "c").stdout.split()[0] for _ in range(3)}
    assert len(seen) == 3


def test_a_client_is_needed(invoke):
    result = invoke("token")
    assert result.exit_code == 2
    assert "--client" in result.stderr
