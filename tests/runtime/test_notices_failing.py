"""Services that refuse, are slow or hang, and configurations that are wrong: nothing waits for them, and all is counted."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flaggate.rollout.state import Event, Verb
from flaggate.runtime.kept_notices import Kept, notices_words
from flaggate.runtime.lease_words import tells
from flaggate.runtime.notice_words import Message
from flaggate.runtime.sender import Result, Sender
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import Lease
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import MakeTarget
from tests.runtime.notice_scenes import DEPUTY, Target, Teller, configure
from tests.runtime.scenes import NOW, OWNER, until


def teller_of(config: Path, *, limit_seconds: float = 30.0) -> Teller:
    """After an apply of which nobody is told any more."""
    made = Teller(MemoryStore(), config, limit_seconds=limit_seconds)
    made.apply()
    made.tell()
    return made


def words(teller: Teller) -> list[str]:
    return [*notices_words(teller.store.progress().get(NOTICES))]


@pytest.fixture
def teller(tmp_path: Path, target: Target) -> Teller:
    return teller_of(configure(tmp_path / "apprise.yml", {target.url("geheim"): (OWNER, DEPUTY)}))


# --- a service that refuses -------------------------------------------------------------------


def test_it_is_tried_again_at_growing_distances(teller: Teller, target: Target) -> None:
    target.status = 500
    teller.act(Verb.ON, "banner")
    teller.tell(0)
    assert target.asked == 1
    asked = []
    for _ in range(400):
        teller.tell(5)
        asked.append(target.asked)
    tries = [
        5 * (index + 1) for index, (one, before) in enumerate(zip(asked, [1, *asked], strict=False)) if one > before
    ]
    assert tries == [10, 30, 70, 150, 310, 630, 1230, 1830], "10 s, twice as long each time, 10 min at most"
    assert words(teller) == [
        f"banner: turned on: not told to everybody yet, after 9 tries: {target.place} it answered 500"
    ]
    assert teller.kept.failures == 0, "it may be told yet"
    target.status = 200
    teller.tell(600)
    assert target.titles == ["banner: turned on"]
    assert words(teller) == ["everybody was told, up to event 3; of nothing before event 3"]


def test_what_waits_is_kept_and_the_next_process_goes_on(teller: Teller, target: Target, tmp_path: Path) -> None:
    target.status = 503
    teller.act(Verb.ON, "banner")
    teller.tell()
    teller.ticker.release()
    target.status = 200
    other = Teller(teller.store, tmp_path / "apprise.yml", now=teller.now)
    other.tell(3)
    assert target.titles == [], "it is to be tried in ten seconds"
    other.tell(10)
    assert target.titles == ["banner: turned on"]


def test_after_a_day_it_is_given_up_and_counted(teller: Teller, target: Target) -> None:
    target.status = 500
    teller.act(Verb.ON, "banner")
    for _ in range(150):
        teller.tell(600)
    kept = teller.kept
    assert (kept.pending, kept.failures) == ({}, 1)
    assert words(teller) == [
        "1 time somebody was not told; the last:",
        f"Tue 03 Mar 2026 12:00 UTC banner: turned on: {target.place} it answered 500, for 144 tries",
    ]
    assert teller.said == [
        f"banner: turned on: {target.place} it answered 500; it is tried again",
        f"banner: turned on: not told: {target.place} it answered 500, for 144 tries",
    ]


def test_only_the_service_that_failed_is_tried_again(tmp_path: Path, make_target: MakeTarget) -> None:
    good, bad = make_target(), make_target()
    bad.status = 500
    teller = teller_of(configure(tmp_path / "apprise.yml", {good.url(): OWNER, bad.url(): OWNER}))
    teller.act(Verb.ON, "banner")
    teller.tell()
    teller.tell(10)
    bad.status = 200
    teller.tell(20)
    teller.tell(600)
    assert (good.titles, good.asked) == (["banner: turned on"], 1)
    assert (bad.titles, bad.asked) == (["banner: turned on"], 3)


def test_a_clock_that_is_turned_back_puts_nothing_off(teller: Teller, target: Target) -> None:
    target.status = 500
    teller.act(Verb.ON, "banner")
    teller.tell()
    target.status = 200
    teller.tell(-86_400)
    assert target.titles == ["banner: turned on"]


# --- nobody there, nothing to read ------------------------------------------------------------


def test_a_recipient_without_a_service_is_counted_once(tmp_path: Path, target: Target) -> None:
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): OWNER}))
    teller.act(Verb.KILL)
    for _ in range(3):
        teller.tell(700)
    teller.act(Verb.UNKILL)
    teller.tell()
    assert target.titles == ["invoicing: killed", "invoicing: no longer killed"], "the others are told"
    assert (teller.kept.failures, teller.kept.pending) == (2, {})
    assert teller.said == [f"invoicing: killed: not told: no service in apprise.yml has the tag {DEPUTY}"]


def test_not_even_one_recipient_with_a_service(tmp_path: Path, target: Target) -> None:
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "ops"}))
    teller.act(Verb.KILL)
    teller.tell()
    assert target.asked == 0
    assert (teller.kept.failures, teller.kept.pending) == (2, {})


def test_a_file_that_has_gone_and_comes_back(tmp_path: Path, target: Target) -> None:
    config = configure(tmp_path / "apprise.yml", {target.url(): "always"})
    teller = teller_of(config)
    teller.act(Verb.ON, "banner")
    teller.tell()
    text = config.read_text()
    config.unlink()
    teller.act(Verb.OFF, "banner")
    teller.tell()
    (waiting,) = words(teller)
    assert waiting.startswith("banner: turned off: not told to everybody yet, after 1 try: notify: ")
    assert "No such file or directory" in waiting
    config.write_text("urls:\n  - geheim\n")
    teller.tell(10)
    assert "no service is in it; Apprise refuses entry 1" in words(teller)[0]
    config.write_text(text)
    teller.tell(20)
    assert target.titles == ["banner: turned on", "banner: turned off"]
    assert "geheim" not in "".join(teller.said)


def test_a_file_that_changed_is_read_again(tmp_path: Path, make_target: MakeTarget) -> None:
    before, after = make_target(), make_target()
    teller = teller_of(configure(tmp_path / "apprise.yml", {before.url(): "always"}))
    teller.act(Verb.ON, "banner")
    teller.tell()
    configure(tmp_path / "apprise.yml", {after.url("longer"): "always"})
    teller.act(Verb.OFF, "banner")
    teller.tell()
    assert (before.titles, after.titles) == (["banner: turned on"], ["banner: turned off"])


def test_what_is_refused_of_a_file_is_said_once(tmp_path: Path, target: Target) -> None:
    config = configure(tmp_path / "apprise.yml", {target.url(): "always"})
    config.write_text(config.read_text() + "  - slack://geheim\n")
    teller = teller_of(config)
    for verb in (Verb.ON, Verb.OFF):
        teller.act(verb, "banner")
        teller.tell()
    assert teller.said == [f"{config}: Apprise refuses entry 2; whoever is behind that is not told"]
    assert len(target.heard) == 2


def test_nothing_that_is_secret_is_kept_or_logged(
    teller: Teller, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """The path of a webhook, of which Apprise would tell."""
    caplog.set_level(1)
    target.status = 401
    teller.act(Verb.ON, "banner")
    teller.tell()
    teller.notifier.send(5)
    for said in teller.said:
        logging.getLogger("flaggate").error(said)
    assert "geheim" not in f"{teller.store.progress()} {caplog.text} {words(teller)}"
    assert "it answered 401" in caplog.text


# --- slow ones --------------------------------------------------------------------------------


def test_nobody_waits_for_a_service_that_hangs(tmp_path: Path, make_target: MakeTarget) -> None:
    """The look does not, the other services do not; and it is asked for one thing only until it answers."""
    good, hangs = make_target(), make_target()
    hangs.is_open.clear()
    config = configure(tmp_path / "apprise.yml", {good.url(): "always", hangs.url(): "always"})
    teller = teller_of(config, limit_seconds=0.5)
    threads = senders()
    for verb in (Verb.ON, Verb.OFF, Verb.KILL):
        teller.act(verb, "banner")
        teller.tell()
    told = {"banner: turned on", "banner: turned off", "banner: killed"}
    until(lambda: teller.tell(600) or set(good.titles) == told, "the other one has heard all")  # type: ignore[func-returns-value]  # it tells first
    teller.tell(600)
    assert hangs.asked == 1
    until(lambda: senders() <= threads + 1, "but for the one that hangs no thread is left")
    assert teller.kept.pending["event 3"].why == f"{hangs.place} still does not answer what it was asked before"
    hangs.is_open.set()
    until(lambda: hangs.titles == ["banner: turned on"], "it has heard the first after all")
    until(lambda: _is_done(teller, "event 3", services=2), "and that is known")
    until(lambda: teller.tell(600) or not teller.kept.pending, "everybody was told")  # type: ignore[func-returns-value]  # it tells first
    assert set(hangs.titles) == told
    assert len(hangs.titles) == len(good.titles) == 3, "none of it twice"


def test_what_is_refused_too_late_was_said_to_have_failed_already(tmp_path: Path, target: Target) -> None:
    sender = Sender(configure(tmp_path / "apprise.yml", {target.url(): "ops"}), print, limit_seconds=0.01)
    target.status = 500
    target.is_open.clear()
    sender.take([(message(1), frozenset())], seconds=30)
    sender.wait(30)
    results = sender.results()
    assert [result.what for result in results] == ["failed", "over"]
    sender.taken_over(len(results))
    target.is_open.set()
    until(lambda: not senders(), "it was refused")
    assert sender.results() == ()
    target.status = 200
    sender.take([(message(1), frozenset())], seconds=30)
    until(lambda: target.titles == ["title 1"], "it is asked again")


def senders() -> int:
    """How many threads send something, or hang."""
    return sum(thread.name == "flaggate-notice" for thread in threading.enumerate())


def _is_done(teller: Teller, message: str, *, services: int) -> bool:
    teller.look(0)
    pending = teller.kept.pending.get(message)
    return pending is None or len(pending.done) == services


def test_a_slow_one_that_is_in_time_hears_each_once(teller: Teller, target: Target) -> None:
    target.is_open.clear()
    teller.act(Verb.ON, "banner")
    for _ in range(5):
        teller.look()
    until(lambda: target.asked == 1, "it was asked")
    target.is_open.set()
    teller.tell()
    assert (target.titles, target.asked) == (["banner: turned on"], 1)


def test_the_right_to_tell_ends_with_the_lease(tmp_path: Path, target: Target) -> None:
    """A process that stood still finds another in its place: what it did not begin is not its own any more."""
    said: list[str] = []
    sender = Sender(configure(tmp_path / "apprise.yml", {target.url(): "ops"}), said.append)
    target.is_open.clear()
    sender.take([(message(1), frozenset()), (message(2), frozenset())], seconds=30)
    until(lambda: target.asked == 1, "the first is being sent")
    sender.take([(message(1), frozenset())], seconds=-1)
    target.is_open.set()
    until(lambda: not sender.under_way() - {"1"}, "the second was let go")
    assert [result[:3] for result in sender.results()] == [("1", "delivered", target.place), ("1", "over", "")]
    sender.take([(message(2), frozenset())], seconds=30)
    sender.wait(30)
    assert target.titles == ["title 1", "title 2"]


def test_a_message_of_which_one_service_was_let_go_is_not_over(tmp_path: Path, make_target: MakeTarget) -> None:
    one, two = make_target(), make_target()
    one.is_open.clear()
    two.is_open.clear()
    sender = Sender(configure(tmp_path / "apprise.yml", {one.url(): "ops", two.url(): "ops, two"}), print)
    sender.take([(message(1, "two"), frozenset()), (message(2), frozenset())], seconds=30)
    until(lambda: one.asked == two.asked == 1, "one has the second message, two the first")
    sender.take([], seconds=-1)
    one.is_open.set()
    two.is_open.set()
    sender.wait(30)
    done = frozenset(result.key for result in sender.results() if result.id == "2" and result.what == "delivered")
    results = {result[:3] for result in sender.results()}
    assert results == {("1", "delivered", two.place), ("1", "over", ""), ("2", "delivered", one.place)}
    assert sender.under_way() == {"1"}
    sender.take([(message(2), done)], seconds=30)
    sender.wait(30)
    assert (one.titles, two.titles) == (["title 2"], ["title 1", "title 2"])


def test_many_services_are_asked_at_once_but_not_all(tmp_path: Path, make_target: MakeTarget) -> None:
    target = make_target()
    target.is_open.clear()
    services = {target.url(f"number-{number}"): "ops" for number in range(20)}
    sender = Sender(configure(tmp_path / "apprise.yml", services), print)
    sender.take([(message(1), frozenset())], seconds=30)
    until(lambda: target.asked == 8, "eight are asked")
    sender.wait(0.05)
    assert target.asked == 8
    target.is_open.set()
    sender.wait(30)
    assert len(target.heard) == 20
    assert [result.what for result in sender.results()].count("delivered") == 20


def message(number: int, to: str = "ops") -> Message:
    return Message(str(number), (to,), f"title {number}", "body", "info", NOW)


# --- threads that are not to be had -----------------------------------------------------------


def test_without_a_thread_it_is_left_for_later(teller: Teller, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the interpreter ends, or there are too many."""
    teller.act(Verb.ON, "banner")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        teller.look()
    assert not teller.notifier.is_busy()
    assert target.asked == 0
    teller.tell()
    assert target.titles == ["banner: turned on"]


