"""Much at once: one message for what one actor did to many flags, and the least urgent is left out first."""

from __future__ import annotations

from pathlib import Path

import pytest

from flaggate.rollout.state import Event
from flaggate.runtime.apprise import Urgency
from flaggate.runtime.kept_notices import Kept
from flaggate.runtime.notice_words import Message
from flaggate.stores.memory import MemoryStore
from tests.runtime.notice_scenes import DEPUTY, Target, Teller, configure
from tests.runtime.scenes import NOW, OWNER


@pytest.fixture
def teller(tmp_path: Path, target: Target) -> Teller:
    made = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    made.apply()
    made.tell()
    return made


def killed(number: int, *, verb: str = "kill", actor: str = OWNER, owner: str = OWNER, **evidence: object) -> Event:
    return Event(f"flag-{number}", verb, actor, NOW, f"why {number}", {}, {"owner": owner}, evidence)


def message(number: int, urgency: Urgency) -> Message:
    return Message(str(number), (OWNER,), f"title {number}", "body", urgency, NOW)


def test_many_kills_are_one_message(teller: Teller, target: Target) -> None:
    teller.store.commit([], [killed(number) for number in range(300)])
    teller.tell()
    (heard,) = target.heard
    assert (heard.title, heard.type) == ("flag-0 and 299 more: killed", "failure")
    lines = heard.body.splitlines()
    assert lines[0] == f"By {OWNER}, Mon 02 Mar 2026 12:00 UTC."
    assert lines[1:3] == ["flag-0: killed: why 0", "flag-1: killed: why 1"]
    assert lines[-1] == "And 288 more; flaggate history shows all."
    assert teller.kept.failures == 0


def test_a_few_are_a_message_each(teller: Teller, target: Target) -> None:
    teller.store.commit([], [killed(number) for number in range(3)])
    teller.tell()
    assert target.titles == ["flag-0: killed", "flag-1: killed", "flag-2: killed"]


def test_break_glass_is_said_of_those_that_were(teller: Teller, target: Target) -> None:
    teller.store.commit([], [killed(number, break_glass=number > 1) for number in range(4)])
    teller.tell()
    (heard,) = target.heard
    assert heard.title == "flag-0 and 3 more: killed"
    assert "flag-3: killed (break-glass): why 3" in heard.body


def test_numbers_are_said_of_those_that_guards_rolled_back(teller: Teller, target: Target) -> None:
    guards = [{"metric": "errors", "answer": "breach", "numbers": {"requests": 1200}}]
    teller.store.commit([], [killed(number, verb="rollback", guards=guards) for number in range(4)])
    teller.tell()
    assert "flag-3: rolled back: why 3; errors: breach (requests 1200)" in target.heard[0].body


def test_others_actors_verbs_and_recipients_are_told_by_themselves(teller: Teller, target: Target) -> None:
    teller.store.commit([], [killed(number) for number in range(4)])
    teller.store.commit([], [killed(number, actor=DEPUTY) for number in range(4, 8)])
    teller.store.commit([], [killed(number, actor=DEPUTY, owner=DEPUTY) for number in range(8, 12)])
    teller.store.commit([], [killed(number, actor=DEPUTY, owner=DEPUTY, verb="pause") for number in range(12, 16)])
    teller.tell()
    assert target.titles == [
        "flag-0 and 3 more: killed",
        "flag-4 and 3 more: killed",
        "flag-8 and 3 more: killed",
        "flag-12 and 3 more: paused",
    ]


def test_what_is_done_and_undone_is_told_in_its_order(teller: Teller, target: Target) -> None:
    for verb in ("kill", "unkill", "kill"):
        teller.store.commit([], [killed(number, verb=verb) for number in range(5)])
    teller.tell()
    assert target.titles == [f"flag-0 and 4 more: {what}" for what in ("killed", "no longer killed", "killed")]


def test_one_flag_many_times_is_told_each_time(teller: Teller, target: Target) -> None:
    teller.store.commit([], [killed(1) for _ in range(5)])
    teller.tell()
    assert target.titles == ["flag-1: killed"] * 5


def test_the_least_urgent_is_left_out_first() -> None:
    kept = Kept(0)
    for number in range(100):
        kept.add(message(number, "failure"), NOW)
    for number in range(100, 200):
        kept.add(message(number, "warning" if number % 2 else "info"), NOW)
    for number in range(200, 275):
        kept.add(message(number, "failure"), NOW)
    urgencies = [pending.message.urgency for pending in kept.pending.values()]
    assert (urgencies.count("failure"), urgencies.count("warning"), urgencies.count("info")) == (175, 25, 0)
    assert kept.failures == 75
    assert "151" in kept.pending, "of those the oldest"
    assert "149" not in kept.pending
    for number in range(300, 350):
        kept.add(message(number, "failure"), NOW)
    assert next(iter(kept.pending)) == "25"
    kept.add(message(400, "info"), NOW)
    assert "400" not in kept.pending
