"""Clients that write what they like into the proxies' headers: nothing of it is believed, and nothing hides the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flaggate import Gate
from flaggate.web.client_ip import FORWARDED, X_FORWARDED_FOR, ClientAddresses, address_in
from flaggate.web.request import Site
from flaggate.web.wsgi import WsgiRequest
from tests.web.scenes import http_environ

PROXY = "10.0.0.1"
SPOOFED = "6.6.6.6"
HEADERS = (X_FORWARDED_FOR, FORWARDED)


def client(header: str, *lines: str, peer: str = PROXY) -> str | None:
    """Who asks, by what a trusted proxy hands on."""
    return ClientAddresses(["10.0.0.0/8"], header).client(peer, lines)


# --- left of what our proxy wrote -----------------------------------------------------------------

_LATIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF) | st.just("\t"))  # what a header can hold
_PIECES = st.sampled_from(
    [
        SPOOFED,
        "for=6.6.6.6",
        "for=",
        "by=_x",
        'x="',
        '"',
        "\\",
        '\\"',
        ";",
        ",",
        ", ",
        "=",
        " ",
        "\t",
        "[",
        "]:1",
        PROXY,
    ]
)
_ATTACKS = st.lists(st.lists(_PIECES | _LATIN, max_size=8).map("".join), max_size=3)
_INNER = st.lists(st.sampled_from(["10.0.0.2", "10.1.2.3"]), max_size=2)
_JOINS = st.sampled_from([", ", ",", None])


def joined(lines: list[str], by: str | None) -> list[str]:
    """Header lines as servers hand them on: apart, or as one."""
    return lines if by is None else [by.join(lines)]


@given(
    attack=_ATTACKS,
    written=st.sampled_from(
        ["198.51.100.7", "198.51.100.7:80", "[2001:db8::7]:1", "2001:DB8:0::7", "::ffff:198.51.100.7", "unknown", "-"]
    ),
    inner=_INNER,
    by=_JOINS,
    is_on_the_clients_line=st.booleans(),
)
def test_nothing_left_of_x_forwarded_for_counts(
    attack: list[str], written: str, inner: list[str], by: str | None, is_on_the_clients_line: bool
) -> None:
    lines = [*attack, ", ".join([written, *inner])]
    if is_on_the_clients_line and attack:
        lines[-2:] = [", ".join(lines[-2:])]
    assert client(X_FORWARDED_FOR, *joined(lines, by)) == address_in(written)


_WRITTEN = [
    ("for=198.51.100.7", "198.51.100.7"),
    ('For="198.51.100.7:4711";proto=https;by=_us', "198.51.100.7"),
    ('proto=https;for="[2001:db8::7]:1";by="10.0.0.1"', "2001:db8::7"),
    (r'host="a, \"b\"; for=6.6.6.6, x=\"";for=198.51.100.7', "198.51.100.7"),
    (r'host=";for=6.6.6.6,x=";for=198.51.100.7;by="\\"', "198.51.100.7"),
    ("for=unknown;by=_us", None),
    ("for=_hidden", None),
    ("proto=https", None),
]


@given(
    attack=_ATTACKS,
    written=st.sampled_from(_WRITTEN),
    inner=_INNER,
    by=_JOINS,
    is_on_the_clients_line=st.booleans(),
)
def test_nothing_left_of_forwarded_counts(
    attack: list[str], written: tuple[str, str | None], inner: list[str], by: str | None, is_on_the_clients_line: bool
) -> None:
    text, address = written
    lines = [*attack, ", ".join([text, *(f'for="{hop}:80"' for hop in inner)])]
    if is_on_the_clients_line and attack:
        lines[-2:] = [", ".join(lines[-2:])]
    assert client(FORWARDED, *joined(lines, by)) == address


@given(
    st.sampled_from(HEADERS), _ATTACKS, st.ip_addresses().map(str).filter(lambda address: not address.startswith("10."))
)
def test_a_stranger_is_whom_we_see(header: str, attack: list[str], peer: str) -> None:
    assert client(header, *attack, peer=peer) == address_in(peer)


@given(st.sampled_from(HEADERS), _ATTACKS)
def test_any_header_gives_an_address_or_none(header: str, lines: list[str]) -> None:
    told = client(header, *lines)
    assert told is None or address_in(told) == told


_LONG = 65_536


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "garbage",
    [
        " ",
        "\t ",
        ",",
        ";",
        ", ",
        '"',
        '\\"',
        '"\\',
        "\\",
        "=",
        "a",
        "a=",
        "a=b",
        "a=b;",
        'a="',
        'a="b',
        "[",
        ":",
        "1.",
        "for=10.0.0.2,",
    ],
)
def test_64_kilobytes_of_anything_are_read_in_time(header: str, garbage: str) -> None:
    """Whoever reads a part of it again for each of its characters takes minutes."""
    text = garbage * (_LONG // len(garbage))
    for line in (text, f"x{text}", f"{text}x", f"x{text}x", f'"{text}', f'{text}"', f'for="{text}"', f'x;{text}="'):
        assert client(header, line) in (None, PROXY, "10.0.0.2")
    assert client(header, *(["garbage"] * 10_000)) is None


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("garbage", [" ", '"', "\\", "=", "a", "[", "1"])
def test_one_very_long_word_is_read_in_time(header: str, garbage: str) -> None:
    text = garbage * 1_000_000
    for line in (f"x{text}", f"{text}x", f"x{text}x", f'for="{text}"', f"for={text}"):
        assert client(header, line) is None


# --- a server that puts the header in the place of the peer ---------------------------------------


def rewritten(peer: str, lines: list[str], trusted: str) -> str:
    """The peer as uvicorn hands it to an app."""
    module = pytest.importorskip("uvicorn.middleware.proxy_headers", reason="pip install uvicorn")
    scope: dict[str, Any] = {
        "type": "http",
        "client": (peer, 4711),
        "headers": [(b"x-forwarded-for", line.encode("latin-1")) for line in lines],
    }

    async def app(*_: Any) -> None:
        return

    asyncio.run(module.ProxyHeadersMiddleware(app, trusted)(scope, app, app))
    told: str = scope["client"][0]
    return told


def told(addresses: ClientAddresses, peer: str, forwarded_for: list[str], forwarded: Sequence[str] = ()) -> str | None:
    """Who asks, as the middleware tells it."""
    peer = "?" if addresses.may_be_rewritten(peer, forwarded_for) else peer
    return addresses.client(peer, forwarded_for if addresses.header == X_FORWARDED_FOR else forwarded)


_SPELLINGS = st.sampled_from(
    [
        "6.6.6.6",
        "6.6.6.6:1234",
        "6.6.6.6:999999999",
        "6.6.6.6:-1",
        "6.6.6.6:+8_0",
        "6.6.6.6 :80",
        "[6.6.6.6]",
        "[6.6.6.6]:80",
        "[ 6.6.6.6 ]:x",
        "[10.0.0.2]",
        "10.0.0.2",
        "2001:DB8::1",
        "[2001:db8:0::1]:port",
        "[fe80::1%x]:y",
        "::ffff:6.6.6.6",
        "[::ffff:10.0.0.2]:z",
        "localhost",
        "[localhost]",
        "<local>",
        "[]",
        "[ ]",
        "unknown",
        "127.0.0.1",
        "[127.0.0.1]:1",
    ]
)
_FOR_UVICORN = st.lists(
    st.lists(_SPELLINGS | _LATIN, max_size=4).map(", ".join)
    | st.lists(_SPELLINGS | _PIECES, max_size=4).map("".join)
    | _SPELLINGS,
    max_size=2,
)


@given(_FOR_UVICORN, st.sampled_from(HEADERS), st.sampled_from(["127.0.0.1", "*"]))
def test_a_peer_on_loopback_that_we_do_not_trust_cannot_choose_its_address(
    attack: list[str], header: str, uvicorn_trusts: str
) -> None:
    addresses = ClientAddresses(["10.0.0.0/8", "2001:db8::/32", "unix"], header)
    peer = rewritten("127.0.0.1", attack, uvicorn_trusts)
    assert told(addresses, peer, attack, [f"for={SPOOFED}"]) in (None, "127.0.0.1")


@given(_FOR_UVICORN, st.sampled_from(["198.51.100.7", "198.51.100.7:80", "198.51.100.7, 10.0.0.2"]), _JOINS)
@pytest.mark.parametrize("uvicorn_trusts", ["127.0.0.1", "*", "127.0.0.1,10.0.0.0/8"])
def test_behind_our_proxy_on_loopback_the_client_is_whom_it_saw(
    uvicorn_trusts: str, attack: list[str], written: str, by: str | None
) -> None:
    addresses = ClientAddresses(["127.0.0.1", "10.0.0.0/8", "unix"])
    lines = joined([*attack, written], by)
    peer = rewritten("127.0.0.1", lines, uvicorn_trusts)
    # Told to believe everybody, uvicorn hands on what the client wrote: then nobody can be told.
    untold = [None] if uvicorn_trusts == "*" else []
    assert told(addresses, peer, lines) in ["198.51.100.7", *untold]


@given(_FOR_UVICORN, st.sampled_from(["127.0.0.1", "*"]))
@example(["6.6.6.6, for=6.6.6.6"], "*")
def test_behind_our_proxy_that_sets_the_other_header(attack: list[str], uvicorn_trusts: str) -> None:
    addresses = ClientAddresses(["127.0.0.1", "10.0.0.0/8"], FORWARDED)
    peer = rewritten("127.0.0.1", attack, uvicorn_trusts)
    assert told(addresses, peer, attack, ["for=198.51.100.7"]) in (None, "198.51.100.7")


@pytest.mark.parametrize(
    ("peer", "lines"),
    [
        ("198.51.100.7", []),
        ("198.51.100.7", [""]),
        ("198.51.100.7", [SPOOFED, f"{SPOOFED}, 10.0.0.2"]),
        ("198.51.100.7", ["unknown"]),
        (None, [SPOOFED]),
        ("", [SPOOFED]),
    ],
)
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]])
def test_a_peer_that_the_header_does_not_name_is_the_peer(
    peer: str | None, lines: list[str], header: str, trusted: list[str]
) -> None:
    assert not ClientAddresses(trusted, header).may_be_rewritten(peer, lines)


@pytest.mark.parametrize(
    ("trusted", "peer", "lines", "is_in_doubt"),
    [
        ([], "6.6.6.6", ["6.6.6.6:1234"], True),
        (["127.0.0.1"], "6.6.6.6", ["6.6.6.6:1234"], False),  # what our walk says, too
        (["127.0.0.0/8"], "6.6.6.6", ["6.6.6.6", "127.0.0.3"], False),
        (["127.0.0.1"], "6.6.6.6", ["6.6.6.6, 198.51.100.7"], True),  # uvicorn that believes everybody
        (["127.0.0.1"], "127.0.0.1", ["198.51.100.7, 127.0.0.1"], False),  # walked as ever
        (["127.0.0.1"], "unknown", ["unknown"], False),  # no address either way
        (["127.0.0.1"], "6.6.6.6", ["6.6.6.6, unknown"], True),
        (["::1"], "6.6.6.6", ["6.6.6.6"], True),
    ],
)
def test_a_peer_that_the_header_names(trusted: list[str], peer: str, lines: list[str], is_in_doubt: bool) -> None:
    assert ClientAddresses(trusted).may_be_rewritten(peer, lines) is is_in_doubt


def test_a_proxy_whose_address_is_a_part_of_the_clients_is_no_rewriting() -> None:
    addresses = ClientAddresses(["10.0.0.0/8"])
    for header in ("110.0.0.57", "10.0.0.57", "2001:db8::10.0.0.5"):
        assert not addresses.may_be_rewritten("10.0.0.5", [header])
    assert addresses.may_be_rewritten("10.0.0.5", ["10.0.0.5:80"])


def test_a_long_peer_that_the_header_names() -> None:
    """It is no address: a server took it from there."""
    addresses = ClientAddresses(["10.0.0.0/8"])
    assert addresses.may_be_rewritten("-" * 101, ["x" + "-" * 200])
    assert not addresses.may_be_rewritten("-" * 101, ["-" * 100])


# --- a server that does not name itself ----------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "expected"),
    [
        ([], "203.0.113.7", "203.0.113.7", "203.0.113.7"),  # nginx by uwsgi_pass, with real_ip_header
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (["unix"], "0.0.0.0", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ([], "0.0.0.0", "203.0.113.7", None),
    ],
)
def test_uwsgi_says_who_is_at_the_other_end(
    gate: Gate, trusted: list[str], peer: str, forwarded_for: str, expected: str | None
) -> None:
    """It does not name itself as other servers do, and on a Unix socket it says 0.0.0.0."""
    environ = http_environ(headers=[("X-Forwarded-For", forwarded_for)], REMOTE_ADDR=peer)
    environ = {key: value for key, value in environ.items() if key != "SERVER_SOFTWARE"}
    environ["uwsgi.version"] = b"2.0.30"
    assert WsgiRequest(Site(gate, trusted_proxies=trusted), environ).address() == expected
