"""Routes, mounts and hosts of a Starlette app that a flag gates, templates that ask one, and what cannot be gated."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.testclient import TestClient

from flaggate.contrib.starlette import feature_processor, feature_required
from flaggate.errors import SettingError
from tests.contrib.scenes import Switchboard
from tests.contrib.test_starlette import (
    NOT_THERE,
    Invoices,
    answers,
    async_new,
    async_old,
    create_app,
    location,
    sync_new,
    sync_old,
)

# --- routes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [sync_new, async_new, Invoices])
def test_a_route(board: Switchboard, endpoint: Any) -> None:
    route = Route("/{number}", endpoint, name="invoice")
    app = create_app(board.on("tiered"), feature_required("tiered")(route))
    assert answers(app, "/7?tier=pro") == (200, "new 7")
    assert answers(app, "/7") == NOT_THERE
    assert app.url_path_for("invoice", number="7") == "/7"


def test_a_route_to_an_asgi_app_of_its_own(board: Switchboard) -> None:
    """Starlette calls what is no function as an app."""
    page: Any = PlainTextResponse("new")
    app = create_app(board.on("tiered"), feature_required("tiered")(Route("/new", page)))
    assert answers(app, "/new?tier=pro") == (200, "new")
    assert answers(app, "/new") == NOT_THERE


@pytest.mark.parametrize("otherwise", [sync_old, async_old, "/old"])
def test_a_mount_with_all_that_is_in_it(board: Switchboard, otherwise: Any) -> None:
    mount = Mount("/v2", routes=[Route("/{number}", async_new, name="invoice"), Mount("/x", routes=[])], name="v2")
    app = create_app(board.on("tiered"), feature_required("tiered", otherwise)(mount), Route("/v1", sync_old))
    assert answers(app, "/v2/7?tier=pro") == (200, "new 7")
    assert answers(app, "/v2/7/8/9?tier=pro") == NOT_THERE
    assert answers(app, "/v1") == (200, "old None")
    assert app.url_path_for("v2:invoice", number="7") == "/v2/7"
    if otherwise == "/old":
        assert location(app, "/v2/7") == location(app, "/v2/anything") == (302, "/old")
        assert location(app, "/v2/7", root_path="/shop") == (302, "/shop/old")
    else:
        assert answers(app, "/v2/7") == answers(app, "/v2/anything") == (200, "old None")


def test_another_app_in_a_mount_and_its_static_files(board: Switchboard, tmp_path: Path) -> None:
    """404 is the outer app's: to it there is nothing."""
    (tmp_path / "new.css").write_text("new")
    inner = Starlette(routes=[Route("/{number}", sync_new)])
    app = create_app(
        board.on("tiered"),
        feature_required("tiered")(Mount("/static", StaticFiles(directory=tmp_path))),
        feature_required("tiered")(Mount("/v2", inner)),
    )
    assert answers(app, "/static/new.css?tier=pro") == (200, "new")
    assert answers(app, "/v2/7?tier=pro") == (200, "new 7")
    assert answers(app, "/static/new.css") == answers(app, "/v2/7") == NOT_THERE


def test_a_host(board: Switchboard) -> None:
    async def api(request: Request) -> Response:
        return PlainTextResponse(str(request.url_for("api:one")))

    host = Host("api.example.org", Router([Route("/new", api, name="one")]), name="api")
    app = create_app(board.on("tiered"), feature_required("tiered")(host), Route("/new", sync_old))
    there = {"base_url": "http://api.example.org"}
    assert answers(app, "/new?tier=pro", **there) == (200, "http://api.example.org/new")
    assert answers(app, "/new", **there) == NOT_THERE
    assert answers(app, "/new") == (200, "old None")


def test_a_hosts_app_without_names(board: Switchboard) -> None:
    app = create_app(
        board.on("banner"), feature_required("banner")(Host("testserver", JSONResponse(["new"]), name="x"))
    )
    assert answers(app) == (200, '["new"]')
    assert list(app.routes[0].routes) == []  # type: ignore[attr-defined]  # of a Host


def test_a_route_that_sends_elsewhere_by_itself_is_not_touched(board: Switchboard) -> None:
    """Whatever can be called with scope, receive and send is a response."""

    async def old(request: Request) -> Any:
        return RedirectResponse("/elsewhere")

    app = create_app(board.gate, feature_required("banner", otherwise=old)(Route("/new", async_new)))
    assert location(app) == (307, "/elsewhere")


