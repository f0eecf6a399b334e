"""The example app by a real server: what it serves to whom, and whom it does not believe."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from itsdangerous import URLSafeTimedSerializer

from flaggate.cli.demo.server import AppServer
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests import oracle
from tests.e2e.browser import Browser
from tests.runtime.scenes import control_of, until
from tests.seed import SEED
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

APP = Path(__file__).parents[2] / "example_apps" / "flask_invoicing"
PEOPLE = [
    oracle.Person(one["user"], one["account"], one["staff"], tuple(one["groups"]), one["tier"])
    for one in json.loads((APP / "people.json").read_text(encoding="utf-8"))
]
OWNER = "release-owner@example.com"
STAFF, PLAIN = "user-1", "user-7"


class Example:
    """The app, and the hand on its rollout."""

    def __init__(self, store: Store, server: AppServer) -> None:
        self.store = store
        self.server = server

    def move(self, *verbs: Verb) -> None:
        for verb in verbs:
            control_of(self.store).act(verb, oracle.FLAG, actor=OWNER, reason="for the test")
        self.server.await_revision(self.store.revision())

    def to_stage(self, number: int) -> None:
        self.move(Verb.START, *[Verb.ADVANCE] * (number - 1))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Example]]:
    """Serves the app with these settings, on a store that holds the seed plan."""
    with ExitStack() as stack:
        store = open_store(f"sqlite:///{tmp_path}/flags.db")
        stack.callback(store.close)
        control_of(store).apply(parse(SEED.read_text(encoding="utf-8")), actor=OWNER)

        def served(**settings: str) -> Example:
            server = stack.enter_context(closing(AppServer({"FLAGGATE_STORE": store.url, **settings})))
            server.begin()
            return Example(store, server)

        yield served


@pytest.fixture
def example(serve: Callable[..., Example]) -> Example:
    """The app with nothing set but its store."""
    return serve()


@pytest.fixture
def browser(example: Example) -> Iterator[Browser]:
    with Browser(example.server.url) as made:
        yield made


def a_number(browser: Browser) -> str:
    """The number of the last invoice in the list."""
    numbers: list[str] = re.findall(r'href="/invoices/(INV-\d+)"', browser.get("/invoices").body)
    return numbers[-1]


def test_every_door_is_open_or_shut_alike(example: Example, browser: Browser) -> None:
    for stage, verbs in ((0, []), (1, [Verb.START]), (5, [Verb.ADVANCE] * 4)):
        example.move(*verbs)
        for person in PEOPLE:
            is_on = oracle.expected(stage, person)[0]
            browser.sign_in(str(person.user))
            pages = browser.get("/"), browser.get("/invoices"), browser.get(f"/invoices/{a_number(browser)}")
            assert [page.is_new for page in pages] == [is_on] * 3, (stage, person)
            assert [page.has_link for page in pages] == [is_on] * 3, (stage, person)
            found = 200 if is_on else 404
            assert [browser.get("/insights").status, browser.get("/api/invoices/totals").status] == [found] * 2
            assert browser.get("/invoices/INV-0").status == 404


def test_both_lists_and_the_totals_are_of_the_same_invoices(example: Example, browser: Browser) -> None:
    old = re.findall(r"INV-\d+(?=</a>)", browser.sign_in(STAFF).get("/invoices").body)
    example.to_stage(1)
    page = browser.get("/invoices")
    new = re.findall(r"(?<=<td class=\"quiet\">)INV-\d+", page.body)
    assert (page.is_new, new) == (True, old)
    totals = json.loads(browser.get("/api/invoices/totals").body)
    each = [sum(totals[group].values()) for group in ("by_status", "by_month", "by_customer")]
    assert each == [totals["pence"]] * 3
    assert f"£{totals['by_status']['paid'] / 100:,.2f}" in page.body


def test_signing_in_and_out_decides_again(example: Example, browser: Browser) -> None:
    example.to_stage(1)
    assert browser.get("/invoices").location == "/sign-in"
    assert not browser.sign_in(PLAIN).get("/invoices").is_new
    assert browser.sign_in(STAFF).get("/invoices").is_new
    assert browser.sign_out().get("/invoices").location == "/sign-in"
    assert browser.get("/api/invoices/totals").status == 404
    assert "Insights" not in browser.get("/sign-in").body
    assert not browser.sign_in(PLAIN).get("/invoices").is_new


def test_nobody_is_signed_in_without_being_in_the_list(browser: Browser) -> None:
    page = browser.post("/sign-in", user="<user-13>")
    assert (page.status, browser.cookies) == (404, {})
    assert "&lt;user-13&gt;" in page.body
    assert browser.get("/invoices").location == "/sign-in"


def session_of(user: str, key: str) -> str:
    """A session's cookie as Flask signs it."""
    how = {"key_derivation": "hmac", "digest_method": hashlib.sha1}
    return str(URLSafeTimedSerializer(key, salt="cookie-session", signer_kwargs=how).dumps({"user": user}))


