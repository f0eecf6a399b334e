"""A Starlette app in which mypy sees all that a user decorates: every endpoint keeps its type."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, assert_type

from starlette.applications import Starlette  # noqa: TID251  # it is an app of a user
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint  # noqa: TID251
from starlette.middleware import Middleware  # noqa: TID251
from starlette.requests import HTTPConnection, Request  # noqa: TID251
from starlette.responses import JSONResponse, PlainTextResponse, Response  # noqa: TID251
from starlette.routing import Host, Mount, Route, WebSocketRoute  # noqa: TID251
from starlette.templating import Jinja2Templates  # noqa: TID251
from starlette.websockets import WebSocket  # noqa: TID251

from flaggate import Context, Decision, Gate
from flaggate.contrib.starlette import FlaggateMiddleware, Flags, feature_processor, feature_required, flags_from


def old(request: Request) -> PlainTextResponse:
    return PlainTextResponse("old")


@feature_required("banner", otherwise=old)
def new(request: Request) -> PlainTextResponse:
    return PlainTextResponse("new")


@feature_required("banner", otherwise="/old")
async def later(request: Request) -> Response:
    return PlainTextResponse("later")


@feature_required("banner")
async def greet(websocket: WebSocket) -> None:
    await websocket.close()


@feature_required("banner")
class Invoices(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("invoices")


@feature_required("banner")
class Talk(WebSocketEndpoint):
    encoding = "text"


if TYPE_CHECKING:
    request = Request({})
    assert_type(new(request), PlainTextResponse)
    coming = assert_type(later(request), Coroutine[Any, Any, Response])
    invoices: Callable[[Invoices, Request], Coroutine[Any, Any, Response]] = Invoices.get
    new("7")  # type: ignore[arg-type]  # on purpose: mypy tells if this is no error any more


def who(connection: HTTPConnection) -> Mapping[str, Any]:
    return {"tier": connection.query_params.get("tier"), "user": lambda: "ada"}


def whole(connection: HTTPConnection) -> Context | None:
    return Context(connection.query_params["user"]) if connection.query_params else None


async def home(request: Request) -> JSONResponse:
    flags = flags_from(request)
    assert_type(flags, Flags)
    assert_type(flags.decide("banner"), Decision)
    return JSONResponse({"item": assert_type(flags["banner"], bool), "call": assert_type(flags.is_on("banner"), bool)})


def create_app(gate: Gate) -> Starlette:
    mount = assert_type(feature_required("banner")(Mount("/more", routes=[Route("/new", new)])), Mount)
    gated = feature_required("banner")
    app = Starlette(
        routes=[
            Route("/", home),
            Route("/later", later),
            Route("/invoices", Invoices),
            WebSocketRoute("/greet", greet),
            WebSocketRoute("/talk", Talk),
            gated(Route("/new", new)),
            gated(Host("api.example.org", mount)),
            mount,
        ]
    )
    app.add_middleware(
        FlaggateMiddleware, gate=gate, context=who, routes={"/v2/*": ("banner", "/*")}, secret_keys=["k"]
    )
    return app


def create_another(gate: Gate) -> Starlette:
    Jinja2Templates("templates", context_processors=[feature_processor])
    return Starlette(routes=[Route("/", new)], middleware=[Middleware(FlaggateMiddleware, gate=gate, context=whole)])
