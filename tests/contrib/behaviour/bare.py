"""The site without a framework, in each protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flaggate import Gate
from flaggate.web import asgi, wsgi
from tests.contrib.behaviour.asking import ASKS, FOR_ANYONE, PUBLIC, SECRET, USER, ByAsgi, ByWsgi, stream, who, word


class Page(NamedTuple):
    status: int
    body: str
    headers: Mapping[str, str] = {}


def _page(gate: Gate, path: str) -> Page:
    name = path.removeprefix("/")
    if name in PUBLIC:
        flag = PUBLIC[name]
        return Page(200, "anyone" if flag is None else word(gate.is_on(flag)), FOR_ANYONE)
    if name in ASKS:
        return Page(200, word(gate.is_on(ASKS[name])))
    if name in ("tabled", "swapped", "old", "secret"):
        return Page(200, SECRET if name == "secret" else word(name != "old"))
    if name == "signs-in":
        before, visit = gate.is_on("team"), gate.current.get()
        assert visit is not None
        visit.identify(user="ada", staff=True)
        return Page(200, f"{word(before)} {word(gate.is_on('team'))}")
    if name not in ("asks", "gated", "instead", "moved", "async", "template", "fails"):
        return Page(404, "Not Found")
    is_on = gate.is_on("team")
    if name == "fails":
        raise ZeroDivisionError
    if name == "moved" and not is_on:
        return Page(302, "", {"Location": "/asks"})
    if name in ("gated", "async") and not is_on:
        return Page(404, "Not Found")
    return Page(200, ("yes" if is_on else "no") if name == "template" else word(is_on))


class BareWsgi(ByWsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path.startswith("/stream"):
                is_on = gate.is_on("team")
                start_response("200 OK", [("Content-Type", "text/plain")])
                return stream(is_on, fails=path == "/stream-fails")
            page = _page(gate, path)
            start_response(f"{page.status} Word", [("Content-Type", "text/plain"), *page.headers.items()])
            return [page.body.encode()]

        return wsgi.FlaggateMiddleware(app, gate, context=lambda environ: who(environ.get("HTTP_X_USER")), **settings)


class BareAsgi(ByAsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        async def app(scope: Any, _receive: Any, send: Any) -> None:
            path = scope["path"]
            if path.startswith("/stream"):
                is_on = gate.is_on("team")
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for part in stream(is_on, fails=path == "/stream-fails"):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            page = _page(gate, path)
            headers = [(name.lower().encode(), value.encode()) for name, value in page.headers.items()]
            await send({"type": "http.response.start", "status": page.status, "headers": headers})
            await send({"type": "http.response.body", "body": page.body.encode()})

        def asking(scope: Any) -> Mapping[str, Any]:
            return who(dict(scope["headers"]).get(USER.encode(), b"").decode() or None)

        return asgi.FlaggateMiddleware(app, gate, context=asking, **settings)
