"""The client's address: walked from the peer leftwards through what trusted proxies wrote. Nobody is trusted by default.

X-Forwarded-For, or RFC 7239's Forwarded: one of them, never both, for a proxy that sets one passes the other on as
the client wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from flaggate.errors import SettingError

__all__ = ["FORWARDED", "UNIX", "X_FORWARDED_FOR", "ClientAddresses", "address_in"]

X_FORWARDED_FOR: Final = "x-forwarded-for"
FORWARDED: Final = "forwarded"
UNIX: Final = "unix"
"""Among the trusted proxies: a peer without an address, on a Unix socket."""

_EXAMPLE: Final = "10.0.0.0/8"
_ON_UNIX_SOCKET: Final = frozenset({"", "localhost", "<local>"})
"""What servers say of such a peer: nothing; waitress; werkzeug's."""
_LONGEST_ADDRESS: Final = 100
"""With a zone, brackets and a port; in characters."""
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"([^"]*+(?:"\\[^"]*+)*+)"'  # backwards a quote that is part of the text has its backslash behind it
_PAIR: Final = re.compile(rf"[ \t]*+(?:(?:({_WORD})|{_QUOTED})=({_WORD}))?[ \t]*+([;,]|\Z)")
"""A parameter of RFC 7239 backwards, and what stands before it; none between two separators is passed over, as lists
are read in HTTP. Nothing is tried twice: time is linear in the header's length."""


class ClientAddresses:
    """Tells a request's client by the peer and the header of trusted proxies.

    Args:
        trusted_proxies: Networks and addresses (`10.0.0.0/8`, `::1`) of our own proxies; `unix` for whoever connects
            through a Unix socket.
        proxy_header: The one that they set: `X-Forwarded-For` or `Forwarded`.

    Raises:
        SettingError: for what is none of these.
    """

    def __init__(self, trusted_proxies: Iterable[str] = (), proxy_header: str = X_FORWARDED_FOR) -> None:
        if isinstance(trusted_proxies, str) or not isinstance(trusted_proxies, Iterable):
            raise SettingError("trusted_proxies", trusted_proxies, f"a list, such as [{_EXAMPLE!r}]")
        self.header = str(proxy_header).lower()
        if self.header not in (X_FORWARDED_FOR, FORWARDED):
            raise SettingError("proxy_header", proxy_header, "X-Forwarded-For or Forwarded")
        named = list(trusted_proxies)
        self._trusts_unix = UNIX in named
        self._networks = tuple(_network(name) for name in named if name != UNIX)
        self.is_trusted = lru_cache(1024)(self._is_trusted)
        self._trusts_loopback = self.is_trusted("127.0.0.1")

    def client(self, peer: str | None, lines: Sequence[str]) -> str | None:
        """The client's address; None where it cannot be told.

        Args:
            peer: The address at the other end of the connection; None or empty on a Unix socket.
            lines: The values of the proxies' header, in the order of the request.
        """
        address = address_in(peer or "")
        if self.is_trusted(address) if address else self._trusts_unix and (peer or "") in _ON_UNIX_SOCKET:
            return self._walk(address, lines)
        return address

    def _walk(self, address: str | None, lines: Sequence[str]) -> str | None:
        for hop in _addresses(self.header, lines):
            if hop is None:
                return None  # a proxy of ours did not know, or wrote what nobody can read
            address = hop
            if not self.is_trusted(address):
                break
        return address

    def may_be_rewritten(self, peer: str | None, forwarded_for: Iterable[str]) -> bool:
        """Whether the server may have put what X-Forwarded-For says in the place of the peer.

        uvicorn does so, by default for peers on loopback, and takes much that is no address to others: what counts is
        whether the header holds the peer's text. Where we trust loopback too and read the same header, its answer
        must be a step of our walk; otherwise the true peer is not known.
        """
        text = (peer or "").strip()
        lines = list(forwarded_for)
        if not text or not any(_stands_in(text, line) for line in lines):
            return False
        if self.header != X_FORWARDED_FOR or not self._trusts_loopback:
            return True
        address = address_in(text)
        return address is not None and not self.is_trusted(address) and address != self._walk(None, lines)

    def _is_trusted(self, address: str) -> bool:
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks)


def address_in(text: str) -> str | None:
    """The address that a peer or a hop names, in one spelling: without a port, a zone or brackets, and an IPv4
    address mapped into IPv6 as itself. None if it names none."""
    text = text.strip()
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port[1:], port[0])) or ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(port, ":"):
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        inside: IPv4Address | None = address.ipv4_mapped
        return str(inside or IPv6Address(int(address)))  # int() has no zone
    return str(address)


def _stands_in(text: str, line: str) -> bool:
    """Whether a header names a peer: 10.0.0.5 is not in 110.0.0.57."""
    if len(text) > _LONGEST_ADDRESS:  # taken from a header, and no address: to search by the pattern takes the square
        return text in line
    return re.search(rf"(?<![\w.:]){re.escape(text)}(?![\w.])", line) is not None


def _is_port(text: str, before: str) -> bool:
    return before == ":" and re.fullmatch(r"[0-9]{1,5}|_[A-Za-z0-9._-]+", text) is not None  # RFC 7239 6: obfuscated


def _network(name: object) -> IPv4Network | IPv6Network:
    allowed = f"an address, a network such as {_EXAMPLE}, or {UNIX}"
    if not isinstance(name, str) or "%" in name:  # a number would be an address; of peers no zone is read
        raise SettingError("trusted_proxies", name, allowed)
    try:
        network = ip_network(name)
    except ValueError as error:
        raise SettingError("trusted_proxies", name, f"{allowed} ({error})") from None
    inside = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if inside is None else IPv4Network(f"{inside}/{network.prefixlen - 96}")  # as addresses are read


def _addresses(header: str, lines: Sequence[str]) -> Iterator[str | None]:
    """The hops that a header names, the nearest one first; None for one that is no address."""
    for line in reversed(lines):
        if header == FORWARDED:
            yield from _forwarded(line)
        else:
            yield from (address_in(hop) for hop in reversed(line.split(",")) if hop.strip())


def _forwarded(line: str) -> Iterator[str | None]:
    """The `for` of each element of RFC 7239; None ends what is malformed."""
    try:
        for element in _elements(line):
            yield address_in(element.get("for", ""))
    except ValueError:
        yield None


def _elements(line: str) -> Iterator[dict[str, str]]:
    """Read from the right, where our proxies write: what a client wrote left of it, an open quote too, neither changes
    nor hides it. Raises ValueError when it comes to what is malformed."""
    backwards = line[::-1]
    element: dict[str, str] = {}
    at = 0
    while at <= len(backwards):
        pair = _PAIR.match(backwards, at)
        if pair is None:
            raise ValueError(line)
        token, quoted, name, end = (part and part[::-1] for part in pair.groups())
        if name is not None:
            if name.lower() in element:
                raise ValueError(line)
            element[name.lower()] = token or _unquoted(quoted)
        if end != ";":
            if element:
                yield element
            element = {}
        at = pair.end() + (not end)


def _unquoted(text: str) -> str:
    if not re.fullmatch(r'(?:[^"\\]|\\.)*+', text):
        raise ValueError(text)
    return re.sub(r"\\(.)", r"\1", text)
