"""Who asks: the user of the request, looked up when a rule reads it; and what the project adds."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import alogin, alogout
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, User
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path
from pytest_django import DjangoAssertNumQueries

from flaggate import Context
from flaggate.contrib.django import aflags_from, flags_from, gate
from flaggate.contrib.django.middleware import is_on_async
from tests.contrib.django.scenes import MEMBER, ShopBoard, client_of, get_async, got
from tests.contrib.django.shop.urls import handler404
from tests.contrib.django.shop.urls import urlpatterns as shop_paths

__all__ = ["handler404"]

pytestmark = pytest.mark.urls("tests.contrib.django.test_who")

SETTING = "tests.contrib.django.test_who"
CALLS: list[str] = []


def who(request: HttpRequest) -> dict[str, Any]:
    """The shop's own: of the account, as it is in the URL."""
    CALLS.append("who")

    def tier() -> str | None:
        CALLS.append("tier")
        return request.GET.get("tier")

    return {"tier": tier, "attributes": {"seats": 12}}


def who_is_nobody(request: HttpRequest) -> None:
    """It need not know."""


def who_by_query(request: HttpRequest) -> dict[str, Any]:
    """Looks at the user at once."""
    return {"attributes": {"seats": 12 if request.user.is_authenticated else 0}}


def who_as_context(request: HttpRequest) -> Context:
    return Context("7", tier="pro")


def who_lately(request: HttpRequest) -> dict[str, Any]:
    """A lookup that waits."""
    return {"attributes": lambda: {"seats": 10 * User.objects.count()}}


def who_fails(request: HttpRequest) -> dict[str, Any]:
    raise LookupError("no account")


def who_fails_lately(request: HttpRequest) -> dict[str, Any]:
    def tier() -> str:
        raise LookupError("no tier")

    return {"tier": tier}


def who_is_a_list(request: HttpRequest) -> Any:
    return ["ada"]


def ask_three(request: HttpRequest) -> HttpResponse:
    flags = flags_from(request)
    return HttpResponse(f"{flags['team']} {flags['personal']} {flags['beta']} {flags['team']}")


async def ask_three_async(request: HttpRequest) -> HttpResponse:
    flags = await aflags_from(request)
    return HttpResponse(f"{flags['team']} {flags['personal']} {flags['beta']} {await is_on_async(flags, 'team')}")


def letter(request: HttpRequest) -> HttpResponse:
    """To another customer."""
    with gate().visit(Context(staff=True)):
        inside = flags_from(request)["team"], gate().is_on("team")
    return HttpResponse(f"{inside} {flags_from(request)['team']}")


async def letter_async(request: HttpRequest) -> HttpResponse:
    with gate().visit(Context(staff=True)):
        inside = (await aflags_from(request))["team"], await is_on_async(flags_from(request), "team")
    return HttpResponse(f"{inside} {(await aflags_from(request))['team']}")


async def sign_in_async(request: HttpRequest, name: str, user: str) -> HttpResponse:
    flags = await aflags_from(request, name)
    before = flags[name]
    await alogin(request, await User.objects.aget(username=user))
    within = flags[name]
    await alogout(request)
    return HttpResponse(f"{before} {within} {flags[name]}")


urlpatterns = [
    *shop_paths,
    path("ain/<user>/<name>", sign_in_async),
    path("three", ask_three),
    path("athree", ask_three_async),
    path("letter", letter),
    path("aletter", letter_async),
]


# --- the user -----------------------------------------------------------------------------------