def test_nothing_is_said_without_end(tmp_path: Path, target: Target) -> None:
    """The log and the list of failures are bounded, whatever fails."""
    teller = teller_of(configure(tmp_path / "apprise.yml", {target.url(): "nobody"}))
    for number in range(12):
        who = {"owner": f"{number}@example.com"}
        events = [
            Event(
                "banner",
                "on",
                OWNER,
                teller.now,
                None,
                {},
                who | {"deputies": [f"{one} {number}" for one in range(99)]},
            )
        ]
        teller.store.commit([], events)
        teller.tell()
    kept = teller.kept
    assert kept.failures == 1200
    assert len(kept.last) == 5
    assert len(teller.said) <= 1000


def test_what_waits_is_shown(teller: Teller, target: Target) -> None:
    """For `flaggate status`."""
    assert [*notices_words(None)] == ["nobody is told anything: no process with notify= has looked yet"]
    target.is_open.clear()
    teller.act(Verb.ON, "banner")
    teller.look()
    assert words(teller) == [f"1 message waits to be sent, to {OWNER}"]
    teller.act(Verb.OFF, "banner")
    teller.look()
    assert words(teller) == [f"2 messages wait to be sent, to {OWNER}"]
    target.status = 500
    target.is_open.set()
    teller.tell()
    assert words(teller) == [
        f"banner: turned {what}: not told to everybody yet, after 1 try: {target.place} it answered 500"
        for what in ("on", "off")
    ]


