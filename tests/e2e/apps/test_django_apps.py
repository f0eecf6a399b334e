"""Two Django apps from PyPI behind flags: where these are on they answer what they answer without flaggate.

django-allauth has middleware of its own, signs people in within a request, and sends mail; django-rosetta has pages for the
staff, edits files, and gives them to download.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.apps.client import HOST, Client, Heard, asked, assert_same, await_off
from tests.e2e.apps.served import GUNICORN, UVICORN, await_listening, needs, serving, surroundings
from tests.e2e.servers import Server

pytestmark = needs(allauth="django-allauth", rosetta="django-rosetta", gunicorn="gunicorn", uvicorn="uvicorn")

PROJECT = Path(__file__).with_name("translators")
FLAGS = """
[flags.accounts]
description = "All of django-allauth"
owner = "owner@example.com"

[flags.translations]
description = "All of django-rosetta"
owner = "owner@example.com"

[flags.passwords]
description = "A part of it"
owner = "owner@example.com"

[flags.third-party]
description = "A page of it, for the staff"
owner = "owner@example.com"
audience = { staff = true }
"""
GATES = {
    "passwords": "/accounts/password/",
    "third-party": "/translations/files/third-party/",
    "accounts": r"/accounts/(?!nothing)[\w-]+/",
    "translations": "/translations/",
}
"""Which paths ask which flag."""
CATALOG = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "one line"
msgstr ""

msgid "another line"
msgstr "noch eine Zeile"
"""
COMMANDS = """
import django, sys
from django.core.management import call_command

django.setup()
for command in sys.argv[1:]:
    call_command(*command.split())
"""
PLAIN = {"DJANGO_SETTINGS_MODULE": "translators.settings"}
FLAGGED = {"DJANGO_SETTINGS_MODULE": "translators.flagged_settings"}
SERVERS = {
    "gunicorn": (f"{GUNICORN} translators.wsgi", f"{GUNICORN} translators.wsgi"),
    "uvicorn": (f"{UVICORN} translators.asgi:application", f"{UVICORN} translators.flagged_asgi:application"),
}
"""Without and with flaggate."""


def manage(folder: Path, *commands: str) -> str:
    """What `manage.py` prints for these commands."""
    environment = surroundings(folder, FLAGGED | {"DJANGO_SUPERUSER_PASSWORD": "of the boss"})
    words = [sys.executable, "-c", COMMANDS, *commands]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def turned(verb: str, *flags: str) -> list[str]:
    return [f"flaggate {verb} {flag} --as owner@example.com" for flag in flags]


@pytest.fixture(params=SERVERS)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """The project without and with flaggate, all flags on."""
    plain, flagged = (tmp_path / name / "translators" for name in ("plain", "flagged"))
    shutil.copytree(PROJECT, flagged / "translators", ignore=shutil.ignore_patterns("__pycache__"))
    catalogs = flagged / "locale" / "de" / "LC_MESSAGES"
    catalogs.mkdir(parents=True)
    (catalogs / "django.po").write_text(CATALOG)
    (flagged / "flags.toml").write_text(FLAGS)
    boss = "createsuperuser --noinput --username boss --email boss@example.com"
    manage(flagged, "migrate", boss, "check", "flaggate apply flags.toml", *turned("on", *GATES))
    shutil.copytree(flagged, plain)
    words = SERVERS[request.param]
    with serving(words[0], plain, PLAIN) as without, serving(words[1], flagged, FLAGGED) as with_it:
        await_listening(without, with_it)
        yield without, with_it


# --- the same session with and without ----------------------------------------------------------


def session(server: Server) -> list[Heard]:
    """What a translator and her boss do in an hour."""
    with Client(server.port, server.folder) as nobody, Client(server.port, server.folder) as ada:
        look_around(nobody)
        sign_up(ada, server.folder / "mail")
        with Client(server.port, server.folder) as boss:
            translate(boss)
            return nobody.heard + ada.heard + boss.heard


def look_around(nobody: Client) -> None:
    assert "sign in" in nobody.get("/").text
    assert nobody.get("/accounts/").location == "/accounts/login/"  # by allauth's middleware, of what is not found
    assert "Nothing here" in nobody.get("/accounts/nothing/").text
    assert nobody.get("/accounts/email").location == "/accounts/email/"
    assert nobody.get("/accounts/email/").location == "/accounts/login/?next=/accounts/email/"
    nobody.get("/translations/")
    assert nobody.follow().location == "/accounts/login/?next=/translations/files/project/"
    assert nobody.follow().status == 200
    assert "not correct" in nobody.submit("/accounts/login/", login="boss", password="of nobody").text
    assert nobody.get("/accounts/login/", Accept_Language="de").headers["content-language"] == "de"
    style = nobody.get("/static/admin/css/base.css")
    assert (style.status, style.headers["transfer-encoding"]) == (200, "chunked")
    modified = style.headers["last-modified"]
    assert nobody.get("/static/admin/css/base.css", If_Modified_Since=modified).status == 304
    assert nobody.get("/static/nothing.css").status == 404


