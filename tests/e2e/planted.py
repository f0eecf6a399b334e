"""An example app under four workers, with faults to be planted; people who browse it, and a hand on its rollout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final, TypeAlias

import pytest

from tests import oracle
from tests.e2e.browser import Browser
from tests.e2e.planted_site import DICE, FLAG, PAGE, WHERE
from tests.e2e.servers import LOCAL, Server, ended, is_there, serving
from tests.runtime.scenes import ROOT, until

__all__ = ["APPS", "OWNER", "PLAN", "Example", "Seen", "served"]

OWNER: Final = "release-owner@example.com"
PLAN: Final = """
[flags.new-invoicing]
description = "The overhauled invoicing system"
owner = "release-owner@example.com"
unit = "user"
stages = [
    { name = "half", share = 50, soak = "24h" },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "errors", vs_control = 1.25 },
    { metric = "slow", slower_than = "2s", limit = "5%" },
]
"""
EXAMPLES: Final = ROOT / "example_apps"
APPS: Final[Mapping[str, tuple[str, str]]] = {
    "flask_invoicing": ("gunicorn", "flask_app()"),
    "django_invoicing": ("gunicorn", "django_app()"),
    "starlette_invoicing": ("uvicorn, four workers", "fastapi_app"),
}
"""By what each is served: a server with four workers, and what makes the app."""
PEOPLE: Final = range(1, 41)
"""Django's keys of them, too."""
_WORKERS: Final = 4
_MOST_SECONDS: Final = 60.0
_AT_ONCE: Final = float("inf")
Turn: TypeAlias = tuple[int, float]
"""Whose request it is, and its dice."""
_SETTINGS: Final = """
from invoicing.settings import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
DEBUG, ALLOWED_HOSTS = False, ["127.0.0.1"]
MIDDLEWARE = [*MIDDLEWARE, "tests.e2e.planted_site.DjangoPlant"]
DATABASES = {{"default": {database} or DATABASES["default"]}}
"""


class Seen:
    """What people were served: how often what, by whether they are among those with the feature."""

    def __init__(self) -> None:
        self.pages = Counter[tuple[bool, str]]()
        self.seconds = 0.0

    def exposed(self) -> int:
        """How many of the requests had the feature."""
        return sum(self.pages[True, what] for what in ("new", "failed", "lost"))

    def __str__(self) -> str:
        return f"{self.exposed()} requests with the feature, {self.seconds:.1f} s"


