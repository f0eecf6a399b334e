"""A rollout on real servers: who is served what, how a kill gets there, and that every request is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from tests.e2e.servers import WORKERS, Server, is_there, serving
from tests.e2e.sites import signed_in
from tests.oracle import Answer, Person, expected, make_people
from tests.runtime.scenes import ROOT, until
from tests.seed import SEED
from tests.web.city_files import BERLIN, LEEDS, MANCHESTER, MANCHESTER_US, city_file

FLAG = "new-invoicing"
RESTARTED = ("gunicorn", "uvicorn")
"""On these a kill is looked for after a restart, too."""
OWNER = "release-owner@example.com"
PLACES: Final[Mapping[tuple[str | None, str | None], Mapping[str, Any]]] = {
    ("Manchester", "GB"): MANCHESTER,
    ("Manchester", "US"): MANCHESTER_US,
    ("Manchester", None): {"city": MANCHESTER["city"]},
    ("Leeds", "GB"): LEEDS,
    ("Berlin", "DE"): BERLIN,
    (None, "GB"): {"country": MANCHESTER["country"]},
    (None, None): {"country": {"names": {"en": "nowhere"}}},
}
"""The places of the people, as the City file has them."""
NETWORKS: Final = {place: f"5.0.{number}" for number, place in enumerate(PLACES)}
"""Where the people of a place connect from."""


def of_every_kind(people: Iterable[Person]) -> list[Person]:
    """Two of each kind that the plan tells apart at some stage."""
    kinds: dict[tuple[Answer, ...], list[Person]] = {}
    for person in people:
        kinds.setdefault(tuple(expected(stage, person) for stage in range(6)), []).append(person)
    return [person for kind in kinds.values() for person in kind[:2]]


class Scene:
    """A store with the seed plan, a City file, and a list of all answers that were given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(f"sqlite:///{folder}/flags.db")
        self.control = Control(self.store)
        self.control.apply(parse(SEED.read_text()), actor=OWNER)
        self.stood: dict[int, tuple[int, int]] = {}
        """By revision: attempt and stage."""
        self.given: list[dict[str, Any]] = []
        self._note()
        cities = folder / "City.mmdb"
        cities.write_bytes(city_file({f"{NETWORKS[place]}.0/24": record for place, record in PLACES.items()}))
        self.cities = str(cities)

    def serving(self, name: str) -> Any:
        return serving(name, self.store.url, self.folder / "server", SITE_CITIES=self.cities)

    def act(self, verb: Verb) -> None:
        self.control.act(verb, FLAG, actor=OWNER, reason="for the test")
        self._note()

    def _note(self) -> None:
        row = self.store.get("flag", FLAG)
        assert row is not None
        assert row.document is not None
        rollout = row.document["rollout"]
        self.stood[self.store.revision()] = rollout["attempt"], rollout["stage"]

    def command(self, *words: str) -> None:
        """What a person types."""
        subprocess.run(
            [sys.executable, "-m", "flaggate", *words, FLAG, "--store", self.store.url, "--reason", "for the test"],
            cwd=ROOT, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        self._note()

    def ask(self, server: Server, person: Person | None = None) -> dict[str, Any]:
        """Ask for the flag as somebody does, through a proxy that says where they are."""
        if person is None:
            answer: dict[str, Any] = server.ask("/nobody/").json()  # nobody who is known
        else:
            words = {"user": person.user, "account": person.account, "staff": person.staff, "tier": person.tier}
            headers = {
                "X-Forwarded-For": f"{NETWORKS[person.city, person.country]}.7",
                "Cookie": signed_in(words | {"groups": list(person.groups)}),
            }
            answer = server.ask("/x-forwarded-for/", headers).json()
        self.given.append(answer)
        return answer

    def counts(self) -> Counter[tuple[int, int, str]]:
        """What was counted, by attempt, stage and arm."""
        counted: Counter[tuple[int, int, str]] = Counter()
        for count in self.store.counts(FLAG):
            assert count.errors == 0
            assert sum(count.histogram.values()) == count.requests
            counted[count.attempt, count.stage, count.arm] += count.requests
        return counted

    def expected_counts(self) -> Counter[tuple[int, int, str]]:
        """What the answers add up to."""
        sums: Counter[tuple[int, int, str]] = Counter()
        for answer in self.given:
            stood = self.stood[answer["revision"]]
            sums[*stood, "on" if answer["is_on"] else "off"] += 1
            if answer["arm"]:
                sums[*stood, answer["arm"]] += 1
        return sums


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.store.close()


# --- each worker by itself --------------------------------------------------------------------


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[list[int]]:
    """Workers that do nothing for a while, so that the others take the connections."""
    made: list[int] = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            made.append(pid)
        yield made
    finally:
        for pid in made:
            os.kill(pid, signal.SIGCONT)


def workers_of(server: Server, count: int) -> list[int]:
    """The ids of the processes that answer."""
    with stopped([]) as found:
        while len(found) < count:
            pid = server.ask("/nobody/address").json()["pid"]
            os.kill(pid, signal.SIGSTOP)
            found.append(pid)
        return list(found)


def answers(scene: Scene, server: Server, people: Sequence[Person], count: int) -> list[dict[str, Any]]:
    """What each is answered; each worker answers some of them, once it serves what the store says."""
    revision = scene.store.revision()
    workers = workers_of(server, count)
    given: list[dict[str, Any]] = [{}] * len(people)
    for number, worker in enumerate(workers):
        with stopped(set(workers) - {worker}):
            until(lambda: scene.ask(server)["revision"] == revision, "a worker serves the change", seconds=10)
            for index in range(number, len(people), count):
                given[index] = scene.ask(server, people[index])
                assert given[index]["pid"] == worker
    return given


def check(scene: Scene, server: Server, people: Sequence[Person], count: int, stage: int, **standing: Any) -> None:
    """Everybody is served what the oracle says."""
    found = [
        (answer["is_on"], answer["stage"], answer["arm"], answer["reason"])
        for answer in answers(scene, server, people, count)
    ]
    wanted = [expected(stage, person, **standing) for person in people]
    wrong = [(person, a, b) for person, a, b in zip(people, found, wanted, strict=True) if a != b]
    assert wrong == []


# --- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKERS)
def test_a_rollout_from_draft_to_everyone_with_a_kill_and_a_restart_on_the_way(scene: Scene, name: str) -> None:
    """All 500 people on one server; on the others some of every kind, so that it takes no longer than it must."""
    everybody = make_people(500, seed=1)
    people = everybody if name == "gunicorn" else of_every_kind(everybody)
    count = WORKERS[name]
    some = of_every_kind(everybody)
    with scene.serving(name) as server:
        check(scene, server, people, count, 0)
        for stage in range(1, 5):
            scene.act(Verb.START if stage == 1 else Verb.ADVANCE)
            check(scene, server, people, count, stage)
        scene.command("kill")
        check(scene, server, some, count, 4, standing="killed")
        if name in RESTARTED:
            server.end()
            assert scene.counts() == scene.expected_counts()
            return
        scene.act(Verb.UNKILL)
        check(scene, server, some, count, 4)
        scene.act(Verb.ADVANCE)
        check(scene, server, people, count, 5)
        until(lambda: scene.counts() == scene.expected_counts(), "the counts are written while it runs")


@pytest.mark.parametrize("name", WORKERS)
def test_no_request_is_lost_or_counted_twice_while_workers_are_replaced(scene: Scene, name: str) -> None:
    """SIGHUP replaces all workers while clients go on asking; SIGTERM ends them."""
    for stage in range(1, 5):
        scene.act(Verb.START if stage == 1 else Verb.ADVANCE)
    people = of_every_kind(make_people(500, seed=2))
    is_over = threading.Event()
    failures: list[BaseException] = []
    with scene.serving(name) as server:

        def keep_asking(number: int) -> None:
            while not is_over.is_set():
                for person in people[number::4]:
                    is_over.wait(0.02)  # it leaves the workers room to begin
                    try:
                        scene.ask(server, person)
                    except (ConnectionError, HTTPException):
                        continue  # a connection that a worker that ends has never read from
                    except BaseException as error:
                        failures.append(error)
                        return

        clients = [threading.Thread(target=keep_asking, args=[number]) for number in range(4)]
        for client in clients:
            client.start()
        until(lambda: len(scene.given) > 100, "clients are answered")
        before = set(workers_of(server, WORKERS[name]))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: not any(map(is_there, before)), "the old workers have ended")
        after = len(scene.given)
        until(lambda: len(scene.given) > after + 100, "clients are answered by the new workers")
        server.end()
        is_over.set()
        for client in clients:
            client.join()
    assert failures == []
    answered = {answer["pid"] for answer in scene.given}
    assert answered & before, "the old ones, though one of them may have had no client"
    assert answered - before
    assert scene.counts() == scene.expected_counts()


