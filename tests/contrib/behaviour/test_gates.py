"""A gate above the decorator that makes a route is passed by nobody, and an `otherwise` that takes other arguments fails
once the flag is off: each framework's adapter refuses them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Annotated, Any

import pytest
from django.urls import path
from fastapi import APIRouter, Body, Depends, FastAPI, Query
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from flaggate.contrib import django, fastapi, flask, starlette
from flaggate.errors import SettingError
from tests.contrib.scenes import Switchboard

HEAD = "from tests.contrib.behaviour.test_gates import passing, renamed\n"
ABOVE = """
@feature_required("banner")
@app.get("/new")
def page(): return "for everybody"
"""
TWICE = """
@feature_required("banner")
@passing
@feature_required("team")
@app.get("/new")
def page(): return "for everybody"
"""
OTHERS_BETWEEN = """
@passing
@feature_required("banner")
@app.get("/new")
@passing
def page(): return "for everybody"
"""
LOCAL = f"def make():{ABOVE.replace(chr(10), chr(10) + '    ')}\nmake()"
BELOW = """
@app.get("/new")
@passing
@feature_required("banner")
def page(): return "for those who have it"
"""
BOTH = """
@app.get("/other")
@renamed
@feature_required("banner")
@app.get("/new")
def page(): return "for everybody, and for those who have it"
"""
BY_HAND = """
def page(): return "for everybody"
app.get("/new")(page)
gated = feature_required("banner")(feature_required("team")(page))  # of another app
"""


def passing(function: Any) -> Any:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def renamed(function: Any) -> Any:
    """Flask has one view of each name."""
    function.__name__ = "other"
    return function


def in_fastapi(board: Switchboard, run: Callable[[Any, Any], None]) -> Any:
    app = FastAPI()
    app.add_middleware(fastapi.FlaggateMiddleware, gate=board.gate)
    run(app, fastapi.feature_required)
    return lambda: TestClient(app).get("/new").status_code


def in_fastapis_router(board: Switchboard, run: Callable[[Any, Any], None]) -> Any:
    app, router = FastAPI(), APIRouter()
    app.add_middleware(fastapi.FlaggateMiddleware, gate=board.gate)
    run(router, fastapi.feature_required)
    app.include_router(router)
    return lambda: TestClient(app).get("/new").status_code


def in_flask(board: Switchboard, run: Callable[[Any, Any], None]) -> Any:
    app = Flask("shop")
    flask.init_app(app, board.gate)
    run(app, flask.feature_required)
    app.testing = True
    return lambda: app.test_client().get("/new").status_code


def in_a_blueprint(board: Switchboard, run: Callable[[Any, Any], None]) -> Any:
    app, blueprint = Flask("shop"), Blueprint("v2", "shop")
    run(blueprint, flask.feature_required)
    app.register_blueprint(blueprint)
    flask.init_app(app, board.gate)
    return lambda: app.test_client().get("/new").status_code


FRAMEWORKS = [in_fastapi, in_fastapis_router, in_flask, in_a_blueprint]


def module_of(text: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], None]:
    def run(app: Any, feature_required: Any) -> None:
        made = ModuleType("made_for_this_test")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        made.__dict__.update(app=app, feature_required=feature_required)
        exec(HEAD + text, made.__dict__)

    return run


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("text", [ABOVE, TWICE, OTHERS_BETWEEN, LOCAL], ids=["above", "two", "others", "local"])
def test_a_gate_that_nobody_passes_is_refused(
    board: Switchboard, framework: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each request: an error that is said once would leave it open."""
    ask = framework(board, module_of(text, monkeypatch))
    for _ in range(2):
        with pytest.raises(
            SettingError, match=r"made_for_this_test\.(make\.<locals>\.)?page; allowed: below what makes"
        ):
            ask()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("text", "status"), [(BELOW, 404), (BOTH, 200), (BY_HAND, 200)], ids=["below", "both", "by hand"]
)
def test_what_is_meant_like_that_is_served(
    board: Switchboard, framework: Any, text: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = framework(board, module_of(text, monkeypatch))
    assert [ask(), ask()] == [status, status]


async def page(*_: Any) -> None: ...


def test_routes_of_starlettes_in_mounts_too(board: Switchboard) -> None:
    """What is a function's attribute is its wrapper's, too, and means nothing there."""

    async def local(request: Any) -> None: ...

    def serve(*routes: Any) -> None:
        app = Starlette(routes=[Mount("/v2", routes=list(routes)), Route("/never", page)])
        app.add_middleware(starlette.FlaggateMiddleware, gate=board.gate)
        assert TestClient(app).get("/other").status_code == 404

    serve(Route("/new", local), Mount("/app", app=page), Mount("/again", app=passing(page)))
    gated = starlette.feature_required("banner")(local)
    again = starlette.feature_required("banner")(passing(local))
    serve(Route("/new", gated), Route("/old", passing(local)), Route("/again", again))
    serve(Route("/new", local), Route("/newer", again), Route("/newest", gated))
    with pytest.raises(SettingError, match="local"):
        serve(Route("/new", local))


# --- otherwise ----------------------------------------------------------------------------------


def invoice(request: Any, number: int, kind: str = "page") -> None: ...


def of_url(number: int, kind: str = "page") -> None: ...


def nobody() -> None: ...


def one(request: Any) -> None: ...


def two(request: Any, number: int) -> None: ...


def two_by_place(request: Any, digits: str, /) -> None: ...


def other(request: Any, numero: int, kind: str, page: int) -> None: ...


def any_of_url(**kwargs: Any) -> None: ...


def any_of_request(request: Any, *args: Any, **kwargs: Any) -> None: ...


def of_url_and(number: int, kind: str, page: int) -> None: ...


def of_url_by_query(number: int, kind: str, page: int = Query(1)) -> None: ...


def of_url_by_body(number: int, kind: str, page: int = Body(1)) -> None: ...


def of_url_by_dependency(number: int, kind: str, *, user: Any = Depends(nobody)) -> None: ...  # noqa: B008  # as it is written in FastAPI


def of_url_and_more(number: int, kind: str, page: int = 1) -> None: ...


def of_more(kind: str = Query("page"), *, user: Annotated[Any, Depends(nobody)], number: int = 1) -> None: ...


class Pages:
    def page(self, number: int) -> None: ...

    def old(this, number: int) -> None: ...  # noqa: N805  # whatever its own is called

    def __call__(self, number: int, kind: str) -> None: ...


def once_gated(function: Any) -> Any:
    return fastapi.feature_required("team")(function)


FITS: list[tuple[Any, Any, list[Any]]] = [
    (django, invoice, [invoice, two, two_by_place, any_of_request, passing(two), print, "/old"]),
    (django, any_of_request, [one, two]),
    (django, two_by_place, [two]),
    (flask, of_url, [of_url, any_of_url, of_url_and_more, Pages(), "/old"]),
    (flask, any_of_url, [nobody, of_url_and]),
    (flask, Pages.page, [Pages.old, Pages.page]),
    (fastapi, of_url, [of_url, any_of_url, of_url_and_more, Pages(), once_gated(of_url), "/old"]),
    (fastapi, once_gated(of_url), [of_url]),
    (fastapi, of_more, [of_more, any_of_url]),
]
DOES_NOT: list[tuple[Any, Any, list[Any]]] = [
    (django, invoice, [one, other, nobody, of_url_and, passing(one)]),
    (flask, of_url, [nobody, invoice, of_url_and]),
    (flask, Pages.page, [nobody, of_more]),
    (fastapi, of_url, [nobody, two, of_url_and, of_url_by_query, of_url_by_body, of_url_by_dependency]),
    (fastapi, once_gated(of_url), [nobody]),
    (fastapi, of_more, [of_url]),
]


@pytest.mark.parametrize(("adapter", "view", "others"), FITS)
def test_what_can_be_called_like_the_view_may_be_served_instead(adapter: Any, view: Any, others: list[Any]) -> None:
    for otherwise in others:
        assert callable(adapter.feature_required("banner", otherwise=otherwise)(view))


@pytest.mark.parametrize(("adapter", "view", "others"), DOES_NOT)
def test_what_cannot_is_refused_at_once(adapter: Any, view: Any, others: list[Any]) -> None:
    for otherwise in others:
        with pytest.raises(SettingError, match=r"^otherwise: .*\(.*\); allowed: what takes the arguments of [\w.]+: "):
            adapter.feature_required("banner", otherwise=otherwise)(view)


def test_it_says_what_is_taken_and_what_is_given() -> None:
    said = "otherwise: one(request); allowed: what takes the arguments of invoice: request, number, kind"
    view: Any = invoice
    with pytest.raises(SettingError) as caught:
        django.feature_required("banner", otherwise=one)(path("<int:number>", view))
    assert str(caught.value) == said
    with pytest.raises(SettingError, match=r"Pages\(number, kind\); allowed: what takes the arguments of nobody: none"):
        flask.feature_required("banner", otherwise=Pages())(nobody)
