"""Django REST framework authenticates in the view: flags are asked after it has."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from rest_framework.authentication import (  # type: ignore[import-untyped]  # it has no types
    BasicAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)
from rest_framework.authtoken.models import Token  # type: ignore[import-untyped]
from rest_framework.decorators import (  # type: ignore[import-untyped]
    api_view,
    authentication_classes,
    permission_classes,
)
from rest_framework.permissions import IsAuthenticated  # type: ignore[import-untyped]
from rest_framework.response import Response  # type: ignore[import-untyped]
from rest_framework.routers import SimpleRouter  # type: ignore[import-untyped]
from rest_framework.test import APIRequestFactory, force_authenticate  # type: ignore[import-untyped]
from rest_framework.views import APIView  # type: ignore[import-untyped]
from rest_framework.viewsets import ViewSet  # type: ignore[import-untyped]

from flaggate.contrib.django import FeatureRequiredMixin, feature_required, flags_from
from flaggate.contrib.django.rest_framework import FeatureRequired
from flaggate.errors import SettingError
from tests.contrib.django.scenes import ShopBoard, client_of

pytestmark = [pytest.mark.urls("tests.contrib.django.test_rest_framework"), pytest.mark.django_db]

ALL = (TokenAuthentication, BasicAuthentication, SessionAuthentication)


class Invoices(APIView):  # type: ignore[misc]  # of no type, as all of these
    authentication_classes = ALL
    permission_classes: Any = (FeatureRequired,)
    feature = "team"

    def get(self, request: Any) -> Response:
        return Response(str(request.user))

    post = get


class SignedIn(Invoices):
    permission_classes = (IsAuthenticated, FeatureRequired)


class Asks(Invoices):
    """Without a gate."""

    permission_classes = ()

    def get(self, request: Any) -> Response:
        return Response([request.flags["team"], flags_from(request)["team"]])


class Nameless(Invoices):
    feature = None  # type: ignore[assignment]  # on purpose


class Mistyped(Invoices):
    feature = "New_Team"


class TeamOnly(FeatureRequired):
    feature = "team"


class BannerOnly(FeatureRequired):
    feature = "banner"


@api_view(["GET"])  # type: ignore[untyped-decorator]  # as all of these
@authentication_classes(ALL)  # type: ignore[untyped-decorator]
@permission_classes([TeamOnly])  # type: ignore[untyped-decorator]
def by_function(request: Any) -> Response:
    return Response(str(request.user))


@feature_required("team")
class GatedOutside(ViewSet):  # type: ignore[misc]
    """Asked before the framework has authenticated: for those of the project's own sessions."""

    def list(self, request: Any) -> Response:
        return Response(str(request.user))


class MixedOutside(FeatureRequiredMixin, ViewSet):  # type: ignore[misc]
    feature = "team"

    def list(self, request: Any) -> Response:
        return Response(str(request.user))


def asks_before(get_response: Any) -> Any:
    """A middleware that asks a flag when nobody is known yet."""

    def middleware(request: HttpRequest) -> HttpResponse:
        before = flags_from(request)["team"]
        response: HttpResponse = get_response(request)
        response.headers["Before"] = f"{before} {flags_from(request)['team']}"
        return response

    return middleware


router = SimpleRouter()
router.register("outside", GatedOutside, basename="outside")
router.register("mixed", MixedOutside, basename="mixed")
urlpatterns = [
    path("invoices", Invoices.as_view()),
    path("signed-in", SignedIn.as_view()),
    path("asks", Asks.as_view()),
    path("nameless", Nameless.as_view()),
    path("mistyped", Mistyped.as_view()),
    path("function", by_function),
    path("", include(router.urls)),
]


def by_token(user: User) -> dict[str, str]:
    return {"Authorization": f"Token {Token.objects.create(user=user)}"}


def by_password(user: User) -> dict[str, str]:
    user.set_password("secret")
    user.save()
    return {"Authorization": f"Basic {b64encode(f'{user}:secret'.encode()).decode()}"}


@pytest.fixture
def staff(board: ShopBoard, ada: User) -> User:
    board.on("team")
    return ada


@pytest.mark.parametrize("url", ["/invoices", "/signed-in", "/function"])
@pytest.mark.parametrize("credentials", [by_token, by_password])
def test_who_comes_with_credentials(staff: User, bob: User, url: str, credentials: Any) -> None:
    for user, status in ((staff, 200), (bob, 404)):
        response = Client().get(url, headers=credentials(user))
        assert response.status_code == status
        assert response.headers["Vary"].startswith("Accept") or "Authorization" in response.headers["Vary"]
    assert response.json() == {"detail": "Not found."}


@pytest.mark.parametrize("url", ["/invoices", "/signed-in", "/function"])
def test_who_has_a_session(staff: User, bob: User, url: str) -> None:
    assert client_of(staff).get(url).json() == "ada"
    assert client_of(bob).get(url).status_code == 404
    assert client_of().get(url).status_code == (401 if url == "/signed-in" else 404)
    assert Client().get(url, headers={"Authorization": "Token nonsense"}).status_code == 401


