"""Path operations of a FastAPI app that a flag gates: they answer, and are described, as they were without it."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from starlette.exceptions import HTTPException as NotFound
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.testclient import TestClient

from flaggate import Gate
from flaggate.contrib.fastapi import FlaggateMiddleware, feature_required, require_feature
from flaggate.errors import SettingError
from tests.contrib import operations
from tests.contrib.scenes import Switchboard


def by_query(connection: HTTPConnection) -> dict[str, Any]:
    return {"tier": connection.query_params.get("tier")}


def create_app(gate: Gate, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(FlaggateMiddleware, gate=gate, context=by_query)
    return app


def answers(app: Any, path: str = "/new", method: str = "GET", **options: Any) -> tuple[int, Any]:
    """What the app answers: status and text or JSON."""
    response = TestClient(app).request(method, path, follow_redirects=False, **options)
    is_json = response.headers.get("content-type") == "application/json"
    return response.status_code, response.json() if is_json else response.text


NOT_THERE = (404, {"detail": "Not Found"})


# --- every kind of path operation ---------------------------------------------------------------


@pytest.fixture(params=["as it is", "annotations are text"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The path operations, with their annotations as they stand or as text."""
    if request.param == "as it is":
        return operations
    path = Path(operations.__file__)
    made = ModuleType("tests.contrib.later_operations")
    monkeypatch.setitem(sys.modules, made.__name__, made)  # pydantic looks for names there
    exec(compile(path.read_text(), path, "exec", annotations.compiler_flag), made.__dict__)
    assert made.read.__annotations__["number"] == "int"
    return made


def plain(function: Any) -> Any:
    return function


GATES: dict[str, Callable[[Any], Any]] = {
    "one": feature_required("tiered"),
    "with a path": feature_required("tiered", otherwise="/old"),
    "two": lambda function: feature_required("tiered")(feature_required("banner")(function)),
}


def create_site(
    gate: Gate, module: ModuleType, gated: Callable[[Any], Any] = plain, only: str = "", **options: Any
) -> FastAPI:
    """An app with all of them, or only this one."""
    app = create_app(gate, title="invoicing")
    router = APIRouter(**options)
    for name in [only] if only else module.OPERATIONS:
        each = module.OPERATIONS[name]
        number = "/{number}" if each.path else ""
        router.add_api_route(f"/{name}{number}", gated(each.function), methods=[each.method], **each.options)
    app.include_router(router)
    return app


@pytest.mark.parametrize("gated", GATES.values(), ids=GATES)
def test_the_description_is_what_it_was(board: Switchboard, module: ModuleType, gated: Callable[[Any], Any]) -> None:
    expected = create_site(board.gate, module).openapi()
    assert len(expected["paths"]) == len(module.OPERATIONS)
    assert create_site(board.gate, module, gated).openapi() == expected
    dependencies = [Depends(require_feature("tiered"))]
    assert create_site(board.gate, module, dependencies=dependencies).openapi() == expected


@pytest.mark.parametrize("name", operations.OPERATIONS)
@pytest.mark.parametrize("gated", GATES.values(), ids=GATES)
def test_the_answer_is_what_it_was(
    board: Switchboard, module: ModuleType, gated: Callable[[Any], Any], name: str
) -> None:
    board.on("tiered", "banner")
    _, method, path, _, request = module.OPERATIONS[name]
    module.done.clear()

    def ask(app: FastAPI, tier: str) -> Any:
        params = {**request.get("params", {}), "tier": tier}
        asked = {**request, "params": params, "follow_redirects": False}
        response = TestClient(app).request(method, f"/{name}{path}", **asked)
        done = [*module.done]
        module.done.clear()
        return response.status_code, response.content, response.headers.get("location"), done

    expected = ask(create_site(board.gate, module, only=name), "pro")
    assert expected[0] in (200, 201, 204)
    app = create_site(board.gate, module, gated, only=name)
    assert ask(app, "pro") == expected
    status, body, location, done = ask(app, "free")
    assert (status, body, location) in [(404, b'{"detail":"Not Found"}', None), (302, b"", "/old")]
    assert done in ([], ["open", "closed"])  # dependencies are FastAPI's, and come first
    assert board.counted("tiered") == {"on": (1, 0), "off": (1, 0)}


# --- what is served instead ---------------------------------------------------------------------


async def async_old(number: int) -> dict[str, str]:
    return {"old": str(number)}


def sync_old(number: int) -> dict[str, str]:
    return {"old": str(number)}


