"""A gate above the decorator that makes a route is passed by nobody: each framework's adapter refuses it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from flaggate.contrib import fastapi, flask, starlette
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
