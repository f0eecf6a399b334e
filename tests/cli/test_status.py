"""status: what comes next and when, what a rollout waits for and how far it is, and who looks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaggate.cli.render import local_time
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import progress_of
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.kept_notices import Kept
from flaggate.runtime.notice_words import Message
from flaggate.runtime.ticker import NOTICES
from flaggate.stores import open_store
from flaggate.stores.base import Store
from flaggate.stores.record import flag_row, read_flag
from tests.cli.conftest import OWNER, Terminal

FLAG = "new-invoicing"
WAITING = f"""
[flags.full]
description = "All of it"
owner = "{OWNER}"
[[flags.full.stages]]
name = "half"
share = 50
soak = "24h"
min_sample = 500
not_before = 2126-03-04T12:00:00Z
hours = "Sat-Sun 09:00-16:00 Europe/London"
approval = "other"
[[flags.full.stages]]
name = "all"
[[flags.full.guards]]
metric = "errors"
limit = "1%"
"""


@pytest.fixture
def store(terminal: Terminal) -> Iterator[Store]:
    """The terminal's."""
    found = open_store(os.environ["FLAGGATE_STORE"])
    yield found
    found.close()


Look = Callable[..., None]


@pytest.fixture
def look(store: Store) -> Look:
    """Keeps what a process keeps that has looked at a flag, and lets it hold the lease."""

    def looked(name: str, *, observed: float = 0.0, ago: float = 1.0, **kept: Any) -> None:
        assert store.take_lease("somebody", "web-1:4711", 15)
        moment = datetime.now(UTC) - timedelta(seconds=ago)
        progress = progress_of(read_flag(store, name).rollout).looked(moment, since=moment, is_observed=False).to_json()
        store.save_progress({name: progress | {"observed_seconds": observed} | kept}, holder="somebody")

    return looked


def judged(store: Store, name: str, *answers: str) -> dict[str, Any]:
    """What is kept of a look at which the guards said this."""
    rollout = read_flag(store, name).rollout
    verdicts = [{"answer": answer, "numbers": {}} for answer in answers]
    place = {"attempt": rollout.attempt, "stage": rollout.stage, "revision": rollout.revision}
    return {"judgement": place | {"verdicts": verdicts, "requests": 3_120, "split": None}}


def rows(out: str, label: str) -> list[str]:
    """What `status FLAG` says under a label."""
    found, at = [], ""
    for line in out.splitlines():
        at = line[2:12].strip() or at
        if at == label:
            found.append(line[12:])
    return found


def test_how_far_it_is(terminal: Terminal, write: Callable[[str], str], store: Store, look: Look) -> None:
    terminal("apply", write(WAITING))
    terminal("start", "full")
    since = datetime(2026, 3, 2, 12, tzinfo=UTC)
    look("full", observed=3 * 3600.0, holds={"soak": since.isoformat()}, **judged(store, "full", "ok"))
    waiting = rows(terminal("status", "full"), "waits for")
    assert [words for words in waiting if not words.startswith("hours ")] == [  # on a weekend these hold nothing
        f"soak 3 h of 24 h, since {local_time(since)}; ends it: 21 h more that are observed",
        "not before Mon 04 Mar 2126 12:00 UTC; ends it: Mon 04 Mar 2126 12:00 UTC",
        f"approval by another person; ends it: somebody other than {OWNER} approves",
    ]
    found = terminal.json("status", "full")["full"]
    assert found["waits"][0] == {
        "kind": "soak", "why": "soak 3 h of 24 h", "ends": "21 h more that are observed", "since": since.isoformat(),
        "done": 10_800.0, "of": 86_400.0,
    }  # fmt: skip
    assert found["observed_seconds"] == 10_800.0
    assert [wait["why"] for wait in found["waits"]] == found["waits_for"]
    assert "soak 3 h of 24 h, " in terminal("status")