def test_no_query_for_who_is_not_asked_for(
    board: ShopBoard, ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    board.on("banner", "local")
    client = client_of(ada)
    with django_assert_num_queries(0):
        assert got(client.get("/ask/banner")) == (200, "True")
        assert got(client.get("/ask/local")) == (200, "False")  # an address is no user
        assert got(client.get("/ask/team")) == (200, "False")  # off: nobody has it, and nobody is looked up
        assert got(client_of().get("/ask/team")) == (200, "False")


def test_one_query_for_the_user_and_one_more_for_the_groups(
    board: ShopBoard, ada: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    board.on("team", "personal", "beta")
    ada.groups.add(Group.objects.create(name="beta"))
    staff, customer = client_of(ada), client_of(bob)
    for path_, expected in (("/ask/team", "True"), ("/ask/personal", "True")):
        with django_assert_num_queries(1):
            assert staff.get(path_).content.decode() == expected
    with django_assert_num_queries(2):
        assert staff.get("/ask/beta").content == b"True"
    with django_assert_num_queries(2):
        assert staff.get("/three").content == b"True True True True"
    with django_assert_num_queries(2):
        assert customer.get("/three").content == b"False False False False"
    with django_assert_num_queries(0):  # nobody is signed in: the session says so
        assert client_of().get("/three").content == b"False False False False"


class Member(AbstractBaseUser):
    """A project's own user, without groups."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(primary_key=True)

    class Meta:
        app_label = "shop"


@pytest.mark.parametrize("key", [UUID(MEMBER), MEMBER])
def test_a_user_of_the_projects_own(board: ShopBoard, key: Any) -> None:
    board.on("personal", "team", "beta")
    request = RequestFactory().get("/")
    request.user = Member(id=key)
    flags = flags_from(request)
    assert (flags["personal"], flags["team"], flags["beta"]) == (True, False, False)


def test_a_project_without_users(board: ShopBoard, settings: Any) -> None:
    board.on("banner", "team", "beta")
    settings.MIDDLEWARE = ["flaggate.contrib.django.FlaggateMiddleware"]
    assert client_of().get("/three").content == b"False False False False"
    assert client_of().get("/ask/banner").content == b"True"


# --- on an event loop ---------------------------------------------------------------------------


def test_who_is_looked_up_in_a_thread(
    board: ShopBoard, ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    board.on("team", "personal", "beta", "banner")
    with django_assert_num_queries(0):
        assert get_async("/aask/banner").content == b"True"
        assert get_async("/loop/banner").content == b"True"
    client = get_async("/aask/team", ada)
    assert client.content == b"True"
    assert get_async("/athree", ada).content == b"True True False True"
    assert get_async("/athree").content == b"False False False False"


def test_who_was_awaited_is_known(board: ShopBoard, ada: User) -> None:
    board.on("team")
    assert get_async("/auser/team", ada).content == b"7 True"
    assert get_async("/auser/team").content == b"None False"


def test_who_is_asked_on_the_loop_is_off_and_the_log_says_what_to_do(
    board: ShopBoard, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    board.on("team")
    for _ in range(2):
        assert get_async("/loop/team", ada).content == b"False"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "flaggate"]
    assert said == (
        "flag 'team' failed and is off: 'staff' of who asks could not be told: on an event loop nobody is looked up: "
        "gate the view with feature_required, or ask (await aflags_from(request))[...]"
    )
    assert board.gate.health().faults == {"team": 2}


def test_a_function_that_looks_somebody_up_on_the_loop(
    board: ShopBoard, ada: User, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FLAGGATE_CONTEXT = f"{SETTING}.who_by_query"
    board = ShopBoard()
    board.on("spacious")
    assert get_async("/loop/spacious", ada).content == b"False"
    assert "who asks could not be told: on an event loop nobody is looked up: gate the view" in caplog.text
    assert get_async("/aask/spacious", ada).content == b"True"
    assert get_async("/aask/spacious").content == b"False"


def test_aflags_from_draws_no_visitor(board: ShopBoard) -> None:
    """Only a flag that is asked needs one."""
    board.start("tried")
    board.on("team")
    response = get_async("/aask/team")
    assert response.headers["Vary"] == "Cookie, Authorization"
    assert "flaggate_visitor" not in response.cookies
    assert "flaggate_visitor" in get_async("/aask/tried").cookies


# --- what the project adds ----------------------------------------------------------------------


def test_the_projects_function_is_asked_once_and_only_when_a_flag_reads_something(settings: Any) -> None:
    settings.FLAGGATE_CONTEXT = f"{SETTING}.who"
    board = ShopBoard()
    board.on("banner", "tiered", "spacious", "personal")
    CALLS.clear()
    assert client_of().get("/ask/banner").content == b"True"
    assert CALLS == []
    assert client_of().get("/ask/tiered?tier=pro").content == b"True"
    assert CALLS == ["who", "tier"]
    assert client_of().get("/ask/spacious").content == b"True"
    assert CALLS == ["who", "tier", "who"]
    assert get_async("/aask/tiered?tier=pro").content == b"True"


@pytest.mark.parametrize(
    ("function", "answers"),
    [
        ("who_as_context", ["True", "True", "False"]),
        ("who_is_nobody", ["False", "False", "False"]),
        ("who_lately", ["False", "False", "True"]),
    ],
)
def test_what_the_projects_function_may_give(settings: Any, ada: User, function: str, answers: list[str]) -> None:
    settings.FLAGGATE_CONTEXT = f"{SETTING}.{function}"
    board = ShopBoard()
    board.on("tiered", "personal", "spacious")
    client = client_of()
    names = ("tiered", "personal", "spacious")
    assert [client.get(f"/ask/{name}").content.decode() for name in names] == answers
    assert [get_async(f"/aask/{name}").content.decode() for name in names] == answers


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("who_fails", r"who asks could not be told: LookupError\('no account'\) \(.*test_who.py, line \d+\)"),
        ("who_fails_lately", r"'tier' of who asks could not be told: LookupError\('no tier'\) \(.*test_who.py, line"),
        ("who_is_a_list", r"who asks could not be told: the app's function gave \['ada'\]; allowed: a mapping"),
    ],
)
def test_a_function_that_fails_is_said_and_the_request_goes_on(
    settings: Any, caplog: pytest.LogCaptureFixture, function: str, said: str
) -> None:
    settings.FLAGGATE_CONTEXT = f"{SETTING}.{function}"
    board = ShopBoard()
    board.on("tiered")
    assert got(client_of().get("/ask/tiered")) == (200, "False")
    assert got(get_async("/aask/tiered")) == (200, "False")
    (found,) = [record.getMessage() for record in caplog.records if record.name == "flaggate"]
    assert re.search(said, found), found


# --- one visit ----------------------------------------------------------------------------------


def test_a_visit_of_somebody_else_within_a_request(board: ShopBoard) -> None:
    board.on("team")
    assert client_of().get("/letter").content == b"(True, True) False"
    assert get_async("/aletter").content == b"(True, True) False"


# --- signing in and out -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["team", "personal"])
def test_login_and_logout_decide_again(board: ShopBoard, ada: User, bob: User, name: str) -> None:
    board.on(name)
    assert client_of().get(f"/in/ada/{name}").content == b"False True False"
    assert client_of().get(f"/in/bob/{name}").content == b"False False False"
    assert client_of(bob).get(f"/in/ada/{name}").content == b"False True False"
    assert client_of(ada).get(f"/in/bob/{name}").content == b"True False False"
    # It answered differently within the request: only bob's is counted.
    assert board.counted(name) == {"off": (1, 0)}


def test_on_an_event_loop_too(board: ShopBoard, ada: User, bob: User) -> None:
    board.on("team")
    assert get_async("/ain/ada/team").content == b"False True False"
    assert get_async("/ain/bob/team", ada).content == b"True False False"


def test_who_signs_in_may_be_told_by_the_project(board: ShopBoard) -> None:
    """One that signs people in by itself."""
    board.on("team", "personal")
    request = RequestFactory().get("/")
    flags = flags_from(request)
    assert not flags["personal"]
    flags.identify(user=7)
    assert (flags["personal"], flags["team"]) == (True, False)
