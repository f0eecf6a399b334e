"""One small site, written for each framework: the same paths, and the same who asks.

`/asks` says new or old; `/gated` is there for those who have it; `/instead` has an old page, `/moved` goes to `/asks`;
`/async` is gated and async; `/stream` streams; `/fails` and `/stream-fails` raise; `/signs-in` becomes ada half-way;
`/template` is rendered; `/unknown`, `/tier` and `/city` ask other flags.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request

from flaggate import Gate
from flaggate.web import asgi, wsgi

USER = "x-user"
"""The header that says who is signed in; a session, in a real app."""


def who(user: str | None) -> Mapping[str, Any]:
    return {"user": user, "staff": user == "ada", "tier": lambda: "pro" if user == "grace" else "free"}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: str


class Framework(Protocol):
    def site(self, gate: Gate, **settings: Any) -> Any:
        """The app."""

    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        """What a browser gets."""


def word(is_on: bool) -> str:
    return "new" if is_on else "old"


# --- how they are asked -------------------------------------------------------------------------


class _Wsgi:
    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        from werkzeug.test import Client

        try:
            found = Client(site).get(path, headers=dict(headers), environ_base={"REMOTE_ADDR": peer})
            body = found.get_data(as_text=True)
        except ZeroDivisionError:  # the server's to answer
            return Answer(500, {}, "")
        return Answer(found.status_code, {name.lower(): value for name, value in found.headers.items()}, body)


class _Asgi:
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


# --- without a framework ------------------------------------------------------------------------


def _page(gate: Gate, path: str) -> tuple[int, str, str]:
    """Status, location and body of the paths that need no framework."""
    is_on = gate.is_on("team") if path in ("/asks", "/gated", "/instead", "/moved", "/async", "/template") else False
    if path == "/moved" and not is_on:
        return 302, "/asks", ""
    if path in ("/gated", "/async") and not is_on:
        return 404, "", "Not Found"
    if path == "/template":
        return 200, "", "yes" if is_on else "no"
    asked = {"/unknown": "no-such-flag", "/tier": "tiered", "/city": "placed"}.get(path)
    if asked:
        return 200, "", word(gate.is_on(asked))
    if path == "/fails":
        gate.is_on("team")
        raise ZeroDivisionError
    if path == "/signs-in":
        before, visit = gate.is_on("team"), gate.current.get()
        assert visit is not None
        visit.identify(user="ada", staff=True)
        return 200, "", f"{word(before)} {word(gate.is_on('team'))}"
    return 200, "", word(is_on)


class BareWsgi(_Wsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path.startswith("/stream"):
                is_on = gate.is_on("team")
                start_response("200 OK", [("Content-Type", "text/plain")])
                return stream(is_on, fails=path == "/stream-fails")
            status, location, body = _page(gate, path)
            headers = [("Content-Type", "text/plain"), *([("Location", location)] if location else [])]
            start_response(f"{status} Word", headers)
            return [body.encode()]

        return wsgi.FlaggateMiddleware(app, gate, context=lambda environ: who(environ.get("HTTP_X_USER")), **settings)


def stream(is_on: bool, *, fails: bool) -> Iterator[bytes]:
    yield word(is_on).encode()
    if fails:
        raise ZeroDivisionError
    yield b" twice"


class BareAsgi(_Asgi):
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
            status, location, body = _page(gate, path)
            headers = [(b"location", location.encode())] if location else []
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body.encode()})

        def asking(scope: Any) -> Mapping[str, Any]:
            return who(dict(scope["headers"]).get(USER.encode(), b"").decode() or None)

        return asgi.FlaggateMiddleware(app, gate, context=asking, **settings)


# --- Flask --------------------------------------------------------------------------------------


class InFlask(_Wsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        from flask import Flask, Response, render_template_string, request

        from flaggate.contrib.flask import feature_required, flags_from, init_app

        app = Flask("behaviour")
        app.testing = True  # exceptions are the caller's
        init_app(app, gate, context=lambda request: who(request.headers.get(USER)), **settings)

        def old() -> str:
            return "old"

        @app.get("/asks")
        def asks() -> str:
            return word(flags_from(request)["team"])

        @app.get("/gated")
        @feature_required("team")
        def gated() -> str:
            return "new"

        @app.get("/instead")
        @feature_required("team", otherwise=old)
        def instead() -> str:
            return "new"

        @app.get("/moved")
        @feature_required("team", otherwise="/asks")
        def moved() -> str:
            return "new"

        @app.get("/async")
        @feature_required("team")
        async def in_async() -> str:
            return "new"

        @app.get("/stream", defaults={"fails": False})
        @app.get("/stream-fails", defaults={"fails": True})
        def streams(fails: bool) -> Response:
            return Response(stream(flags_from(request)["team"], fails=fails))

        @app.get("/fails")
        def failing() -> str:
            flags_from(request)["team"]
            raise ZeroDivisionError

        @app.get("/signs-in")
        def signs_in() -> str:
            flags = flags_from(request)
            before = flags["team"]
            flags.identify(user="ada", staff=True)
            return f"{word(before)} {word(flags['team'])}"

        @app.get("/template")
        def template() -> str:
            return render_template_string('{% if feature("team") %}yes{% else %}no{% endif %}')

        for path, name in (("unknown", "no-such-flag"), ("tier", "tiered"), ("city", "placed")):
            app.add_url_rule(f"/{path}", path, lambda name=name: word(flags_from(request)[name]))
        return app


# --- Starlette and FastAPI ----------------------------------------------------------------------


class InStarlette(_Asgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, Response, StreamingResponse
        from starlette.routing import Route

        from flaggate.contrib.starlette import FlaggateMiddleware, feature_required, flags_from

        def text(body: str) -> Response:
            return PlainTextResponse(body)

        def asking(name: str) -> Callable[[Request], Response]:
            return lambda request: text(word(flags_from(request)[name]))

        def new(_request: Request) -> Response:
            return text("new")

        async def new_async(_request: Request) -> Response:
            return text("new")

        def streams(request: Request) -> Response:
            return StreamingResponse(stream(flags_from(request)["team"], fails=request.url.path == "/stream-fails"))

        async def fails(request: Request) -> Response:
            flags_from(request)["team"]
            raise ZeroDivisionError

        async def signs_in(request: Request) -> Response:
            flags = flags_from(request)
            before = flags["team"]
            flags.identify(user="ada", staff=True)
            return text(f"{word(before)} {word(flags['team'])}")

        routes = [
            Route("/asks", asking("team")), Route("/unknown", asking("no-such-flag")), Route("/tier", asking("tiered")),
            Route("/city", asking("placed")), Route("/gated", feature_required("team")(new)),
            Route("/instead", feature_required("team", otherwise=lambda _: text("old"))(new)),
            Route("/moved", feature_required("team", otherwise="/asks")(new)),
            Route("/async", feature_required("team")(new_async)), Route("/stream", streams),
            Route("/stream-fails", streams), Route("/fails", fails), Route("/signs-in", signs_in),
            Route("/template", starlette_template),
        ]  # fmt: skip
        app = Starlette(routes=routes)
        app.add_middleware(
            FlaggateMiddleware, gate=gate, context=lambda request: who(request.headers.get(USER)), **settings
        )
        return app


def starlette_template(request: Any) -> Any:
    from jinja2 import DictLoader, Environment
    from starlette.templating import Jinja2Templates

    from flaggate.contrib.starlette import feature_processor

    pages = Environment(
        loader=DictLoader({"page": '{% if feature("team") %}yes{% else %}no{% endif %}'}), autoescape=True
    )
    templates = Jinja2Templates(env=pages, context_processors=[feature_processor])
    return templates.TemplateResponse(request, "page")


class InFastAPI(_Asgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        from fastapi import Depends, FastAPI
        from fastapi.responses import PlainTextResponse, StreamingResponse

        from flaggate.contrib.fastapi import (
            FlaggateMiddleware,
            feature_required,
            flag_on,
            flags_from,
            require_feature,
        )

        app = FastAPI(default_response_class=PlainTextResponse)
        app.add_middleware(
            FlaggateMiddleware, gate=gate, context=lambda request: who(request.headers.get(USER)), **settings
        )
        flags = Depends(flags_from)

        async def new() -> str:
            return "new"

        def instead() -> str:
            return "new"

        async def asks(is_on: bool = Depends(flag_on("team"))) -> str:
            return word(is_on)

        async def parts(is_on: bool, *, fails: bool) -> AsyncIterator[bytes]:
            for part in stream(is_on, fails=fails):
                yield part

        async def streams(request: Request) -> StreamingResponse:
            is_on = flags_from(request)["team"]
            return StreamingResponse(parts(is_on, fails=request.url.path == "/stream-fails"))

        async def fails(_: bool = Depends(flag_on("team"))) -> str:
            raise ZeroDivisionError

        async def signs_in(flags: Any = flags) -> str:
            before = flags["team"]
            flags.identify(user="ada", staff=True)
            return f"{word(before)} {word(flags['team'])}"

        app.get("/asks")(asks)
        app.get("/gated", dependencies=[Depends(require_feature("team"))])(new)
        app.get("/instead")(feature_required("team", otherwise=lambda: "old")(instead))
        app.get("/moved")(feature_required("team", otherwise="/asks")(instead))
        app.get("/async")(feature_required("team")(new))
        app.get("/stream")(streams)
        app.get("/stream-fails")(streams)
        app.get("/fails")(fails)
        app.get("/signs-in")(signs_in)
        app.add_route("/template", starlette_template)
        for path, name in (("unknown", "no-such-flag"), ("tier", "tiered"), ("city", "placed")):

            async def asking(flags: Any = flags, name: str = name) -> str:
                return word(flags[name])

            app.get(f"/{path}")(asking)
        return app


FRAMEWORKS: dict[str, Framework] = {
    "asgi": BareAsgi(),
    "wsgi": BareWsgi(),
    "flask": InFlask(),
    "starlette": InStarlette(),
    "fastapi": InFastAPI(),
}
