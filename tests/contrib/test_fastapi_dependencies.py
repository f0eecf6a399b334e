"""The questions as FastAPI's dependencies: of a path operation, a router, an app and a WebSocket.

Annotations are no text here: FastAPI does not find local names by their text.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.security import APIKeyHeader
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from flaggate.contrib.fastapi import (
    FlaggateMiddleware,
    Flags,
    feature_required,
    flag_on,
    flags_from,
    require_feature,
)
from flaggate.errors import SettingError
from tests.contrib.operations import Invoice
from tests.contrib.scenes import Switchboard
from tests.contrib.test_fastapi import NOT_THERE, answers, create_app
from tests.contrib.test_fastapi_routes import greet, greeted

# --- require_feature ----------------------------------------------------------------------------

REQUIRED = [Depends(require_feature("tiered"))]


def sync_new() -> str:
    return "new"


async def async_new() -> str:
    return "new"


@pytest.mark.parametrize("new", [sync_new, async_new])
@pytest.mark.parametrize("place", ["path operation", "router", "include_router", "app"])
def test_what_is_there_only_for_those_who_have_the_flag(board: Switchboard, place: str, new: Any) -> None:
    here: dict[str, Any] = {place: {"dependencies": REQUIRED}}
    app, router = create_app(board.on("tiered"), **here.get("app", {})), APIRouter(**here.get("router", {}))
    router.get("/new", **here.get("path operation", {}))(new)
    router.websocket("/greet", **here.get("path operation", {}))(greet)
    app.include_router(router, **here.get("include_router", {}))
    assert answers(app, "/new?tier=pro") == (200, "new")
    assert answers(app, "/new") == answers(app, "/never-was") == NOT_THERE
    assert greeted(app, "/greet?tier=pro") == "new for you"
    assert greeted(app, "/greet") == 1000
    assert board.counted("tiered") == {"on": (1, 0), "off": (1, 0)}


def test_it_is_asked_before_anything_is_validated(board: Switchboard) -> None:
    """What is wrong with an argument would tell that there is something."""
    app = create_app(board.gate)

    @app.post("/new/{number}", dependencies=[Depends(require_feature("banner"))])
    async def make(number: int, invoice: Invoice, key: Annotated[str, Depends(APIKeyHeader(name="X-Key"))]) -> None: ...

    assert answers(app, "/new/x", "POST", json={"number": "y"}) == NOT_THERE
    board.on("banner")
    assert answers(app, "/new/x", "POST", json={"number": "y"})[0] in (401, 403)


@pytest.mark.parametrize("place", ["argument", "path operation", "router", "app"])
@pytest.mark.parametrize("maker", [flag_on, require_feature])
def test_what_makes_a_dependency_is_none(board: Switchboard, maker: Any, place: str) -> None:
    """FastAPI would read the flag's name from the query, and let everybody in."""

    async def page(is_new: Annotated[Any, Depends(maker)]) -> None: ...

    def serve() -> None:
        here: dict[str, Any] = {place: {"dependencies": [Depends(maker)]}}
        app, router = create_app(board.gate, **here.get("app", {})), APIRouter(**here.get("router", {}))
        router.get("/new", **here.get("path operation", {}))(page if place == "argument" else sync_new)
        app.include_router(router)
        answers(app, "/new?name=tiered")  # an app's own dependencies are looked at here, at the latest

    with pytest.raises(SettingError) as caught:
        serve()
    name = maker.__name__
    allowed = f'what it returns for the name of a flag: Depends({name}("new-invoicing"))'
    assert str(caught.value) == f"Depends: {name}; allowed: {allowed}"


# --- flag_on and flags_from ---------------------------------------------------------------------


