"""The FastAPI example as its README tells to run it: who is served what from stage to stage, and whom it does not believe."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests import oracle
from tests.e2e.browser import Browser
from tests.e2e.servers import ended
from tests.runtime.scenes import until
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

EXAMPLES = Path(__file__).parents[2] / "example_apps"
APP = EXAMPLES / "starlette_invoicing"
SERVE, *MOVES, TEST = re.findall(r"^    (python .*)$", (APP / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
"""The README's commands."""
PEOPLE = [
    oracle.Person(one["user"], one["account"], one["staff"], tuple(one["groups"]), one["tier"])
    for one in json.loads((EXAMPLES / "flask_invoicing" / "people.json").read_text(encoding="utf-8"))
]
STAFF, PLAIN = "user-1", "user-7"


class Example:
    """A fresh checkout of the examples, and what its README says to do there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("*.db*", ".*", "__pycache__"))
        self.folder = folder / APP.name
        self._stack = stack

    def environment(self, **more: str) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith(("FLAGGATE_", "PYTEST_"))}
        return known | {"FLAGGATE_STORE": "sqlite:///flags.db", "FLAGGATE_ACTOR": "release-owner@example.com"} | more

    def serve(self, **settings: str) -> str:
        """Returns its address."""
        log = self.folder / "server.log"
        with log.open("wb") as written:
            words = [*as_run(SERVE), "--port=0", "--timeout-keep-alive=600"]
            environment = self.environment(**settings)
            process = subprocess.Popen(
                words, cwd=self.folder, env=environment, stdout=written, stderr=written, start_new_session=True
            )
        self._stack.enter_context(ended(process))
        found: list[str] = []

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            found[:] = re.findall(r"running on (http://\S+)", log.read_text())
            return bool(found)

        until(listens, "uvicorn listens")
        return found[0]

    def run(self, command: str) -> str:
        done = subprocess.run(
            as_run(command), cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


def as_run(command: str) -> list[str]:
    return [sys.executable, *shlex.split(command)[1:]]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    with ExitStack() as stack:
        yield Example(tmp_path / "example_apps", stack)


def test_the_readmes_commands_open_it_stage_by_stage(example: Example) -> None:
    url = example.serve()
    with ExitStack() as stack:
        browsers = {person: stack.enter_context(Browser(url)).sign_in(str(person.user)) for person in PEOPLE}
        hold(browsers, 0)
        assert [shlex.split(move)[3] for move in MOVES] == ["start", *["advance"] * 4, "kill"]
        for stage, move in enumerate(MOVES[:5], start=1):
            example.run(move)
            hold(browsers, stage)
        example.run(MOVES[5])
        hold(browsers, 5, "killed")


def hold(browsers: dict[oracle.Person, Browser], stage: int, standing: oracle.Standing = "as started") -> None:
    """Every door is open to those who have it, and shut to everyone else; once this server knows of the last move."""
    for person, browser in browsers.items():
        is_on, name, _, reason = oracle.expected(stage, person, standing)
        why = f"on for you: stage {name}" if is_on else f"off for you: {reason}"
        until(partial(reads, browser, why), f"{person} at {stage}: {why}")
        page = browser.get("/invoices")
        number = re.findall(r'href="[^"]*/invoices/(INV-\d+)"', page.body)[-1]
        pages = page, browser.get("/"), browser.get(f"/invoices/{number}")
        assert [(page.is_new, page.has_link) for page in pages] == [(is_on, is_on)] * 3, (stage, person)
        found = 200 if is_on else 404
        assert [browser.get(path).status for path in ("/insights", "/api/invoices/totals")] == [found] * 2
        assert ["lines" in one for one in json.loads(browser.get("/api/invoices").body)] == [is_on] * 9
        assert browser.get("/invoices/INV-0").status == 404


def reads(browser: Browser, words: str) -> bool:
    return words in browser.get("/invoices").body


def test_half_of_manchester_by_an_address_that_is_believed(example: Example) -> None:
    (example.folder / "cities.mmdb").write_bytes(city_file())
    url = example.serve(FLAGGATE_GEO="cities.mmdb", FLAGGATE_TRUSTED_PROXIES='["127.0.0.1"]')
    for move in MOVES[:2]:
        example.run(move)
    users = [str(person.user) for person in PEOPLE if not person.staff and person.account != "acme-de"]
    halves = {oracle.bucket(oracle.FLAG, user) < 50_000: user for user in users}
    for is_in, address, why in [
        (True, IN_MANCHESTER, "on for you: stage manchester"),
        (True, IN_LEEDS, "off for you: no_match"),
        (True, f"{IN_MANCHESTER}, {IN_LEEDS}", "off for you: no_match"),  # what the client wrote stands further left
        (False, IN_MANCHESTER, "off for you: stage"),
    ]:
        with Browser(url, forwarded_for=address) as browser:
            browser.sign_in(halves[is_in])
            until(partial(reads, browser, why), f"{is_in}, {address}: {why}")


def test_nothing_but_the_session_says_who_asks(example: Example) -> None:
    url = example.serve()
    for move in MOVES[:1]:
        example.run(move)
    with Browser(url) as browser:
        until(lambda: browser.sign_in(STAFF).get("/invoices").is_new, "it has started")
        assert browser.sign_out().get("/invoices").location == "/sign-in"
        assert (browser.get("/api/invoices").status, browser.get("/api/invoices/totals").status) == (401, 404)
        page = browser.post("/sign-in", user="<user-13>")
        assert (page.status, "&lt;user-13&gt;" in page.body) == (404, True)
        browser.sign_in(PLAIN)
        mine = browser.cookies["session"]
        browser.cookies["user"] = STAFF
        page = browser.get(f"/invoices?user={STAFF}&staff=true", **{"X-User": STAFF, "Remote-User": STAFF})
        assert (page.is_new, page.has_link) == (False, False)
        with Browser(url) as staffs:
            staffs_session = staffs.sign_in(STAFF).cookies["session"]
        forged = [staffs_session.split(".")[0], *mine.split(".")[1:]]
        for cookie in (".".join(forged), STAFF, ""):
            browser.cookies["session"] = cookie
            assert browser.get("/invoices").location == "/sign-in", cookie


def test_its_own_tests(example: Example) -> None:
    assert "3 passed" in example.run(TEST)
    assert not (example.folder / "flags.db").exists()


def test_it_is_small() -> None:
    files = {path.name: path.read_text(encoding="utf-8").splitlines() for path in APP.rglob("*.py")}
    assert sum(bool(line.strip()) for lines in files.values() for line in lines) < 150
    assert len(files["app.py"]) < 150
    assert len((APP / "README.md").read_text(encoding="utf-8").splitlines()) <= 40
