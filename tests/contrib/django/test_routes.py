"""Paths that are there only for those who have a flag, by FLAGGATE_ROUTES."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.contrib.django.scenes import ShopBoard, client_of, get_async, got
from tests.contrib.django.shop.urls import handler404
from tests.web.scenes import ask_wsgi, http_environ

__all__ = ["handler404"]

pytestmark = [pytest.mark.urls("tests.contrib.django.test_routes"), pytest.mark.django_db]

ROUTES = {"/v2/gone/*": "team", "/v2/*": ("team", "/v1/*"), "/free": "banner"}


def page(request: HttpRequest, name: str = "") -> HttpResponse:
    return HttpResponse(f"{request.path_info} {request.path} {request.build_absolute_uri()} {request.POST.get('sum')}")


async def page_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.path)


urlpatterns = [
    path("v1/<name>", page),
    path("v2/<name>", page),
    path("v2/gone/<name>", page),
    path("v1/async/", page_async),
    path("v2/async/", page_async),
    path("free", page_async),
]


@pytest.fixture
def staff(settings: Any, ada: User) -> User:
    settings.FLAGGATE_ROUTES = ROUTES
    ShopBoard().on("team")
    return ada


def test_another_path_is_served(staff: User) -> None:
    new, old = client_of(staff), client_of()
    where = "http://testserver/v2/x?q"
    assert got(new.post("/v2/x?q", {"sum": 7})) == (200, f"/v2/x /v2/x {where} 7")
    assert got(old.post("/v2/x?q", {"sum": 7})) == (200, "/v1/x /v1/x http://testserver/v1/x?q 7")
    assert got(get_async("/v2/async/", staff)) == (200, "/v2/async/")
    assert got(get_async("/v2/async/")) == (200, "/v1/async/")
    assert old.get("/v1/x").content == b"/v1/x /v1/x http://testserver/v1/x None"


def test_a_path_is_not_there_and_the_project_says_so(staff: User) -> None:
    assert client_of(staff).get("/v2/gone/x").status_code == 200
    for response in (client_of().get("/v2/gone/x"), get_async("/v2/gone/x"), get_async("/free")):
        assert got(response) == (404, "nothing here, says the shop")
    assert get_async("/v2/gone/x", staff).status_code == 200


def test_what_is_counted(staff: User) -> None:
    board = ShopBoard()
    client_of().get("/v2/gone/x")
    get_async("/v2/gone/x")
    client_of().get("/v2/x")
    assert board.counted("team") == {"off": (3, 0)}


def test_below_a_prefix(staff: User, settings: Any) -> None:
    """The table has the paths of the project, wherever it is mounted."""
    answer = ask_wsgi(WSGIHandler(), http_environ("/v2/x", SCRIPT_NAME="/shop"))
    assert answer.body == b"/v1/x /shop/v1/x http://127.0.0.1/shop/v1/x None"
    settings.FORCE_SCRIPT_NAME = "/forced"
    answer = ask_wsgi(WSGIHandler(), http_environ("/v2/x"))
    assert answer.body == b"/v1/x /forced/v1/x http://127.0.0.1/forced/v1/x None"
    assert get_async("/forced/v2/async/").content == b"/forced/v1/async/"
    assert get_async("/forced/free").status_code == 404