def test_what_comes_next_and_when(applied: Terminal, look: Look) -> None:
    """Once the soak is served; if traffic and people do not take longer."""

    def ahead() -> tuple[str | None, bool]:
        found = applied.json("status", FLAG)[FLAG]
        return found["next"], found["earliest"] is not None

    def minutes_left() -> float:
        moment = datetime.fromisoformat(applied.json("status", FLAG)[FLAG]["earliest"])
        return (moment - datetime.now(UTC)).total_seconds() / 60

    assert ahead() == ("internal", False)
    assert rows(applied("status", FLAG), "next") == ["internal"]
    applied("start", FLAG)
    look(FLAG, observed=23.5 * 3600)
    assert ahead() == ("manchester", True)
    assert 28 < minutes_left() <= 30
    assert re.fullmatch(r"manchester, no earlier than 20.*", rows(applied("status", FLAG), "next")[0])
    look(FLAG, observed=25 * 3600.0)
    assert -2 < minutes_left() <= 0, "now, but for what else it waits for"
    assert rows(applied("status", FLAG), "next") == ["manchester"]
    applied("pause", FLAG)
    assert ahead() == ("manchester", False)
    assert rows(applied("status", FLAG), "waits for") == ["resume"]
    applied("kill", FLAG)
    assert ahead() == ("manchester", False)
    applied("rollback", FLAG)
    assert ahead() == (None, False)
    assert rows(applied("status", FLAG), "next") == []


def test_the_date_and_the_hours_count_too(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write(WAITING))
    terminal("start", "full")
    found = terminal.json("status", "full")["full"]
    assert found["earliest"] == "2126-03-09T09:00:00+00:00", "the Saturday after"
    assert f"all, no earlier than {local_time(datetime(2126, 3, 9, 9, tzinfo=UTC))}" in terminal("status", "full")


def test_the_watch(applied: Terminal, store: Store, look: Look) -> None:
    applied("start", FLAG)
    for _ in range(4):
        applied("advance", FLAG, "--reason", "go")
    answers = "ok", "ok"  # the guard against the control has none here
    look(FLAG, observed=47 * 3600.0, **judged(store, FLAG, *answers))
    out = applied("status", FLAG)
    assert rows(out, "waits for") == [
        "watch 47 h of 48 h; ends it: 1 h more that are observed, or somebody completes it"
    ]
    assert rows(out, "next")[0].startswith("completed, no earlier than ")
    look(FLAG, observed=47 * 3600.0, **judged(store, FLAG, "no_data", "ok"))
    assert applied.json("status", FLAG)[FLAG]["waits_for"] == [
        "nothing is known of errors (no data)", "watch 47 h of 48 h",
    ]  # fmt: skip


def test_who_looks(applied: Terminal, store: Store, look: Look) -> None:
    assert "nobody looks" not in applied("status"), "there is nothing to look at"
    applied("start", FLAG)
    assert "\nnobody looks now: no process of the app is there, and no flaggate run\n" in applied("status")
    assert applied.json("status")[FLAG]["lease"] is None
    look(FLAG)
    renewed = store.lease()
    assert renewed is not None
    moment = datetime.fromtimestamp(renewed.renewed_at, UTC)
    words = f"web-1:4711 holds the lease and looks every 5 s, last at {local_time(moment)}"
    assert f"\n{words}\n" in applied("status")
    assert rows(applied("status", FLAG), "looks") == [words]
    assert applied.json("status", FLAG)[FLAG]["lease"] == {
        "who": "web-1:4711", "every_seconds": 5.0, "looked_at": moment.isoformat(),
    }  # fmt: skip
    look(FLAG, ago=3600.0)
    store.release_lease("somebody")
    last = datetime.fromisoformat(applied.json("status", FLAG)[FLAG]["looked_at"])
    words = f"nobody looks now (last at {local_time(last)}): no process of the app is there, and no flaggate run"
    assert f"\n{words}\n" in applied("status")
    assert rows(applied("status", FLAG), "looks") == [words]
    applied("kill", FLAG)
    assert "looks" not in applied("status", FLAG), "nothing moves it"


