"""Endpoints, endpoint classes and routes of a Starlette app that a flag gates, and templates that ask one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from flaggate import Gate
from flaggate.contrib.starlette import FlaggateMiddleware, feature_required
from flaggate.errors import SettingError
from tests.contrib.scenes import Switchboard


def by_query(connection: HTTPConnection) -> dict[str, Any]:
    return {"tier": connection.query_params.get("tier")}


async def nothing(request: Request, error: Exception) -> Response:
    return PlainTextResponse("nothing here, says the app", 404)


def create_app(gate: Gate, *routes: BaseRoute) -> Starlette:
    middleware = [Middleware(FlaggateMiddleware, gate=gate, context=by_query)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={404: nothing})


def answers(app: Any, path: str = "/new", method: str = "GET", **options: Any) -> tuple[int, str]:
    """What the app answers: status and text."""
    response = TestClient(app, **options).request(method, path, follow_redirects=False)
    return response.status_code, response.text


def location(app: Any, path: str = "/new", **options: Any) -> tuple[int, str]:
    """Where the app sends somebody."""
    response = TestClient(app, **options).get(path, follow_redirects=False)
    return response.status_code, response.headers["location"]


NOT_THERE = (404, "nothing here, says the app")


def sync_new(request: Request) -> Response:
    """The new page."""
    return PlainTextResponse(f"new {request.path_params.get('number')}")


async def async_new(request: Request) -> Response:
    """The new page, async."""
    return PlainTextResponse(f"new {request.path_params.get('number')}")


def sync_old(request: Request) -> Response:
    return PlainTextResponse(f"old {request.path_params.get('number')}")


async def async_old(request: Request) -> Response:
    return PlainTextResponse(f"old {request.path_params.get('number')}")


class Pages:
    """Endpoints that are methods."""

    def sync_new(self, request: Request) -> Response:
        return sync_new(request)

    @feature_required("tiered")
    async def async_new(self, request: Request) -> Response:
        return await async_new(request)


class Called:
    """An async page of another kind."""

    async def __call__(self, request: Request) -> Response:
        return await async_old(request)


def of(kind: str, request: Request) -> Response:
    return PlainTextResponse(f"new {request.path_params.get('number')}")


async def async_of(kind: str, request: Request) -> Response:
    return of(kind, request)


# --- functions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint", [sync_new, async_new, Pages().sync_new, partial(of, "invoice"), partial(partial(async_of), "invoice")]
)
def test_an_endpoint_is_there_for_those_who_have_the_flag_and_for_others_it_is_not(
    board: Switchboard, endpoint: Any
) -> None:
    app = create_app(board.on("tiered"), Route("/{number}", feature_required("tiered")(endpoint)))
    assert answers(app, "/7?tier=pro") == (200, "new 7")
    assert answers(app, "/7?tier=free") == answers(app, "/never/was") == NOT_THERE


def test_a_method_that_is_gated_in_its_class(board: Switchboard) -> None:
    app = create_app(board.on("tiered"), Route("/{number}", Pages().async_new))
    assert answers(app, "/7?tier=pro") == (200, "new 7")
    assert answers(app, "/7") == NOT_THERE


@pytest.mark.parametrize("old", [sync_old, async_old, partial(partial(async_old)), Called()])
@pytest.mark.parametrize("new", [sync_new, async_new])
def test_another_endpoint_is_called_with_the_same_arguments(board: Switchboard, new: Any, old: Any) -> None:
    app = create_app(board.on("tiered"), Route("/{number}", feature_required("tiered", otherwise=old)(new)))
    assert answers(app, "/7?tier=pro") == (200, "new 7")
    assert answers(app, "/7") == (200, "old 7")


def test_another_sync_endpoint_needs_no_second_thread(board: Switchboard) -> None:
    """At a kill all threads may be in use; if each waited for one more, none would ever go on."""
    threads: list[int] = []

    def who(connection: HTTPConnection) -> None:
        threads.append(threading.get_ident())

    def old(request: Request) -> Response:
        threads.append(threading.get_ident())
        return PlainTextResponse("old")

    middleware = [Middleware(FlaggateMiddleware, gate=board.on("tiered"), context=who)]
    route = Route("/new", feature_required("tiered", otherwise=old)(sync_new))
    assert answers(Starlette(routes=[route], middleware=middleware)) == (200, "old")
    assert len(threads) == 2
    assert len(set(threads)) == 1


@pytest.mark.parametrize("new", [sync_new, async_new])
def test_a_path_is_redirected_to_within_the_app(board: Switchboard, new: Any) -> None:
    gated = feature_required("banner", otherwise="/old")(new)
    app = create_app(
        board.gate, Route("/new", gated), Mount("/v2", routes=[Mount("/x", routes=[Route("/new", gated)])])
    )
    assert location(app) == location(app, "/v2/x/new") == (302, "/old")
    shop = {"root_path": "/shop"}
    assert location(app, "/shop/new", **shop) == location(app, "/shop/v2/x/new", **shop) == (302, "/shop/old")
    assert location(app, root_path="/shop/") == (302, "/shop/old")


def test_a_gated_endpoint_is_registered_as_the_endpoint_that_it_is(board: Switchboard) -> None:
    async def invoice(request: Request) -> Response:
        """One invoice."""
        return PlainTextResponse(f"{request.method} {request.url_for('invoice', number=3).path}")

    gated = feature_required("banner")(invoice)
    app = create_app(board.on("banner"), Route("/new/{number}", gated, methods=["GET", "POST"]))
    assert gated.__doc__ == "One invoice."
    assert answers(app, "/new/3", "POST") == (200, "POST /new/3")
    assert answers(app, "/new/3", "DELETE")[0] == 405
    assert Route("/", partial(sync_new)).name == Route("/", feature_required("banner")(partial(sync_new))).name


def test_gates_one_above_the_other_are_both_to_be_passed(board: Switchboard) -> None:
    endpoint = feature_required("tiered")(feature_required("banner", otherwise="/soon")(async_new))
    app = create_app(board.on("tiered"), Route("/new", endpoint))
    assert location(app, "/new?tier=pro") == (302, "/soon")
    board.on("banner")
    assert answers(app, "/new?tier=pro") == (200, "new None")
    assert answers(app) == NOT_THERE


def test_the_gate_and_requires_stand_in_either_order(board: Switchboard) -> None:
    """Starlette's decorator wants an argument that is called request, and finds it."""

    class Everyone:
        scopes = ("authenticated",)

    def signed_in(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            scope["auth"] = Everyone
            await app(scope, receive, send)

        return wrapped

    above = feature_required("tiered")(requires("authenticated")(async_new))
    below = requires("authenticated")(feature_required("tiered")(sync_new))
    app = signed_in(create_app(board.on("tiered"), Route("/above", above), Route("/below", below)))
    for path in ("/above", "/below"):
        assert answers(app, f"{path}?tier=pro") == (200, "new None")
        assert answers(app, path) == NOT_THERE


def test_an_endpoint_that_is_given_no_request_is_said(board: Switchboard) -> None:
    app = create_app(board.on("banner"))
    gated: Any = feature_required("banner")(partial(of, "invoice"))
    app.router.add_route("/new", lambda request: gated())
    with pytest.raises(SettingError, match=r"^feature_required: functools.partial.*; allowed: .* is given the request"):
        answers(app)


# --- WebSockets ---------------------------------------------------------------------------------


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("new")
    await websocket.close()


async def greet_as_ever(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("old")
    await websocket.close()


class Greeting(WebSocketEndpoint):
    async def on_connect(self, websocket: WebSocket) -> None:
        await greet(websocket)


def greeted(app: Any, path: str) -> str | int:
    """What a WebSocket says first; or the code with which it was closed before it was accepted."""
    try:
        with TestClient(app).websocket_connect(path) as websocket:
            return websocket.receive_text()
    except WebSocketDisconnect as error:
        return error.code


WAYS: dict[str, Callable[[Any], BaseRoute]] = {
    "function": lambda gated: WebSocketRoute("/greet", gated(greet)),
    "class": lambda gated: WebSocketRoute("/greet", gated(Greeting)),
    "route": lambda gated: gated(WebSocketRoute("/greet", greet)),
    "class route": lambda gated: gated(WebSocketRoute("/greet", Greeting)),
    "mount": lambda gated: gated(Mount("/", routes=[WebSocketRoute("/greet", greet)])),
}


@pytest.mark.parametrize("otherwise", [None, "/old"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_websocket_is_closed_before_it_is_accepted(board: Switchboard, way: Any, otherwise: str | None) -> None:
    route = way(feature_required("tiered", otherwise))
    app = create_app(board.on("tiered"), route)
    assert greeted(app, "/greet?tier=pro") == "new"
    assert greeted(app, "/greet") == 1000
    assert board.counted("tiered") == {}, "a WebSocket is no request"


@pytest.mark.parametrize("is_route", [False, True])
def test_another_endpoint_takes_a_websocket(board: Switchboard, is_route: bool) -> None:
    gated: Any = feature_required("tiered", otherwise=greet_as_ever)
    app = create_app(
        board.on("tiered"),
        gated(WebSocketRoute("/greet", greet)) if is_route else WebSocketRoute("/greet", gated(greet)),
    )
    assert [greeted(app, path) for path in ("/greet?tier=pro", "/greet")] == ["new", "old"]


# --- classes ------------------------------------------------------------------------------------


class Invoices(HTTPEndpoint):
    """Invoices of one kind."""

    async def get(self, request: Request) -> Response:
        return PlainTextResponse(f"new {request.path_params['number']}")

    def post(self, request: Request) -> Response:
        return PlainTextResponse("made", 201)


@pytest.mark.parametrize("old", [sync_old, async_old])
def test_an_endpoint_class(board: Switchboard, old: Any) -> None:
    gated = feature_required("tiered", otherwise=old)(Invoices)
    assert (gated.__name__, gated.__doc__) == ("Invoices", "Invoices of one kind.")
    app = create_app(board.on("tiered"), Route("/{number}", gated), Route("/as/ever/{number}", Invoices))
    assert answers(app, "/7?tier=pro") == answers(app, "/as/ever/7") == (200, "new 7")
    assert answers(app, "/7?tier=pro", "POST") == (201, "made")
    assert answers(app, "/7?tier=pro", "PUT")[0] == 405
    assert answers(app, "/7", "POST") == answers(app, "/7") == (200, "old 7")
    assert TestClient(app).head("/7?tier=pro").status_code == 200


def test_a_subclass_is_gated_too_and_so_may_be_one_method(board: Switchboard) -> None:
    @feature_required("tiered")
    class Page(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("new")

    class Longer(Page):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("new and longer")

    class Partly(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("for all")

        @feature_required("tiered", otherwise="/old")
        def post(self, request: Request) -> Response:
            return PlainTextResponse("made")

    app = create_app(board.on("tiered"), Route("/longer", Longer), Route("/partly", Partly))
    assert answers(app, "/longer?tier=pro") == (200, "new and longer")
    assert answers(app, "/longer") == NOT_THERE
    assert answers(app, "/partly") == (200, "for all")
    assert answers(app, "/partly?tier=pro", "POST") == (200, "made")
    assert answers(app, "/partly", "POST")[0] == 302