class Example:
    """One of the apps, what goes wrong in it, its people, and the hand on its rollout."""

    def __init__(self, name: str, folder: Path, server: Server, order: Callable[..., Any]) -> None:
        self.name = name
        self.folder = folder
        self.server = server
        self.order = order
        """An order to the hand, and its answer."""
        self.random = Random(6)
        self.sent = Counter[tuple[str, bool]]()
        """Requests of this attempt that were answered, by arm, and whether they failed."""
        self._lock = threading.Lock()
        with ThreadPoolExecutor(_WORKERS) as pool:
            self._cookies = dict(zip(PEOPLE, pool.map(self._signed_in, PEOPLE), strict=True))
        self.exposed = [person for person in PEOPLE if oracle.bucket(FLAG, self.unit(person)) < 50_000]
        self.others = [person for person in PEOPLE if person not in self.exposed]

    def unit(self, person: int) -> str:
        """The key that the app gives flaggate."""
        return str(person) if self.name.startswith("django") else f"user-{person}"

    # --- the hand ---------------------------------------------------------------------------

    def says(self, *words: str) -> str:
        """What a command prints, which has to succeed; on one line."""
        done = self.order("run", *words)
        assert done["code"] == 0, (words, done)
        return " ".join(done["said"].split())

    def stands(self) -> str:
        """The rollout's status."""
        found: str = self.order("stands")
        return found

    def begin(self, plan: str = PLAN, *, by_hand: bool = False) -> None:
        """A new attempt, in its first stage, without faults; all workers serve it, and one of them looks, or the hand."""
        self.plant()
        definitions = self.folder / "flask_invoicing" / "flags.toml"
        definitions.write_text(plan, encoding="utf-8")
        # The workers apply the file as well: who comes at the same moment is told so, and looks again.
        until(lambda: not self.order("run", "apply", str(definitions), "--as", OWNER)["code"], "the plan is applied")
        if by_hand:
            until(lambda: self.order("take"), "no worker looks any more")
        verb = "start" if self.stands() == "draft" else "restart"
        self.says(verb, FLAG, "--reason", "for the test", "--as", OWNER)
        self.await_workers()
        self.sent.clear()

    def await_workers(self) -> set[int]:
        """Until all of them serve what the store holds. Returns their ids."""
        revision, seen = self.order("revision"), dict[int, int]()

        def look(_: int) -> None:
            told = self.server.ask(WHERE).json()
            seen[told["pid"]] = told["revision"]

        def all_do() -> bool:
            list(pool.map(look, range(2 * _WORKERS)))
            return len(current()) == _WORKERS

        def current() -> set[int]:
            return {pid for pid, each in seen.items() if each == revision and is_there(pid)}

        with ThreadPoolExecutor(2 * _WORKERS) as pool:
            until(all_do, "all workers serve the change")
        return current()

    def end(self) -> None:
        """Whatever came of it, the next one begins anew, and the workers look."""
        if self.stands() == "running":
            self.says("rollback", FLAG, "--reason", "for the test", "--as", OWNER)
        self.order("let_go")

    def plant(self, **faults: Mapping[str, float]) -> None:
        """From now on this goes wrong, for those with the feature (`on`) or without (`off`)."""
        written = self.folder / "faults.new"
        written.write_text(json.dumps(faults), encoding="utf-8")
        written.replace(self.folder / "faults")

    def is_all_counted(self) -> bool:
        """Whether the store holds each request that was sent in this attempt, and no other, by arm; those that failed as
        such."""
        wanted = Counter[tuple[str, bool]]()
        for (arm, is_error), count in self.sent.items():
            for each in (arm, "on" if arm == "treatment" else "off"):
                wanted[each, is_error] += count
        counts = self.order("counts").items()
        found = {(arm, True): errors for arm, (_, errors) in counts if errors}
        found |= {(arm, False): requests - errors for arm, (requests, errors) in counts if requests > errors}
        return wanted == found

    # --- the people -------------------------------------------------------------------------

    def _signed_in(self, person: int) -> str:
        """Their cookies."""
        with Browser(f"http://{LOCAL}:{self.server.port}") as browser:
            if self.name.startswith("django"):
                token = browser.cookies["csrftoken"] = "c" * 32  # nobody looks where it comes from
                words = {"username": f"user-{person}", "password": "invoices"}
                page = browser.post("/sign-in", csrfmiddlewaretoken=token, **words)
                assert (page.status, page.location) == (302, PAGE), page
            else:
                browser.sign_in(f"user-{person}")
            return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())

    def turns(self, people: Sequence[int], passes: int = 1000) -> Iterator[Turn]:
        """Each of them so many times, in whatever order."""
        for _ in range(passes):
            for person in self.random.sample(people, len(people)):
                yield person, self.random.random()

    def browse(
        self, turns: Iterable[Turn], *, threads: int = 4, patience: float = _MOST_SECONDS, per_second: float = _AT_ONCE
    ) -> Seen:
        """They look at their invoices, until it is over, or one of them is told that the new page was rolled back.

        Args:
            per_second: So many requests at most: whoever waits for the workers to see something leaves them room to.
        """
        seen, left, lock, begun = Seen(), enumerate(turns), threading.Lock(), monotonic()
        is_over = threading.Event()

        def go_on(_: int) -> None:
            while not is_over.is_set():
                with lock:
                    number, turn = next(left, (0, None))
                if turn is None:
                    return
                is_over.wait(begun + number / per_second - monotonic())
                what = self.ask(*turn, patience=patience)
                with lock:
                    seen.pages[turn[0] in self.exposed, what] += 1
                if what == "rolled back":
                    is_over.set()
                assert monotonic() - begun < _MOST_SECONDS, seen.pages

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(go_on, range(threads)))
        seen.seconds = monotonic() - begun
        return seen

    def ask(self, person: int, dice: float = 0.5, *, patience: float = _MOST_SECONDS) -> str:
        """One request: new, old, rolled back (which is an old page that says so), failed, or lost."""
        what = self._asked(person, dice, patience)
        arm = "treatment" if person in self.exposed else "control"
        if what in ("failed", "new" if arm == "treatment" else "old"):
            with self._lock:
                self.sent[arm, what == "failed"] += 1
        return what

    def _asked(self, person: int, dice: float, patience: float) -> str:
        # Each on a connection of its own: gunicorn's workers close it, and those of uvicorn answer in two packets, of which
        # the second one waits 40 ms where the connection is not new.
        with closing(HTTPConnection(LOCAL, self.server.port, timeout=patience)) as connection:
            try:
                connection.request("GET", PAGE, headers={"Cookie": self._cookies[person], DICE: str(dice)})
                response = connection.getresponse()
                body = response.read().decode()
            except (OSError, HTTPException):
                return "lost"
        if response.status == 500:
            return "failed"
        assert response.status == 200, (response.status, body)
        if "off for you: rolled_back" in body:
            assert 'data-invoicing="old"' in body
            return "rolled back"
        (look,) = [look for look in ("old", "overhauled") if f'data-invoicing="{look}"' in body]
        return "old" if look == "old" else "new"

    def served(self, people: Iterable[int]) -> set[str]:
        """What they are served."""
        return {self.ask(person) for person in people}


