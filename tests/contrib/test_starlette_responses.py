"""What a Starlette app answers: streams, files and failures, what of it is counted, and what caches are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from flaggate import Gate
from flaggate.contrib.starlette import FlaggateMiddleware, feature_required, flags_from
from flaggate.web.visitor import COOKIE
from tests.contrib.scenes import Switchboard


class Passing(BaseHTTPMiddleware):
    """Cuts every response to pieces, and does nothing else."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


def by_query(connection: HTTPConnection) -> dict[str, Any]:
    return {"tier": connection.query_params.get("tier")}


AROUND: dict[str, Any] = {
    "alone": {},
    "inside": {"inside": [Middleware(Passing)]},
    "outside": {"outside": [Middleware(Passing)]},
    "both": {"inside": [Middleware(Passing), Middleware(Passing)], "outside": [Middleware(Passing)]},
    "gzip inside": {"inside": [Middleware(GZipMiddleware, minimum_size=1)]},
    "gzip outside": {"outside": [Middleware(GZipMiddleware, minimum_size=1)]},
}
around = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)


def client_of(gate: Gate, *routes: BaseRoute, inside: Any = (), outside: Any = (), **options: Any) -> TestClient:
    """A client that sees a 500 as anybody would."""
    ours = Middleware(FlaggateMiddleware, gate=gate, context=by_query, **options)
    app = Starlette(routes=routes, middleware=[*outside, ours, *inside])
    return TestClient(app, raise_server_exceptions=False)


# --- streams and files --------------------------------------------------------------------------


@around
@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_asks_as_the_visit_that_it_belongs_to(board: Switchboard, around: Any, is_async: bool) -> None:
    async def parts(request: Request) -> AsyncIterator[str]:
        yield f"{flags_from(request)['tiered']} "
        board.off("tiered")
        yield f"{flags_from(request)['tiered']} {board.gate.is_on('tiered')}"

    def sync_parts(request: Request) -> Iterator[str]:
        yield f"{flags_from(request)['tiered']} "
        board.off("tiered")
        yield f"{flags_from(request)['tiered']} {board.gate.is_on('tiered')}"

    @feature_required("tiered")
    async def stream(request: Request) -> Response:
        return StreamingResponse(parts(request) if is_async else sync_parts(request))

    client = client_of(board.on("tiered"), Route("/stream", stream), **around)
    assert client.get("/stream?tier=pro").text == "True True True"
    assert client.get("/stream?tier=pro").status_code == 404
    assert board.counted("tiered") == {"on": (1, 0), "off": (1, 0)}


@around
def test_a_file(board: Switchboard, tmp_path: Path, around: Any) -> None:
    (tmp_path / "invoice.txt").write_text("an invoice")

    @feature_required("tiered")
    def file(request: Request) -> Response:
        return FileResponse(tmp_path / "invoice.txt")

    client = client_of(board.on("tiered"), Route("/file", file), **around)
    assert client.get("/file?tier=pro").text == "an invoice"
    assert client.get("/file?tier=pro", headers={"Range": "bytes=3-"}).text == "invoice"
    assert client.get("/file").status_code == 404
    assert board.counted("tiered") == {"on": (2, 0), "off": (1, 0)}


@around
def test_background_tasks_ask_as_the_visit_that_they_belong_to(board: Switchboard, around: Any) -> None:
    found: list[bool] = []

    async def later(request: Request) -> None:
        found.append(flags_from(request)["tiered"])

    def later_in_a_thread(request: Request) -> None:
        found.append(flags_from(request)["tiered"])

    async def page(request: Request) -> Response:
        found.append(flags_from(request)["tiered"])
        tasks = BackgroundTasks([BackgroundTask(later, request), BackgroundTask(later_in_a_thread, request)])
        return PlainTextResponse("page", background=tasks)

    client = client_of(board.on("tiered"), Route("/page", page), **around)
    assert client.get("/page?tier=pro").text == "page"
    assert found == [True, True, True]
    assert board.counted("tiered") == {"on": (1, 0)}


