"""What a response says to caches when flags that depend on who asks went into it (RFC 9111, RFC 9110 12.5.5)."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final

__all__ = ["DEPENDS_ON", "OVERRULING", "Depends", "cache_control", "vary"]

OVERRULING: Final = frozenset(
    {
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "vercel-cdn-cache-control",
        "surrogate-control",
        "x-accel-expires",
    }
)
"""Headers that some shared caches obey before Cache-Control (RFC 9213, nginx): dropped where who asks matters."""
_PLACE: Final = frozenset({"ip", "city", "city_id", "region", "country"})
_VISITOR: Final = frozenset({"visitor"})
_MOST_SETS: Final = 1000


class Depends(IntEnum):
    """On what of a request an answer depends; the greater ones include the smaller."""

    NOTHING = 0
    ADDRESS = 1
    """On the client's address: no header carries it, so that no shared cache may keep the response."""
    VISITOR = 2
    """On our cookie too."""
    IDENTITY = 3
    """On who is signed in, which the app takes from a cookie or from credentials."""


class _DependsOn(dict[frozenset[str], Depends]):
    """Worked out once for each set of attributes, of which plans have few."""

    def __missing__(self, reads: frozenset[str]) -> Depends:
        if not reads:
            depends = Depends.NOTHING
        elif reads <= _PLACE:
            depends = Depends.ADDRESS
        else:
            depends = Depends.VISITOR if reads <= _PLACE | _VISITOR else Depends.IDENTITY
        if len(self) < _MOST_SETS:
            self[reads] = depends
        return depends


DEPENDS_ON: Final = _DependsOn()
"""On what a flag depends, by the attributes that it reads: of anybody, not only of the one who asks now."""

_VARY: Final = {
    Depends.NOTHING: (),
    Depends.ADDRESS: (),
    Depends.VISITOR: ("Cookie",),
    Depends.IDENTITY: ("Cookie", "Authorization"),
}
_REPLACED: Final = frozenset({"public", "s-maxage", "proxy-revalidate", "private"})
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_DIRECTIVE: Final = re.compile(rf'(?:[^,"]|{_QUOTED})++')
_WELL_FORMED: Final = re.compile(rf'(?:[^"]|{_QUOTED})*+')


@lru_cache(1024)
def vary(known: str, depends: Depends) -> str:
    """The value of Vary, with what the response says already; empty = none is needed."""
    names = [name.strip() for name in known.split(",") if name.strip()]
    if "*" in names:
        return known
    present = {name.lower() for name in names}
    return ", ".join(names + [name for name in _VARY[depends] if name.lower() not in present])


@lru_cache(1024)
def cache_control(known: str) -> str:
    """The value of Cache-Control: private, and nothing for shared caches; the rest as it was."""
    if not _WELL_FORMED.fullmatch(known):
        return f"private, {known}"  # behind a quote that does not end it would be part of a text
    directives = [found.strip() for found in _DIRECTIVE.findall(known) if not found.isspace()]
    words = [directive.lower() for directive in directives]
    # must-understand revokes no-store for caches that know the status code (RFC 9111 5.2.2.3).
    if "no-store" in words and "must-understand" not in words:
        return known
    kept = [directive for directive in directives if directive.lower() == "private" or not _is_replaced(directive)]
    if "private" not in words:
        kept.append("private")
    return known if kept == directives else ", ".join(kept)


def _is_replaced(directive: str) -> bool:
    return directive.partition("=")[0].strip().lower() in _REPLACED
