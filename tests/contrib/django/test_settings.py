"""The project's settings: what they do, what is wrong with them, and what the system checks say."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings

from flaggate.contrib.django import gate
from flaggate.contrib.django.project import site
from flaggate.errors import SettingError
from flaggate.stores.memory import MemoryStore
from flaggate.web.visitor import COOKIE, Visitors
from tests.contrib.django.scenes import ShopBoard, client_of, get_async
from tests.contrib.scenes import FLAGS
from tests.runtime.scenes import ROOT, run
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

CITY = """
[flags.mancunian]
description = "For a city"
owner = "owner@example.com"
audience = { city = "Manchester" }
"""


async def who_async(request: Any) -> dict[str, Any]:
    return {}


NO_FUNCTION = {"user": "ada"}
HERE = "tests.contrib.django.test_settings"


# --- what they do -------------------------------------------------------------------------------


def test_under_a_test_runner_the_store_is_in_memory_and_no_thread_runs(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "flags.toml").write_text(FLAGS)
    settings.FLAGGATE_STORE = f"sqlite:///{tmp_path}/flags.db"
    settings.FLAGGATE_DEFINITIONS = tmp_path / "flags.toml"
    before = threading.active_count()
    assert client_of().get("/ask/banner").content == b"False"
    assert isinstance(gate().store, MemoryStore)
    assert sorted(gate().decisions()) == ["adas", "banner", "local", "team", "tiered", "tried"]
    assert threading.active_count() == before
    assert not (tmp_path / "flags.db").exists()


def test_where_it_is_and_behind_which_proxy(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "City.mmdb").write_bytes(city_file())
    (tmp_path / "flags.toml").write_text(CITY)
    settings.FLAGGATE_DEFINITIONS = str(tmp_path / "flags.toml")
    settings.FLAGGATE_GEO = tmp_path / "City.mmdb"
    settings.FLAGGATE_TRUSTED_PROXIES = ["10.0.0.0/8"]
    board = ShopBoard()
    board.on("mancunian")

    def ask(peer: str, header: str, client: str) -> str:
        answer = client_of().get("/ask/mancunian", REMOTE_ADDR=peer, headers={header: client})
        return answer.content.decode()

    assert ask("10.1.1.1", "X-Forwarded-For", IN_MANCHESTER) == "True"
    assert ask(IN_LEEDS, "X-Forwarded-For", IN_MANCHESTER) == "False"
    assert ask("10.1.1.1", "Forwarded", f"for={IN_MANCHESTER}") == "False"
    with override_settings(FLAGGATE_PROXY_HEADER="Forwarded"):
        ShopBoard().on("mancunian")
        assert ask("10.1.1.1", "Forwarded", f"for={IN_MANCHESTER}") == "True"
        assert ask("10.1.1.1", "X-Forwarded-For", IN_MANCHESTER) == "False"


@pytest.mark.parametrize(
    ("changes", "good", "bad"),
    [
        ({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old"]}, ["new", "old"], ["other"]),
        ({"FLAGGATE_SECRET_KEYS": ["new", b"old"]}, ["new", "old"], ["of the shop"]),
    ],
)
def test_which_keys_sign_the_visitors_cookie(changes: dict[str, Any], good: list[str], bad: list[str]) -> None:
    with override_settings(**changes):
        ShopBoard().start("tried")

        def is_believed(key: str) -> bool:
            visitors = Visitors([key])
            signed = visitors.cookie(visitors.draw(), is_https=False).split(";")[0]
            return COOKIE not in client_of().get("/ask/tried", headers={"Cookie": signed}).cookies

        assert all(is_believed(key) for key in good)
        assert not any(is_believed(key) for key in bad)


def test_a_project_without_a_key_has_no_visitors() -> None:
    """As where static files are collected."""
    with override_settings(SECRET_KEY=""):
        assert site().visitors is None
        assert said() == []


def test_override_settings_takes_effect_and_ends() -> None:
    board = ShopBoard()
    board.on("banner")
    assert client_of().get("/ask/banner").status_code == 200
    with override_settings(FLAGGATE_ROUTES={"/ask/*": "team"}):
        assert client_of().get("/ask/banner").status_code == 404
        assert get_async("/aask/banner").status_code == 200
    assert client_of().get("/ask/banner").status_code == 200
    with override_settings(LANGUAGE_CODE="de"):
        ShopBoard().on("banner")
    assert client_of().get("/ask/banner").content == b"True"  # nothing of ours was changed


# --- what is wrong ------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"FLAGGATE_GEO": "/no.mmdb"}, "FLAGGATE_GEO: /no.mmdb; allowed: a City file"),
    ({"FLAGGATE_DEFINITIONS": 3}, "FLAGGATE_DEFINITIONS: 3; allowed: a definitions file, such as flags.toml"),
    ({"FLAGGATE_HANG_SECONDS": True}, "FLAGGATE_HANG_SECONDS: True; allowed: a number of seconds above 0"),
    ({"FLAGGATE_NOTIFY": 3}, "FLAGGATE_NOTIFY: 3; allowed: the file of an Apprise configuration"),
    ({"FLAGGATE_ROUTES": {"/v2/*": "V2"}}, "FLAGGATE_ROUTES: {'/v2/*': 'V2'}; allowed: a flag's name: lower-case"),
    ({"FLAGGATE_TRUSTED_PROXIES": "10.0.0.0/8"}, "FLAGGATE_TRUSTED_PROXIES: 10.0.0.0/8; allowed: a list"),
    ({"FLAGGATE_PROXY_HEADER": "X-Real-IP"}, "FLAGGATE_PROXY_HEADER: X-Real-IP; allowed: X-Forwarded-For"),
    ({"FLAGGATE_SECRET_KEYS": "secret"}, "FLAGGATE_SECRET_KEYS: (not shown); allowed: a list of keys"),
    ({"FLAGGATE_CONTEXT": len}, "FLAGGATE_CONTEXT: <built-in function len>; allowed: the dotted path of a function"),
    ({"FLAGGATE_CONTEXT": "shop.who"}, "FLAGGATE_CONTEXT: shop.who; allowed: the dotted path of a function of the req"),
    ({"FLAGGATE_CONTEXT": f"{HERE}.who_async"}, "FLAGGATE_CONTEXT: <function who_async"),
    ({"FLAGGATE_CONTEXT": f"{HERE}.NO_FUNCTION"}, "FLAGGATE_CONTEXT: {'user': 'ada'}; allowed: a plain function of"),
    ({"FLAGGATE_ROUTE": {}}, "FLAGGATE_ROUTE: no setting of flaggate; allowed: FLAGGATE_GEO, "),
    ({"FLAGGATE_OFF": "banner"}, "FLAGGATE_OFF: does nothing in the config; allowed: in the environment, under"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_wrong_setting_is_refused_and_checked(
    changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGGATE_OFF", raising=False)
    with override_settings(**changes):
        with pytest.raises(SettingError) as caught:
            site()
        assert str(caught.value).startswith(words)
        assert said() == [f"E001 {caught.value}"]


STORES = """
import django, sys
from django.conf import settings
apps = ["django.contrib.contenttypes", "django.contrib.auth", "flaggate.contrib.django"]
databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
settings.configure(INSTALLED_APPS=apps, SECRET_KEY="k", DATABASES=databases)
django.setup()
from django.test import override_settings
from flaggate.contrib.django import gate
from flaggate.errors import SettingError
for store in ("memory://", "sqlite:///flags.db", "django", "django:default", "django:elsewhere", "flags.db",
              "djnago", "sqlite3:///flags.db", None):
    with override_settings(FLAGGATE_STORE=store):
        try:
            print(type(gate().store).__name__, gate().store.url)
            assert gate() is gate()
        except SettingError as error:
            print(error)