def passing(function: Any) -> Any:
    """A decorator as people write them: a sync wrapper around whatever it is."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def async_new(number: int) -> Any:
    return {"new": number}


def sync_new(number: int) -> Any:
    return {"new": number}


@pytest.mark.parametrize("old", [sync_old, async_old, passing(async_old), operations.Pages("old")])
@pytest.mark.parametrize("new", [sync_new, async_new, passing(sync_new), passing(async_new)])
def test_another_function_is_called_with_the_same_arguments(board: Switchboard, new: Any, old: Any) -> None:
    app = create_app(board.on("tiered"))
    app.get("/{number}")(feature_required("tiered", otherwise=old)(new))
    assert answers(app, "/7?tier=pro") == (200, {"new": 7})
    assert answers(app, "/7") in [(200, {"old": "7"}), (200, "old 7")]


def test_what_it_returns_goes_through_the_response_model(board: Switchboard) -> None:
    app = create_app(board.gate)
    gated = feature_required("banner", otherwise=sync_new)(async_old)
    app.get("/{number}", response_model=dict[str, str], status_code=203)(gated)
    assert TestClient(app, raise_server_exceptions=False).get("/7").status_code == 500
    app = create_app(board.gate)
    app.get("/{number}", response_model=dict[str, int], status_code=203)(
        feature_required("banner", otherwise=async_old)(async_new)
    )
    assert answers(app, "/7") == (203, {"old": 7})


def test_another_function_takes_the_request_if_the_path_operation_does(board: Switchboard) -> None:
    def old(number: int, request: Request) -> str:
        return f"old {number} {request.url.path}"

    app = create_app(board.on("tiered"))

    @app.get("/{number}")
    @feature_required("tiered", otherwise=old)
    def new(number: int, request: Request) -> str:
        return f"new {number} {request.url.path}"

    assert answers(app, "/7?tier=pro") == (200, "new 7 /7")
    assert answers(app, "/7") == (200, "old 7 /7")


def test_another_function_may_be_gated_itself(board: Switchboard) -> None:
    """Three versions of a page, newest first."""

    @feature_required("banner", otherwise=sync_old)
    async def newer(number: int) -> dict[str, int]:
        return {"newer": number}

    app = create_app(board.on("tiered"))

    @app.get("/{number}")
    @feature_required("tiered", otherwise=newer)
    def newest(number: int) -> dict[str, int]:
        return {"newest": number}

    assert [answers(app, path) for path in ("/7?tier=pro", "/7")] == [(200, {"newest": 7}), (200, {"old": 7})]
    board.on("banner")
    assert answers(app, "/7") == (200, {"newer": 7})


def test_another_sync_function_needs_no_second_thread(board: Switchboard) -> None:
    """At a kill all threads may be in use; if each waited for one more, none would ever go on."""
    threads: list[int] = []
    app = FastAPI()
    app.add_middleware(
        FlaggateMiddleware, gate=board.on("tiered"), context=lambda _: threads.append(threading.get_ident())
    )

    def old() -> str:
        threads.append(threading.get_ident())
        return "old"

    @app.get("/new")
    @feature_required("tiered", otherwise=old)
    def new() -> str:
        return "new"

    assert answers(app) == (200, "old")
    assert len(threads) == 2
    assert len(set(threads)) == 1


@pytest.mark.parametrize("root", ["", "/shop"])
def test_a_path_is_redirected_to_within_the_app(board: Switchboard, root: str) -> None:
    app, inner = create_app(board.gate), FastAPI()
    for each in (app, inner):
        each.get("/new")(feature_required("banner", otherwise="/old")(async_old))
    app.mount("/v2", inner)
    client = TestClient(app, root_path=root)
    for path in ("/new?number=7", "/v2/new?number=7"):
        response = client.get(f"{root}{path}", follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (302, f"{root}/old")


# --- 404 ----------------------------------------------------------------------------------------


def test_not_there_is_said_as_of_a_path_that_never_was(board: Switchboard) -> None:
    """Also where the app tells what its own code refused from what its router did not find."""
    app = create_app(board.gate)

    @app.exception_handler(NotFound)
    async def nothing(request: Request, error: NotFound) -> Response:
        return PlainTextResponse("nothing here, says the app", error.status_code)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return PlainTextResponse("refused", error.status_code)

    app.get("/gated")(feature_required("banner")(async_old))
    app.get("/required", dependencies=[Depends(require_feature("banner"))])(async_old)
    paths = ("/never-was", "/gated?number=7", "/required?number=7", "/required")
    assert [answers(app, path) for path in paths] == [(404, "nothing here, says the app")] * 4


# --- what yields --------------------------------------------------------------------------------


async def async_parts() -> AsyncIterator[str]:
    yield "new"


def sync_parts() -> Iterator[str]:
    yield "new"


async def async_old_parts() -> AsyncIterator[str]:
    yield "old"


def sync_old_parts() -> Iterator[str]:
    yield "old"


@pytest.mark.parametrize(("new", "old"), [(async_parts, async_old_parts), (sync_parts, sync_old_parts)])
def test_a_function_that_yields(board: Switchboard, new: Any, old: Any) -> None:
    """FastAPI streams it; before 0.134 it did not."""
    pytest.importorskip("fastapi.sse", reason="pip install 'fastapi>=0.135'")
    app = create_app(board.on("tiered"))
    app.get("/new", response_class=StreamingResponse)(feature_required("tiered")(new))
    app.get("/both", response_class=StreamingResponse)(feature_required("tiered", otherwise=old)(new))
    assert answers(app, "/new?tier=pro") == answers(app, "/both?tier=pro") == (200, "new")
    assert answers(app, "/new") == NOT_THERE
    assert answers(app, "/both") == (200, "old")


@pytest.mark.parametrize("new", [async_parts, sync_parts])
@pytest.mark.parametrize("old", ["/old", async_old, sync_old])
def test_what_cannot_stand_beside_it_is_said_at_once(new: Any, old: Any) -> None:
    """Not when the flag is first off: that may be a kill."""
    with pytest.raises(SettingError, match=r"^otherwise: .*old.*; allowed: None, or a function that yields as"):
        feature_required("banner", otherwise=old)(new)