def test_a_flag_as_an_argument(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.get("/sync")
    def sync_page(is_new: Annotated[bool, Depends(flag_on("tiered"))]) -> bool:
        return is_new

    @app.get("/async")
    async def async_page(is_new: Annotated[bool, Depends(flag_on("tiered"))]) -> bool:
        return is_new

    @app.websocket("/greet")
    async def say(websocket: WebSocket, is_new: Annotated[bool, Depends(flag_on("tiered"))]) -> None:
        await websocket.accept()
        await websocket.send_text(f"{is_new}")
        await websocket.close()

    for path in ("/sync", "/async"):
        assert [answers(app, f"{path}{query}") for query in ("?tier=pro", "")] == [(200, True), (200, False)]
    assert [greeted(app, f"/greet{query}") for query in ("?tier=pro", "")] == ["True", "False"]


TheFlags = Annotated[Flags, Depends(flags_from)]


def test_the_flags_as_an_argument(board: Switchboard) -> None:
    app = create_app(board.on("tiered", "adas"))

    @app.get("/sync")
    def sync_page(flags: TheFlags) -> list[Any]:
        return [flags["tiered"], flags.is_on("banner"), flags.decide("tiered").reason]

    @app.get("/async")
    async def async_page(flags: TheFlags, request: Request) -> list[Any]:
        assert flags is flags_from(request)
        return [flags["tiered"], flags.is_on("banner"), flags.decide("tiered").reason]

    @app.websocket("/greet")
    async def say(websocket: WebSocket, flags: TheFlags) -> None:
        await websocket.accept()
        await websocket.send_text(f"{flags['tiered']}")
        await websocket.close()

    for path in ("/sync?tier=pro", "/async?tier=pro"):
        assert answers(app, path) == (200, [True, False, "on"])
    assert greeted(app, "/greet?tier=pro") == "True"
    assert board.counted("tiered") == {"on": (2, 0)}


def test_a_dependency_that_signs_somebody_in_has_the_flags_decided_again(board: Switchboard) -> None:
    """In the order of the arguments; a gate below asks last."""
    app = create_app(board.on("adas"))

    async def user(flags: TheFlags, name: str) -> str:
        flags.identify(user=name)
        return name

    @app.get("/gated")
    @feature_required("adas")
    async def gated(name: Annotated[str, Depends(user)]) -> str:
        return name

    @app.get("/both")
    def both(
        before: Annotated[bool, Depends(flag_on("adas"))], name: Annotated[str, Depends(user)], flags: TheFlags
    ) -> list[bool]:
        return [before, flags["adas"]]

    assert answers(app, "/gated?name=ada") == (200, "ada")
    assert answers(app, "/gated?name=bob") == NOT_THERE
    assert answers(app, "/both?name=ada") == (200, [False, True])
    assert board.counted("adas") == {"on": (1, 0), "off": (1, 0)}


def test_the_description_is_what_it_was(board: Switchboard) -> None:
    """But for the flags there is nothing to be described."""

    async def plain(number: int) -> Invoice:
        """One invoice."""
        return Invoice(number=number)

    async def page(number: int, flags: TheFlags, is_new: Annotated[bool, Depends(flag_on("tiered"))]) -> Invoice:
        """One invoice."""
        return Invoice(number=number)

    described = []
    for function, dependencies in ((plain, []), (page, [Depends(require_feature("banner"))])):
        app = create_app(board.gate, dependencies=dependencies)
        app.get("/{number}", dependencies=dependencies, name="page", operation_id="page")(function)
        described.append(app.openapi())
    assert described[0] == described[1]


# --- tests of the app ---------------------------------------------------------------------------


def test_what_overrides_them_in_a_test_of_the_app(board: Switchboard) -> None:
    """FastAPI finds a dependency by what it is: each name has one."""
    app = create_app(board.gate)

    @app.get("/new", dependencies=[Depends(require_feature("banner"))])
    async def new(is_pro: Annotated[bool, Depends(flag_on("tiered"))], flags: TheFlags) -> list[Any]:
        return [is_pro, flags["adas"]]

    assert answers(app) == NOT_THERE
    app.dependency_overrides[require_feature("banner")] = lambda: None
    assert answers(app) == (200, [False, False])
    app.dependency_overrides[flag_on("tiered")] = lambda: True
    app.dependency_overrides[flags_from] = lambda: {"adas": True}
    assert answers(app) == (200, [True, True])
    app.dependency_overrides = {require_feature("team"): lambda: None, flag_on("banner"): lambda: True}
    assert answers(app) == NOT_THERE


# --- what else a request does -------------------------------------------------------------------


def test_what_comes_after_the_path_operation_asks_as_its_visit(board: Switchboard) -> None:
    app, found = create_app(board.on("tiered")), dict[str, bool]()

    @app.middleware("http")
    async def around(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        found["middleware"] = board.gate.is_on("tiered")  # outside: it was added last
        return response

    def connection(flags: TheFlags) -> Iterator[None]:
        yield
        found["dependency"] = flags["tiered"]

    async def later(flags: Flags) -> None:
        found["task"] = flags["tiered"]

    @app.get("/page")
    def page(flags: TheFlags, tasks: BackgroundTasks, _: Annotated[None, Depends(connection)]) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield f"{flags['tiered']}"

        tasks.add_task(later, flags)
        return StreamingResponse(parts())

    assert answers(app, "/page?tier=pro") == (200, "True")
    assert found == {"middleware": False, "dependency": True, "task": True}
    assert board.counted("tiered") == {"on": (1, 0)}


def test_failures_are_counted_once(board: Switchboard) -> None:
    app = create_app(board.on("banner"))
    app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))

    @app.get("/{kind}", dependencies=[Depends(require_feature("banner"))])
    @feature_required("banner")
    def fail(kind: int, is_new: Annotated[bool, Depends(flag_on("banner"))]) -> int:
        raise LookupError

    client = TestClient(app, raise_server_exceptions=False)
    assert [client.get(path).status_code for path in ("/7", "/wrong")] == [500, 422]
    assert board.counted("banner") == {"on": (2, 1)}


# --- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["New_Invoicing", "", "banner\n", None, 7, ["banner"], sync_new])
@pytest.mark.parametrize("question", [flag_on, require_feature, feature_required])
def test_a_name_that_no_flag_can_have_is_said_at_once(question: Any, wrong: Any) -> None:
    """It would be an unknown flag, and so off for ever."""
    name = question.__name__
    said = rf'^{name}: .*; allowed: the name of a flag: @?{name}\("new-invoicing"\); lower-case letters, '
    with pytest.raises(SettingError, match=said):
        question(wrong)


@pytest.mark.parametrize("dependency", [flags_from, flag_on("banner"), require_feature("banner")])
def test_an_app_without_the_middleware_is_said(dependency: Any) -> None:
    app = FastAPI()
    app.get("/new", dependencies=[Depends(dependency)])(sync_new)
    with pytest.raises(SettingError, match=r"^app: /new; allowed: one with FlaggateMiddleware"):
        answers(app)


def test_an_unknown_flag_is_off_and_told_in_health(board: Switchboard) -> None:
    app = FastAPI()
    app.add_middleware(FlaggateMiddleware, gate=board.gate, context=by_nobody)
    app.get("/new", dependencies=[Depends(require_feature("never-was"))])(sync_new)
    assert answers(app) == NOT_THERE
    assert board.gate.health().unknown == {"never-was": 1}


def by_nobody(connection: HTTPConnection) -> None: ...
