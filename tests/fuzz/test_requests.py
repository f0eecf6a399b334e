"""Requests: headers and addresses as clients make them up. An answer, no fault, and nothing forged is believed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from hypothesis import strategies as st

from flaggate import Gate
from flaggate.web import asgi, wsgi
from flaggate.web.client_ip import FORWARDED, X_FORWARDED_FOR, ClientAddresses, address_in
from flaggate.web.visitor import COOKIE, Visitors
from tests.fuzz.asked import Asking, asking
from tests.fuzz.counting import fuzzed
from tests.fuzz.hostile import BYTES, LATIN, ODD_TEXT, is_the_same, mutated
from tests.web.scenes import ask_wsgi, http_environ, running

# --- who is at the other end ------------------------------------------------------------------

PROXIES = ["10.0.0.0/8", "127.0.0.0/8", "::1", "fd00::/8", "unix"]
_HOPS = st.sampled_from(
    ["10.0.0.2", "198.51.100.7", "198.51.100.7:80", "[2001:db8::7]:1", "2001:db8::7", "::ffff:10.0.0.1", "unknown", "_x",
     "fe80::1%eth0", "for=10.0.0.2", "For=\"[2001:db8::7]:_p\"", "by=_x;for=6.6.6.6", "proto=https", "for=", "=", '"', "\\",
     ",", ";", " ", "\t", "[", "]", "0x7f.1", "127.1", "010.0.0.1", "\u0661.1.1.1"]
) | LATIN  # fmt: skip
_LINES = st.lists(
    st.lists(_HOPS, max_size=8).flatmap(
        lambda hops: st.sampled_from([", ", ",", ";", ""]).map(lambda by: by.join(hops))
    ),
    max_size=3,
)
_PEERS = (
    st.none()
    | st.sampled_from(["10.0.0.1", "127.0.0.1", "::1", "203.0.113.7", "", "localhost", "<local>", "@", "unix:"])
    | st.text(max_size=12)
    | ODD_TEXT
)
_TOLD = {header: ClientAddresses(PROXIES, header) for header in (X_FORWARDED_FOR, FORWARDED)}
_WRITTEN = {X_FORWARDED_FOR: "198.51.100.7", FORWARDED: "for=198.51.100.7"}


@fuzzed(150, header=st.sampled_from([X_FORWARDED_FOR, FORWARDED]), peer=_PEERS, lines=_LINES)
def test_any_hops_give_an_address_or_none(header: str, peer: str | None, lines: Sequence[str]) -> None:
    told = _TOLD[header].client(peer, lines)
    assert told is None or address_in(told) == told
    _TOLD[header].may_be_rewritten(peer, lines)
    address = address_in(peer or "")
    if address is not None and not _TOLD[header].is_trusted(address):
        assert told == address, "who is no proxy of ours says nothing"


@fuzzed(100, header=st.sampled_from([X_FORWARDED_FOR, FORWARDED]), lines=_LINES, is_joined=st.booleans())
def test_what_our_proxy_wrote_is_what_counts(header: str, lines: list[str], is_joined: bool) -> None:
    """Whatever stands left of it."""
    lines = [*lines, _WRITTEN[header]]
    assert _TOLD[header].client("10.0.0.1", [", ".join(lines)] if is_joined else lines) == "198.51.100.7"


# --- the visitor's cookie ---------------------------------------------------------------------

_OURS = Visitors(["a key for tests", "an older key"])
_OTHERS = Visitors(["a key of somebody else"])
_VISITOR = "dGhlIHZpc2l0b3I0NTY3OA"
_SIGNED = _OURS.cookie(_VISITOR, is_https=False).partition("=")[2].partition(";")[0]
_FORGED = _OTHERS.cookie(_VISITOR, is_https=False).partition("=")[2].partition(";")[0]
_VALUES = mutated(_SIGNED) | mutated(_FORGED) | st.sampled_from([_SIGNED, _FORGED, ""]) | LATIN
_PAIRS = st.tuples(
    st.sampled_from([COOKIE, f" {COOKIE}", COOKIE.upper(), f'"{COOKIE}"', "", "a", "$Version"]) | LATIN, _VALUES
)
_COOKIES = st.lists(_PAIRS.map("=".join), max_size=5).flatmap(lambda all_of: st.sampled_from(["; ", ";", ",", " "]).map(lambda by: by.join(all_of)))  # fmt: skip


@fuzzed(150, headers=st.lists(_COOKIES, max_size=3))
def test_no_forged_visitor_is_believed(headers: list[str]) -> None:
    known = _OURS.known(headers)
    if known is not None:
        assert known == _VISITOR
        values = [pair.partition("=")[2] for header in headers for pair in header.replace(",", ";").split(";")]
        assert any(is_the_same(value.strip(), _SIGNED) for value in values)


# --- whole requests ---------------------------------------------------------------------------


class _Sites(NamedTuple):
    gate: Gate
    asking: Asking
    asgi: Any
    wsgi: Any


@contextmanager
def sites() -> Iterator[_Sites]:
    gate = running()
    settings: dict[str, Any] = {
        "context": lambda _: {"user": "ada", "tier": "pro"},
        "trusted_proxies": PROXIES,
        "secret_keys": ["a key for tests"],
        "routes": {"/v2/*": "banner", "/v3/*/x": ("tiered", "/v1"), "/half/*": "half"},
        "uncounted": ["/metrics/*"],
    }

    def answers() -> bytes:
        return b" ".join(f"{name}={gate.decide(name).reason}".encode() for name in sorted(gate.begun().entries))

    async def asgi_app(_scope: Any, _receive: Any, send: Any) -> None:
        body = answers()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def wsgi_app(_environ: Any, start_response: Any) -> list[bytes]:
        body = answers()
        start_response("200 OK", [])
        return [body]

    logging.disable()
    try:
        with asking() as one:
            yield _Sites(
                gate, one, asgi.FlaggateMiddleware(asgi_app, gate, **settings), wsgi.FlaggateMiddleware(wsgi_app, gate, **settings)
            )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
        gate.close()


_NAMES = st.sampled_from(["cookie", "x-forwarded-for", "forwarded", "x-forwarded-proto", "host", "authorization", "x"])
_HEADERS = st.lists(
    st.tuples(_NAMES, _LINES.map(", ".join) | _COOKIES | LATIN).filter(lambda pair: max(pair[1], default="") <= "\xff"),
    max_size=5,
)
_PATHS = st.lists(st.sampled_from(["/", "v2", "v3", "x", "half", "metrics", ".", "..", "%2f", "\n", "*", "//"]) | LATIN, max_size=6).map("".join)  # fmt: skip


def is_without_fault(answer_status: int, body: bytes) -> None:
    assert answer_status in (200, 404)
    assert b"fault" not in body


@fuzzed(100, sites, path=_PATHS, headers=_HEADERS, query=BYTES, peer=_PEERS)
def test_asgi(where: _Sites, path: str, headers: list[tuple[str, str]], query: bytes, peer: str | None) -> None:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    client = None if peer is None else (peer, 1)
    answer = where.asking.ask(where.asgi, "GET", path, query=query, headers=lines, client=client)
    is_without_fault(answer.status, b"" if is_in_doubt(peer, headers) else answer.body)


@fuzzed(100, sites, path=_PATHS, headers=_HEADERS, query=LATIN, peer=_PEERS)
def test_wsgi(where: _Sites, path: str, headers: list[tuple[str, str]], query: str, peer: str | None) -> None:
    environ = http_environ(path, headers=headers, QUERY_STRING=query, REMOTE_ADDR=peer or "")
    answer = ask_wsgi(where.wsgi, environ)
    is_without_fault(answer.status, b"" if is_in_doubt(peer, headers) else answer.body)


def is_in_doubt(peer: str | None, headers: list[tuple[str, str]]) -> bool:
    """Whether the server may have put what the client wrote in the place of the peer: then off, with a reason."""
    forwarded = [value for name, value in headers if name == X_FORWARDED_FOR]
    return _TOLD[X_FORWARDED_FOR].may_be_rewritten(peer, forwarded)
