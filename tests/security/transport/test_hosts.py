import pytest
from hypothesis import given, strategies as st

from localmcp_harden.security.transport.hosts import (
    HostList,
    OriginList,
    parse_host_pattern,
    parse_origin_pattern,
)

LOOPBACK = HostList(["127.0.0.1:*", "localhost:*", "[::1]:*"])


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:80",
             "[0:0:0:0:0:0:0:1]:80"],
)  # fmt: skip
def test_every_port_and_spelling_of_a_name_is_taken(host):
    assert LOOPBACK.allows(host.encode())
    assert LOOPBACK.allows(host.encode())


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "evil.localhost", "localhost:", "localhost:0",
     "localhost:65536", "localhost:*", "localhost:80:80", "user@localhost", "localhost@evil",
     "localhost/", "localhost ", " localhost", "localhost,evil", "[::1", "::1", "[::2]:80",
     "127.0.0.1.nip.io", "localhost.", "[::ffff:127.0.0.1]:80", "[::1%eth0]:80", "a" * 400],
)  # fmt: skip
def test_whatever_is_not_one_of_the_names_is_not(host):
    assert not LOOPBACK.allows(host.encode("latin-1"))


def test_bytes_that_are_no_text_are_no_name():
    assert not HostList(["xn--e1afmkfd.example"]).allows("\u043f\u0440.example".encode())


def test_a_port_that_is_named_is_the_only_one():
    hosts = HostList(["mcp.example:8443", "plain.example"])
    assert hosts.allows(b"mcp.example:8443")
    assert not hosts.allows(b"mcp.example")
    assert not hosts.allows(b"mcp.example:443")
    assert hosts.allows(b"plain.example")
    assert not hosts.allows(b"plain.example:80")


@given(st.binary(max_size=40))
def test_only_a_listed_name_is_ever_taken(header):
    if LOOPBACK.allows(header):
        text = header.decode("ascii").lower()
        assert text.rsplit(":", 1)[0].strip("[]:") != ""
        assert parse_host_pattern(text) is not None
        assert text.startswith(("localhost", "127.0.0.1", "["))


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True), st.integers(1, 65_535))
def test_a_name_is_taken_on_its_port_alone(name, port):
    hosts = HostList([f"{name}:{port}"])
    assert hosts.allows(f"{name.upper()}:{port}".encode())
    assert not hosts.allows(f"x{name}:{port}".encode())
    assert not hosts.allows(f"{name}:{port % 65_535 + 1}".encode())


def test_hosts_allow_their_own_pages_and_no_others():
    origins = OriginList([], HostList(["mcp.example:*", "plain.example"]))
    for page in ("https://mcp.example", "http://mcp.example:8080", "HTTPS://plain.example",
                 "http://plain.example:80", "https://plain.example:443"):  # fmt: skip
        assert origins.allows(page.encode()), page
    for page in ("null", "", "mcp.example", "ftp://mcp.example", "https://evil.example",
                 "https://mcp.example.evil", "https://mcp.example/", "https://mcp.example:*",
                 "https://plain.example:80", "file://"):  # fmt: skip
        assert not origins.allows(page.encode()), page


def test_named_origins_replace_the_hosts_own():
    origins = OriginList(["https://app.example", "http://localhost:*"])
    assert origins.allows(b"https://app.example")
    assert origins.allows(b"https://app.example:443")
    assert origins.allows(b"http://localhost:5173")
    assert not origins.allows(b"http://app.example")
    assert not origins.allows(b"https://app.example:8443")
    assert not origins.allows(b"https://localhost:5173")
    assert not origins.allows("https://\u00e4pp.example".encode())


@pytest.mark.parametrize("text", ["", "*", "*.example", "a b", "http://a", "a:x", "-a", "[a]"])
def test_what_is_no_name_is_no_pattern(text):
    assert parse_host_pattern(text) is None
    assert parse_origin_pattern(f"https://{text}") is None
