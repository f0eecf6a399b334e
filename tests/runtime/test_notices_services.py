"""Services that take a message and do not answer, files that are mended in between, and what is said of it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from flaggate.rollout.state import Verb
from flaggate.runtime.kept_notices import Kept, kept_from_json, notices_words
from flaggate.runtime.notice_words import Message
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import MakeTarget
from tests.runtime.notice_scenes import DEPUTY, PLAN, Target, Teller, configure
from tests.runtime.scenes import NOW, OWNER, until


def teller_of(config: Path, *, plan: str = PLAN, limit_seconds: float = 30.0) -> Teller:
    """After an apply of which nobody is told any more."""
    made = Teller(MemoryStore(), config, limit_seconds=limit_seconds)
    made.apply(plan)
    made.tell()
    return made


def words(teller: Teller) -> list[str]:
    return [*notices_words(teller.store.progress().get(NOTICES))]


# --- asked, and no answer ---------------------------------------------------------------------


def test_who_never_answers_is_not_asked_for_a_day(tmp_path: Path, target: Target) -> None:
    """It may have heard each of them."""
    target.is_open.clear()
    teller = teller_of(configure(tmp_path / "apprise.yml", {f"{target.place}/?rto=0.05&cto=60": "always"}))
    teller.act(Verb.ON, "banner")
    for _ in range(20):
        teller.tell(600)
    assert target.asked == 5
    why = f"{target.place} it was asked, and did not answer in time, 5 times; whether it was told nobody knows"
    assert (teller.kept.pending, [one["why"] for one in teller.kept.last]) == ({}, [why])
    assert len(teller.said) == 2


def test_what_waits_behind_it_is_not_asked_either(tmp_path: Path, target: Target) -> None:
    """Each would take as long, and would be heard again."""
    target.is_open.clear()
    teller = teller_of(configure(tmp_path / "apprise.yml", {f"{target.place}/?rto=0.05&cto=60": "always"}))
    for verb in (Verb.ON, Verb.OFF, Verb.KILL):
        teller.act(verb, "banner")
    teller.tell()
    assert target.asked == 1
    assert len(teller.kept.pending) == 3


def test_the_others_are_told_by_their_own_times(tmp_path: Path, make_target: MakeTarget) -> None:
    silent, bad = make_target(), make_target()
    silent.is_open.clear()
    bad.status = 500
    services = {f"{silent.place}/?rto=0.05&cto=60": OWNER, bad.url(): OWNER}
    teller = teller_of(configure(tmp_path / "apprise.yml", services))
    teller.act(Verb.ON, "banner")
    for _ in range(8):
        teller.tell(600)
    bad.status = 200
    teller.tell(600)
    assert (silent.asked, bad.titles) == (5, ["banner: turned on"])


def test_a_service_that_hangs_fills_no_log(tmp_path: Path, target: Target) -> None:
    target.is_open.clear()
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "always"}), limit_seconds=0.05)
    for number in range(12):
        teller.act(Verb.OFF if number % 2 else Verb.ON, "banner")
        teller.tell(600)
        until(lambda: not teller.notifier.is_busy() or teller.tell(0), "it was given up")  # type: ignore[func-returns-value]  # it tells first
    assert [said.partition(": json://")[2].partition(" ")[2] for said in teller.said] == [
        "has not answered for 0 s; it is tried again",
        "still does not answer what it was asked before; it is tried again",
    ]


# --- a file that is mended in between ------------------------------------------------------------


def test_a_file_in_another_order_tells_each_once(tmp_path: Path, make_target: MakeTarget) -> None:
    """Services of the same host, by the paths of one server: it takes the owner's message, and not the deputy's."""
    target = make_target()
    target.refused = "/deputy"
    owner, deputy = (target.url(path) for path in ("owner", "deputy"))
    config = configure(tmp_path / "apprise.yml", {owner: OWNER, deputy: DEPUTY})
    teller = teller_of(config)
    teller.act(Verb.KILL)
    teller.tell()
    configure(config, {deputy: (DEPUTY, "oncall"), owner: OWNER})
    target.refused = None
    teller.tell(600)
    assert sorted(heard.path for heard in target.heard) == ["/deputy", "/owner"]


def test_the_store_holds_nothing_of_a_url(tmp_path: Path, target: Target) -> None:
    target.refused = "/geheim/b"
    config = configure(tmp_path / "apprise.yml", {target.url("geheim/a"): OWNER, target.url("geheim/b"): OWNER})
    teller = teller_of(config)
    teller.act(Verb.ON, "banner")
    teller.tell()
    (done,) = teller.kept.pending["event 3"].done
    assert "geheim" not in str(teller.store.progress())
    assert len(bytes.fromhex(done)) == 12


def test_what_an_older_one_kept_is_read(tmp_path: Path, target: Target) -> None:
    """It called services by their places: whoever had heard the message hears it once more, and nobody is left out."""
    target.status = 500
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    teller.act(Verb.ON, "banner")
    teller.tell()
    kept = dict(teller.store.progress()[NOTICES])
    del kept["since"]
    for pending in kept["pending"]:
        del pending["unanswered"]
        pending["done"] = [target.place]
    teller.store.save_progress({NOTICES: kept}, holder=teller.ticker.holder)
    target.status = 200
    teller.tell(600)
    assert target.titles == ["banner: turned on"]
    assert words(teller) == ["everybody was told, up to event 3"]


# --- what is said ---------------------------------------------------------------------------------


def test_before_anything_happened_nobody_is_said_to_be_told(tmp_path: Path, target: Target) -> None:
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    assert words(teller) == ["people are told from event 3 on; none came yet"]
    teller.act(Verb.ON, "banner")
    teller.tell()
    assert words(teller) == ["everybody was told, up to event 3; of nothing before event 3"]


def test_for_whom_a_message_waits_is_said(tmp_path: Path, target: Target) -> None:
    target.is_open.clear()
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    teller.act(Verb.KILL)
    teller.look()
    assert words(teller) == [f"1 message waits to be sent, to {OWNER}, {DEPUTY}"]
    kept = Kept(1)
    for number in range(30):
        kept.add(Message(str(number), (f"{number}@example.com",), "title", "body", "info", NOW), NOW)
    (line,) = notices_words(kept.to_json())
    assert line.startswith("30 messages wait to be sent, to 0@example.com, 1@example.com, ")
    assert line.endswith("9@example.com and 20 more")


@pytest.mark.parametrize("owner", ["Jane Doe", "Doe,Jane", "[jane]"])
def test_whom_no_tag_can_find_is_said(tmp_path: Path, target: Target, owner: str) -> None:
    config = configure(tmp_path / "apprise.yml", {target.url(): f'"{owner}"'})
    teller = teller_of(config, plan=PLAN.replace("owner@example.com", owner))
    teller.act(Verb.ON, "banner")
    teller.tell()
    assert target.titles == []
    assert teller.said == [
        f"banner: turned on: not told: no service in apprise.yml has the tag {owner}, nor can it: "
        "Apprise ends a tag at a space, comma, semicolon or bracket"
    ]


def test_what_is_kept_is_read_as_it_was_written() -> None:
    kept = Kept(5, 3)
    kept.add(Message("1", (OWNER,), "title", "body", "info", NOW), NOW)
    kept.pending["1"].unanswered = {"key": 2}
    assert kept_from_json(kept.to_json()) == kept