def test_what_returns_no_response_fails_as_any_endpoint_does(board: Switchboard) -> None:
    """Nobody is left waiting."""

    async def old(request: Request) -> None: ...

    app = create_app(board.gate, feature_required("banner", otherwise=old)(Route("/new", async_new)))
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        answers(app)


# --- what is said at once -----------------------------------------------------------------------


def test_a_gate_without_its_name_is_said_at_once() -> None:
    """Not at the first request, where Starlette would call it with the request."""
    with pytest.raises(SettingError, match=r'allowed: the name of a flag: @feature_required\("new-invoicing"\)'):
        feature_required(sync_old)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("wrong", ["New_Invoicing", "new_invoicing", "", "banner\n", "*", None, b"banner"])
def test_a_name_that_no_flag_can_have_is_said_at_once(wrong: Any) -> None:
    """It would be an unknown flag, and so off for ever."""
    with pytest.raises(SettingError, match=r"^feature_required: .*; allowed: the name of a flag: .*; lower-case"):
        feature_required(wrong)


class Plain:
    """A class of another kind."""

    def __call__(self) -> None: ...


class OwnRoute(BaseRoute):
    """A route without an app."""


@pytest.mark.parametrize(
    "wrong", ["invoices", None, Plain, Plain(), partial(Plain), Starlette(), StaticFiles, OwnRoute(), Router()]
)
def test_what_cannot_be_gated_is_said_at_once(wrong: Any) -> None:
    """An app can be called, but with what the gate does not give it."""
    allowed = "an endpoint function or class, or a Route, WebSocketRoute, Mount or Host"
    with pytest.raises(SettingError, match=rf"^feature_required: .*; allowed: {allowed}"):
        feature_required("banner")(wrong)


@pytest.mark.parametrize("wrong", ["old_invoices", "https://example.com/", "", 7, Invoices])
def test_what_is_no_endpoint_and_no_path_is_said_at_once(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^otherwise: .*; allowed: an endpoint function, or a path that begins"):
        feature_required("banner", otherwise=wrong)


# --- templates ----------------------------------------------------------------------------------

LINK = '{% if feature("tiered") %}new{% else %}old{% endif %}'
PAGES = {
    "nav.html": f"{{% macro link() %}}{LINK}{{% endmacro %}}",
    "base.html": f"{LINK} {{% block body %}}{{% endblock %}} {{% include 'foot.html' %}}",
    "foot.html": LINK,
    "page.html": "{% extends 'base.html' %}{% block body %}"
    "{% from 'nav.html' import link with context %}{{ link() }}{% endblock %}",
}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_template_asks(board: Switchboard, is_async: bool) -> None:
    environment = Environment(loader=DictLoader(PAGES), autoescape=True)
    templates = Jinja2Templates(env=environment, context_processors=[feature_processor])

    def sync_page(request: Request) -> Response:
        return templates.TemplateResponse(request, "page.html")

    async def async_page(request: Request) -> Response:
        return templates.TemplateResponse(request, "page.html")

    app = create_app(board.on("tiered"), Route("/new", async_page if is_async else sync_page))
    assert answers(app, "/new?tier=pro") == (200, "new new new")
    assert answers(app) == (200, "old old old")
    assert board.counted("tiered") == {"on": (1, 0), "off": (1, 0)}


def test_an_error_page_asks_too(board: Switchboard) -> None:
    templates = Jinja2Templates(env=Environment(loader=DictLoader(PAGES)), context_processors=[feature_processor])

    async def error(request: Request, error: Exception) -> Response:
        return templates.TemplateResponse(request, "foot.html", status_code=500)

    class Broken(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            raise LookupError

    app = create_app(board.on("tiered"), Route("/broken", Broken))
    app.add_exception_handler(404, error)
    app.add_exception_handler(Exception, error)  # outside of all middleware: it is answered, and in no count
    client = TestClient(app, raise_server_exceptions=False)
    assert [client.get(path).text for path in ("/broken?tier=pro", "/never?tier=pro", "/never")] == [
        "new",
        "new",
        "old",
    ]
    assert board.counted("tiered") == {"on": (1, 1), "off": (1, 1)}
