"""flaggate in any ASGI app: one visit a request, counted when it ends; routes that flags gate."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flaggate.errors import SettingError
from flaggate.runtime.process import is_on_event_loop
from flaggate.web.caching import OVERRULING, Depends, cache_control, vary
from flaggate.web.client_ip import X_FORWARDED_FOR
from flaggate.web.health import page
from flaggate.web.request import ContextMaker, Request, RequestVisit, Site
from flaggate.web.routes import Table

if TYPE_CHECKING:
    from flaggate.runtime.gate import Gate

__all__ = ["SITE", "AsgiRequest", "AsgiVisit", "FlaggateMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SITE: Final = "flaggate.site"
"""The scope's key for the site that serves it."""


class FlaggateMiddleware:
    """ASGI middleware: `app = FlaggateMiddleware(app, gate, ...)`. Takes the settings of `flaggate.web.request.Site`;
    `context` is given the scope.

    Requests and WebSockets are visits of the gate: `gate.is_on("name")` inside is about who asks. Place it inside of
    what signs people in if `routes` are for some of them only.
    """

    def __init__(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],  # an App: Django's own has narrower types
        gate: Gate,
        *,
        context: ContextMaker[Scope] | None = None,
        geo: str | os.PathLike[str] | None = None,
        routes: Table | None = None,
        trusted_proxies: Iterable[str] = (),
        proxy_header: str = X_FORWARDED_FOR,
        secret_keys: Iterable[str | bytes] | None = None,
        uncounted: Iterable[str] = (),
        health: str | None = None,
    ) -> None:
        if not callable(app):
            raise SettingError("app", type(app), "an ASGI app")
        self.app = app
        self.site = Site(
            gate,
            context=context,
            geo=geo,
            routes=routes,
            trusted_proxies=trusted_proxies,
            proxy_header=proxy_header,
            secret_keys=secret_keys,
            uncounted=uncounted,
            health=health,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            if kind == "lifespan":
                await self._live(scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        site = self.site
        gate = site.gate
        if site.health is not None and kind == "http" and _path_of(scope) == site.health:
            await _send_health(site, scope, send)
            return
        outer = scope.get(SITE)
        if outer is not None and outer.gate is gate:  # wrapped twice: one visit
            within = gate.current.get()
            app = self.app
            if isinstance(within, RequestVisit):
                within.hand_over(site)
                app = self._routed(within, scope) if site.routes else app
            await app(scope, receive, send)
            return
        if gate.ready is None:
            await _begin(gate)  # the first request, of a server without lifespan
        scope[SITE] = site
        visit = (AsgiVisit if kind == "http" else _WebSocketVisit)(site, scope, receive, send)
        token = gate.current.set(visit)
        try:
            app = self._routed(visit, scope) if site.routes else self.app
            await app(scope, visit.receive, visit.send)
        except BaseException as error:
            visit.end(error)
            raise
        else:
            visit.end(None)
        finally:
            if outer is not None:
                scope[SITE] = outer  # of another gate, whose turn it is again
            try:  # noqa: SIM105  # suppress() costs 0.3 us
                gate.current.reset(token)
            except ValueError:  # a loop that ended has left it to be collected: the value went with its task
                pass

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server's start and end: the flags are there before the first request, the counts written at the end."""
        gate = self.site.gate
        await _begin(gate)
        has_heard = False

        async def hear() -> Message:
            nonlocal has_heard
            has_heard = True
            return await receive()

        async def flush_and_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await _in_thread(partial(gate.flush, is_last=True))  # before: who hears it may end the process
            await send(message)

        try:
            await self.app(scope, hear, flush_and_send)
        except Exception:  # an app that does not speak of lifespan (as the specification has it), or has failed
            if has_heard:
                raise
        if not has_heard:  # then we do: uvicorn ends by a signal, at which nothing else is called
            for word in ("startup", "shutdown"):
                await receive()
                await flush_and_send({"type": f"lifespan.{word}.complete"})

    def _routed(self, visit: RequestVisit, scope: Scope) -> App:
        """The app that serves a path: another one, or this one with another path, where a flag gates it."""
        path = scope["path"]
        # The server's root, which daphne takes from whoever sends Daphne-Root-Path, FastAPI's own, which it adds itself, or
        # none: apps differ in what is theirs of a path, so that it is gated in each of them.
        roots = (scope.get("root_path", ""), getattr(self.app, "root_path", ""), "")
        for root in dict.fromkeys(root for root in roots if path.startswith(root)):
            gated = self.site.routes.match(path[len(root) :])
            if gated is None or visit.is_on(gated.flag):
                continue
            if gated.otherwise is None:
                return _not_found
            scope["path"] = f"{root}{gated.otherwise}"
            if "raw_path" in scope:
                from urllib.parse import quote

                scope["raw_path"] = quote(scope["path"]).encode("ascii")
            break
        return self.app


class AsgiRequest(Request):
    """A request by its scope."""

    def peer(self) -> str | None:
        client = self.asker.get("client")
        return self.untouched(None if client is None else client[0])

    def header(self, name: str) -> Sequence[str]:
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for key, value in self.asker["headers"] if key == wanted]

    def is_https(self) -> bool:
        return self.asker.get("scheme") in ("https", "wss")


class AsgiVisit(RequestVisit):
    """Stands between the server and the app: it sees the response start and end, and the client leave."""

    _start: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, site: Site, scope: Scope, receive: Receive, send: Send) -> None:
        # Not by super(): a request without a question pays for this and little else.
        self._gate = gate = site.gate
        self.snapshot = gate.ready or gate.begun()
        self._context = None
        self._answers = {}
        self.site = site
        self.begun = perf_counter()
        self.asker = scope
        self._receive = receive
        self._send = send

    def path(self) -> str:
        return _path_of(self.asker)

    def _read(self) -> Request:
        return AsgiRequest(self.site, self.asker)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self.ended is None:
            self.leave()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        # Where nothing was asked there is nothing to be counted, so far.
        if message["type"] != "http.response.start":
            return self._send_and_see(message) if self.is_asked else self._send(message)
        self.status = message["status"]
        self.has_sent_headers = True
        if self.is_asked:
            self._start = message = self._with_headers(message)
            return self._send_start(message)
        self._start = message
        self.is_started = True
        return self._send(message)

    async def _send_start(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self.leave()
            raise
        self.is_started = True

    async def _send_and_see(self, message: Message) -> None:
        is_last = False
        if message["type"] in _LAST:
            is_last = not message.get("more_body", False)
            if is_last:
                self.ended = perf_counter()  # now, too: a client that leaves from here on has all of it
            elif not self.is_stream:
                headers = self._start.get("headers", ())
                self.is_stream = not any(name.lower() == b"content-length" for name, _ in headers)
        try:
            await self._send(message)
        except OSError:  # the specification's word for a client that left
            self.leave()
            raise
        if is_last:
            self.ended = perf_counter()

    def _with_headers(self, message: Message) -> Message:
        """With what the response says to caches, and the visitor's cookie."""
        depends = self.depends
        if not depends:
            return message
        headers = list(message.get("headers", ()))
        for name, _ in headers:
            if name.lower() in _OURS:  # the specification wants lower case; Django does not keep it
                headers = _merged(headers, depends)
                break
        else:
            headers += _ALONE[depends]
        request = self._request
        if request is not None and request.new_visitor is not None and (cookie := self.new_cookie()) is not None:
            headers.append((b"set-cookie", cookie.encode("ascii")))
        message = dict(message)  # a copy: the app may send the same message to the next one
        message["headers"] = headers
        return message


class _WebSocketVisit(AsgiVisit):
    """It is not counted: what would be its end, and when did it fail?"""

    is_started = is_stream = is_counted = True

    def send(self, message: Message) -> Awaitable[None]:
        return self._answer(message) if self.is_asked else self._send(message)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "websocket.http.response.start":  # a handshake that is refused
            self.status = message["status"]
            message = self._with_headers(message)
        elif message["type"] == "websocket.accept" and (cookie := self.new_cookie()) is not None:
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode("ascii"))]}
        await self._send(message)


