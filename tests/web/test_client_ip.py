"""Who is at the other end: only what our own proxies wrote is believed, and nothing that a client wrote hides it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flaggate.errors import SettingError
from flaggate.web.client_ip import FORWARDED, X_FORWARDED_FOR, ClientAddresses, address_in

PROXY = "10.0.0.1"
SPOOFED = "6.6.6.6"
HEADERS = (X_FORWARDED_FOR, FORWARDED)


def client(header: str, *lines: str, peer: str | None = PROXY, trusted: Sequence[str] = ("10.0.0.0/8",)) -> str | None:
    return ClientAddresses(trusted, header).client(peer, lines)


def behind(*lines: str) -> str | None:
    """Who asks, by the X-Forwarded-For of a trusted proxy."""
    return client(X_FORWARDED_FOR, *lines)


def forwarded(*lines: str) -> str | None:
    """Who asks, by the Forwarded of a trusted proxy."""
    return client(FORWARDED, *lines)


# --- one address ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("192.0.2.1:_gate.1-a", "192.0.2.1"),  # RFC 7239 6.1: a port may be hidden
        ("0.0.0.0", "0.0.0.0"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::1:80", "2001:db8::1:80"),  # without brackets there is no port
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]:_x", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::FFFF:c000:201]:80", "192.0.2.1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("::", "::"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert address_in(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "localhost",
        "example.com",
        "unix:",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.1.",
        "192.0.2.1/32",
        "192.0.2.1 192.0.2.2",
        "192.0.2.1:",
        "192.0.2.1:port",
        "192.0.2.1:123456",
        "192.0.2.1:80:81",
        "192.0.2.1 :80",
        "192.0.2.1\x00",
        "١٩٢.0.2.1",  # digits, but not ours
        "0xc0000201",
        "3221225985",
        "[192.0.2.1]",
        "[]",
        "[",
        "]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]80",
        "[2001:db8::1]:",
        "[2001:db8::1]:port",
        "[2001:db8::1]x80",
        "[[2001:db8::1]]",
        "[2001:db8::1] :80",
        "2001:db8::1::2",
        "12345::1",
        "fe80::1%",
        '"192.0.2.1"',
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert address_in(text) is None


_ADDRESSES = st.ip_addresses().map(str)
_NEARLY = st.lists(
    _ADDRESSES | st.sampled_from(["[", "]", ":", "::ffff:", "%1", ".", "80", "_x", " ", "/"]) | st.text(), max_size=5
).map("".join)


@given(_NEARLY)
@example("[fe80::1%]]:80")
@example("::1%" + "x" * 70_000)
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = address_in(text)
    if address is not None:
        parsed = ip_address(address)
        assert str(parsed) == address_in(address) == address
        assert isinstance(parsed, IPv4Address) or parsed.ipv4_mapped is None


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_address_is_read_in_each_of_its_spellings(given_address: Any, port: int) -> None:
    address = address_in(str(given_address))
    assert address is not None
    spellings = [given_address.exploded.upper(), f" {given_address} "]
    if given_address.version == 6:
        spellings += [f"[{given_address}]", f"[{given_address}]:{port}", f"{given_address}%eth0"]
    else:
        spellings += [f"{given_address}:{port}", f"::ffff:{given_address}", f"[::ffff:{given_address}]:{port}"]
    assert {address_in(spelling) for spelling in spellings} == {address}


# --- what an app says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8", "a list"]),
        ("", ["''", "a list"]),
        (None, ["None", "a list"]),
        (8, ["8", "a list"]),
        (["10.0.0.1/8"], ["10.0.0.1/8", "host bits", "10.0.0.0/8", "unix"]),
        (["10.0.0.0/33"], ["10.0.0.0/33"]),
        (["10.0.0"], ["10.0.0"]),
        (["10.0.0.*"], ["10.0.0.*"]),
        (["proxy.example.com"], ["proxy.example.com", "an address"]),
        (["fe80::1%eth0"], ["fe80::1%eth0"]),
        (["::1", ""], ["''", "an address"]),
        (["UNIX"], ["UNIX", "unix"]),
        (["*"], ["*", "an address"]),
        ([10], ["10", "an address"]),  # not 0.0.0.10
        ([b"\x7f\x00\x00\x01"], ["an address"]),
        ([("10.0.0.0", 8)], ["an address"]),
        (b"10.0.0.0/8", ["an address"]),
    ],
)
def test_wrong_proxies_are_told(wrong: Any, words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        ClientAddresses(wrong)
    assert caught.value.setting == "trusted_proxies"
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("wrong", ["X-Real-IP", "x_forwarded_for", "X-Forwarded-For ", "", None, b"forwarded"])
def test_a_wrong_header_is_told(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^proxy_header: .*allowed: X-Forwarded-For or Forwarded"):
        ClientAddresses([], wrong)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"])
def test_a_header_is_named_in_any_case(header: str) -> None:
    assert ClientAddresses([], header).header == X_FORWARDED_FOR
    assert client(header, "192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize(
    ("trusted", "peer", "is_ours"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.0/255.0.0.0", "10.1.2.3", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),  # a server that listens on both kinds
        ("10.0.0.1", "10.0.0.1:4711", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.0/104", "11.1.2.3", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("2001:db8::/32", "2001:DB8:0::1", True),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "10.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_a_network_holds_its_peers(trusted: str, peer: str, is_ours: bool) -> None:
    told = client(X_FORWARDED_FOR, "192.0.2.1", peer=peer, trusted=[trusted])
    assert told == ("192.0.2.1" if is_ours else address_in(peer))


# --- whom we trust --------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", "::1", "198.51.100.7", "::ffff:198.51.100.7"])
@pytest.mark.parametrize("header", HEADERS)
def test_nobody_is_trusted_by_default(header: str, peer: str) -> None:
    nobody = ClientAddresses(proxy_header=header)
    assert nobody.client(peer, [SPOOFED, f"for={SPOOFED}"]) == address_in(peer)


@pytest.mark.parametrize("peer", [None, "", "localhost", "<local>", "?", "unknown", "/run/app.sock", " "])
@pytest.mark.parametrize("trusted", [(), ("0.0.0.0/0", "::/0")])
def test_a_peer_without_an_address_is_not_trusted_by_default(peer: str | None, trusted: Sequence[str]) -> None:
    assert client(X_FORWARDED_FOR, SPOOFED, peer=peer, trusted=trusted) is None


@pytest.mark.parametrize("peer", [None, "", "localhost", "<local>"])  # uvicorn; gunicorn, granian; waitress; werkzeug
@pytest.mark.parametrize(("header", "line"), [(X_FORWARDED_FOR, "192.0.2.1"), (FORWARDED, "for=192.0.2.1")])
def test_a_proxy_on_a_unix_socket(peer: str | None, header: str, line: str) -> None:
    assert client(header, line, peer=peer, trusted=["unix"]) == "192.0.2.1"
    assert client(header, peer=peer, trusted=["unix"]) is None


@pytest.mark.parametrize("peer", ["?", "unknown", "unix", "/run/app.sock", " ", "127.0.0.1:x"])
def test_what_cannot_be_read_is_no_unix_socket(peer: str) -> None:
    assert client(X_FORWARDED_FOR, SPOOFED, peer=peer, trusted=["unix"]) is None


def test_who_trusts_unix_sockets_trusts_no_address() -> None:
    assert client(X_FORWARDED_FOR, SPOOFED, peer="127.0.0.1", trusted=["unix"]) == "127.0.0.1"


# --- X-Forwarded-For ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], PROXY),  # the proxy itself asks: a health check
        ([""], PROXY),
        ([" , ,"], PROXY),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        ([f"{SPOOFED}, 192.0.2.1"], "192.0.2.1"),
        ([f"{SPOOFED},192.0.2.1"], "192.0.2.1"),
        ([f"{SPOOFED}, 192.0.2.1,, "], "192.0.2.1"),
        ([f"{SPOOFED}, 192.0.2.1, 10.0.0.3, 10.0.0.2"], "192.0.2.1"),
        ([SPOOFED, "192.0.2.1"], "192.0.2.1"),
        ([f"{SPOOFED}, 192.0.2.1", "10.0.0.3", "10.0.0.2"], "192.0.2.1"),
        ([f"{SPOOFED}, 192.0.2.1", ""], "192.0.2.1"),
        (["192.0.2.1", "::ffff:10.0.0.3"], "192.0.2.1"),
        (["10.0.0.4, 10.0.0.3", "10.0.0.2"], "10.0.0.4"),  # all are ours: one of us asks
        ([", 10.0.0.4"], "10.0.0.4"),
        (["unknown"], None),
        ([f"{SPOOFED}, unknown"], None),
        ([f"{SPOOFED}, _hidden, 10.0.0.2"], None),
        ([f"{SPOOFED}, 192.0.2.1 192.0.2.2"], None),
        ([f"{SPOOFED}, unix:"], None),  # nginx, of a client on a socket
        (["10.0.0.2, for=192.0.2.1"], None),
        ([f"{SPOOFED}, garbage, 192.0.2.1"], "192.0.2.1"),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(lines: list[str], address: str | None) -> None:
    assert behind(*lines) == address


# --- Forwarded ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], PROXY),
        ([""], PROXY),
        ([" ,;, "], PROXY),
        (["for=192.0.2.1"], "192.0.2.1"),
        (["For=192.0.2.1"], "192.0.2.1"),
        (['for="192.0.2.1"'], "192.0.2.1"),
        (['for="192.0.2.1:4711"'], "192.0.2.1"),
        (['for="192.0.2.1:_hidden"'], "192.0.2.1"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['FOR="[2001:db8:cafe::17]"'], "2001:db8:cafe::17"),
        (['for="2001:db8:cafe::17"'], "2001:db8:cafe::17"),
        (["for=192.0.2.1;proto=http;by=203.0.113.43"], "192.0.2.1"),
        (["proto=http; for=192.0.2.1 ;\tby=203.0.113.43"], "192.0.2.1"),
        (["for=192.0.2.1;;proto=http;"], "192.0.2.1"),
        ([r'for="192.0.2\.1"'], "192.0.2.1"),
        ([r'for="\1\9\2.0.2.1"'], "192.0.2.1"),
        ([rf'for=192.0.2.1;host="a, for={SPOOFED}; \"for={SPOOFED}\" \\"'], "192.0.2.1"),
        ([r'host="a\\";for="192.0.2.1";by="\"", for=10.0.0.2;host="\\\\\""'], "192.0.2.1"),
        (['for=192.0.2.1;host=""'], "192.0.2.1"),
        ([f"for={SPOOFED}, for=192.0.2.1"], "192.0.2.1"),
        ([f"for={SPOOFED},for=192.0.2.1,for=10.0.0.2"], "192.0.2.1"),
        ([f"for={SPOOFED}", "for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
        ([f"for={SPOOFED}, for=192.0.2.1", "", "for=10.0.0.2, "], "192.0.2.1"),
        (["for=10.0.0.4, for=10.0.0.3", 'for="10.0.0.2:80"'], "10.0.0.4"),
        (['for="::ffff:192.0.2.1"'], "192.0.2.1"),
        # a proxy that does not know, or does not tell
        (["for=unknown"], None),
        ([f"for={SPOOFED}, for=_hidden"], None),
        ([f'for={SPOOFED}, for="_hidden:80"'], None),
        ([f"for={SPOOFED}, proto=https;by=_us"], None),
        ([f'for={SPOOFED}, for=""'], None),
        # what nobody can read
        ([f"for={SPOOFED}, 192.0.2.1"], None),
        ([f"for={SPOOFED}, for=192.0.2.1:80"], None),  # a colon has to be quoted
        ([f"for={SPOOFED}, for=[2001:db8::1]"], None),
        ([f"for={SPOOFED}, for="], None),
        ([f"for={SPOOFED}, =192.0.2.1"], None),
        ([f"for={SPOOFED}, for = 192.0.2.1"], None),
        ([f"for={SPOOFED}, for=192.0.2.1 by=x"], None),
        ([f"for={SPOOFED}, for=192.0.2.1;for=192.0.2.1"], None),
        ([f"for={SPOOFED}, for=192.0.2.1;FOR=192.0.2.2"], None),
        ([f'for={SPOOFED}, for="192.0.2.1'], None),
        ([f'for={SPOOFED}, for=192.0.2.1"'], None),
        ([f'for={SPOOFED}, for="192.0.2.1\\"'], None),
        ([rf'for={SPOOFED}, for="192.0.2.1\\\"'], None),
        ([rf'for={SPOOFED}, for="192.0.2.1"x'], None),
        ([f"for={SPOOFED}, fo\x00r=192.0.2.1"], None),
        ([f"for={SPOOFED}, för=192.0.2.1"], None),
        (['for=192.0.2.1;host="a"b"'], None),
        ([r'for=192.0.2.1;x="\\"y"'], None),
        # what a client wrote left of it does not matter
        (['for="6.6.6.6, for=192.0.2.1'], "192.0.2.1"),
        (['for=6.6.6.6, x=", for=192.0.2.1'], "192.0.2.1"),
        (['for=6.6.6.6, x=", for="192.0.2.1";by="10.0.0.1"'], "192.0.2.1"),
        (['for=6.6.6.6, x="\\', 'for="192.0.2.1"'], "192.0.2.1"),
        (['for=6.6.6.6, x="\\, for="192.0.2.1"'], "192.0.2.1"),
        (["for=6.6.6.6;, for=192.0.2.1"], "192.0.2.1"),
        (["six, for=192.0.2.1"], "192.0.2.1"),
        (["six, for=10.0.0.2"], None),
    ],
)
def test_forwarded_is_walked_from_the_right(lines: list[str], address: str | None) -> None:
    assert forwarded(*lines) == address


def test_the_other_header_is_not_read() -> None:
    assert client(FORWARDED, "192.0.2.1") is None
    assert client(X_FORWARDED_FOR, "for=192.0.2.1") is None
