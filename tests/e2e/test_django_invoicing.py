"""The Django example as its README tells to run it, and by gunicorn on the same database."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests import oracle
from tests.e2e.browser import Browser, Page
from tests.e2e.servers import ask, ended, free_port
from tests.runtime.scenes import until
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

EXAMPLES = Path(__file__).parents[2] / "example_apps"
APP = EXAMPLES / "django_invoicing"
SERVE, *MOVES, TEST = re.findall(r"^    (python .*)$", (APP / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
"""The README's commands."""
PEOPLE = [
    oracle.Person(str(key), one["account"], one["staff"], tuple(one["groups"]), one["tier"])
    for key, one in enumerate(json.loads((EXAMPLES / "flask_invoicing" / "people.json").read_text("utf-8")), start=1)
]
WHO: Sequence[tuple[int, str | None]] = (
    (1, None), (7, None), (3, None), (5, None), (12, None), (7, IN_MANCHESTER), (8, IN_MANCHESTER), (8, IN_LEEDS),
    (8, f"{IN_MANCHESTER}, {IN_LEEDS}"),  # what the client wrote itself stands further left
)  # fmt: skip
"""Staff, nobody in particular, beta, enterprise, denied, and in Manchester one of each half."""
SETTINGS = """
from invoicing.settings import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
FLAGGATE_GEO = "cities.mmdb"
FLAGGATE_TRUSTED_PROXIES = ["127.0.0.1"]
"""


class Visitor(Browser):
    """Somebody who signs in as Django wants it."""

    def __init__(self, url: str, person: oracle.Person, address: str | None = None) -> None:
        super().__init__(url, address)
        self.person = replace(person, city="Manchester", country="GB") if address == IN_MANCHESTER else person
        self.sign_in(f"user-{person.user}")

    def sign_in(self, user: str) -> Visitor:
        self.get("/sign-in")
        page = self.send("/sign-in", username=user, password="invoices")
        assert (page.status, page.location) == (302, "/invoices"), page
        return self

    def reads(self, words: str) -> bool:
        return words in self.get("/invoices").body

    def send(self, path: str, **form: str) -> Page:
        return self.post(path, csrfmiddlewaretoken=self.cookies["csrftoken"], **form)


class Example:
    """A fresh checkout of the examples, and what its README says to do there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("*.db*", ".*", "__pycache__"))
        self.folder = folder / APP.name
        self._stack = stack
        (self.folder / "served.py").write_text(SETTINGS, encoding="utf-8")
        (self.folder / "cities.mmdb").write_bytes(city_file())
        known = {name: value for name, value in os.environ.items() if not name.startswith(("FLAGGATE_", "DJANGO_"))}
        self.environment = known | {
            "FLAGGATE_ACTOR": "release-owner@example.com",
            "DJANGO_SETTINGS_MODULE": "served",
            "PYTHONUNBUFFERED": "1",
        }

    def serve(self, command: str, *more: str) -> str:
        """Returns its address, once it answers there."""
        port = free_port()
        log = self.folder / f"{port}.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                [*as_run(command), *(word.format(port=port) for word in more)],
                cwd=self.folder,
                env=self.environment,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        self._stack.enter_context(ended(process))

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with suppress(OSError):
                return ask(port, "/sign-in").status == 200
            return False

        until(answers, f"{command} answers")
        return f"http://127.0.0.1:{port}"

    def run(self, command: str) -> str:
        """What it said."""
        done = subprocess.run(
            as_run(command), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr


def as_run(command: str) -> list[str]:
    return [sys.executable, *shlex.split(command)[1:]]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    with ExitStack() as stack:
        yield Example(tmp_path / "example_apps", stack)


def test_the_readmes_commands_open_it_stage_by_stage(example: Example) -> None:
    urls = [
        example.serve(SERVE, "{port}"),
        example.serve("python -m gunicorn django.core.wsgi:get_wsgi_application()", "--bind=127.0.0.1:{port}"),
    ]
    assert [shlex.split(move)[3] for move in MOVES] == ["start", *["advance"] * 4, "kill"]
    with ExitStack() as stack:
        staff, plain, *_ = visitors = [
            Visitor(url, PEOPLE[key - 1], address)
            for url, who in zip(urls, (WHO[:2], WHO), strict=True)
            for key, address in who
        ]
        for visitor in visitors:
            stack.enter_context(visitor)
        hold(visitors, 0)
        for stage, move in enumerate(MOVES[:5], start=1):
            example.run(move)
            if stage == 2:
                act_in_admin(staff, "kill", "it is the printer")
                hold(visitors, stage, "killed")
                act_in_admin(staff, "unkill", "it was the printer")
            if oracle.STAGES[stage - 1] != "tenth":  # which brings nobody in who is here
                hold(visitors, stage)
        example.run(MOVES[5])
        hold(visitors, 5, "killed")
        assert "KILLED" in staff.get("/admin/flaggate/row/").body
        assert plain.get("/admin/").location == "/admin/login/?next=/admin/"


def hold(visitors: Sequence[Visitor], stage: int, standing: oracle.Standing = "as started") -> None:
    """Every door is open to those who have it, and shut to everyone else; once the servers know of the last move."""
    for visitor in visitors:
        is_on, name, _, reason = oracle.expected(stage, visitor.person, standing)
        why = f"on for you: stage {name}" if is_on else f"off for you: {reason}"
        until(partial(visitor.reads, why), f"{visitor.person} at {stage}: {why}")
        page = visitor.get("/invoices")
        number = re.findall(r'href="/invoices/(INV-\d+)"', page.body)[-1]
        pages = page, visitor.get(f"/invoices/{number}")
        assert [(page.is_new, page.has_link) for page in pages] == [(is_on, is_on)] * 2, (stage, visitor.person)
        assert visitor.get("/insights").status == (200 if is_on else 404)
    assert visitors[0].get("/").is_new == oracle.expected(stage, visitors[0].person, standing)[0]


def act_in_admin(staff: Visitor, verb: str, reason: str) -> None:
    """The rollout is in the database, and so in the admin."""
    (path,) = set(re.findall(r'href="(/admin/flaggate/row/\d+/)change/"', staff.get("/admin/flaggate/row/").body))
    (version,) = re.findall(r'name="version" value="(\d+)"', staff.get(f"{path}change/").body)
    staff.send(f"{path}act/", verb=verb, version=version, reason=reason)
    assert reason in staff.get(f"{path}change/").body


def test_who_is_not_signed_in_is_asked_who_they_are(example: Example) -> None:
    url = example.serve(SERVE, "{port}", "--noreload")
    with Browser(url) as browser:
        assert browser.get("/invoices").location == "/sign-in?next=/invoices"
        assert browser.get("/insights").location == "/sign-in?next=/insights"
        browser.get("/sign-in")
        page = browser.post(
            "/sign-in", username="user-1", password="wrong", csrfmiddlewaretoken=browser.cookies["csrftoken"]
        )
        assert (page.status, "alert" in page.body) == (200, True)
        assert browser.get("/static/style.css").status == 200


def test_its_own_tests(example: Example) -> None:
    assert "Ran 2 tests" in example.run(TEST)
    example.run("python manage.py makemigrations --check")
    example.run("python manage.py check --fail-level WARNING")


def test_it_is_small() -> None:
    written = [path for path in APP.rglob("*.py") if path.parent.name != "migrations"]
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in written}
    assert sum(bool(line.strip()) for each in lines.values() for line in each) < 150
    assert sum(len(each) for name, each in lines.items() if name != "tests.py") < 150
    assert len((APP / "README.md").read_text(encoding="utf-8").splitlines()) <= 40