"""


@pytest.mark.usefixtures("measured")
def test_the_store_that_a_project_names(tmp_path: Path) -> None:
    """Where no test runner is."""
    *stores, no_alias, no_url, misspelt, of_another, nothing = run(tmp_path, STORES).splitlines()
    assert stores == [
        "MemoryStore memory://",
        "SqlStore sqlite:///flags.db",
        "DjangoStore django:default",
        "DjangoStore django:default",
    ]
    assert no_alias.startswith("FLAGGATE_STORE: django:elsewhere; allowed: an alias of DATABASES (")
    assert no_url.startswith("FLAGGATE_STORE: flags.db; allowed: the URL of a store, such as sqlite:///flags.db")
    assert "did you mean" not in no_url
    allowed = "allowed: the URL of a store, such as sqlite:///flags.db, or django; did you mean"
    assert misspelt == f"FLAGGATE_STORE: djnago; {allowed} django?"
    assert of_another == f"FLAGGATE_STORE: sqlite3:///flags.db; {allowed} sqlite:...?"
    assert nothing.startswith("FLAGGATE_STORE: (not set); allowed: the URL of a store, such as sqlite:///flags.db")


# --- system checks ------------------------------------------------------------------------------


def said() -> list[str]:
    """What `manage.py check` says of flaggate, each with its number."""

    def words(message: CheckMessage) -> str:
        assert message.id is not None
        return f"{message.id.removeprefix('flaggate.')} {message.msg}"

    return [words(message) for message in run_checks(tags=["flaggate"])]


def moved_up(above: str, middleware: list[str]) -> list[str]:
    *others, ours = middleware
    at = next(index for index, name in enumerate(others) if above in name)
    return [*others[:at], ours, *others[at:]]


def test_a_project_that_is_right(settings: Any) -> None:
    assert said() == []
    settings.MIDDLEWARE = ["django.middleware.cache.UpdateCacheMiddleware", *settings.MIDDLEWARE]
    settings.MIDDLEWARE += ["django.middleware.cache.FetchFromCacheMiddleware", "no.such.Middleware"]
    assert said() == []


def test_a_project_without_the_middleware(settings: Any) -> None:
    settings.MIDDLEWARE = settings.MIDDLEWARE[:-1]
    assert said() == ["W001 flaggate's middleware is missing: nobody is told apart, and nothing counted."]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.contrib.django.test_middleware.OfTheShop"]
    assert said() == []


@pytest.mark.parametrize("ours", ["contrib.django.FlaggateMiddleware", "contrib.django.middleware.FlaggateMiddleware"])
def test_a_middleware_in_a_wrong_place(settings: Any, ours: str) -> None:
    right = [*settings.MIDDLEWARE[:-1], f"flaggate.{ours}"]
    settings.MIDDLEWARE = moved_up("AuthenticationMiddleware", right)
    auth = "django.contrib.auth.middleware.AuthenticationMiddleware"
    assert said() == [f"E002 flaggate's middleware stands above {auth}."]
    settings.MIDDLEWARE = moved_up("SessionMiddleware", right)
    session = "django.contrib.sessions.middleware.SessionMiddleware"
    assert said() == [f"E002 flaggate's middleware stands above {name}." for name in (session, auth)]
    settings.MIDDLEWARE = [*right, "django.middleware.cache.UpdateCacheMiddleware"]
    assert said() == ["E002 flaggate's middleware stands above django.middleware.cache.UpdateCacheMiddleware."]


@pytest.mark.parametrize(
    "sign",
    [
        {"USE_X_FORWARDED_HOST": True},
        {"USE_X_FORWARDED_PORT": True},
        {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")},
    ],
)
def test_a_project_behind_a_proxy_that_nobody_named(sign: dict[str, Any]) -> None:
    with override_settings(**sign, FLAGGATE_TRUSTED_PROXIES=None):
        (words,) = said()
        assert words.startswith("W002 This project is behind a proxy, which flaggate takes for the client")
    for named in ([], ["10.0.0.0/8"]):
        with override_settings(**sign, FLAGGATE_TRUSTED_PROXIES=named):
            assert said() == []


def test_a_route_for_a_flag_that_is_not_declared(settings: Any, tmp_path: Path) -> None:
    settings.FLAGGATE_ROUTES = {"/v2/*": "team", "/v3/*": "teem"}
    assert said() == []  # what the store has nobody asks
    settings.FLAGGATE_DEFINITIONS = tmp_path / "flags.toml"
    assert [words[:4] for words in said()] == ["W004"]
    (tmp_path / "flags.toml").write_text(FLAGS)
    assert said() == ["W003 FLAGGATE_ROUTES names the flag teem, which is not declared."]
    (message,) = run_checks(tags=["flaggate"])
    assert message.hint == f"{tmp_path}/flags.toml declares adas, banner, local, team, tiered, tried."


def test_definitions_that_cannot_be_read(settings: Any, tmp_path: Path) -> None:
    """The project serves what the store has: this is for whoever is about to deploy it."""
    settings.FLAGGATE_DEFINITIONS = tmp_path / "flags.toml"
    (words,) = said()
    assert words.startswith(f"W004 FLAGGATE_DEFINITIONS: {tmp_path}/flags.toml: it cannot be read (")
    (tmp_path / "flags.toml").write_text("[flags.banner]\n[flags.other]\nowner = 7")
    found = said()
    assert len(found) > 2
    assert all(words.startswith(f"W004 FLAGGATE_DEFINITIONS: {tmp_path}/flags.toml: flags.") for words in found)
    (message, *_) = run_checks(tags=["flaggate"])
    assert message.hint is not None
    assert message.hint.startswith("Nothing of it is applied")


def test_a_store_in_a_folder_that_is_not_there(settings: Any, tmp_path: Path) -> None:
    settings.FLAGGATE_STORE = f"sqlite:///{tmp_path}/no/such/flags.db"
    assert said() == [
        f"W005 FLAGGATE_STORE: there is no folder {tmp_path}/no/such, and so no store: all flags are off."
    ]
    for store in (f"sqlite:///{tmp_path}/flags.db", "memory://", "django", "sqlite://"):
        settings.FLAGGATE_STORE = store
        assert said() == []


def test_a_middleware_that_is_there_twice(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "flaggate.contrib.django.middleware.FlaggateMiddleware"]
    assert said() == ["E003 flaggate's middleware is there 2 times: each request is counted as often."]


def test_manage_py_check_from_a_terminal(tmp_path: Path) -> None:
    """Once as a person sees it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/contrib/django/shop/manage.py"), "check"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "FLAGGATE_STORE": "nowhere", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "?: (flaggate.E001) FLAGGATE_STORE: nowhere; allowed: the URL of a store" in done.stderr