def test_the_framework_still_protects_sessions(staff: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    assert client.post("/invoices").status_code == 403
    assert client.post("/invoices", headers=by_token(staff)).json() == "ada"


def test_flags_without_a_gate_are_those_of_who_was_authenticated(staff: User, board: ShopBoard) -> None:
    assert Client().get("/asks", headers=by_token(staff)).json() == [True, True]
    assert Client().get("/asks").json() == [False, False]
    assert board.counted("team") == {"on": (1, 0), "off": (1, 0)}


@pytest.mark.parametrize("url", ["/invoices", "/asks"])
def test_what_was_asked_before_is_decided_again(staff: User, board: ShopBoard, settings: Any, url: str) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.contrib.django.test_rest_framework.asks_before"]
    response = Client().get(url, headers=by_token(staff))
    assert (response.status_code, response.headers["Before"]) == (200, "False True")
    response = client_of(staff).get(url)
    assert (response.status_code, response.headers["Before"]) == (200, "True True")
    assert board.counted("team") == {"on": (1, 0)}  # the first one's answers differ


def test_the_frameworks_own_pages(staff: User) -> None:
    """Its browser asks permissions while it renders, too."""
    page = client_of().get("/invoices", headers={"Accept": "text/html"})
    assert (page.status_code, "Not found." in page.content.decode()) == (404, True)
    assert client_of(staff).get("/invoices", headers={"Accept": "text/html"}).status_code == 200
    assert client_of().options("/invoices").status_code == 404


WITH_OTHERS: list[tuple[Any, str]] = [
    (IsAuthenticated & TeamOnly, "401 404 200"),
    (TeamOnly & IsAuthenticated, "404 404 200"),
    (TeamOnly | IsAuthenticated, "401 200 200"),
    (IsAuthenticated | TeamOnly, "401 200 200"),
    (~TeamOnly, "200 200 403"),
    (~TeamOnly & IsAuthenticated, "401 200 403"),
    (IsAuthenticated & ~TeamOnly, "401 200 403"),
    (TeamOnly & BannerOnly, "404 404 404"),
    (TeamOnly | ~BannerOnly, "200 200 200"),
    ((TeamOnly & BannerOnly) | IsAuthenticated, "401 200 200"),
    (IsAuthenticated | (BannerOnly & TeamOnly), "404 200 200"),
    (~(IsAuthenticated & TeamOnly), "200 200 403"),
    (~(~TeamOnly), "401 403 200"),
    ((TeamOnly & IsAuthenticated) & ~BannerOnly, "404 404 200"),
]
"""What nobody, somebody without the flag, and who has it get."""


@pytest.mark.parametrize(("permission", "statuses"), WITH_OTHERS, ids=range(len(WITH_OTHERS)))
def test_in_an_expression(staff: User, bob: User, permission: Any, statuses: str) -> None:
    class Page(Invoices):
        permission_classes = (permission,)

        def get(self, request: Any) -> Response:
            self.check_object_permissions(request, object())
            return Response("page")

    def asked(user: User | None) -> str:
        request = APIRequestFactory().get("/", headers={} if user is None else by_token(user))
        return str(Page.as_view()(request).status_code)

    assert " ".join(map(asked, (None, bob, staff))) == statuses


def test_the_same_expression_is_one_permission() -> None:
    assert (TeamOnly | IsAuthenticated) == (TeamOnly | IsAuthenticated)
    assert len({TeamOnly & IsAuthenticated, TeamOnly & IsAuthenticated, IsAuthenticated & TeamOnly}) == 2


@pytest.mark.parametrize("url", ["/outside/", "/mixed/"])
def test_a_gate_outside_asks_before_the_framework_authenticates(staff: User, url: str) -> None:
    assert client_of(staff).get(url).json() == "ada"
    assert client_of().get(url).status_code == 404
    assert Client().get(url, headers=by_token(staff)).status_code == 404


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/nameless", r"Nameless.feature: \(not set\); allowed: the name of a flag; lower-case"),
        ("/mistyped", r"Mistyped.feature: New_Team; allowed: the name of a flag; lower-case"),
    ],
)
def test_a_view_without_a_feature_says_so(board: ShopBoard, url: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Client().get(url)


def test_a_permission_with_a_wrong_feature_says_so(board: ShopBoard) -> None:
    class Wrong(FeatureRequired):
        feature = "New_Team"

    with pytest.raises(SettingError, match=r"Wrong.feature: New_Team; allowed"):
        Wrong().has_permission(None, Invoices())


def test_a_views_own_test(staff: User) -> None:
    request = APIRequestFactory().get("/")
    force_authenticate(request, staff)
    assert Invoices.as_view()(request).data == "ada"
    assert Invoices.as_view()(APIRequestFactory().get("/")).status_code == 404