@contextmanager
def served(name: str, folder: Path, database: Mapping[str, Any] | None = None) -> Iterator[Example]:
    """One of the apps, with forty people instead of twelve, and a hand on its rollout."""
    examples = folder / "example_apps"
    shutil.copytree(EXAMPLES, examples, ignore=shutil.ignore_patterns("*.db*", ".*", "__pycache__"))
    people = [
        {"user": f"user-{key}", "name": f"Person {key}", "account": f"account-{key % 4}", "staff": False, "groups": [],
         "tier": "team"}
        for key in PEOPLE
    ]  # fmt: skip
    (examples / "flask_invoicing" / "people.json").write_text(json.dumps(people), encoding="utf-8")
    (examples / "flask_invoicing" / "flags.toml").write_text(PLAN, encoding="utf-8")
    (examples / "faults").write_text("{}", encoding="utf-8")
    (examples / name / "served.py").write_text(_SETTINGS.format(database=database), encoding="utf-8")
    kind, app = APPS[name]
    server_name = kind.partition(",")[0]
    pytest.importorskip(server_name, reason=f"pip install {server_name}")
    url = f"sqlite:///{folder}/flags.db"
    key = {"SECRET_KEY": "the key of the app", "FLASK_SECRET_KEY": "the key of the app"}
    places = {"PLANTED_EXAMPLES": str(examples), "PLANTED_FAULTS": str(examples / "faults")}
    more = key | places | {"FLASK_FLAGGATE_STORE": url, "DJANGO_SETTINGS_MODULE": "served"}
    with ExitStack() as stack:
        hand = stack.enter_context(_hand(examples / name, None if name.startswith("django") else url, more))
        server = stack.enter_context(serving(kind, url, folder / "server", app=f"tests.e2e.planted_site:{app}", **more))
        yield Example(name, examples, server, hand)


@contextmanager
def _hand(folder: Path, url: str | None, environment: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("FLAGGATE_", "PYTEST_"))}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), known.get("PYTHONPATH", "")])}
    more = {"COLUMNS": "1000"} if url is None else {"COLUMNS": "1000", "FLAGGATE_STORE": url}  # no table is folded
    with (folder.parent / "hand.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.planted_hand"],
            cwd=folder,
            env=known | {**environment, **paths, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def order(do: str, *words: Any) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, "with": words}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, (folder.parent / "hand.log").read_text()
        return json.loads(answer)

    with process, ended(process):
        order("is_there")  # it has made the database, where that is the app's own
        yield order
