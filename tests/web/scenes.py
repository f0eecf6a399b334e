"""What the tests of the middleware share: flags, apps of a few lines, a server's side in process, and a clock.

Scripts import it too, so nothing here may load pytest.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.stores.base import Arm, Store
from flaggate.stores.memory import MemoryStore
from flaggate.web import asgi, wsgi
from flaggate.web.asgi import App, Message, Receive, Scope, Send
from tests.runtime.scenes import bring, seen, turn

FLAGS = """
[flags.banner]
description = "Reads nothing"
owner = "owner@example.com"

[flags.tiered]
description = "Reads the tier"
owner = "owner@example.com"
audience = { tier = "pro" }

[flags.team]
description = "Reads the user"
owner = "owner@example.com"
audience = { user = ["ada", "bob"] }

[flags.local]
description = "Reads the place"
owner = "owner@example.com"
audience = { city = "Manchester", country = "GB" }

[flags.office]
description = "Reads the address"
owner = "owner@example.com"
audience = { ip = "203.0.113.7" }

[flags.half]
description = "Half of all users"
owner = "owner@example.com"
stages = [
    { name = "some", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]

[flags.tried]
description = "Half of all visitors"
owner = "owner@example.com"
unit = "visitor"
stages = [
    { name = "some", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""
SWITCHES = ("banner", "tiered", "team", "local", "office")
PEER = "203.0.113.7"
KEY = "a key for tests"


def running(store: Store | None = None, **options: Any) -> Gate:
    """A gate on these flags: the switches are on, the rollouts at their first stage."""
    store = MemoryStore() if store is None else store
    bring(store, FLAGS)
    for name in SWITCHES:
        turn(store, Verb.ON, name)
    for name in ("half", "tried"):
        turn(store, Verb.START, name)
    gate = Gate.open(store, **{"background": False, **options})
    if not options.get("background"):
        gate.refresh()
    return gate


def change(gate: Gate, verb: Verb, name: str) -> None:
    """Do one thing to a flag, and let the gate know."""
    turn(gate.store, verb, name)
    gate.refresh()


def times(gate: Gate, flag: str, arm: Arm = "on") -> dict[str, int]:
    """The histogram of an arm: how many took up to so many milliseconds."""
    gate.flush()
    found = [count.histogram for count in gate.store.counts(flag) if count.arm == arm]
    return dict(found[0]) if found else {}


BANNER: Final[tuple[str, int, int, Arm]] = ("banner", 0, 0, "on")


def counted(gate: Gate) -> tuple[int, int, int] | None:
    """What was counted of the banner: requests, errors, and how many have a time."""
    found = seen(gate).get(BANNER)
    return None if found is None else (*found, sum(times(gate, "banner").values()))


class Clock:
    """Stands for perf_counter()."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    """What a server would send."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


# --- either protocol ------------------------------------------------------------------------

Respond: TypeAlias = Callable[[], str]
"""An app as far as both protocols have it: called in a request, it returns the body."""
Headers: TypeAlias = Sequence[tuple[str, str]]


class Speaks(Protocol):
    """A protocol: how an app is made, and how a server asks it."""

    def site(self, gate: Gate, respond: Respond, *, says: Headers = (), **settings: Any) -> Any:
        """An app with the middleware around it; `says` are its own headers."""

    def ask(
        self, app: Any, path: str = "/", *, headers: Headers = (), peer: str | None = PEER, https: bool = False
    ) -> Answer:
        """Send a request through the app."""


class SpeaksAsgi:
    def site(self, gate: Gate, respond: Respond, *, says: Headers = (), **settings: Any) -> App:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            body = respond().encode()
            headers = [(name.lower().encode(), value.encode()) for name, value in says]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return asgi.FlaggateMiddleware(app, gate, **settings)

    def ask(
        self, app: App, path: str = "/", *, headers: Headers = (), peer: str | None = PEER, https: bool = False
    ) -> Answer:
        client = None if peer is None else (peer, 4711)
        scope = http_scope(path, headers=headers, client=client, scheme="https" if https else "http")
        return Exchange().run(app, scope).answer()


class SpeaksWsgi:
    def site(self, gate: Gate, respond: Respond, *, says: Headers = (), **settings: Any) -> WSGIApplication:
        def app(_environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            body = respond().encode()
            start_response("200 OK", list(says))
            return [body]

        return wsgi.FlaggateMiddleware(app, gate, **settings)

    def ask(
        self, app: Any, path: str = "/", *, headers: Headers = (), peer: str | None = PEER, https: bool = False
    ) -> Answer:
        environ = http_environ(path, headers=headers)
        environ |= {"REMOTE_ADDR": peer or "", "wsgi.url_scheme": "https" if https else "http"}
        return ask_wsgi(app, environ)


# --- ASGI -----------------------------------------------------------------------------------


def http_scope(path: str = "/", *, headers: Headers = (), **more: Any) -> Scope:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "client": (PEER, 4711), "server": ("127.0.0.1", 80),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    } | more  # fmt: skip


def websocket_scope(path: str = "/") -> Scope:
    return {**http_scope(path, scheme="ws"), "type": "websocket"}


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(part: bytes = b"ok", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": more}


@dataclass
class Exchange:
    """A server's side of one request: what comes from the client, and what was sent to it."""

    incoming: list[Message] = field(default_factory=lambda: [{"type": "http.request", "body": b"", "more_body": False}])
    sent: list[Message] = field(default_factory=list)
    on_send: Callable[[Message], Awaitable[None] | None] | None = None
    """Called before a message is sent."""

    async def receive(self) -> Message:
        return self.incoming.pop(0) if self.incoming else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.on_send is not None:
            waiting = self.on_send(message)
            if waiting is not None:
                await waiting
        self.sent.append(message)

    def run(self, app: App, scope: Scope | None = None) -> Exchange:
        """Let the app serve it, on an event loop of its own."""
        asyncio.run(self.serve(app, scope))
        return self

    async def serve(self, app: App, scope: Scope | None = None) -> None:
        await app(http_scope() if scope is None else scope, self.receive, self.send)

    def answer(self) -> Answer:
        begun, *parts = self.sent
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun["headers"]]
        return Answer(begun["status"], headers, b"".join(part.get("body", b"") for part in parts))


Script: TypeAlias = Callable[[Receive, Send], Awaitable[None]]


def sends(*messages: Message) -> Script:
    """Sends these, and no more."""

    async def script(_receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return script


def asking(gate: Gate, script: Script, **settings: Any) -> asgi.FlaggateMiddleware:
    """An app that asks for the banner, and then does as the script says."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        gate.is_on("banner")
        await script(receive, send)

    return asgi.FlaggateMiddleware(app, gate, **settings)


# --- WSGI -----------------------------------------------------------------------------------


def http_environ(path: str = "/", *, headers: Headers = (), **more: Any) -> WSGIEnvironment:
    environ: WSGIEnvironment = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "REMOTE_ADDR": PEER,
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    setup_testing_defaults(environ)
    environ["wsgi.input"] = io.BytesIO()
    for name, value in headers:
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environ | more


def ask_wsgi(app: Any, environ: Mapping[str, Any] | None = None) -> Answer:
    """As a server does: call, iterate, close."""
    begun: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], object]:
        begun.append((status, headers))
        return written.append

    result: Iterable[bytes] = app(dict(http_environ() if environ is None else environ), start_response)
    try:
        for part in result:
            written.append(part)
    finally:
        if hasattr(result, "close"):
            result.close()
    status, headers = begun[-1]
    return Answer(int(status[:3]), list(headers), b"".join(written))


def mounted(app: WSGIApplication) -> App:
    """A WSGI app in an ASGI app, as Starlette and a2wsgi mount one: in a thread, with the context copied."""

    async def serve(scope: Scope, _receive: Receive, send: Send) -> None:
        answer = await asyncio.to_thread(ask_wsgi, app, http_environ(scope["path"]))
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        await sends(start(answer.status, *headers), body(answer.body))(_receive, send)

    return serve


def in_thread(work: Callable[[], None]) -> None:
    """Do it elsewhere, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
