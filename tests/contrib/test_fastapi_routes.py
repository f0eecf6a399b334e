"""WebSockets and Starlette's routes in a FastAPI app that a flag gates, and what cannot be gated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from flaggate.contrib.fastapi import feature_required, flags_from
from flaggate.errors import SettingError
from tests.contrib import operations
from tests.contrib.scenes import Switchboard
from tests.contrib.test_fastapi import NOT_THERE, answers, async_old, create_app

if TYPE_CHECKING:
    from decimal import Decimal


def greeted(app: Any, path: str = "/greet") -> str | int:
    """What a WebSocket says first; or the code with which it was closed before it was accepted."""
    try:
        with TestClient(app).websocket_connect(path) as websocket:
            return websocket.receive_text()
    except WebSocketDisconnect as error:
        return error.code


async def greet(websocket: WebSocket, name: str = "you") -> None:
    await websocket.accept()
    await websocket.send_text(f"new for {name}")
    await websocket.close()


async def greet_as_ever(websocket: WebSocket, name: str = "you") -> None:
    await websocket.accept()
    await websocket.send_text(f"old for {name}")
    await websocket.close()


@pytest.mark.parametrize(("otherwise", "found"), [(None, 1000), ("/old", 1000), (greet_as_ever, "old for ada")])
def test_a_websocket(board: Switchboard, otherwise: Any, found: str | int) -> None:
    app = create_app(board.on("tiered"))
    app.websocket("/greet")(feature_required("tiered", otherwise)(greet))
    assert greeted(app, "/greet?tier=pro&name=ada") == "new for ada"
    assert greeted(app, "/greet?name=ada") == found


def test_starlettes_routes_and_apps_are_gated_as_starlettes(board: Switchboard) -> None:
    """A router that is included makes new routes of them; the gate is in these, too."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("new")

    async def accept(websocket: WebSocket) -> None:
        await greet(websocket)

    response: Any = PlainTextResponse("new")
    router = APIRouter()
    for route in (Route("/page", page), Route("/own", response), WebSocketRoute("/greet", accept)):
        router.routes.append(feature_required("tiered")(route))
    app, direct = create_app(board.on("tiered")), create_app(board.gate)
    app.include_router(router, prefix="/v2")
    direct.router.routes.extend(router.routes)
    for each, prefix in ((app, "/v2"), (direct, "")):
        for path in ("page", "own"):
            assert answers(each, f"{prefix}/{path}?tier=pro") == (200, "new")
            assert answers(each, f"{prefix}/{path}") == NOT_THERE
        assert [greeted(each, f"{prefix}/greet{query}") for query in ("?tier=pro", "")] == ["new for you", 1000]


def test_mounts_and_hosts_of_a_router_that_is_included(board: Switchboard) -> None:
    inner = Route("/new", PlainTextResponse("new"))  # a response is an app, too
    app = create_app(board.on("tiered"))
    for word, is_gated in (("plain", False), ("gated", True)):
        router = APIRouter()
        for route in (Mount(f"/{word}", routes=[inner]), Host(f"{word}.example.org", Router(routes=[inner]))):
            router.routes.append(feature_required("tiered")(route) if is_gated else route)
        app.include_router(router, prefix="/v2")

    def asked(word: str, query: str) -> list[tuple[int, Any]]:
        host = {"Host": f"{word}.example.org"}
        return [
            answers(app, f"/v2/{word}/new{query}"),
            answers(app, f"/v2/new{query}", headers=host),
        ]

    if asked("plain", "") == [NOT_THERE] * 2:
        pytest.skip("needs a FastAPI that includes mounts: pip install -U fastapi")
    assert asked("plain", "") == asked("gated", "?tier=pro") == [(200, "new")] * 2
    assert asked("gated", "") == [NOT_THERE] * 2


def test_a_route_of_fastapis_own_is_said_at_once() -> None:
    """It would be made anew of the function when its router is included."""
    app = FastAPI()
    app.get("/new")(async_old)
    app.websocket("/greet")(greet)
    for route in app.routes[-2:]:
        with pytest.raises(SettingError, match=r"^feature_required: .*; of FastAPI's the function, or require_feature"):
            feature_required("banner")(route)


@pytest.mark.parametrize("wrong", [APIRouter(), FastAPI()])
def test_a_whole_router_or_app_is_gated_in_another_way(wrong: Any) -> None:
    """It can be called, and would be taken for an endpoint."""
    said = r"feature_required: .*(APIRouter|FastAPI).*; allowed: a path operation; .*dependencies=\[Depends\(require_feature"
    with pytest.raises(SettingError, match=said):
        feature_required("banner")(wrong)


@pytest.mark.parametrize("wrong", [None, "invoices", operations.Pages])
def test_what_cannot_be_gated_is_said_at_once(wrong: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^feature_required: .*; allowed: an endpoint function or class, or a Route"
    ):
        feature_required("banner")(wrong)


def test_a_name_that_nobody_finds_is_what_it_was(board: Switchboard) -> None:
    """An import for type checkers only; FastAPI does not need what is returned where it is told."""

    async def amount(number: int) -> Decimal:
        return {"number": number}  # type: ignore[return-value]  # on purpose

    app = create_app(board.on("banner"))
    app.get("/{number}", response_class=JSONResponse, response_model=None)(feature_required("banner")(amount))
    assert answers(app, "/7") == (200, {"number": 7})


def test_a_gated_function_is_called_by_a_test_as_it_was(board: Switchboard) -> None:
    """With the request; without one nobody asks."""

    @feature_required("banner")
    def page(number: int) -> str:
        return f"page {number}"

    app = create_app(board.on("banner"))

    @app.get("/new")
    async def new(request: Request) -> str:
        return flags_from(request).decide("banner").reason

    assert answers(app) == (200, "on")
    with pytest.raises(
        SettingError, match=r"^feature_required: .*page.*; allowed: an endpoint that is given the request"
    ):
        page(7)