# --- what is counted ----------------------------------------------------------------------------


@around
@pytest.mark.parametrize("is_sync", [False, True])
def test_failures_are_counted_once(board: Switchboard, around: Any, is_sync: bool) -> None:
    def answer(kind: str) -> Response:
        if kind.isdigit():
            raise HTTPException(int(kind))
        if kind != "fine":
            raise KeyError(kind) if kind == "handled" else LookupError(kind)
        return PlainTextResponse("fine")

    def sync_page(request: Request) -> Response:
        return answer(request.path_params["kind"])

    async def async_page(request: Request) -> Response:
        return answer(request.path_params["kind"])

    async def handle(_: Request, error: Exception) -> Response:
        return PlainTextResponse("there you are")

    gated = feature_required("banner")(sync_page if is_sync else async_page)
    client = client_of(board.on("banner"), Route("/{kind}", gated), **around)
    app: Any = client.app
    app.add_exception_handler(KeyError, handle)
    for path in ("/fine", "/404", "/handled"):
        assert client.get(path).status_code < 500
    assert board.counted("banner") == {"on": (3, 0)}
    for path in ("/500", "/503", "/raised"):
        assert client.get(path).status_code >= 500
    assert board.counted("banner") == {"on": (6, 3)}


def test_a_background_task_that_fails_is_a_failure_of_its_request(board: Switchboard) -> None:
    def work() -> None:
        raise LookupError

    async def page(request: Request) -> Response:
        flags_from(request)["banner"]
        return PlainTextResponse("page", background=BackgroundTask(work))

    assert client_of(board.on("banner"), Route("/page", page)).get("/page").text == "page"
    assert board.counted("banner") == {"on": (1, 1)}


# --- what is sent -------------------------------------------------------------------------------


@around
def test_what_caches_are_told(board: Switchboard, around: Any) -> None:
    async def page(request: Request) -> Response:
        flags_from(request)[request.path_params["name"]]
        return PlainTextResponse("page" * 100, headers={"Cache-Control": "public, max-age=60", "Vary": "X-Own"})

    client = client_of(board.on("banner", "adas"), Route("/{name}", page), **around)
    plain, private = client.get("/banner"), client.get("/adas")
    assert plain.text == private.text == "page" * 100
    assert plain.headers["cache-control"] == "public, max-age=60"
    assert private.headers["cache-control"] == "max-age=60, private"
    assert {"X-Own", "Cookie", "Authorization"} <= {word.strip() for word in private.headers["vary"].split(",")}
    assert "Cookie" not in plain.headers["vary"]


def test_a_redirect_and_a_refusal_tell_them_too(board: Switchboard) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    gates = {"/gone": None, "/moved": "/elsewhere"}
    routes = [Route(path, feature_required("adas", otherwise)(page)) for path, otherwise in gates.items()]
    client = client_of(board.on("adas"), *routes)
    for path in gates:
        headers = client.get(path, follow_redirects=False).headers
        assert (headers["cache-control"], headers["vary"]) == ("private", "Cookie, Authorization")


def test_a_visitor_has_one_cookie_beside_those_of_the_app(board: Switchboard) -> None:
    async def page(request: Request) -> Response:
        request.session["seen"] = "yes"
        return PlainTextResponse(str(flags_from(request)["tried"]))

    session = Middleware(SessionMiddleware, secret_key="the app's own")
    client = client_of(board.start("tried"), Route("/", page), inside=[session], secret_keys=["k"])
    first = client.get("/")
    assert {cookie.partition("=")[0] for cookie in first.headers.get_list("set-cookie")} == {COOKIE, "session"}
    second = client.get("/")
    assert second.text == first.text
    assert COOKIE not in str(second.headers.get_list("set-cookie"))
