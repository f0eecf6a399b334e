"""What responses say to caches, and what Django's own caches keep."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_control, cache_page
from django.views.decorators.vary import vary_on_headers

from flaggate.contrib.django import feature_required, flags_from, gate
from tests.contrib.django.scenes import ShopBoard, client_of, get_async
from tests.contrib.django.shop.urls import urlpatterns as shop_paths

pytestmark = pytest.mark.urls("tests.contrib.django.test_caching")

SERVED: list[str] = []


def page(request: HttpRequest, name: str) -> HttpResponse:
    SERVED.append(name)
    return HttpResponse(f"{flags_from(request)[name]}")


def listing(request: HttpRequest) -> HttpResponse:
    """What somebody has, all of it."""
    return HttpResponse(str(gate().decisions()["team"].is_on))


@cache_control(public=True, max_age=60)
@vary_on_headers("Accept-Language")
def public(request: HttpRequest, name: str) -> HttpResponse:
    response = page(request, name)
    response.headers["Surrogate-Control"] = "max-age=60"
    return response


def visited(request: HttpRequest) -> HttpResponse:
    request.session["n"] = 1
    return page(request, "tried")


def old(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse("old")


def asks_before(get_response: Any) -> Any:
    """A middleware of the shop's, which asks for its log."""

    def middleware(request: HttpRequest) -> HttpResponse:
        flags_from(request)["team"]
        gate().decisions()
        return get_response(request)  # type: ignore[no-any-return]  # whatever it is

    return middleware


def peeks(view: Any) -> Any:
    """A decorator of the shop's, which asks for its log."""

    def peeking(request: HttpRequest, name: str) -> HttpResponse:
        flags_from(request)["team"]
        return view(request, name)  # type: ignore[no-any-return]  # whatever it is

    return peeking


def says(request: HttpRequest, name: str) -> HttpResponse:
    """What its decorator found out."""
    return page(request, "team")


urlpatterns = [
    *shop_paths,
    path("page/<name>", page),
    path("public/<name>", public),
    path("visited", visited),
    path("cached/<name>", cache_page(60)(page)),
    path("listing", cache_page(60)(listing)),
    path("gated/<name>", feature_required("team", otherwise=old)(cache_page(60)(page))),
    path("both/<name>", feature_required("team", otherwise=cache_page(60)(old))(cache_page(60)(page))),
    path("peeked/<name>", peeks(cache_page(60)(page))),
    path("told/<name>", peeks(cache_page(60)(says))),
    path("above/<name>", cache_page(60)(feature_required("team", otherwise=old)(page))),
]
EVERYWHERE = ["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]
BEFORE = "tests.contrib.django.test_caching.asks_before"


def text(user: User | None, url: str) -> str:
    return client_of(user).get(url).content.decode()


def served(url: str, *users: User | None) -> list[str]:
    """What each of them sees, one after the other; and with it how often the view was called for it."""
    SERVED.clear()
    return [*(text(user, url) for user in users), f"{len(SERVED)} times"]


# --- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "control", "vary"),
    [
        ("banner", None, None),
        ("nobodys", None, None),
        ("local", "private", None),
        ("team", "private", "Cookie, Authorization"),
        ("tried", "private", "Cookie"),
    ],
)
def test_a_response_says_on_whom_it_depends(board: ShopBoard, name: str, control: str | None, vary: str | None) -> None:
    board.on("banner", "local", "team")
    board.start("tried")
    for kind in ("ask", "stream", "file"):
        headers = client_of().get(f"/{kind}/{name}").headers
        assert (headers.get("Cache-Control"), headers.get("Vary")) == (control, vary)
    for kind in ("aask", "astream"):
        headers = get_async(f"/{kind}/{name}").headers
        assert (headers.get("Cache-Control"), headers.get("Vary")) == (control, vary)


def test_what_the_project_says_itself_is_kept(board: ShopBoard) -> None:
    board.on("banner", "team")
    headers = client_of().get("/public/banner").headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("public, max-age=60", "Accept-Language")
    assert headers["Surrogate-Control"] == "max-age=60"
    headers = client_of().get("/public/team").headers
    assert (headers["Cache-Control"], headers["Vary"]) == (
        "max-age=60, private",
        "Accept-Language, Cookie, Authorization",
    )
    assert "Surrogate-Control" not in headers


def test_the_404_of_a_gate_says_it_too(board: ShopBoard, settings: Any) -> None:
    settings.FLAGGATE_ROUTES = {"/page/*": "team"}
    board = ShopBoard()
    board.on("team")
    for response in (client_of().get("/page/banner"), get_async("/page/banner")):
        assert (response.status_code, response.headers["Cache-Control"]) == (404, "private")