def sign_up(ada: Client, mail: Path) -> None:
    ada.get("/accounts/signup/")
    account = {"username": "ada", "email": "ada@example.com"}
    assert "too short" in ada.submit("/accounts/signup/", **account, password1="short").text
    assert ada.submit("/accounts/signup/", **account, password1="a longer one").location == "/"
    assert "Successfully signed in as ada" in ada.follow().text
    (letter,) = mail.iterdir()
    (link,) = re.findall(f"http://{HOST}(/accounts/confirm-email/.+)", letter.read_text())
    (action,) = re.findall('action="(/accounts/confirm-email/.+)"', ada.get(link).text)  # signed anew
    assert ada.submit(action).status == 302
    assert "You have confirmed ada@example.com" in ada.follow().text
    ada.get("/accounts/email/")
    ada.submit("/accounts/email/", email="ada@example.org", action_add="")
    assert "Confirmation email sent to ada@example.org" in ada.follow().text
    assert ada.get("/accounts/password/change/").status == 200
    assert ada.get("/translations/files/project/").status == 302
    assert ada.post("/accounts/logout/", {}).status == 403  # no token
    ada.get("/accounts/logout/")
    ada.submit("/accounts/logout/")
    assert "You have signed out" in ada.follow().text


def translate(boss: Client) -> None:
    boss.get("/accounts/login/?next=/translations/files/project/")
    boss.submit("/accounts/login/", login="boss", password="of the boss")
    assert "50%" in boss.follow().text
    catalog = "/translations/files/project/de/0/"
    (name,) = re.findall('name="(m_[0-9a-f]+)"[^>]*></textarea>', boss.get(catalog).text)
    assert boss.submit(catalog, **{name: "eine Zeile"}).status == 302
    assert "eine Zeile" in boss.follow().text
    assert boss.get(f"{catalog}?msg_filter=translated&query=eine").status == 200
    assert boss.get(f"{catalog}download/").headers["content-disposition"].startswith("attachment;")
    assert 'msgstr "eine Zeile"' in boss.heard[-1].body
    assert boss.ask("HEAD", "/accounts/email/").status == 200
    assert boss.ask("OPTIONS", f"{catalog}download/").status == 405
    for path in ("nothing/", "project/fr/0/", "project/de/7/"):
        assert boss.get(f"/translations/files/{path}").status == 404
    assert boss.get("/translations/translate/?text=a&from=en&to=de").status == 200
    assert "Rosetta" in boss.get("/translations/files/third-party/").text


def test_it_answers_what_it_answers_without(servers: tuple[Server, Server]) -> None:
    flagged = servers[1]
    with ThreadPoolExecutor() as threads:
        before, after = threads.map(session, servers)
    assert_same(before, after, for_some="/translations/files/third-party/")
    counts = asked_of(after) + look_at_what_is_off(flagged)
    flagged.end()
    assert "Traceback" not in flagged.words()
    told = json.loads(manage(flagged.folder, "flaggate status --json"))
    assert {(flag, one["arm"]): one["requests"] for flag in told for one in told[flag]["counts"]} == counts


def asked_of(heard: list[Heard], *off: str) -> Counter[tuple[str, str]]:
    """How often which flag was asked. What CSRF refuses comes to no view."""
    return asked([one for one in heard if one.status != 403], GATES, off)


def look_at_what_is_off(server: Server) -> Counter[tuple[str, str]]:
    """How often it asked which flag, and what that was."""
    with Client(server.port, server.folder) as ada:
        ada.get("/accounts/login/")
        assert ada.submit("/accounts/login/", login="ada", password="a longer one").status == 302
        assert "Nothing here" in ada.get("/translations/files/third-party/").text  # it is for the staff
        counts = asked_of(ada.heard, "third-party")
        manage(server.folder, *turned("off", "passwords", "accounts"))
        with Client(server.port, server.folder) as nobody:
            counts += await_off(nobody, "/accounts/login/", GATES)
        ada.heard.clear()
        for path in ("/accounts/login/", "/accounts/email/", "/accounts/password/change/", "/accounts/nothing/"):
            assert "Nothing here" in ada.get(path).text
        assert ada.post("/accounts/login/", {}, X_CSRFToken=ada.cookie("csrftoken")).status == 404
        home = ada.get("/").text
        assert "<p>ada</p>" in home
        assert "/accounts/logout/" in home
        assert ada.get("/translations/files/project/").status == 302
        # What stands before the view is there still, and what stands outside of flaggate's middleware.
        assert ada.post("/accounts/login/", {}).status == 403
        assert ada.post("/accounts/password/reset/", {}).status == 404  # the table comes before
        assert ada.get("/accounts/").location == "/accounts/email/"
        return counts + asked_of(ada.heard, "passwords", "accounts")
