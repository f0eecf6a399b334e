"""Who looks, what a look writes, and what becomes of it when somebody else is faster. The verdicts are made up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from flaggate.errors import BusyError, StoreError
from flaggate.flags.document import parse
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.progress import progress_from_json
from flaggate.rollout.state import Status, Verb
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.runtime.control import Control
from flaggate.runtime.gate import Gate
from flaggate.runtime.ticker import Looked, Ticker
from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import Record, read_flag
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import UnreliableStore, until

OWNER: Final = "owner@example.com"
PLAN: Final = """
[flags.invoicing]
description = "The overhaul"
owner = "owner@example.com"
stages = [
    { name = "some", share = 10, soak = "20s" },
    { name = "half", share = 50, soak = "0s", approval = true },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""


class Clock:
    """Everybody's, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Judge:
    """Says of every guard what it was told."""

    def __init__(self) -> None:
        self.answer = Answer.OK

    def __call__(self, record: Record, _kept: Mapping[str, Any] | None, _now: datetime) -> Judgement:
        rollout, flag = record.rollout, record.flag
        guards = guards_judged_in(flag, flag.stages[rollout.stage - 1])
        verdicts = tuple(Verdict(guard, self.answer) for guard in guards)
        return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts, 1_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    def seconds() -> float:
        return clock.now.timestamp()

    made: Store = MemoryStore(clock=seconds)
    if request.param == "sqlite":
        made = SqlStore(f"sqlite:///{tmp_path / 'flags.db'}", clock=seconds)
    Control(made, now=clock).apply(parse(PLAN), actor=OWNER)
    yield made
    made.close()


@pytest.fixture
def ticker(store: Store, judge: Judge, clock: Clock) -> Ticker:
    return Ticker(store, judge=judge, now=clock)


@pytest.fixture
def other(store: Store, judge: Judge, clock: Clock) -> Ticker:
    return Ticker(store, judge=judge, now=clock)


def tick(ticker: Ticker) -> list[Looked] | None:
    return ticker.tick(ticker.store.changes().rows)


def act(store: Store, clock: Clock, *verbs: Verb) -> None:
    for verb in verbs:
        Control(store, now=clock).act(verb, "invoicing", actor=OWNER, reason="because")


def verbs(store: Store) -> list[str]:
    return [event.verb for event in store.history()]


def words(looked: Sequence[Looked] | None) -> list[list[str]] | None:
    return None if looked is None else [[str(hold) for hold in one.look.holds] for one in looked]


# --- the plan by itself ---------------------------------------------------------------------


def test_a_plan_goes_from_stage_to_stage_and_ends_its_watch(store: Store, ticker: Ticker, clock: Clock) -> None:
    act(store, clock, Verb.START)
    waited = []
    for _ in range(5):
        waited.append(words(tick(ticker)))
        clock.passes(5)
    assert waited == [
        [["soak 0 s of 20 s"]], [["soak 5 s of 20 s"]], [["soak 10 s of 20 s"]], [["soak 15 s of 20 s"]], [[]],
    ]  # fmt: skip
    assert words(tick(ticker)) == [["approval"]]
    act(store, clock, Verb.APPROVE)
    tick(ticker)
    record = read_flag(store, "invoicing")
    assert (record.rollout.status, record.rollout.stage) == (Status.WATCHING, 3)
    tick(ticker)
    kept = progress_from_json(store.progress()["invoicing"])
    assert kept is not None
    nearly = replace(kept, observed_seconds=48 * 3600 - 20.0)  # 11,518 looks later
    store.save_progress({"invoicing": nearly.to_json()}, holder=ticker.holder)
    for _ in range(2):
        assert read_flag(store, "invoicing").rollout.status is Status.WATCHING
        clock.passes(10)
        tick(ticker)
    assert read_flag(store, "invoicing").rollout.status is Status.COMPLETED
    assert verbs(store) == ["apply", "start", "advance", "approve", "advance", "complete"]
    assert tick(ticker) == [], "and nothing is left to look at"
    assert store.lease() is None


def test_an_hour_without_a_look_is_no_hour_observed(store: Store, ticker: Ticker, clock: Clock) -> None:
    """After an outage nothing is caught up with: one look, fifteen seconds, at most one transition."""
    act(store, clock, Verb.START)
    tick(ticker)
    clock.passes(3600)
    assert words(tick(ticker)) == [["soak 15 s of 20 s"]]
    clock.passes(3600)
    tick(ticker)
    assert read_flag(store, "invoicing").rollout.stage == 2
    assert verbs(store) == ["apply", "start", "advance"]


def test_a_look_touches_neither_revision_nor_version(store: Store, ticker: Ticker, clock: Clock) -> None:
    act(store, clock, Verb.START)
    before, revision = read_flag(store, "invoicing"), store.revision()
    for _ in range(3):
        tick(ticker)
        clock.passes(5)
    assert (read_flag(store, "invoicing"), store.revision()) == (before, revision)
    kept = progress_from_json(store.progress()["invoicing"])
    assert kept is not None
    assert kept.observed_seconds == 10


def test_what_nobody_judges_stays_where_it_is(store: Store, clock: Clock) -> None:
    act(store, clock, Verb.START)
    alone = Ticker(store, now=clock)
    for _ in range(20):
        assert words(tick(alone)) == [["a judgement of its guards", "soak 0 s of 20 s"]]
        clock.passes(5)


def test_one_rollout_that_cannot_be_judged_keeps_no_other_waiting(store: Store, clock: Clock, judge: Judge) -> None:
    definitions = PLAN + PLAN.replace("invoicing", "search").replace("20s", "0s")
    Control(store, now=clock).apply(parse(definitions), actor=OWNER)
    act(store, clock, Verb.START)
    Control(store, now=clock).act(Verb.START, "search", actor=OWNER)

    def fails_for_invoicing(record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Judgement:
        if record.flag.name == "invoicing":
            raise ZeroDivisionError
        return judge(record, kept, now)

    looked = tick(Ticker(store, judge=fails_for_invoicing, now=clock))
    assert looked is not None
    assert {one.record.flag.name: one.problem for one in looked} == {
        "invoicing": "its guards cannot be judged: ZeroDivisionError()", "search": None,
    }  # fmt: skip
    assert read_flag(store, "search").rollout.stage == 2
    assert read_flag(store, "invoicing").rollout.stage == 1


def test_one_rollout_of_which_nothing_can_be_kept_keeps_no_other_from_being_rolled_back(
    store: Store, clock: Clock, judge: Judge
) -> None:
    definitions = PLAN.replace("invoicing", "aaa") + PLAN.replace("invoicing", "bbb")
    Control(store, now=clock).apply(parse(definitions), actor=OWNER)
    for name in ("aaa", "bbb"):
        Control(store, now=clock).act(Verb.START, name, actor=OWNER)

    def says(record: Record, _kept: Mapping[str, Any] | None, _now: datetime) -> Judgement:
        rollout = record.rollout
        is_odd = record.flag.name == "aaa"
        numbers = {"rate": Decimal("0.1")} if is_odd else {}
        answer = Answer.OK if is_odd else Answer.BREACH
        verdicts = tuple(
            Verdict(guard, answer, numbers) for guard in guards_judged_in(record.flag, record.flag.stages[0])
        )
        return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts)

    looked = tick(Ticker(store, judge=says, now=clock))
    assert looked is not None
    problems = {one.record.flag.name: one.problem for one in looked}
    assert problems == {
        "aaa": "it cannot be looked at: TypeError('Object of type Decimal is not JSON serializable')", "bbb": None,
    }  # fmt: skip
    assert read_flag(store, "bbb").rollout.status == "rolled_back"
    assert read_flag(store, "aaa").rollout.status == "running"


# --- the lease ------------------------------------------------------------------------------


def test_one_looks_and_the_other_waits_for_its_end(store: Store, ticker: Ticker, other: Ticker, clock: Clock) -> None:
    act(store, clock, Verb.START)
    assert tick(ticker) is not None
    assert tick(other) is None
    clock.passes(14)
    assert tick(other) is None
    clock.passes(1)
    assert tick(other) is not None, "three looks after the last one"
    assert tick(ticker) is None
    assert not ticker.has_lease


def test_who_leaves_lets_the_next_one_look_at_once(store: Store, ticker: Ticker, other: Ticker, clock: Clock) -> None:
    act(store, clock, Verb.START)
    tick(ticker)
    other.release()
    assert tick(other) is None, "it was not its own to give back"
    ticker.release()
    assert tick(other) is not None


def test_a_new_holder_goes_on_where_the_last_one_was(store: Store, ticker: Ticker, other: Ticker, clock: Clock) -> None:
    act(store, clock, Verb.START)
    for _ in range(3):
        tick(ticker)
        clock.passes(5)
    ticker.release()
    assert words(tick(other)) == [["soak 15 s of 20 s"]]


def test_a_clock_that_was_turned_back_keeps_nobody_waiting(
    store: Store, ticker: Ticker, other: Ticker, clock: Clock
) -> None:
    act(store, clock, Verb.START)
    tick(ticker)
    clock.passes(-3600)
    assert tick(other) is not None
    assert tick(ticker) is None


@pytest.mark.parametrize("answer", [Answer.OK, Answer.BREACH])
def test_who_slept_while_it_looked_was_robbed(
    store: Store, other: Ticker, clock: Clock, judge: Judge, answer: Answer
) -> None:
    """Between its look and its write an hour passes, and another process has the lease. An advance is not written any
    more; a rollback is: it waits for nobody."""
    act(store, clock, Verb.START)

    def sleeps(record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Judgement:
        judge.answer = answer
        said = judge(record, kept, now)
        judge.answer = Answer.NO_DATA  # for the other: it is not to advance by itself
        clock.passes(3600)
        assert tick(other) is not None
        return said

    sleeper = Ticker(store, judge=sleeps, now=clock)
    known: dict[str, Any] = {
        "attempt": 1,
        "stage": 1,
        "revision": 0,
        "observed_seconds": 3600.0,
        "looked_at": None,
        "holds": {},
    }
    store.take_lease("test", "test", 15)
    store.save_progress({"invoicing": known}, holder="test")
    store.release_lease("test")
    assert tick(sleeper) is None
    assert not sleeper.has_lease
    assert verbs(store)[2:] == ([Verb.ROLLBACK] if answer is Answer.BREACH else [])


# --- races ----------------------------------------------------------------------------------


def interrupted(store: Store, meanwhile: Callable[[], object]) -> UnreliableStore:
    """In which somebody else does something just before a write."""
    made = UnreliableStore(store)
    made.before_commit = meanwhile
    return made


def racing(store: Store, clock: Clock, judge: Judge, *meanwhile: Verb) -> Ticker:
    return Ticker(interrupted(store, lambda: act(store, clock, *meanwhile)), judge=judge, now=clock)


@pytest.mark.parametrize(
    ("meanwhile", "ends"),
    [
        ((Verb.PAUSE,), ["pause", "rollback"]),
        ((Verb.OWNER_AWAY,), ["owner away", "rollback"]),
        ((Verb.KILL,), ["kill"]),
        ((Verb.ROLLBACK,), ["rollback"]),
        # what was said of the attempt before says nothing of this one
        ((Verb.ROLLBACK, Verb.RESTART), ["rollback", "restart"]),
    ],
)
def test_a_rollback_is_tried_again_until_it_wins_or_is_none_any_more(
    store: Store, clock: Clock, judge: Judge, meanwhile: tuple[Verb, ...], ends: list[str]
) -> None:
    act(store, clock, Verb.START)
    judge.answer = Answer.BREACH
    tick(racing(store, clock, judge, *meanwhile))
    assert verbs(store)[2:] == ends
    is_by_clock = ends[-1] == "rollback" and len(ends) > 1
    rollout = read_flag(store, "invoicing").rollout
    assert (rollout.breach is not None) is is_by_clock


@pytest.mark.parametrize("meanwhile", [Verb.PAUSE, Verb.KILL, Verb.ROLLBACK, Verb.OWNER_AWAY, Verb.ADVANCE])
def test_an_advance_that_somebody_overtook_is_not_tried_again(
    store: Store, clock: Clock, judge: Judge, meanwhile: Verb
) -> None:
    Control(store, now=clock).apply(parse(PLAN.replace("20s", "0s")), actor=OWNER)
    act(store, clock, Verb.START)
    looked = tick(racing(store, clock, judge, meanwhile))
    assert looked is not None
    assert [one.problem for one in looked] == ["somebody else was faster"]
    assert verbs(store)[3:] == [meanwhile]


def test_a_rollback_that_always_loses_is_none(store: Store, clock: Clock, judge: Judge) -> None:
    """The next look tries again; what was not written is not said to have happened."""
    act(store, clock, Verb.START)
    judge.answer = Answer.BREACH
    racing = UnreliableStore(store)

    def again() -> None:
        racing.before_commit = again
        act(store, clock, Verb.OWNER_AWAY, Verb.OWNER_ACCEPT)

    racing.before_commit = again
    (looked,) = tick(Ticker(racing, judge=judge, now=clock)) or []
    assert (looked.look.moved, looked.problem) == (None, "somebody else was faster")
    assert read_flag(store, "invoicing").rollout.status is Status.RUNNING
    clock.passes(15)
    tick(Ticker(store, judge=judge, now=clock))
    assert read_flag(store, "invoicing").rollout.status is Status.ROLLED_BACK


def test_a_kill_wins_over_a_tick_that_is_on_its_way(store: Store, clock: Clock, judge: Judge) -> None:
    """The other way round: the tick writes just before the kill does."""
    Control(store, now=clock).apply(parse(PLAN.replace("20s", "0s")), actor=OWNER)
    act(store, clock, Verb.START)
    made = interrupted(store, lambda: tick(Ticker(store, judge=judge, now=clock)))
    outcome = Control(made, now=clock).act(Verb.KILL, "invoicing", actor="oncall@example.com")
    assert outcome.rollout.killed
    assert (outcome.rollout.stage, verbs(store)[3:]) == (2, ["advance", "kill"])


def test_a_store_that_is_busy_loses_nothing(store: Store, ticker: Ticker, clock: Clock, judge: Judge) -> None:
    act(store, clock, Verb.START)
    judge.answer = Answer.BREACH

    def is_busy() -> None:
        raise BusyError(store.url, "somebody writes")

    with pytest.raises(StoreError):
        tick(Ticker(interrupted(store, is_busy), judge=judge, now=clock))
    assert read_flag(store, "invoicing").rollout.status is Status.RUNNING
    clock.passes(15)
    tick(ticker)
    assert read_flag(store, "invoicing").rollout.status is Status.ROLLED_BACK


def test_a_flag_that_went_meanwhile_is_left_alone(store: Store, clock: Clock, judge: Judge) -> None:
    act(store, clock, Verb.START)
    rows = store.changes().rows
    act(store, clock, Verb.ROLLBACK)
    Control(store, now=clock).apply(replace(parse(PLAN), flags={}), actor=OWNER, prune=True)
    judge.answer = Answer.BREACH
    (looked,) = Ticker(store, judge=judge, now=clock).tick(rows) or []
    assert looked.look.moved is None
    assert looked.problem is not None
    assert "invoicing" in looked.problem


# --- in a gate ------------------------------------------------------------------------------


def test_the_keeper_looks_and_gives_the_lease_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flags.db'}"
    store = SqlStore(url)
    Control(store).apply(parse(PLAN), actor=OWNER)
    Control(store).act(Verb.START, "invoicing", actor=OWNER)
    gate = Gate.open(url, background=True, tick_seconds=0.05)
    gate.is_on("invoicing")
    until(lambda: gate.has_lease, "it looks")
    held = store.lease()
    assert held is not None
    assert held.who.endswith(f":{os.getpid()} (tells nobody)")
    until(lambda: "invoicing" in store.progress(), "it keeps what it saw")
    gate.close()
    assert store.lease() is None
    store.close()


def test_a_look_that_fails_is_a_problem_and_not_the_end(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'flags.db'}")
    Control(store).apply(parse(PLAN), actor=OWNER)
    Control(store).act(Verb.START, "invoicing", actor=OWNER)

    def fails(*_: Any) -> bool:
        raise StoreError(store.url, "the disk is full")

    gate = Gate(store, background=False)
    gate.refresh()
    store.take_lease = fails  # type: ignore[assignment,method-assign]  # as a disk that is full
    assert gate.tick() is None
    assert gate.health().problem == f"no look at the rollouts: {store.url}: the disk is full"
    del store.take_lease
    assert gate.tick() is not None
    assert gate.health().problem is None
    gate.close()


def test_a_child_does_not_hold_its_parents_lease(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'flags.db'}")
    Control(store).apply(parse(PLAN), actor=OWNER)
    Control(store).act(Verb.START, "invoicing", actor=OWNER)
    gate = Gate(store, background=False)
    gate.refresh()
    assert gate.tick() is not None
    child = os.fork()
    if not child:
        gate.refresh()
        os._exit(0 if gate.tick() is None and not gate.has_lease else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gate.tick() is not None
    gate.close()