def test_a_forged_session_is_nobody(serve: Callable[..., Example]) -> None:
    example = serve(SECRET_KEY="the key of the app")
    example.to_stage(5)
    forged = session_of(STAFF, "another key")
    with Browser(example.server.url) as browser:
        mine = browser.sign_in(PLAIN).cookies["session"]
        signature = mine.split(".", 1)[1]
        for cookie in (forged, f"{forged.split('.')[0]}.{signature}", mine[:-4] + "AAAA", STAFF, ""):
            browser.cookies["session"] = cookie
            assert browser.get("/invoices").location == "/sign-in", cookie
            assert browser.get("/api/invoices/totals").status == 401, cookie  # it is on for everyone, but whose?
        for cookie in (mine, session_of(STAFF, "the key of the app")):
            browser.cookies["session"] = cookie
            assert browser.get("/invoices").is_new


def test_nothing_but_the_session_says_who_asks(example: Example, browser: Browser) -> None:
    example.to_stage(1)
    browser.sign_in(PLAIN)
    browser.cookies["user"] = STAFF
    page = browser.get(f"/invoices?user={STAFF}&staff=true", **{"X-User": STAFF, "Remote-User": STAFF})
    assert (page.is_new, page.has_link) == (False, False)


def test_an_address_counts_only_from_a_proxy_that_is_trusted(serve: Callable[..., Example], tmp_path: Path) -> None:
    (tmp_path / "cities.mmdb").write_bytes(city_file())
    users = [str(person.user) for person in PEOPLE if not person.staff]
    user = next(user for user in users if oracle.bucket(oracle.FLAG, user) < 50_000)
    geo = {"FLAGGATE_GEO": str(tmp_path / "cities.mmdb")}
    trusting, careful = serve(FLAGGATE_TRUSTED_PROXIES='["127.0.0.1"]', **geo), serve(**geo)
    trusting.to_stage(2)
    careful.move()
    for server, address, is_new in [
        (trusting.server, IN_MANCHESTER, True),
        (trusting.server, IN_LEEDS, False),
        (trusting.server, f"{IN_MANCHESTER}, {IN_LEEDS}", False),  # what the client wrote itself stands further left
        (careful.server, IN_MANCHESTER, False),
        (careful.server, IN_LEEDS, False),
    ]:
        with Browser(server.url, forwarded_for=address) as browser:
            assert browser.sign_in(user).get("/invoices").is_new == is_new, (server.url, address)


def test_health_is_counted_for_no_flag(example: Example, browser: Browser) -> None:
    for _ in range(3):
        health = json.loads(browser.get("/healthz").body)
    assert health["revision"] == example.store.revision()
    assert health["pid"] != os.getpid()
    browser.sign_in(PLAIN).get("/invoices")
    until(lambda: example.store.counts(), "the page was counted")
    assert [(count.arm, count.requests) for count in example.store.counts()] == [("off", 1)]


def test_the_readmes_commands(tmp_path: Path) -> None:
    """One command serves it with its own plan; another one moves it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "FLAGGATE_"))}
    flask = [sys.executable, "-m", "flask", "--app", str(APP / "app.py")]
    with subprocess.Popen(
        [*flask, "run", "--port", "0"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, b"")
            url = next(found.group().decode() for line in said if (found := re.search(rb"http://127\S+", line)))
            with Browser(url) as browser:
                assert not browser.sign_in(STAFF).get("/invoices").is_new
                start = [*flask, "flaggate", "start", oracle.FLAG, "--as", OWNER]
                done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stderr
                until(lambda: browser.get("/invoices").is_new, "the page is the overhauled one")
        finally:
            process.kill()


def test_it_is_small_and_has_the_demos_plan() -> None:
    assert (APP / "flags.toml").read_text(encoding="utf-8") == SEED.read_text(encoding="utf-8")
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in APP.rglob("*.py")) < 150