def _headers(known: Mapping[bytes, str], depends: Depends) -> list[tuple[bytes, bytes]]:
    """What a response says to caches, with what it says of these already."""
    both = (b"cache-control", cache_control(known[b"cache-control"])), (b"vary", vary(known[b"vary"], depends))
    return [(name, value.encode("latin-1")) for name, value in both if value]


def _merged(headers: list[tuple[bytes, bytes]], depends: Depends) -> list[tuple[bytes, bytes]]:
    known = {
        name: ", ".join(value.decode("latin-1") for key, value in headers if key.lower() == name)
        for name in sorted(_CACHING)
    }
    return [header for header in headers if header[0].lower() not in _OURS] + _headers(known, depends)


_CACHING: Final = frozenset({b"cache-control", b"vary"})
_OURS: Final = _CACHING.union(name.encode("ascii") for name in OVERRULING)
_ALONE: Final = [_headers(dict.fromkeys(_CACHING, ""), depends) for depends in Depends]
"""For a response that says nothing of these, by what it depends on."""
_LAST: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


def _path_of(scope: Mapping[str, Any]) -> str:
    """The path below the app's root."""
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.removeprefix(root.rstrip("/")) if root else path


async def _send_health(site: Site, scope: Scope, send: Send) -> None:
    query: bytes = scope.get("query_string", b"")
    if site.gate.ready is None and query != b"live":
        await _begin(site.gate)
    made = page(site, AsgiRequest(site, scope), query.decode("latin-1"))
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in made.headers]
    await send({"type": "http.response.start", "status": made.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else made.body})


async def _not_found(scope: Scope, _receive: Receive, send: Send) -> None:
    """As if the route were not there."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})  # before it was accepted: the handshake is refused
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"9")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"Not Found"})


async def _begin(gate: Gate) -> None:
    await _in_thread(gate.begun)


async def _in_thread(work: Callable[[], Any]) -> None:
    """Off the event loop, where it is asyncio's; elsewhere (trio) on it: it is short, and seldom."""
    if is_on_event_loop():
        try:
            await sys.modules["asyncio"].to_thread(work)
            return
        except RuntimeError:  # no thread is to be had: `work` itself raises nothing
            pass
    work()
