import ipaddress

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.security.transport.addresses import (
    Networks,
    address_key,
    find_client,
    plain_address,
)

PROXIES = Networks(["10.0.0.0/8", "fd00::/8"])
NOBODY = Networks()

addresses = st.ip_addresses().map(str)
inside = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8"))
outside = st.ip_addresses().filter(
    lambda each: str(each) not in PROXIES and getattr(each, "ipv4_mapped", None) is None
)


def client(peer, header, *, proxies=PROXIES, rfc=False):
    return find_client(peer, header.encode("latin-1"), proxies, is_rfc7239=rfc)


@given(st.lists(addresses), addresses)
def test_without_declared_proxies_the_peer_is_the_client(entries, peer):
    assert client(peer, ", ".join(entries), proxies=NOBODY) == plain_address(peer)


@given(st.text(st.characters(max_codepoint=255), max_size=200), outside)
def test_a_peer_that_is_no_proxy_is_not_asked(header, peer):
    assert client(str(peer), header) == plain_address(str(peer))


@given(
    st.text(st.characters(max_codepoint=255, exclude_characters=","), max_size=60),
    outside,
    st.lists(inside, max_size=5),
    inside,
)
def test_what_stands_left_of_the_first_stranger_changes_nothing(claim, stranger, chain, peer):
    honest = ", ".join(str(each) for each in (stranger, *chain))
    forged = f"{claim}, {honest}"
    assert client(str(peer), forged) == client(str(peer), honest) == plain_address(str(stranger))


@given(st.binary(max_size=300), inside, st.booleans())
def test_any_bytes_give_an_address(header, peer, rfc):
    found = find_client(str(peer), header, PROXIES, is_rfc7239=rfc)
    assert found == str(ipaddress.ip_address(found))


@given(outside, inside, inside)
def test_both_forms_say_the_same(stranger, proxy, peer):
    def quoted(each):
        return f'for="[{each}]:4711"' if each.version == 6 else f"for={each};proto=https"

    plain = client(str(peer), f"{stranger}, {proxy}")
    assert client(str(peer), f"{quoted(stranger)}, {quoted(proxy)}", rfc=True) == plain


@pytest.mark.parametrize(
    "entry",
    ["", "unknown", "_hidden", "fe80::1%eth0", "1.2.3", "1.2.3.4.5", "1.2.3.4, x", "a" * 200,
     "[::1", "[::1]x", "\xe4"],
)  # fmt: skip
def test_an_entry_that_is_no_address_stops_at_the_proxy_that_wrote_it(entry):
    assert client("10.0.0.1", entry) == "10.0.0.1"


def test_the_walk_is_bounded():
    header = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * 1_000)
    assert client("10.0.0.1", header) == "10.0.0.2"


def test_an_open_quote_of_the_client_swallows_nothing():
    header = 'for="192.0.2.66, for=198.51.100.7'
    assert client("10.0.0.1", header, rfc=True) == "198.51.100.7"


def test_an_element_that_says_for_twice_says_nothing():
    assert client("10.0.0.1", "for=192.0.2.1;for=192.0.2.2", rfc=True) == "10.0.0.1"
    assert client("10.0.0.1", 'FOR = "192.0.2.1"', rfc=True) == "10.0.0.1"
    assert client("10.0.0.1", 'proto=http;FOR="192.0.2.1"', rfc=True) == "192.0.2.1"


def test_an_ipv4_address_in_ipv6_is_the_ipv4_address():
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert client("::ffff:10.0.0.1", "::ffff:192.0.2.1") == "192.0.2.1"
    assert client("::ffff:10.0.0.1", "192.0.2.1:1234") == "192.0.2.1"


def test_an_ipv6_address_counts_by_its_network():
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_key("2001:db8:0:1::1") != address_key("2001:db8::1")
    assert address_key("192.0.2.1") != address_key("192.0.2.2")
    assert address_key(None) == "local"
    assert address_key("x") == "unparsable"


def test_a_peer_without_an_address_has_none():
    assert client(None, "192.0.2.1") is None
    assert client("/run/socket", "192.0.2.1") is None