def test_what_nobody_has_looked_at_is_shown(teller: Teller) -> None:
    """As where the process that looks has no `notify`."""
    kept = teller.store.progress()[NOTICES]
    assert [*notices_words(kept, 2)] == ["people are told from event 3 on; none came yet"]
    behind = "events since 2 are still to be told: for that a process with notify= has to look"
    assert [*notices_words(kept, 3)] == [behind]
    assert [*notices_words(kept, 3, is_told=True)] == ["events since 2 are still to be told: the next look tells them"]


def test_who_looks_and_has_nobody_to_tell_by_is_known() -> None:
    lease = Lease("one", "web-1:4711", 0.0, 15.0)
    assert [tells(one) for one in (None, lease, replace(lease, who="web-1:4711 (tells nobody)"))] == [
        False,
        True,
        False,
    ]


def test_what_somebody_else_has_done_with_is_passed_over(teller: Teller, target: Target) -> None:
    """Another process told it, while this one had lost the lease and did not know."""
    teller.act(Verb.ON, "banner")
    teller.look()
    teller.notifier.wait(30)
    kept = teller.store.progress()[NOTICES]
    teller.store.save_progress({NOTICES: dict(kept) | {"pending": []}}, holder=teller.ticker.holder)
    teller.tell()
    assert (teller.kept.pending, teller.kept.failures, target.titles) == ({}, 0, ["banner: turned on"])
    assert not teller.notifier.is_busy()


def test_a_result_that_was_kept_already_counts_once(tmp_path: Path, target: Target) -> None:
    """A store that wrote, and could not say so: the same comes to be kept again."""
    kept = Kept(1)
    kept.add(message(1, "nobody"), NOW)
    missing = Result("1", "missing", "nobody", "no service")
    kept.merge([missing, missing], NOW)
    assert kept.failures == 1


def test_since_when_is_by_the_event(teller: Teller, target: Target) -> None:
    """Whoever comes a day later does not tell of it, even if it waited for an hour only."""
    target.status = 500
    teller.act(Verb.ON, "banner")
    teller.now += timedelta(hours=23, minutes=59)
    teller.tell()
    assert len(teller.kept.pending) == 1
    teller.tell(60)
    assert (teller.kept.pending, teller.kept.failures) == ({}, 1)
