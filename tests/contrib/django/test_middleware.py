"""The middleware in its stack: sync and async, in front of views of both kinds, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware

from flaggate.contrib.django import FlaggateMiddleware, aflags_from, feature_required, flags_from, gate
from flaggate.errors import SettingError
from tests.contrib.django.scenes import ShopBoard, client_of, get_async, got
from tests.contrib.django.shop.urls import handler404

__all__ = ["handler404"]

pytestmark = pytest.mark.urls("tests.contrib.django.test_middleware")

HERE = "tests.contrib.django.test_middleware"


def noted(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """What a middleware inside sees, before and after."""
    assert gate().current.get() is request.flags  # type: ignore[attr-defined]  # as the middleware sets it
    response.headers["Seen"] = f"{flags_from(request)['team']}"
    return response


@sync_only_middleware
def sync_only(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> HttpResponse:
        return noted(request, get_response(request))

    return middleware


@async_only_middleware
def async_only(get_response: Any) -> Any:
    async def middleware(request: HttpRequest) -> HttpResponse:
        return noted(request, await get_response(request))

    return middleware


@sync_and_async_middleware
def of_both(get_response: Any) -> Any:
    return (async_only if iscoroutinefunction(get_response) else sync_only)(get_response)


@sync_only_middleware
def sync_outside(get_response: Any) -> Any:
    return lambda request: get_response(request)


class OfTheShop(FlaggateMiddleware):
    """A project's own."""


@feature_required("team")
def page(request: HttpRequest) -> HttpResponse:
    visit = gate().current.get()
    return HttpResponse(f"{visit is flags_from(request)} {gate().is_on('team')} {flags_from(request)['team']}")


@feature_required("team")
async def page_async(request: HttpRequest) -> HttpResponse:
    visit = gate().current.get()
    flags = await aflags_from(request, "team")
    return HttpResponse(f"{visit is flags} {gate().is_on('team')} {flags['team']}")


def within(request: HttpRequest) -> HttpResponse:
    """Asks a page of its own project, as somebody else."""
    inside = Client().get("/page").status_code
    return HttpResponse(f"{inside} {flags_from(request)['team']} {gate().is_on('team')}")


def in_thread(request: HttpRequest) -> HttpResponse:
    found: list[bool] = []
    flags_from(request)["team"]  # the user is looked up here: a thread has another connection
    ask = partial(gate().is_on, "team")
    for one in (lambda: flags_from(request)["team"], ask, partial(copy_context().run, ask)):
        thread = threading.Thread(target=lambda asked=one: found.append(asked()))
        thread.start()
        thread.join()
    return HttpResponse(str(found))


urlpatterns = [
    path("page", page),
    path("apage", page_async),
    path("within", within),
    path("thread", in_thread),
]


@pytest.fixture
def staff(board: ShopBoard, ada: User) -> User:
    board.on("team")
    return ada


@pytest.mark.parametrize("inside", [None, "sync_only", "async_only", "of_both"])
@pytest.mark.parametrize("outside", [None, "sync_outside"])
@pytest.mark.parametrize("url", ["/page", "/apage"])
def test_a_mixed_stack(
    board: ShopBoard, staff: User, settings: Any, url: str, inside: str | None, outside: str | None
) -> None:
    """One visit, whatever is sync and whatever is async."""
    mixed = [*settings.MIDDLEWARE]
    if inside:
        mixed.append(f"{HERE}.{inside}")
    if outside:
        mixed.insert(0, f"{HERE}.{outside}")
    settings.MIDDLEWARE = mixed
    for response in (client_of(staff).get(url), get_async(url, staff)):
        assert got(response) == (200, "True True True")
        assert response.headers.get("Seen") == (inside and "True")
    for response in (client_of().get(url), get_async(url)):
        assert got(response) == (404, "nothing here, says the shop")
    assert board.counted("team") == {"on": (2, 0), "off": (2, 0)}
    assert gate().current.get() is None


def test_a_request_within_a_request(staff: User) -> None:
    assert client_of(staff).get("/within").content == b"404 True True"


def test_a_thread_that_a_request_starts(staff: User) -> None:
    """It knows nothing of the request, but what it is given."""
    assert client_of(staff).get("/thread").content == b"[True, False, True]"


def test_requests_side_by_side_on_one_loop(staff: User) -> None:
    mine, others = AsyncClient(), AsyncClient()
    mine.force_login(staff)

    async def both() -> list[int]:
        answers = await asyncio.gather(*(client.get("/apage") for client in (mine, others) * 3))
        return [answer.status_code for answer in answers]

    assert async_to_sync(both)() == [200, 404] * 3


def test_the_first_request_of_a_process_on_a_loop(board: ShopBoard) -> None:
    """It waits for the flags in a thread."""
    board.on("banner")
    board.gate.ready = None
    assert get_async("/page").status_code == 404
    assert board.gate.ready is not None


def test_a_middleware_of_the_projects_own(staff: User, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:-1], f"{HERE}.OfTheShop"]
    assert client_of(staff).get("/page").status_code == 200


def test_a_project_without_the_app_says_so(settings: Any) -> None:
    """Its templates would have no tag, its settings no check, and its terminal no command."""
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "flaggate.contrib.django"]
    said = r"INSTALLED_APPS: \(without flaggate.contrib.django\); allowed: \[..., \"flaggate.contrib.django\"\]"
    with pytest.raises(SettingError, match=said):
        Client().get("/page")


def test_wrong_settings_are_refused_at_start(settings: Any) -> None:
    """Not when the first visitor comes."""
    settings.FLAGGATE_ROUTES = ["/v2/*"]
    with pytest.raises(SettingError, match=r"FLAGGATE_ROUTES: \['/v2/\*'\]; allowed: a table"):
        FlaggateMiddleware(lambda request: HttpResponse())