def test_who_is_told(applied: Terminal, store: Store, look: Look) -> None:
    nobody = "nobody is told anything: no process with notify= has looked yet"
    assert nobody not in applied("status"), "there is nothing to tell"
    applied("start", FLAG)
    assert applied("status").endswith(f"\n{nobody}\n")
    assert rows(applied("status", FLAG), "told") == [nobody]
    assert applied.json("status", FLAG)[FLAG]["notices"] is None
    look(FLAG)
    kept, now = Kept(upto=2), datetime.now(UTC)
    store.save_progress({NOTICES: kept.to_json()}, holder="somebody")
    assert rows(applied("status", FLAG), "told") == ["everybody was told, up to event 2"]
    kept.add(Message("event 3", ("oncall",), "new-invoicing: advanced to beta", "", "info", now), now)
    kept.pending["event 3"].why = "mailto://mail.example.com could not be reached"
    kept.fail("new-invoicing: started", "no service in apprise.yml has the tag oncall", now)
    store.save_progress({NOTICES: kept.to_json()}, holder="somebody")
    for out in (applied("status"), applied("status", FLAG)):
        assert "new-invoicing: advanced to beta: not told to everybody yet" in out
        assert "1 time somebody was not told; the last:" in out
        assert "new-invoicing: started: no service in apprise.yml has the tag oncall" in out
    found = applied.json("status", FLAG)[FLAG]["notices"]
    assert found["waiting"] == [
        {
            "title": "new-invoicing: advanced to beta", "to": ["oncall"], "tries": 0,
            "why": "mailto://mail.example.com could not be reached",
        }
    ]  # fmt: skip
    assert (found["failures"], found["last_failures"][0]["what"]) == (1, "new-invoicing: started")
    applied("rollback", FLAG)
    assert "not told to everybody yet" in applied("status"), "of what is over, too"


def test_a_breach_is_shown_with_its_numbers(applied: Terminal, store: Store) -> None:
    applied("start", FLAG)
    row, record = flag_row(store, FLAG), read_flag(store, FLAG)
    numbers = {"requests": 1930, "errors": 41, "sure": 0.996}
    guards = [{"metric": "errors", "answer": "breach", "numbers": numbers}, {"metric": "slow", "answer": "no_data"}]
    act = Act(Verb.ROLLBACK, AUTOMATIC, datetime.now(UTC), "errors: breach", evidence={"guards": guards})
    moved = move(record.flag, record.rollout, act)
    assert moved is not None
    Control(store).write(row, moved[1])
    out = applied("status", FLAG)
    assert rows(out, "breach") == ["errors: breach (requests 1930, errors 41, sure 0.996)", "slow: no data"]
    assert applied.json("status", FLAG)[FLAG]["breach"] == {"guards": guards}
    assert "breach no -> latched" in applied("history")
    applied("restart", FLAG, "--reason", "mended")
    assert rows(applied("status", FLAG), "breach") == []


@pytest.mark.parametrize("breach", [{"guards": ["errors"]}, {"because": "of something else"}])
def test_a_breach_that_another_flaggate_wrote(applied: Terminal, store: Store, breach: dict[str, Any]) -> None:
    applied("start", FLAG)
    row, record = flag_row(store, FLAG), read_flag(store, FLAG)
    moved = move(
        record.flag, record.rollout, Act(Verb.ROLLBACK, AUTOMATIC, datetime.now(UTC), "so it was", evidence=breach)
    )
    assert moved is not None
    Control(store).write(row, moved[1])
    assert len(rows(applied("status", FLAG), "breach")) == 1


def test_what_was_observed_elsewhere_does_not_count(applied: Terminal, look: Look) -> None:
    applied("start", FLAG)
    look(FLAG, observed=23 * 3600.0)
    applied("advance", FLAG, "--reason", "go")
    assert "soak 0 s of 24 h" in applied.json("status")[FLAG]["waits_for"]


def test_what_cannot_be_read_is_taken_for_nothing(applied: Terminal, store: Store, look: Look) -> None:
    applied("start", FLAG)
    look(FLAG)
    store.save_progress({FLAG: {"observed_seconds": "long"}}, holder="somebody")
    assert applied.json("status")[FLAG]["observed_seconds"] == 0.0
    assert "soak 0 s of 24 h" in applied("status", FLAG)
