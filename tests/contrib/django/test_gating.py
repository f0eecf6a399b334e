"""Views, view classes and URL trees that are there only for those who have a flag."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import include, path, re_path, reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView

from flaggate.contrib.django import FeatureRequiredMixin, feature_required, flags_from
from flaggate.errors import SettingError
from tests.contrib.django.scenes import ShopBoard, client_of, get_async, got
from tests.web.scenes import ask_wsgi, http_environ

pytestmark = pytest.mark.urls("tests.contrib.django.test_gating")

NOT_THERE = (404, "nothing here, says the shop")


def sync_new(request: HttpRequest, number: int = 0, *, kind: str = "page") -> HttpResponse:
    """The new page."""
    return HttpResponse(f"new {kind} {number}")


async def async_new(request: HttpRequest, number: int = 0, *, kind: str = "page") -> HttpResponse:
    """The new page, async."""
    return HttpResponse(f"new {kind} {number}")


def sync_old(request: HttpRequest, number: int = 0, *, kind: str = "page") -> HttpResponse:
    return HttpResponse(f"old {kind} {number}")


async def async_old(request: HttpRequest, number: int = 0, *, kind: str = "page") -> HttpResponse:
    return HttpResponse(f"old {kind} {number}")


class Invoices(View):
    """Invoices of one kind."""

    kind = "invoices"

    def get(self, request: HttpRequest, number: int = 0) -> HttpResponse:
        return HttpResponse(f"new {self.kind} {number}")

    def post(self, request: HttpRequest, number: int = 0) -> HttpResponse:
        return HttpResponse("made", status=201)


class AsyncInvoices(View):
    async def get(self, request: HttpRequest, number: int = 0) -> HttpResponse:
        return HttpResponse(f"new async {number}")


@feature_required("team", otherwise=sync_old)
class GatedInvoices(Invoices):
    pass


class MoreInvoices(GatedInvoices):
    kind = "more"


@feature_required("banner")
class TwiceGated(GatedInvoices):
    pass


@feature_required("team")
class GatedAsync(AsyncInvoices):
    pass


class Mixed(FeatureRequiredMixin, TemplateView):
    feature = "team"
    template_name = "part.html"


class MixedAsync(FeatureRequiredMixin, AsyncInvoices):
    feature = "team"
    otherwise = async_old


class MixedForOthers(Mixed):
    feature = "banner"


class ByMethod(View):
    @method_decorator(feature_required("team"))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("new method")

    @feature_required("team")
    def post(self, request: HttpRequest) -> HttpResponse:
        """Gated the wrong way."""
        return HttpResponse("new method")


@method_decorator(feature_required("team"), name="get")
class ByAsyncMethod(AsyncInvoices):
    pass


@method_decorator(feature_required("team", otherwise=sync_old), name="dispatch")
class ByDispatch(Invoices):
    pass


@method_decorator(feature_required("team"), name="dispatch")
class ByAsyncDispatch(AsyncInvoices):
    pass


@method_decorator([login_required, feature_required("team", otherwise=async_old)], name="dispatch")
class ByAsyncDispatchOr(AsyncInvoices):
    pass


def both(otherwise: Any) -> list[Any]:
    """A sync view and an async one with this beside it."""
    words = getattr(otherwise, "__name__", otherwise and "path")
    return [
        path(f"{kind}/{words}/<int:number>", feature_required("team", otherwise)(view), {"kind": "invoice"})
        for kind, view in (("sync", sync_new), ("async", async_new))
    ]


tree: list[Any] = [
    path("", sync_new, name="home"),
    path("async/<int:number>", async_new, name="async"),
    path("deeper/", include(([re_path(r"^(?P<number>\d+)$", Invoices.as_view(), name="one")], "deep"))),
]

urlpatterns = [
    *(pattern for otherwise in (None, sync_old, async_old, "/elsewhere") for pattern in both(otherwise)),
    path("partial", feature_required("team")(partial(sync_new, kind="partial"))),
    path("class/<int:number>", GatedInvoices.as_view()),
    path("more/<int:number>", MoreInvoices.as_view(kind="most")),
    path("twice", TwiceGated.as_view()),
    path("async-class", GatedAsync.as_view()),
    path("mixed", Mixed.as_view()),
    path("mixed-async/<int:number>", MixedAsync.as_view()),
    path("mixed-others", MixedForOthers.as_view()),
    path("method", ByMethod.as_view()),
    path("async-method", ByAsyncMethod.as_view()),
    path("dispatch/<int:number>", ByDispatch.as_view()),
    path("async-dispatch", ByAsyncDispatch.as_view()),
    path("async-dispatch-or/<int:number>", ByAsyncDispatchOr.as_view()),
    feature_required("team")(path("one/<int:number>", sync_new, {"kind": "line"}, name="one")),
    feature_required("team", otherwise=sync_old)(re_path(r"^re/(?P<number>\d+)$", async_new, name="re")),
    feature_required("team")(path("v2/", include((tree, "v2"), namespace="second"), {"kind": "tree"})),
    path("exempt", csrf_exempt(feature_required("team")(sync_new))),
    path("exempt-below", feature_required("team")(csrf_exempt(async_new))),
    path("exempt-one", feature_required("team", otherwise=sync_old)(csrf_exempt(sync_new))),
    path("exempt-both", feature_required("team", otherwise=csrf_exempt(async_old))(csrf_exempt(async_new))),
    path("login-below", feature_required("team")(login_required(sync_new))),
    path("login-above", login_required(feature_required("team", otherwise=sync_old)(async_new))),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("nothing here, says the shop", status=404)


@pytest.fixture
def staff(board: ShopBoard, ada: User) -> Client:
    """Somebody who has the flag."""
    board.on("team")
    return client_of(ada)


# --- functions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_view_is_there_for_those_who_have_the_flag_and_for_others_it_is_not(staff: Client, kind: str) -> None:
    assert got(staff.get(f"/{kind}/None/7")) == (200, "new invoice 7")
    assert got(Client().get(f"/{kind}/None/7")) == got(Client().get("/never-was")) == NOT_THERE


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("old", ["sync_old", "async_old"])
def test_another_view_is_called_with_the_same_arguments(staff: Client, kind: str, old: str) -> None:
    assert got(staff.get(f"/{kind}/{old}/7")) == (200, "new invoice 7")
    assert got(Client().get(f"/{kind}/{old}/7")) == (200, "old invoice 7")


@pytest.mark.parametrize("url", ["/sync/None/7", "/async/None/7", "/sync/async_old/7", "/async/sync_old/7", "/v2/"])
def test_on_an_event_loop(staff: Client, ada: User, url: str) -> None:
    """With a user of the database: it is looked up in a thread."""
    assert got(get_async(url, ada))[1].startswith("new")
    assert not got(get_async(url))[1].startswith("new")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_path_is_redirected_to_within_the_project(board: ShopBoard, db: None, kind: str) -> None:
    for prefix in ("", "/below"):
        answer = ask_wsgi(WSGIHandler(), http_environ(f"/{kind}/path/7", SCRIPT_NAME=prefix))
        assert (answer.status, dict(answer.headers)["Location"]) == (302, f"{prefix}/elsewhere")


def test_what_can_be_called_like_a_view_is_one(staff: Client) -> None:
    assert got(staff.get("/partial")) == (200, "new partial 0")
    assert got(Client().get("/partial")) == NOT_THERE


def test_a_gated_view_keeps_its_name() -> None:
    assert feature_required("team")(sync_new).__name__ == "sync_new"
    assert feature_required("team")(async_new).__doc__ == "The new page, async."


# --- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "new", "old"),
    [
        ("/class/7", "new invoices 7", (200, "old page 7")),
        ("/more/7", "new most 7", (200, "old page 7")),
        ("/async-class", "new async 0", NOT_THERE),
        ("/mixed-async/7", "new async 7", (200, "old page 7")),
        ("/method", "new method", NOT_THERE),
    ],
)
def test_a_class_and_its_subclasses(staff: Client, url: str, new: str, old: tuple[int, str]) -> None:
    assert got(staff.get(url)) == (200, new)
    assert got(Client().get(url)) == old


@pytest.mark.parametrize(
    ("url", "new", "old"),
    [
        ("/async-method", "new async 0", NOT_THERE),
        ("/dispatch/7", "new invoices 7", (200, "old page 7")),
        ("/async-dispatch", "new async 0", NOT_THERE),
        ("/async-dispatch-or/7", "new async 7", (200, "old page 7")),
    ],
)
def test_a_method_that_a_class_names(
    staff: Client, ada: User, bob: User, url: str, new: str, old: tuple[int, str]
) -> None:
    """Also on an event loop, where a dispatch is awaited that is no coroutine function."""
    for user, expected in ((ada, (200, new)), (bob, old)):
        assert got(client_of(user).get(url)) == got(get_async(url, user)) == expected


def test_all_methods_of_a_class(staff: Client) -> None:
    assert got(staff.post("/class/7")) == (201, "made")
    assert got(Client().post("/class/7")) == (200, "old page 7")
    assert staff.delete("/class/7").status_code == 405


def test_gates_one_above_the_other_are_both_to_be_passed(staff: Client, board: ShopBoard) -> None:
    assert got(staff.get("/twice")) == NOT_THERE
    board.on("banner")
    assert got(staff.get("/twice")) == (200, "new invoices 0")
    assert got(Client().get("/twice")) == (200, "old page 0")


def test_a_subclass_of_a_mixin_names_another_feature(staff: Client, board: ShopBoard) -> None:
    assert staff.get("/mixed").status_code == 200
    assert got(Client().get("/mixed")) == NOT_THERE
    assert got(staff.get("/mixed-others")) == NOT_THERE
    board.on("banner")
    assert Client().get("/mixed-others").status_code == 200


# --- paths --------------------------------------------------------------------------------------


def test_a_path_and_a_pattern(staff: Client) -> None:
    assert reverse("one", args=[7]) == "/one/7"
    assert got(staff.get("/one/7")) == (200, "new line 7")
    assert got(Client().get("/one/7")) == NOT_THERE
    assert got(staff.get(reverse("re", kwargs={"number": 7}))) == (200, "new page 7")
    assert got(Client().get("/re/7")) == (200, "old page 7")


@pytest.mark.parametrize(
    ("name", "arguments", "url", "new"),
    [
        ("second:home", {}, "/v2/", "new tree 0"),
        ("second:async", {"number": 7}, "/v2/async/7", "new tree 7"),
    ],
)
def test_a_tree_with_namespaces(staff: Client, name: str, arguments: dict[str, int], url: str, new: str) -> None:
    assert reverse(name, kwargs=arguments) == url
    assert got(staff.get(url)) == (200, new)
    assert got(Client().get(url)) == NOT_THERE


def test_a_tree_within_a_tree(staff: Client) -> None:
    assert reverse("second:deep:one", kwargs={"number": 7}) == "/v2/deeper/7"
    assert got(Client().get("/v2/deeper/7")) == NOT_THERE
    assert got(staff.get("/v2/never-was")) == NOT_THERE
    match: Any = staff.get("/v2/").resolver_match
    assert (match.view_name, match.namespaces) == ("second:home", ["second"])


# --- with other decorators ----------------------------------------------------------------------


def post(url: str, user: User | None = None) -> tuple[int, str]:
    """By a form without its token."""
    client = Client(enforce_csrf_checks=True)
    if user is not None:
        client.force_login(user)
    status, text = got(client.post(url))
    return status, text if status == 200 else ""


def test_who_is_exempt_from_csrf(staff: Client, ada: User) -> None:
    assert post("/one/7", ada) == (403, "")
    for url in ("/exempt", "/exempt-below", "/exempt-both"):
        assert post(url, ada) == (200, "new page 0")
    assert post("/exempt-both") == (200, "old page 0")


def test_a_new_view_that_is_exempt_does_not_open_the_old_one(staff: Client, ada: User) -> None:
    assert post("/exempt-one") == (403, "")
    assert post("/exempt-one", ada) == (403, "")
    assert got(staff.get("/exempt-one")) == (200, "new page 0")


def test_login_required_below_and_above(staff: Client, bob: User) -> None:
    assert got(Client().get("/login-below")) == NOT_THERE
    assert got(staff.get("/login-below")) == (200, "new page 0")
    assert Client().get("/login-above").status_code == 302
    assert got(staff.get("/login-above")) == (200, "new page 0")
    customer = client_of(bob)
    assert got(customer.get("/login-below")) == NOT_THERE
    assert got(customer.get("/login-above")) == (200, "old page 0")


# --- wrong use ----------------------------------------------------------------------------------


class NoView:
    pass


@pytest.mark.parametrize("wrong", [sync_new, "New_Invoicing", "new_invoicing", "", "2nd", "banner\n", None, b"banner"])
def test_a_name_that_no_flag_can_have_is_said_at_once(wrong: Any) -> None:
    """It would be an unknown flag, and so off for ever."""
    allowed = r'the name of a flag: @feature_required\("new-invoicing"\); lower-case letters'
    with pytest.raises(SettingError, match=rf"^feature_required: .*; allowed: {allowed}"):
        feature_required(wrong)


@pytest.mark.parametrize("wrong", ["shop.views.new", None, NoView, [], include("tests.contrib.django.shop.urls")])
def test_what_cannot_be_gated_is_said_at_once(wrong: Any) -> None:
    allowed = r"a view, a View class, or what path\(\) or re_path\(\) gave"
    with pytest.raises(SettingError, match=rf"^feature_required: .*; allowed: {allowed}"):
        feature_required("banner")(wrong)


@pytest.mark.parametrize("wrong", ["old_invoices", "shop:old", "https://example.com/", "", 7, Invoices])
def test_what_is_no_view_and_no_path_is_said_at_once(wrong: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^otherwise: .*; allowed: a view .*as_view.*, or a path that begins with a"
    ):
        feature_required("banner", otherwise=wrong)


def test_a_mixin_that_would_gate_nothing_is_said_at_once() -> None:
    with pytest.raises(SettingError, match=r"Behind: .*; allowed: FeatureRequiredMixin first among the bases"):

        class Behind(View, FeatureRequiredMixin):
            feature = "team"


def test_a_mixin_without_a_feature_says_so() -> None:
    class Nothing(FeatureRequiredMixin, View):
        pass

    with pytest.raises(SettingError, match=r"Nothing.feature: \(not set\); allowed: the name of a flag"):
        Nothing.as_view()


def test_a_gate_on_a_method_says_how_to_write_it(board: ShopBoard) -> None:
    """Its first argument is no request: all would be off, and nobody would see it."""
    with pytest.raises(SettingError, match=r"request: .*ByMethod.*; allowed: .*@method_decorator\(feature_required"):
        ByMethod().post(RequestFactory().post("/method"))


# --- without the middleware ---------------------------------------------------------------------


@pytest.mark.parametrize("view", [feature_required("team", otherwise=sync_old)(sync_new), Mixed.as_view(), sync_new])
def test_a_views_own_test(board: ShopBoard, view: Callable[[HttpRequest], HttpResponseBase]) -> None:
    """Who asks is the user of the request; nothing is counted."""
    board.on("team")
    request = RequestFactory().get("/")
    request.user = User(pk=7, is_staff=True)
    assert view(request).status_code == 200
    assert flags_from(request)["team"]
    request.user = AnonymousUser()
    assert not flags_from(request)["team"]
    assert not flags_from(RequestFactory().get("/"))["team"]
    assert board.counted("team") == {}