def test_the_session_and_the_visitor_each_have_their_cookie(board: ShopBoard) -> None:
    board.start("tried")
    client = client_of()
    first = client.get("/visited")
    cookie = first.cookies["flaggate_visitor"]
    assert (bool(cookie["httponly"]), cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", "")
    assert sorted(first.cookies) == ["flaggate_visitor", "sessionid"]
    again = client.get("/visited")
    assert again.content == first.content
    assert sorted(again.cookies) == ["sessionid"]
    assert client_of().get("/visited", secure=True).cookies["flaggate_visitor"]["secure"]
    assert get_async("/aask/tried").cookies["flaggate_visitor"]["httponly"]


def test_the_visitors_cookie_is_secure_where_the_projects_are(board: ShopBoard, settings: Any) -> None:
    board.start("tried")

    def is_secure(said: str) -> list[bool]:
        headers = {"X-Forwarded-Proto": said}
        responses = client_of().get("/ask/tried", headers=headers), get_async("/aask/tried", headers=headers)
        return [bool(response.cookies["flaggate_visitor"]["secure"]) for response in responses]

    assert is_secure("https") == [False, False]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert is_secure("https") == [True, True]
    assert is_secure("http") == [False, False]


# --- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_everywhere", [False, True])
def test_what_depends_on_who_asks_is_never_kept(
    board: ShopBoard, ada: User, settings: Any, is_everywhere: bool
) -> None:
    board.on("team", "banner")
    url = "/page" if is_everywhere else "/cached"
    if is_everywhere:
        settings.MIDDLEWARE = [EVERYWHERE[0], *settings.MIDDLEWARE, EVERYWHERE[1]]
    assert served(f"{url}/team", ada, None, ada) == ["True", "False", "True", "3 times"]
    assert served(f"{url}/local", None, None) == ["False", "False", "1 times"]  # off: it reads nothing of anybody
    board.on("local")
    assert served(f"{url}/local?on", None, None) == ["False", "False", "2 times"]
    assert served(f"{url}/banner", ada, None, ada) == ["True", "True", "True", "1 times"]


def test_nor_what_was_asked_before_the_cache_looked(board: ShopBoard, ada: User, settings: Any) -> None:
    """It is answered from the visit then, and depends on who asks all the same; nobody can tell what became of it."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, BEFORE]
    board.on("team", "banner")
    assert served("/cached/team", ada, None, ada) == ["True", "False", "True", "3 times"]
    assert served("/cached/banner", None, None) == ["True", "True", "2 times"]


@pytest.mark.parametrize("is_listed", [False, True])
def test_nor_a_list_of_decisions(board: ShopBoard, ada: User, settings: Any, is_listed: bool) -> None:
    if is_listed:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, BEFORE]
    board.on("team")
    assert [text(user, "/listing") for user in (ada, None, ada)] == ["True", "False", "True"]


def test_a_gate_outside_of_a_cache_lets_only_those_in_who_have_it(board: ShopBoard, ada: User) -> None:
    board.on("team", "banner")
    assert served("/gated/banner", ada, None, ada) == ["True", "old", "True", "2 times"]
    assert served("/gated/team", ada, None, ada) == ["True", "old", "True", "2 times"]
    assert served("/above/banner", ada, None, ada) == ["True", "old", "True", "2 times"]


@pytest.mark.parametrize("first_is_in", [True, False])
def test_a_gate_between_two_cached_views_shows_nobody_the_others(
    board: ShopBoard, ada: User, first_is_in: bool
) -> None:
    """Both are kept by the same address, if they are."""
    board.on("team", "banner")
    who = [ada, None] if first_is_in else [None, ada]
    seen = ["True", "old"] if first_is_in else ["old", "True"]
    assert served("/both/banner", *who, *who)[:-1] == [*seen, *seen]


def test_a_cache_below_a_decorator_that_asked_keeps_nothing(board: ShopBoard, ada: User) -> None:
    board.on("team", "banner")
    assert served("/told/banner", ada, None, ada) == ["True", "False", "True", "3 times"]
    assert served("/peeked/banner", ada, None) == ["True", "True", "2 times"]


def test_a_request_stays_what_it_was(board: ShopBoard, ada: User, rf: Any) -> None:
    """But for that: by the names that a log or a debugger shows."""
    board.on("team")
    request = rf.get("/")
    request.user = ada
    kind = type(request)
    for _ in range(2):
        assert flags_from(request)["team"]
        flags_from(request).identify()
    assert isinstance(request, kind)
    assert type(request).__mro__[1] is kind
    assert (repr(type(request)), repr(request)) == (repr(kind), "<WSGIRequest: GET '/'>")
