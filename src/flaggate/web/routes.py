"""Routes that are there only for those who have a flag."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from flaggate.errors import SettingError

__all__ = ["FLAG_NAME", "HEALTH_PATHS", "Gated", "Routes", "Table", "is_flag_name", "is_plain_path", "uncounted_paths"]

Table: TypeAlias = Mapping[str, str | tuple[str, str]]
"""Path to flag, or to flag and the path that is served instead where it is off."""

FLAG_NAME: Final = "lower-case letters, digits and hyphens, a letter first"
_ALLOWED: Final = (
    'a table of paths and flags: {"/v2/*": "new-invoicing"}, or {"/v2/*": ("new-invoicing", "/v1/*")} to serve another'
)
_NO_PATH: Final = re.compile(r"[?#<>{}]|%[0-9A-Fa-f]{2}|\*[^/]*\*")
"""What a path is not, and a router's own pattern may be: it would gate nothing, and nobody would see it."""
_DOTS: Final = frozenset({".", ".."})


class Gated(NamedTuple):
    """A path that a flag gates."""

    flag: str
    otherwise: str | None
    """The path to serve where the flag is off; None = it is not found."""


class Routes:
    """Matches paths against a table; the first line that matches is the one.

    `*` at the end stands for all that is below (`/v2/*` is `/v2`, too); elsewhere for one segment. A slash more or
    less, at the end or between segments, changes nothing, nor do `.` and `..`: nobody gets around a gate by that.

    Raises:
        SettingError: for a table that is none.
    """

    def __init__(self, table: Table) -> None:
        if not isinstance(table, Mapping):
            raise SettingError("routes", table, _ALLOWED)
        self._gates = [_read(path, gate) for path, gate in table.items()]
        patterns = (f"(?P<g{number}>{_pattern(path, number)})" for number, path in enumerate(table))
        self._pattern = re.compile("|".join(patterns) or "(?!)", re.DOTALL)

    def __bool__(self) -> bool:
        return bool(self._gates)

    def flags(self) -> set[str]:
        """The flags that the table names."""
        return {gated.flag for gated in self._gates}

    def match(self, path: str) -> Gated | None:
        """The gate of a path (decoded, below the app's root); None if it has none."""
        if "//" in path or path[:1] != "/":  # waitress takes a path without a slash, and werkzeug adds it
            path = re.sub("/+", "/", f"/{path}")
        gated = self._match(path)
        if "/." in path and not _DOTS.isdisjoint(path.split("/")):
            # Browsers resolve dots before they send a path, routers leave them, and what serves files resolves them:
            # it is gated either way, and no other path is made of it.
            gated = gated or self._match(posixpath.normpath(path))
            return gated and gated._replace(otherwise=None)
        return gated

    def _match(self, path: str) -> Gated | None:
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        number = next(number for number in range(len(self._gates)) if found[f"g{number}"] is not None)
        flag, otherwise = self._gates[number]
        if otherwise is not None and otherwise.endswith("*"):
            otherwise = otherwise[:-2] + (found[f"r{number}"] or "") or "/"
        return Gated(flag, otherwise)


def uncounted_paths(paths: Iterable[str]) -> Container[str]:
    """Paths whose requests no guard is to judge by: those of health checks, which nobody would miss, and the app's.

    Raises:
        SettingError: for what is no list of paths.
    """
    allowed = 'a list of paths: ["/metrics", "/internal/*"]'
    if isinstance(paths, str) or not isinstance(paths, Iterable):
        raise SettingError("uncounted", paths, allowed)
    patterns = []
    for number, path in enumerate(paths):
        if not isinstance(path, str) or not is_plain_path(path):
            raise SettingError("uncounted", path, allowed)
        patterns.append(_pattern(path, number))
    return _Uncounted(re.compile("|".join(patterns), re.DOTALL)) if patterns else HEALTH_PATHS


class _Uncounted:
    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def __contains__(self, path: object) -> bool:
        return path in HEALTH_PATHS or (isinstance(path, str) and self._pattern.fullmatch(path) is not None)


HEALTH_PATHS: Final = frozenset(
    f"/{name}{slash}"
    for name in ("health", "healthz", "livez", "readyz", "ping", "up", "__heartbeat__", "__lbheartbeat__")
    for slash in ("", "/")
)


def is_plain_path(path: str) -> bool:
    """Whether it is a path as the app sees it, and no router's pattern."""
    return path.startswith("/") and not _NO_PATH.search(path)


def is_flag_name(name: object) -> bool:
    """Whether a flag can have this name."""
    from flaggate.flags.fields import NAME_PATTERN  # loaded at the first question anyway, and not before

    return isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) is not None


def _read(path: object, gate: object) -> Gated:
    flag, otherwise = gate if isinstance(gate, (tuple, list)) and len(gate) == 2 else (gate, None)
    if not isinstance(path, str) or not path.startswith("/") or not isinstance(flag, str):
        raise SettingError("routes", {path: gate}, _ALLOWED)
    if not is_flag_name(flag):
        raise SettingError("routes", {path: gate}, f"a flag's name: {FLAG_NAME}")
    if otherwise is not None and not (isinstance(otherwise, str) and otherwise.startswith("/")):
        raise SettingError("routes", {path: gate}, "a path that begins with a slash")
    if _NO_PATH.search(path) or _NO_PATH.search(otherwise or ""):
        allowed = "a path as the app sees it: decoded, without a query, with at most one * in a segment"
        raise SettingError("routes", {path: gate}, allowed)
    if otherwise is not None and "*" in otherwise.removesuffix("/*" if path.endswith("/*") else ""):
        raise SettingError("routes", {path: gate}, "a * only at the end of both paths: /v2/* and /v1/*")
    if otherwise is not None and _plain(otherwise) == _plain(path):
        raise SettingError("routes", {path: gate}, "a path other than its own: this line gates nothing")
    return Gated(flag, otherwise)


def _plain(path: str) -> str:
    return posixpath.normpath(re.sub("/+", "/", path))


def _pattern(path: str, number: int) -> str:
    """A path as a regular expression; a line break at the end is one that `$` in a router's own does not see."""
    path = re.sub("/+", "/", path)
    if path.endswith("/*"):
        return rf"{_segments(path[:-2])}(?P<r{number}>/.*)?\n?"
    return rf"{_segments(path.rstrip('/'))}/?\n?"


def _segments(path: str) -> str:
    return "[^/]*".join(re.escape(part) for part in path.split("*"))
