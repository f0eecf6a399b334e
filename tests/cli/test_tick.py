"""tick: one look, for cron."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flaggate.cli import tick
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.stores import open_store
from flaggate.stores.base import Store
from flaggate.stores.record import Record
from tests.cli.conftest import OWNER, Terminal
from tests.runtime.notice_scenes import Target, configure

PLAN = f"""
[flags.quick]
description = "Goes on at once"
owner = "{OWNER}"
stages = [{{ name = "half", share = 50, soak = "0s" }}, {{ name = "all" }}]
guards = [{{ metric = "errors", limit = "1%" }}]
"""


@pytest.fixture
def quick(terminal: Terminal, write: Callable[[str], str]) -> Terminal:
    """A terminal with a rollout that runs."""
    terminal("apply", write(PLAN))
    terminal("start", "quick")
    return terminal


@pytest.fixture
def slow(terminal: Terminal, write: Callable[[str], str]) -> Terminal:
    """A terminal with a rollout that soaks."""
    terminal("apply", write(PLAN.replace("0s", "1h")))
    terminal("start", "quick")
    return terminal


@pytest.fixture
def store(terminal: Terminal) -> Iterator[Store]:
    """The terminal's."""
    found = open_store(os.environ["FLAGGATE_STORE"])
    yield found
    found.close()


def says(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on each guard says this, as if they were judged already."""

    def judge(record: Record, _kept: Any, _now: datetime) -> Judgement:
        rollout = record.rollout
        guards = guards_judged_in(record.flag, record.flag.stages[rollout.stage - 1])
        verdicts = tuple(Verdict(guard, answer, {"requests": 1200}) for guard in guards)
        return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts)

    monkeypatch.setattr(tick, "Judging", lambda *_: judge)


def test_nothing_to_look_at(applied: Terminal) -> None:
    assert applied("tick") == "nothing to look at: no rollout is running, paused or watching\n"
    assert applied.json("tick") == {"has_looked": True, "lease": None, "looked": {}}


def test_what_each_rollout_waits_for(slow: Terminal) -> None:
    quick = slow
    assert quick("tick") == "quick: running, stage 1 of 2 (half); waits for soak 0 s of 1 h\n"
    found = quick.json("tick")["looked"]["quick"]
    assert (found["status"], found["stage"], found["attempt"], found["moved"]) == ("running", 1, 1, None)
    assert [wait["kind"] for wait in found["waits"]] == ["soak"]
    assert found["waits"][0]["since"] is not None
    quick("pause", "quick")
    assert quick("tick") == "quick: paused, stage 1 of 2 (half); waits for resume\n"
    quick("resume", "quick")
    quick("advance", "quick", "--reason", "nobody waits")
    assert quick("tick") == "quick: watching, stage 2 of 2 (all); waits for watch 0 s of 48 h\n"


def test_what_moved(quick: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    says(Answer.OK, monkeypatch)
    assert quick("tick") == "quick: advance: every condition is met; it is watching, stage 2 of 2 (all)\n"
    assert quick("tick").startswith("quick: watching, stage 2 of 2 (all); waits for watch 0 s of 48 h")
    says(Answer.BREACH, monkeypatch)
    found = quick.json("tick")["looked"]["quick"]
    assert (found["status"], found["moved"]["verb"], found["moved"]["actor"]) == ("rolled_back", "rollback", "flaggate")
    assert found["waits"] == []
    assert quick("tick").startswith("nothing to look at")
    assert "errors: breach (requests 1200)" in quick("status", "quick")


def test_it_leaves_the_lease_to_the_next_one(quick: Terminal, store: Store) -> None:
    quick("tick")
    assert store.lease() is None
    assert "nobody looks now (last at" in quick("status")


def test_another_process_does_it_already(quick: Terminal, store: Store) -> None:
    assert store.take_lease("somebody", "web-1:4711", 0.6 * 100)
    before = store.progress()
    assert quick("tick") == "web-1:4711 holds the lease and looks every 20 s\n"
    found = quick.json("tick")
    assert (found["has_looked"], found["lease"]["who"], found["looked"]) == (False, "web-1:4711", {})
    assert store.progress() == before
    held = store.lease()
    assert held is not None
    assert held.holder == "somebody"


def test_a_store_that_is_not_there(terminal: Terminal) -> None:
    terminal("tick", "--store", "sqlite:///flagz.db", code=3)
    assert "there is no such file" in terminal.err


def test_people_are_told_before_it_ends(slow: Terminal, tmp_path: Path) -> None:
    target, quick = Target(), slow
    try:
        config = str(configure(tmp_path / "apprise.yml", {target.url(): OWNER}))
        quick("tick", "--notify", config)
        assert target.titles == [], "what happened before anybody could tell"
        assert "people are told from event 3 on" in quick("status")
        quick("pause", "quick")
        quick("tick", "--notify", config)
        assert target.titles == ["quick: paused"]
        assert "everybody was told, up to event 3" in quick("status")
        quick("tick", "--notify", config)
        assert target.titles == ["quick: paused"], "once"
    finally:
        target.stop()


def test_guards_that_cannot_be_judged(quick: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: Any) -> Judgement:
        raise RuntimeError("no source")

    monkeypatch.setattr(tick, "Judging", lambda *_: judge)
    out = quick("tick")
    assert (
        "waits for nothing is known of errors (error); its guards cannot be judged: RuntimeError('no source')\n" in out
    )
    assert "no source" in quick.json("tick")["looked"]["quick"]["problem"]
