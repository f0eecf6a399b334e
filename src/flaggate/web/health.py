"""How a process is doing, as a page: for load balancers, Kubernetes' probes, and `flaggate doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from flaggate.errors import FlaggateError, SettingError
from flaggate.web.routes import is_plain_path

if TYPE_CHECKING:
    from flaggate.web.request import Request, Site

__all__ = ["HEADERS", "Page", "checked_path", "page"]

HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_LIVE: Final = "live"


class Page(NamedTuple):
    """A response."""

    status: int
    body: bytes

    @property
    def line(self) -> str:
        """The status as WSGI has it."""
        return "200 OK" if self.status == 200 else "503 Service Unavailable"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All of them, with the length."""
        return [*HEADERS, ("Content-Length", str(len(self.body)))]


def checked_path(path: object) -> str | None:
    """The path to serve it at; None = nowhere. Raises SettingError for what is no path."""
    if path is None:
        return None
    if not isinstance(path, str) or path == "/" or not is_plain_path(path) or "*" in path:
        raise SettingError("health", path, "a path of its own: /flaggate/health")
    return path


def page(site: Site, request: Request, query: str) -> Page:
    """200 while this process answers by what the store has said: now, before an outage, or by the copy on disk, and
    where the off switch says it for all flags; else 503. With the query `live` always 200. Names no flag: it is public.
    """
    if query == _LIVE:
        return Page(200, b'{"live": true}')
    site.gate.begun()  # what comes first in a process starts the keeper
    health = site.gate.health()
    try:
        address = request.address()
    except FlaggateError:  # the server may have put what a header says in its place
        address = None
    document = {
        "serving": health.is_serving,
        "begun": health.is_begun,
        "revision": health.revision,
        "asked_seconds": round(health.asked_seconds, 3),
        "keeper": health.is_keeper_alive,
        "problem": health.problem is not None,  # not which: it may name what is nobody's business
        "address": address,
    }
    return Page(200 if health.is_serving else 503, json.dumps(document).encode("ascii"))