def test_workers_of_uwsgi_keep_up_though_a_flag_was_asked_before_they_were_forked(scene: Scene) -> None:
    """It forks without telling Python."""
    people = of_every_kind(make_people(500, seed=3))
    environment = {"SITE_CITIES": scene.cities, "SITE_ASKS_AT_ONCE": "yes"}
    with serving("uWSGI", scene.store.url, scene.folder / "server", **environment) as server:
        check(scene, server, people, 2, 0)
        scene.act(Verb.START)
        check(scene, server, people, 2, 1)
        until(lambda: scene.counts() == scene.expected_counts(), "the counts are written while it runs")


@pytest.mark.parametrize(
    ("name", "path"),
    [("gunicorn, one worker", "X Y/1"), ("gunicorn, one worker", "X/a\u2013b"), ("waitress", "X/a\u2013b")],
)
def test_a_header_that_the_server_refuses_is_an_error(scene: Scene, name: str, path: str) -> None:
    """One that is none, or that is not latin-1. gunicorn looks when it is told of them, and waitress when it sends them."""
    with scene.serving(name) as server:
        assert server.ask("/flask/X/1").body == b"said"
        with suppress(HTTPException, ConnectionError):  # older ones just close the connection
            assert server.ask(f"/flask/{quote(path)}").status >= 400
        until(lambda: sum(count.requests for count in scene.store.counts(FLAG)) == 2, "both are counted")
    assert [(count.arm, count.errors) for count in scene.store.counts(FLAG)] == [("off", 1)]
