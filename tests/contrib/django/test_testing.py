"""`flaggate.testing` in a project's own tests: with Django's clients and test cases, and with pytest-django's fixtures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, SimpleTestCase, TestCase, TransactionTestCase
from pytest_django import DjangoAssertNumQueries
from pytest_django.live_server_helper import LiveServer

from flaggate import Gate
from flaggate.contrib.django import gate
from flaggate.contrib.django.project import forget
from flaggate.errors import UnknownFlagError
from flaggate.runtime.process import watched
from flaggate.testing import override
from tests.contrib.django.scenes import ShopBoard, client_of, get_async
from tests.contrib.scenes import FLAGS


def test_with_a_client(client: Client, async_client: AsyncClient) -> None:
    """A project without definitions in its settings: nothing is asked of any store."""
    with override({"banner": True, "team": lambda context: context.staff}):
        assert client.get("/ask/banner").content == b"True"
        assert get_async("/aask/banner").content == b"True"
        assert client.get("/ask/team").content == b"False"
    assert client.get("/ask/banner").content == b"False"


def test_with_a_user(board: ShopBoard, ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = client_of(ada)
    with django_assert_num_queries(0), override({"team": True}):
        assert client.get("/ask/team").content == b"True"
    with django_assert_num_queries(1), override({"team": lambda context: context.user == "7"}):
        assert client.get("/ask/team").content == b"True"
    assert board.counted("team") == {}


@pytest.mark.parametrize("database", ["db", "transactional_db"])
def test_with_a_database(
    database: str,
    request: pytest.FixtureRequest,
    override_flags: Callable[[Mapping[str, bool]], None],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    request.getfixturevalue(database)
    with django_assert_num_queries(0):
        override_flags({"banner": True})
        assert Client().get("/ask/banner").content == b"True"


@override({"banner": True})
def test_with_a_live_server(live_server: LiveServer) -> None:
    """In its thread."""
    with urlopen(f"{live_server}/ask/banner") as answer:
        assert answer.read() == b"True"


@pytest.mark.with_and_without("banner")
def test_twice(client: Client, overridden: dict[str, bool]) -> None:
    assert client.get("/ask/banner").content.decode() == str(overridden["banner"])


class Shared:
    def test_it(self: Any) -> None:
        with self.assertNumQueries(0) if hasattr(self, "assertNumQueries") else override({}):
            assert self.client.get("/ask/banner").content == b"True"
            assert self.setup == b"True"


@override({"banner": True})
class Simple(Shared, SimpleTestCase):
    def setUp(self) -> None:
        self.setup = self.client.get("/ask/banner").content


@override({"banner": True})
class InTransaction(Shared, TestCase):
    def setUp(self) -> None:
        self.setup = self.client.get("/ask/banner").content


@override({"banner": True})
class WithTransactions(Shared, TransactionTestCase):
    def setUp(self) -> None:
        self.setup = self.client.get("/ask/banner").content


def close_those_that_cannot_tell() -> None:
    """Of other tests: as long as they are there no name is unknown."""
    for other in watched():
        if other.names(["banner"]) is None:
            other.close()  # type: ignore[attr-defined]  # a gate, like all of them


def test_the_first_test_of_a_run(settings: Any, tmp_path: Path) -> None:
    """No request has made the project's gate, and a package of its has one already."""
    close_those_that_cannot_tell()
    (tmp_path / "flags.toml").write_text(FLAGS)
    settings.FLAGGATE_DEFINITIONS = tmp_path / "flags.toml"
    with pytest.raises(UnknownFlagError, match='did you mean "banner"'), override({"baner": True}):
        pass
    forget()
    (tmp_path / "others.toml").write_text('flags.others = { description = "A switch", owner = "owner@example.com" }')
    others = Gate.open("memory://", definitions=tmp_path / "others.toml")
    with override({"banner": True, "others": True}):
        assert gate().is_on("banner")
        assert others.is_on("others")
    others.close()


def test_with_the_projects_own_definitions(settings: Any, tmp_path: Path, client: Client) -> None:
    """All rollouts are drafts; a typing error is one."""
    close_those_that_cannot_tell()
    (tmp_path / "flags.toml").write_text(FLAGS)
    settings.FLAGGATE_DEFINITIONS = tmp_path / "flags.toml"
    before = {*threading.enumerate()}
    with override({"banner": True}):
        assert client.get("/ask/banner").content == b"True"
        assert client.get("/ask/team").content == b"False"
        assert gate().decide("tried").reason == "not_started"
        with pytest.raises(UnknownFlagError, match='did you mean "banner"'):
            client.get("/ask/baner")
    with pytest.raises(UnknownFlagError, match='did you mean "banner"'), override({"baner": True}):
        pass
    assert {*threading.enumerate()} <= before  # one of another test may end meanwhile
