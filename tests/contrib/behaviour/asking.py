"""What all the sites have in common: who asks, what they say, and how each protocol asks them.

Of the same paths everywhere `/asks` says new or old; `/gated` is there for those who have it; `/instead` has an old page,
`/moved` goes to `/asks`; `/async` is gated and async; `/stream` streams; `/fails` and `/stream-fails` raise; `/signs-in`
becomes ada half-way; `/template` is rendered; the table gates `/tabled` and `/secret`, and serves `/old` for `/swapped`.
The paths of ASKS ask other flags, and those of PUBLIC say that anyone may keep them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flaggate import Gate
from tests.contrib.scenes import Switchboard

USER: Final = "x-user"
"""The header that says who is signed in; a session, in a real app."""
ASKS: Final = {"unknown": "no-such-flag", "tier": "tiered", "city": "placed", "visited": "tried"}
"""The flags of some paths."""
PUBLIC: Final = {"public-team": "team", "public-banner": "banner", "public": None}
FOR_ANYONE: Final = {
    "Cache-Control": "public, max-age=600",
    "Vary": "Accept-Language",
    "Surrogate-Control": "max-age=600",
    "X-Accel-Expires": "600",
}
"""What these say to caches by themselves."""
SECRET: Final = "for those who have it"
"""What `/secret` says."""
ROUTES: Final = {"/tabled": "team", "/swapped": ("team", "/old"), "/secret": "adas"}
BEHIND_FLAG: Final[Mapping[str, tuple[tuple[int, str | None], tuple[int, str | None]]]] = {
    "/asks": ((200, "old"), (200, "new")),
    "/gated": ((404, None), (200, "new")),
    "/instead": ((200, "old"), (200, "new")),
    "/moved": ((302, None), (200, "new")),
    "/async": ((404, None), (200, "new")),
    "/stream": ((200, "old twice"), (200, "new twice")),
    "/template": ((200, "no"), (200, "yes")),
    "/tabled": ((404, None), (200, "new")),
    "/swapped": ((200, "old"), (200, "new")),
}
"""What those get who have `team` not, and who have it: status and body, if that is not the framework's own."""
PRIVATE: Final = {"cache-control": "private", "vary": "Cookie, Authorization"}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: str


class Framework(Protocol):
    def board(self) -> AbstractContextManager[Switchboard]:
        """Flags, on the gate that the site asks."""

    def site(self, gate: Gate, **settings: Any) -> Any:
        """The app."""

    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        """What a browser gets."""


def who(user: str | None) -> Mapping[str, Any]:
    return {"user": user, "staff": user == "ada", "tier": lambda: "pro" if user == "grace" else "free"}


def word(is_on: bool) -> str:
    return "new" if is_on else "old"


def stream(is_on: bool, *, fails: bool) -> Iterator[bytes]:
    yield word(is_on).encode()
    if fails:
        raise ZeroDivisionError
    yield b" twice"


class _GivenGate:
    @contextmanager
    def board(self) -> Iterator[Switchboard]:
        made = Switchboard()
        yield made
        made.gate.close()


class ByWsgi(_GivenGate):
    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        from werkzeug.test import Client

        try:
            client = Client(site, use_cookies=False)
            found = client.get(path, headers=dict(headers), environ_base={"REMOTE_ADDR": peer})
            body = found.get_data(as_text=True)
        except ZeroDivisionError:  # the server's to answer
            return Answer(500, {}, "")
        return Answer(found.status_code, {name.lower(): value for name, value in found.headers.items()}, body)


class ByAsgi(_GivenGate):
    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        sent: list[Any] = []

        incoming = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if not incoming:
                await asyncio.Event().wait()  # a client that stays
            return incoming.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "server": ("testserver", 80), "client": (peer, 4711),
            "headers": [(b"host", b"testserver"), *((k.encode(), v.encode()) for k, v in headers.items())],
        }  # fmt: skip
        try:
            asyncio.run(site(scope, receive, send))
        except ZeroDivisionError:  # the server's to answer
            if not sent:
                return Answer(500, {}, "")
        begun, *parts = sent
        named = {name.decode().lower(): value.decode() for name, value in begun["headers"]}
        return Answer(begun["status"], named, b"".join(part.get("body", b"") for part in parts).decode())
