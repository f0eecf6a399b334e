"""People are told what happens: once each, whoever the plan says, by real services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flaggate.errors import StoreError
from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.rollout.verdict import Answer
from flaggate.runtime.control import Control
from flaggate.runtime.kept_notices import notices_words
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import MakeTarget
from tests.runtime.notice_scenes import DEPUTY, PLAN, Mailbox, Target, Teller, configure
from tests.runtime.scenes import NOW, OWNER


@pytest.fixture
def teller(tmp_path: Path, target: Target) -> Teller:
    """Tells the owner and a deputy of a plan that is applied, and of nothing before that."""
    made = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {target.url("all"): "always"}))
    made.apply()
    made.tell()
    return made


def test_the_first_time_of_all_nobody_is_told_of_old_things(tmp_path: Path, target: Target) -> None:
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    teller.apply()
    teller.act(Verb.START)
    teller.tell()
    assert target.heard == []
    assert teller.kept.upto == 3
    teller.act(Verb.PAUSE)
    teller.tell()
    assert target.titles == ["invoicing: paused"]


def test_but_of_what_the_first_look_did(tmp_path: Path, target: Target) -> None:
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    teller.apply()
    teller.act(Verb.START)
    teller.answers[0] = Answer.BREACH
    teller.tell()
    assert target.titles == ["invoicing: rolled back"]


def test_a_plan_from_start_to_completed(teller: Teller, target: Target) -> None:
    """Each thing once, automatic moves and what is asked for included, however often somebody looks."""
    teller.act(Verb.START)
    for _ in range(6):
        teller.tell()
    teller.act(Verb.APPROVE, actor=DEPUTY)
    for _ in range(3):
        teller.tell()
    teller.act(Verb.COMPLETE)
    for _ in range(3):
        teller.tell()
    assert target.titles == [
        "invoicing: started",
        "invoicing: advanced to tenth",
        "invoicing: waits for approval",
        "invoicing: approved",
        "invoicing: advanced to everyone",
        "invoicing: completed",
    ]
    assert teller.kept.failures == 0
    assert [*notices_words(teller.store.progress()[NOTICES])] == [
        "everybody was told, up to event 7; of nothing before event 3"
    ]


def test_each_service_that_a_tag_finds_hears_it_once(tmp_path: Path, make_target: MakeTarget) -> None:
    own, both, team, other = (make_target() for _ in range(4))
    services = {own.url(): OWNER, both.url(): (OWNER, DEPUTY), team.url(): DEPUTY, other.url(): "oncall"}
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", services))
    teller.apply()
    teller.tell()
    teller.act(Verb.START)
    teller.tell()
    assert [target.titles for target in (own, both, team, other)] == [["invoicing: started"]] * 3 + [[]]


def test_the_plan_says_who_hears_what(tmp_path: Path, make_target: MakeTarget) -> None:
    own, oncall = make_target(), make_target()
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {own.url(): OWNER, oncall.url(): "oncall"}))
    teller.apply()
    teller.tell()
    teller.apply(
        PLAN.replace("[flags.banner]", '[flags.invoicing.notify]\noncall = ["kill", "unkill"]\n[flags.banner]')
    )
    for verb in (Verb.START, Verb.KILL, Verb.UNKILL, Verb.ROLLBACK):
        teller.act(verb)
    teller.tell()
    assert (own.titles, oncall.titles) == ([], ["invoicing: killed", "invoicing: no longer killed"])


def test_a_mail(tmp_path: Path) -> None:
    mailbox = Mailbox()
    try:
        url = f"mailto://127.0.0.1:{mailbox.port}/?from=flags@example.com&to=owner@example.com&mode=insecure"
        teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {url: (OWNER, DEPUTY)}))
        teller.apply()
        teller.tell()
        teller.act(Verb.START)
        teller.tell()
        ((to, mail),) = mailbox.mails
        assert (to, mail["Subject"]) == ([OWNER], "invoicing: started")
        assert "To: running, stage 1 of 3 (staff)" in mail.get_content()
    finally:
        mailbox.stop()


def test_a_switch_needs_no_rollout_to_look_at(teller: Teller, target: Target) -> None:
    teller.act(Verb.ON, "banner")
    teller.tell()
    assert target.titles == ["banner: turned on"]
    assert teller.ticker.has_lease
    teller.look()
    assert not teller.ticker.has_lease, "there is nothing to tell and nothing to look at"


def test_one_of_many_workers_takes_the_lease_for_it(teller: Teller, target: Target, tmp_path: Path) -> None:
    """The others see, without a write, that all was told."""
    teller.act(Verb.ON, "banner")
    teller.tell()
    teller.look()
    other = Teller(teller.store, tmp_path / "apprise.yml", now=teller.now)
    assert other.look() == []
    assert not other.ticker.has_lease
    assert other.notifier.is_idle(other.store, other.store.revision())
    teller.act(Verb.OFF, "banner")
    other.tell()
    assert other.ticker.has_lease
    assert target.titles == ["banner: turned on", "banner: turned off"]


def test_whether_anything_is_to_be_told_nobody_knows_without_the_store(teller: Teller) -> None:
    class Gone(MemoryStore):
        def progress(self) -> dict[str, Mapping[str, Any]]:
            raise StoreError(self.url, "it has gone")

    assert not teller.notifier.is_idle(Gone(), 77)


# --- what is asked for, and feared ------------------------------------------------------------


def at_tenth(teller: Teller) -> None:
    """Into the stage that asks for an approval."""
    teller.act(Verb.START)
    teller.act(Verb.ADVANCE)
    teller.requests = 0


def test_an_approval_is_asked_for_once_all_else_is_met(teller: Teller, target: Target) -> None:
    """Not before: whoever approves is to see the evidence."""
    at_tenth(teller)
    teller.tell()
    assert "invoicing: waits for approval" not in target.titles, "it soaks for ten seconds"
    for _ in range(5):
        teller.tell()
    assert target.titles.count("invoicing: waits for approval") == 1
    teller.act(Verb.STEP_BACK)
    teller.act(Verb.RESUME)
    teller.act(Verb.ADVANCE)
    for _ in range(5):
        teller.tell()
    assert target.titles.count("invoicing: waits for approval") == 2, "in another attempt it is another one"


@pytest.mark.parametrize(
    ("number", "answer", "title"),
    [
        (0, Answer.NO_DATA, "invoicing: nothing is known of errors"),
        (1, Answer.ERROR, "invoicing: nothing is known of slow"),
        (1, Answer.BREACH, "invoicing: slow worse than allowed"),
        (2, Answer.BREACH, "invoicing: slow worse than allowed"),
    ],
)
def test_what_a_guard_says_is_told_once(
    teller: Teller, target: Target, number: int, answer: Answer, title: str
) -> None:
    at_tenth(teller)
    teller.answers[number] = answer
    for _ in range(3):
        teller.tell()
    assert target.titles.count(title) == 1
    teller.answers.clear()
    teller.tell()
    teller.answers[number] = answer
    teller.tell()
    assert target.titles.count(title) == 1, "it comes and goes"
    teller.answers.clear()
    teller.tell()
    teller.answers[number] = answer
    teller.tell(1900.0)
    assert target.titles.count(title) == 2, "it was away for half an hour"


@pytest.mark.parametrize(("number", "answer"), [(2, Answer.NO_DATA), (0, Answer.TOO_FEW), (1, Answer.OK)])
def test_what_is_nothing_to_be_told_of(teller: Teller, target: Target, number: int, answer: Answer) -> None:
    """The guard says to ignore no data; too few is no reason; and so on."""
    at_tenth(teller)
    teller.tell()
    before = len(target.heard)
    teller.answers[number] = answer
    teller.tell(0)
    assert len(target.heard) == before


def test_what_nobody_is_to_be_told_of(teller: Teller, target: Target) -> None:
    teller.apply(PLAN.replace("[flags.banner]", '[flags.invoicing.notify]\nowner = ["start"]\n[flags.banner]'))
    at_tenth(teller)
    teller.answers[0] = Answer.NO_DATA
    teller.tell()
    assert target.titles == ["invoicing: started"]


def test_what_was_said_of_another_place_is_nothing_to_be_told_of(teller: Teller, target: Target) -> None:
    at_tenth(teller)
    teller.is_late = True
    teller.answers[0] = Answer.NO_DATA
    teller.tell()
    assert target.titles == ["invoicing: started", "invoicing: advanced to tenth"]


def test_another_guard_is_another_thing_to_be_told_of(teller: Teller, target: Target) -> None:
    at_tenth(teller)
    teller.answers[0] = Answer.NO_DATA
    teller.tell(0)
    teller.answers[1] = Answer.NO_DATA
    teller.tell(0)
    told = [title for title in target.titles if "nothing is known" in title]
    assert told == ["invoicing: nothing is known of errors", "invoicing: nothing is known of slow"]


def test_a_breach_while_watching_and_while_paused(teller: Teller, target: Target) -> None:
    at_tenth(teller)
    teller.act(Verb.PAUSE)
    teller.answers[1] = Answer.BREACH
    teller.tell()
    assert target.titles[-1] == "invoicing: slow worse than allowed"
    teller.answers.clear()
    teller.act(Verb.RESUME)
    teller.tell()
    teller.act(Verb.ADVANCE)
    teller.answers[2] = Answer.BREACH
    teller.tell()
    assert target.titles[-2:] == ["invoicing: advanced to everyone", "invoicing: slow worse than allowed"]


def test_a_breach_that_rolls_back_is_told_as_that(teller: Teller, target: Target) -> None:
    at_tenth(teller)
    teller.answers[0] = Answer.BREACH
    for _ in range(3):
        teller.tell()
    assert [title for title in target.titles if "allowed" in title or "back" in title] == ["invoicing: rolled back"]
    assert "errors: breach (requests 1200, share 0.03125)" in target.heard[-1].body
    assert target.heard[-1].type == "failure"


# --- edits ------------------------------------------------------------------------------------


def test_one_apply_is_one_message(teller: Teller, target: Target) -> None:
    many = "".join(PLAN.replace("[flags.", f"[flags.n{number}-") for number in range(30))
    teller.apply(PLAN.replace("1%", "2%") + many)
    teller.tell()
    assert target.titles == ["invoicing and 30 more: edited", "n0-banner and 29 more: declared"], (
        "one for the same people"
    )


def test_the_edit_of_a_segment_is_told_to_those_whose_flags_ask_it(tmp_path: Path, make_target: MakeTarget) -> None:
    own, other = make_target(), make_target()
    services = {own.url(): OWNER, other.url(): "other@example.com"}
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", services))
    asking = '[flags.friendly]\ndescription = "For friends"\nowner = "owner@example.com"\naudience = { segment = "friends" }\n'
    alone = '[flags.alone]\ndescription = "For all"\nowner = "other@example.com"\n'
    friends = '[segments.friends]\nunit = "user"\nmembers = ["ada"]\n'
    unused = '[segments.unused]\nunit = "user"\nmembers = ["ada"]\n'
    teller.apply(asking + alone + friends + unused)
    teller.tell()
    teller.apply(asking + alone + (friends + unused).replace('"ada"', '"grace"'))
    teller.tell()
    assert (own.titles, other.titles) == (["friends: edited"], [])
    assert "asked by friendly" in own.heard[0].body


def test_a_flag_that_is_gone_is_told_by_its_last_state(teller: Teller, target: Target) -> None:
    Control(teller.store, now=lambda: teller.now).apply(parse("[flags]"), actor=OWNER, prune=True)
    teller.tell()
    assert target.titles == ["banner: removed", "invoicing: removed"]


# --- what others wrote ------------------------------------------------------------------------


def test_events_of_a_newer_flaggate_are_told_as_well_as_can_be(teller: Teller, target: Target) -> None:
    odd = {"guards": [{"what": "is this"}]}
    newer = [
        Event("invoicing", "teleport", OWNER, teller.now, "why not", {}, {"owner": OWNER}, {}),
        Event("invoicing", "rollback", OWNER, teller.now, "odd", {}, {"owner": OWNER}, odd),
        Event("invoicing", "apply", OWNER, teller.now, "odd", {}, {"owner": OWNER}, {"difference": [1]}),
    ]
    teller.store.commit([], newer)
    teller.tell()
    assert target.titles == ["invoicing: teleport", "invoicing: rolled back", "invoicing: apply"]


def test_a_flag_that_cannot_be_read_is_told_to_owner_and_deputies(teller: Teller, target: Target) -> None:
    row = teller.store.get("flag", "invoicing")
    assert row is not None
    teller.store.commit([Write("flag", "invoicing", row.version, dict(row.document or {}) | {"flag": 3})], [])
    teller.act(Verb.KILL)
    teller.tell()
    assert target.titles == ["invoicing: killed"]


@pytest.mark.parametrize("kept", [{"upto": "three"}, {"pending": 3}, {}, {"upto": 1, "pending": [], "told": {"a": 1}}])
def test_what_cannot_be_read_is_begun_anew(teller: Teller, target: Target, kept: dict[str, object]) -> None:
    teller.act(Verb.START)
    teller.look()
    teller.ticker.tell(30)
    teller.store.save_progress({NOTICES: kept}, holder=teller.ticker.holder)
    teller.tell()
    teller.act(Verb.PAUSE)
    teller.tell()
    assert target.titles == ["invoicing: started", "invoicing: paused"]


def test_after_a_day_without_anybody_who_could_tell(teller: Teller, target: Target) -> None:
    """Old things are counted, and not told."""
    teller.act(Verb.ON, "banner")
    teller.now += timedelta(hours=25)
    teller.act(Verb.OFF, "banner")
    teller.tell()
    assert target.titles == ["banner: turned off"]
    kept = teller.kept
    assert (kept.failures, kept.last[-1]["what"]) == (1, "1 event")


def test_a_flood_has_an_end(teller: Teller, target: Target) -> None:
    """Nothing grows without bound; what is left out is counted."""
    teller.store.commit([], [Event("banner", "on", OWNER, teller.now, None, {}, {}) for _ in range(1500)])
    target.is_open.clear()
    teller.look()
    kept = teller.kept
    assert len(kept.pending) == 0, "nobody is named in these"
    assert kept.failures == 500
    teller.store.commit([], [Event("banner", "on", OWNER, teller.now, None, {}, {"owner": OWNER}) for _ in range(700)])
    teller.look()
    kept = teller.kept
    assert len(kept.pending) == 200
    assert kept.failures == 1000
    assert list(kept.pending)[-1] == f"event {kept.upto}"
    teller.ticker.tell(0)  # what is not begun yet is dropped


def test_a_store_that_does_not_answer_keeps_nobody_from_looking(tmp_path: Path, target: Target) -> None:
    """Invariant I18: the rollout goes on, and it is told later."""

    class Deaf(MemoryStore):
        is_deaf = False

        def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
            if self.is_deaf and after:
                raise ZeroDivisionError("whatever it is")
            return super().history(name, limit=limit, after=after)

    store = Deaf()
    teller = Teller(store, configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    teller.apply()
    teller.tell()
    teller.act(Verb.START)
    store.is_deaf = True
    teller.answers[0] = Answer.BREACH
    looked = teller.look()
    assert looked is not None
    assert looked[0].look.moved is not None
    assert teller.said == ["nobody is told anything: ZeroDivisionError('whatever it is')"]
    assert target.heard == []
    store.is_deaf = False
    teller.tell()
    assert target.titles == ["invoicing: started", "invoicing: rolled back"]


def test_on_sqlite_too(store: SqlStore, tmp_path: Path, target: Target) -> None:
    teller = Teller(store, configure(tmp_path / "apprise.yml", {target.url(): "always"}), now=NOW)
    teller.apply()
    teller.tell()
    teller.act(Verb.START)
    for _ in range(7):
        teller.tell()
    assert target.titles == ["invoicing: started", "invoicing: advanced to tenth", "invoicing: waits for approval"]
