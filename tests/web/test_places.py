"""Where it is: asked of the City file once a request at most, and only if a rule reads a place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.web.geo import Geo, Place
from tests.runtime.scenes import bring, run, turn
from tests.web import city_files
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER
from tests.web.scenes import FLAGS, Speaks

MORE = """
[flags.british]
description = "Reads the country"
owner = "owner@example.com"
audience = { country = "GB" }

[flags.numbered]
description = "Reads the city's id"
owner = "owner@example.com"
audience = { city_id = 2643123 }

[flags.english]
description = "Reads the region"
owner = "owner@example.com"
audience = { region = "England" }

[flags.staff-or-local]
description = "Reads the place of those who are no staff"
owner = "owner@example.com"
audience = [{ staff = true }, { city = "Manchester" }]
"""
NAMES = ("local", "british", "numbered", "english", "staff-or-local")


class CountingGeo(Geo):
    """Notes what it was asked."""

    asked: list[str]

    def place(self, address: str) -> Place:
        self.asked.append(address)
        return super().place(address)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "City.mmdb"
    path.write_bytes(city_files.city_file())
    return path


class Scene:
    """An app that asks flags, with a City file."""

    def __init__(self, gate: Gate, protocol: Speaks, file: Path, **settings: Any) -> None:
        self.protocol = protocol
        self.names: tuple[str, ...] = NAMES
        self.app = protocol.site(gate, lambda: " ".join(n for n in self.names if gate.is_on(n)), geo=file, **settings)
        self.geo = CountingGeo(file, None, pytest.fail)
        self.geo.asked = []
        self.app.site.geo = self.geo

    def ask(self, address: str, *names: str) -> set[str]:
        """The flags that are on for somebody at this address."""
        self.names = names or NAMES
        return set(self.protocol.ask(self.app, peer=address).body.decode().split())


@pytest.fixture(autouse=True)
def more_flags(gate: Gate) -> None:
    bring(gate.store, FLAGS + MORE)
    for name in NAMES[1:]:
        turn(gate.store, Verb.ON, name)
    gate.refresh()


def test_it_is_asked_once_a_request_however_many_rules_read_a_place(gate: Gate, protocol: Speaks, file: Path) -> None:
    scene = Scene(gate, protocol, file)
    assert scene.ask(IN_MANCHESTER) == set(NAMES)
    assert scene.ask(IN_LEEDS) == {"british", "english"}
    assert scene.ask("192.0.2.1") == set()
    assert scene.geo.asked == [IN_MANCHESTER, IN_LEEDS, "192.0.2.1"]


def test_it_is_not_asked_where_no_rule_reads_a_place(gate: Gate, protocol: Speaks, file: Path) -> None:
    scene = Scene(gate, protocol, file, context=lambda _: {"user": "ada", "tier": "pro", "staff": True})
    on = scene.ask(IN_MANCHESTER, "banner", "team", "tiered", "half", "staff-or-local", "office")
    assert {"banner", "team", "tiered", "staff-or-local"} <= on
    assert scene.geo.asked == []


@pytest.mark.parametrize(
    ("given", "on", "asked"),
    [
        ({"city": "Leeds"}, {"british", "numbered", "english"}, 1),
        ({"country": "US"}, {"numbered", "english", "staff-or-local"}, 1),
        ({"city": lambda: None, "city_id": 7, "region": None, "country": lambda: "GB"}, {"british"}, 0),
        ({"ip": IN_LEEDS}, {"british", "english"}, 1),
        ({"ip": None}, set(), 0),
        (Context(city="Berlin"), {"british", "numbered", "english"}, 1),
    ],
)
def test_what_the_app_says_of_the_place_stands(
    gate: Gate, protocol: Speaks, file: Path, given: Any, on: set[str], asked: int
) -> None:
    scene = Scene(gate, protocol, file, context=lambda _: given)
    assert scene.ask(IN_MANCHESTER) == on
    assert len(scene.geo.asked) == asked


def test_a_place_is_for_a_client_behind_a_proxy_of_ours(gate: Gate, protocol: Speaks, file: Path) -> None:
    scene = Scene(gate, protocol, file, trusted_proxies=["10.0.0.0/8"])
    headers = [("X-Forwarded-For", f"{IN_LEEDS}, {IN_MANCHESTER}")]
    assert protocol.ask(scene.app, peer="10.0.0.1", headers=headers).body.decode().split() == list(NAMES)
    assert scene.geo.asked == [IN_MANCHESTER]


def test_after_signing_in_the_file_is_not_asked_again(gate: Gate, protocol: Speaks, file: Path) -> None:
    scene = Scene(gate, protocol, file)

    def respond() -> str:
        first = gate.is_on("local")
        visit = gate.current.get()
        assert visit is not None
        visit.identify(user="ada")
        return f"{first} {gate.is_on('local')} {gate.is_on('team')}"

    app = protocol.site(gate, respond, geo=file)
    app.site.geo = scene.geo
    assert protocol.ask(app, peer=IN_MANCHESTER).body == b"True True True"
    assert scene.geo.asked == [IN_MANCHESTER]


def test_a_thousand_requests_whose_rules_need_none_make_no_query_and_open_no_file(file: Path, tmp_path: Path) -> None:
    """Python tells its auditors of much: a file, an import, a socket, a query. Of id() too, which goes nowhere."""
    script = """
import json, sys, threading
from collections import Counter
import sqlalchemy as sa
from flaggate.stores.sql import SqlStore
from tests.web.scenes import SpeaksAsgi, SpeaksWsgi, http_environ, http_scope, running, Exchange, ask_wsgi

requests, queries, events = threading.get_ident(), Counter(), Counter()
is_watched = False

def hook(event, _):
    if event not in ("builtins.id", "object.__setattr__") and is_watched and threading.get_ident() == requests:
        events[event] += 1

sys.addaudithook(hook)
sa.event.listen(
    sa.Engine, "before_cursor_execute", lambda *_: queries.update([is_watched and threading.get_ident() == requests])
)
gate = running(SqlStore(sys.argv[1]), background=True)
NAMES = ("banner", "team", "tiered", "half", "office")
context = lambda asker: {"user": "ada", "tier": lambda: "pro"}
settings = {"context": context, "geo": sys.argv[2], "secret_keys": ["key"], "routes": {"/team/*": "team"}}
respond = lambda: " ".join(name for name in NAMES if gate.is_on(name))

def call_asgi(app):
    exchange = Exchange()
    try:
        exchange.serve(app, http_scope()).send(None)
    except StopIteration:
        return exchange.answer().body

def call_wsgi(app):
    return ask_wsgi(app, http_environ()).body

bodies = set()
for speaks, call in ((SpeaksAsgi, call_asgi), (SpeaksWsgi, call_wsgi)):
    app = speaks().site(gate, respond, **settings)
    call(app)
    is_watched = True
    for _ in range(1000):
        bodies.add(call(app))
    is_watched = False
counted = dict(events), queries[True]
is_watched = True
open("/dev/null").close()
gate.store.history("half")
is_watched = False
gate.close()
print(json.dumps([*counted, events["open"] > 0, queries[True] > 0, [body.decode() for body in bodies]]))
"""
    events, queries, *is_counting, bodies = json.loads(run(tmp_path, script, f"sqlite:///{tmp_path}/flags.db", file))
    assert is_counting == [True, True], "the counting counts"
    assert len(bodies) == 1
    assert bodies[0].startswith("banner team tiered")
    assert (events, queries) == ({}, 0)
