"""The site in Starlette."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from flaggate import Gate
from flaggate.contrib.starlette import FlaggateMiddleware, feature_processor, feature_required, flags_from
from tests.contrib.behaviour.asking import ASKS, FOR_ANYONE, PUBLIC, SECRET, USER, ByAsgi, stream, who, word


class InStarlette(ByAsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        routes = [
            Route("/asks", _asking("team")), Route("/gated", feature_required("team")(_new)),
            Route("/instead", feature_required("team", otherwise=_old)(_new)),
            Route("/moved", feature_required("team", otherwise="/asks")(_new)),
            Route("/async", feature_required("team")(_new_async)), Route("/stream", _streams),
            Route("/stream-fails", _streams), Route("/fails", _fails), Route("/signs-in", _signs_in),
            Route("/template", template), Route("/tabled", _new), Route("/swapped", _new), Route("/old", _old),
            Route("/secret", lambda _: PlainTextResponse(SECRET)),
            *(Route(f"/{path}", _asking(name)) for path, name in ASKS.items()),
            *(Route(f"/{path}", public(name)) for path, name in PUBLIC.items()),
        ]  # fmt: skip
        return in_middleware(Starlette(routes=routes), gate, **settings)


def in_middleware(app: Starlette, gate: Gate, **settings: Any) -> Starlette:
    app.add_middleware(
        FlaggateMiddleware, gate=gate, context=lambda request: who(request.headers.get(USER)), **settings
    )
    return app


def _new(_request: Request) -> Response:
    return PlainTextResponse("new")


async def _new_async(_request: Request) -> Response:
    return PlainTextResponse("new")


def _old(_request: Request) -> Response:
    return PlainTextResponse("old")


def _asking(name: str) -> Callable[[Request], Response]:
    return lambda request: PlainTextResponse(word(flags_from(request)[name]))


def public(name: str | None) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        body = "anyone" if name is None else word(flags_from(request)[name])
        return PlainTextResponse(body, headers=FOR_ANYONE)

    return page


def _streams(request: Request) -> Response:
    return StreamingResponse(stream(flags_from(request)["team"], fails=request.url.path == "/stream-fails"))


async def _fails(request: Request) -> Response:
    flags_from(request)["team"]
    raise ZeroDivisionError


async def _signs_in(request: Request) -> Response:
    flags = flags_from(request)
    before = flags["team"]
    flags.identify(user="ada", staff=True)
    return PlainTextResponse(f"{word(before)} {word(flags['team'])}")


_PAGES = Environment(loader=DictLoader({"page": '{% if feature("team") %}yes{% else %}no{% endif %}'}), autoescape=True)


def template(request: Request) -> Response:
    return Jinja2Templates(env=_PAGES, context_processors=[feature_processor]).TemplateResponse(request, "page")
