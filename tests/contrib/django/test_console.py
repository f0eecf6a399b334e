"""The console among a project's pages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import include, path

from flaggate.stores.record import read_flag
from tests.contrib.django.scenes import ShopBoard, client_of
from tests.contrib.django.shop.urls import urlpatterns as shop_paths

pytestmark = [pytest.mark.urls("tests.contrib.django.test_console"), pytest.mark.django_db]
urlpatterns = [*shop_paths, path("ops/flags/", include("flaggate.contrib.django.console"))]


def permit(user: User, *names: str) -> User:
    for name in names:
        user.user_permissions.add(Permission.objects.get(content_type__app_label="flaggate", codename=name))
    return User.objects.get(pk=user.pk)


def press(client: Any, url: str, **fields: str) -> Any:
    """Fill in the form of a page, and send it."""
    page = client.get(url)
    assert page.status_code == 200
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.content.decode()))
    return client.post(url, urlencode(hidden | fields), content_type="application/x-www-form-urlencoded")


def test_who_is_not_signed_in_is_asked_to(board: ShopBoard) -> None:
    answer = client_of().get("/ops/flags/")
    assert (answer.status_code, answer["location"]) == (302, "/accounts/login/?next=/ops/flags/")


def test_who_may_nothing_sees_nothing(board: ShopBoard, bob: User) -> None:
    assert client_of(bob).get("/ops/flags/").status_code == 403
    assert client_of(bob).get("/ops/flags/static/console.css").status_code == 200


def test_a_user_does_what_the_permissions_allow(board: ShopBoard, bob: User) -> None:
    board.on("banner")
    client = client_of(permit(bob, "view_row", "kill"))
    assert "banner" in client.get("/ops/flags/").content.decode()
    assert client.get("/ops/flags/flags/banner/do/off").status_code == 403
    done = press(client, "/ops/flags/flags/banner/do/kill", reason="it is late")
    assert (done.status_code, done["location"]) == (303, "/ops/flags/flags/banner?done=kill")
    assert "is killed" in client.get(done["location"]).content.decode()
    assert read_flag(board.store, "banner").rollout.killed
    event = board.store.history("banner")[-1]
    assert (event.verb, event.actor, event.reason) == ("kill", "bob", "it is late")
    assert client.post("/ops/flags/flags/banner/do/kill", {"token": "x"}).status_code == 403


def test_who_may_edit_makes_a_flag(board: ShopBoard, bob: User) -> None:
    client = client_of(permit(bob, "view_row", "edit"))
    fields = {"name": "made", "description": "Here", "owner": "bob"}
    checked = press(client, "/ops/flags/new", **fields, what="check")
    shown = re.search(r'name="checked" value="([^"]+)"', checked.content.decode())
    assert shown is not None
    made = press(client, "/ops/flags/new", **fields, checked=shown[1], what="save")
    assert made.status_code == 303
    assert read_flag(board.store, "made").source == "console"
