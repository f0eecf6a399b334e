"""One look at a rollout: what it observes, what it waits for, and the one thing that it may do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flaggate
from flaggate import Guard
from flaggate.flags.document import parse
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import Progress, progress_from_json, progress_of
from flaggate.rollout.state import Rollout, Status, Verb, born, rollout_to_json
from flaggate.rollout.tick import Look, is_looked_at, tick
from flaggate.rollout.verdict import Answer, Judgement, Verdict, judgement_from_json, judgement_to_json
from tests.rollout.plans import GUARD, NOW, OTHER, PLAN, act, flag_for, standing

BLIND: Final = (Answer.NO_DATA, Answer.ERROR)
LAST: Final = NOW - timedelta(seconds=5)
WATCHED: Final = 48 * 3600.0


def said(rollout: Rollout, *answers: Answer, guard: Guard = GUARD, requests: int = 10_000) -> Judgement:
    """What the guards say of where the rollout stands."""
    verdicts = tuple(Verdict(guard, answer, {"n": 3}) for answer in answers)
    return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts, requests)


def known(rollout: Rollout, observed: float = 0.0, looked_at: datetime | None = LAST) -> Progress:
    return Progress(rollout.attempt, rollout.stage, rollout.revision, observed, looked_at)


def look(rollout: Rollout, *answers: Answer, observed: float = 0.0, **more: Any) -> Look:
    return tick(PLAN, rollout, known(rollout, observed), said(rollout, *answers, **more), NOW)


def verb(found: Look) -> str | None:
    return None if found.moved is None else found.moved[1].verb


# --- moving ---------------------------------------------------------------------------------


def test_a_stage_whose_conditions_are_met_is_left() -> None:
    found = look(standing(Status.RUNNING), Answer.OK)
    assert found.moved is not None
    after, event = found.moved
    assert (after.stage, after.status, after.since) == (3, Status.RUNNING, NOW)
    assert (event.verb, event.actor, event.reason) == (Verb.ADVANCE, AUTOMATIC, "every condition is met")
    assert event.evidence == {
        "observed_seconds": 5, "guards": [{"metric": "errors", "answer": "ok", "numbers": {"n": 3}, "words": "errors: ok (n 3)"}],
    }  # fmt: skip
    assert found.holds == ()


def test_one_that_waits_stays_and_says_for_what() -> None:
    found = look(standing(Status.RUNNING, stage=3), Answer.OK, requests=10)
    assert found.moved is None
    assert [str(hold) for hold in found.holds] == [
        "soak 5 s of 24 h", "min_sample 10 of 500 requests", "approval",
    ]  # fmt: skip
    assert set(found.progress.holds) == {"soak", "min_sample", "approval"}


def test_since_when_it_waits_is_remembered() -> None:
    rollout = standing(Status.RUNNING, stage=3)
    first = tick(PLAN, rollout, None, said(rollout, Answer.OK), NOW)
    later = tick(PLAN, rollout, first.progress, said(rollout, Answer.OK), NOW + timedelta(hours=1))
    assert {hold.since for hold in later.holds} == {NOW}
    blind = tick(PLAN, rollout, later.progress, said(rollout, Answer.NO_DATA), NOW + timedelta(hours=2))
    assert (blind.holds[0].kind, blind.holds[0].since) == ("blind", NOW + timedelta(hours=2))


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.WATCHING])
def test_a_rollback_guard_in_breach_rolls_back_whatever_it_waits_for(status: Status) -> None:
    """I11: also while soaking, paused, waiting for an approval, watching."""
    for stage in (3, 4) if status is Status.WATCHING else (1, 2, 3):
        rollout = standing(status, stage=stage, accepted_by=None)
        found = look(rollout, Answer.OK, Answer.BREACH)
        assert found.moved is not None
        after, event = found.moved
        assert (after.status, after.stage, after.attempt) == (Status.ROLLED_BACK, stage, rollout.attempt)
        assert (event.verb, event.actor, event.reason) == (Verb.ROLLBACK, AUTOMATIC, "errors: breach")
        said = {"metric": "errors", "answer": "breach", "numbers": {"n": 3}, "words": "errors: breach (n 3)"}
        guilty = {"guards": [said]}
        assert event.evidence == after.breach == guilty


def test_what_two_guards_say_alike_is_said_once() -> None:
    """One against a limit and one against control have seen the same."""
    found = look(standing(Status.RUNNING), Answer.BREACH, Answer.BREACH)
    assert found.moved is not None
    event = found.moved[1]
    assert (event.reason, len(event.evidence["guards"])) == ("errors: breach", 2)


@pytest.mark.parametrize("answer", BLIND)
@pytest.mark.parametrize("on_no_data", ["hold", "rollback", "ignore"])
def test_a_blind_guard_does_what_it_was_told(answer: Answer, on_no_data: Any) -> None:
    found = look(standing(Status.RUNNING), answer, guard=replace(GUARD, on_no_data=on_no_data))
    assert verb(found) == {"hold": None, "rollback": Verb.ROLLBACK, "ignore": Verb.ADVANCE}[on_no_data]
    assert [hold.kind for hold in found.holds] == (["blind"] if on_no_data == "hold" else [])


@pytest.mark.parametrize("on_breach", ["hold", "warn"])
def test_a_breach_of_another_guard_never_rolls_back(on_breach: Any) -> None:
    guard = replace(GUARD, on_breach=on_breach)
    assert verb(look(standing(Status.RUNNING), Answer.BREACH, guard=guard)) == (
        None if on_breach == "hold" else Verb.ADVANCE
    )
    assert verb(look(standing(Status.WATCHING), Answer.BREACH, guard=guard, observed=WATCHED)) is None
    assert verb(look(standing(Status.PAUSED), Answer.BREACH, guard=guard)) is None


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.BREACH])
def test_nothing_else_moves_by_the_clock(status: Status, answer: Answer) -> None:
    """I8."""
    rollout = standing(status)
    found = tick(flag_for(rollout.status), rollout, known(rollout), said(rollout, answer), NOW)
    assert (found.moved, found.holds) == (None, ())


@pytest.mark.parametrize("status", Status)
def test_what_is_killed_is_left_alone(status: Status) -> None:
    rollout = standing(status, killed=True)
    for answer in Answer:
        found = tick(flag_for(status), rollout, known(rollout, WATCHED), said(rollout, answer), NOW)
        assert (found.moved, found.holds) == (None, ())
        assert found.progress.observed_seconds == WATCHED
    assert not is_looked_at(rollout)


@pytest.mark.parametrize("observed", [WATCHED - 5.01, WATCHED - 5])
@pytest.mark.parametrize("answer", [None, *Answer])
def test_the_watch_ends_after_48_observed_hours_without_a_breach(observed: float, answer: Answer | None) -> None:
    rollout = standing(Status.WATCHING)
    judgement = None if answer is None else said(rollout, answer, guard=replace(GUARD, on_breach="warn"))
    found = tick(PLAN, rollout, known(rollout, observed), judgement, NOW)
    ends = observed == WATCHED - 5 and answer not in (None, Answer.BREACH, Answer.SHARED, *BLIND)
    assert verb(found) == (Verb.COMPLETE if ends else None)
    if found.moved is not None:
        after, event = found.moved
        assert (after.status, event.reason) == (Status.COMPLETED, "watched for 48 h")


@pytest.mark.parametrize("changed", [{"attempt": 2}, {"stage": 1}, {"revision": 0}])
def test_what_was_said_of_another_stage_moves_nothing(changed: dict[str, Any]) -> None:
    """I6, also for a breach."""
    rollout = standing(Status.RUNNING)
    for answer in (Answer.OK, Answer.BREACH):
        found = tick(PLAN, rollout, known(rollout), replace(said(rollout, answer), **changed), NOW)
        assert found.moved is None
        assert [hold.kind for hold in found.holds] == ["unjudged"]
        assert found.progress.observed_seconds == 0


def test_a_stage_that_is_not_there_is_not_left() -> None:
    """Whatever somebody wrote into the store."""
    lost = standing(Status.RUNNING, stage=7)
    found = tick(PLAN, lost, known(lost), said(lost, Answer.OK), NOW)
    assert (found.moved, found.holds) == (None, ())


def test_the_result_is_that_of_one_act() -> None:
    """I9, I10: one transition, and the event has before and after."""
    rollout = standing(Status.RUNNING, stage=1)
    found = look(rollout, Answer.OK, observed=10 * WATCHED)
    assert found.moved is not None
    after, event = found.moved
    assert after.stage == 2
    assert (event.before, event.after) == (rollout_to_json(rollout), rollout_to_json(after))


def test_a_tick_of_what_somebody_approved() -> None:
    done = move(PLAN, standing(Status.RUNNING, stage=3), act(Verb.APPROVE, OTHER))
    assert done is not None
    found = look(done[0], Answer.OK, observed=86_400.0)
    assert verb(found) == Verb.ADVANCE
    assert found.moved is not None
    assert found.moved[0].status is Status.WATCHING


# --- observing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "observed"), [(0, 0), (0.25, 0.25), (5, 5), (15, 15), (15.1, 15), (3600, 15), (-5, 0), (-86_400, 0)]
)
def test_a_look_observes_fifteen_seconds_at_most_and_nothing_of_a_clock_turned_back(
    seconds: float, observed: float
) -> None:
    """I16."""
    rollout = standing(Status.RUNNING, stage=3)
    before = known(rollout, 100.0, NOW - timedelta(seconds=seconds))
    found = tick(PLAN, rollout, before, said(rollout, Answer.OK), NOW)
    assert found.progress.observed_seconds == 100 + observed
    assert found.progress.looked_at == NOW


def test_the_first_look_observes_nothing() -> None:
    rollout = standing(Status.RUNNING, stage=3)
    assert tick(PLAN, rollout, None, said(rollout, Answer.OK), NOW).progress.observed_seconds == 0


@pytest.mark.parametrize("answer", [None, *BLIND])
@pytest.mark.parametrize("status", [Status.RUNNING, Status.WATCHING])
def test_nobody_observes_blindly(status: Status, answer: Answer | None) -> None:
    rollout = standing(status)
    judgement = None if answer is None else said(rollout, answer)
    assert tick(PLAN, rollout, known(rollout), judgement, NOW).progress.observed_seconds == 0


def test_a_pause_is_not_observed() -> None:
    paused = standing(Status.PAUSED, stage=3)
    found = look(paused, Answer.OK, observed=60.0)
    assert (found.progress.observed_seconds, found.progress.looked_at) == (60.0, NOW)


def test_what_was_observed_belongs_to_an_attempt_a_stage_and_a_revision() -> None:
    rollout = standing(Status.RUNNING, stage=3)
    for other in ({"attempt": 4}, {"stage": 2}, {"revision": 2}):
        moved = replace(rollout, **other)  # type: ignore[arg-type]  # numbers by name
        assert progress_of(moved, known(rollout, 500.0)).observed_seconds == 0
    assert progress_of(rollout, known(rollout, 500.0)).observed_seconds == 500


_moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.astimezone(NOW.tzinfo))


@given(
    st.builds(
        Progress, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.floats(0, 1e9), st.none() | _moments,
        st.dictionaries(st.sampled_from(["soak", "owner"]), _moments),
    )
)  # fmt: skip
def test_json_keeps_all_of_what_was_observed(progress: Progress) -> None:
    assert progress_from_json(json.loads(json.dumps(progress.to_json()))) == progress
    assert progress_from_json(json.loads(json.dumps(progress.to_json() | {"mood": "good"}))) == progress


@pytest.mark.parametrize(
    "damage",
    [{"looked_at": "soon"}, {"holds": 7}, {"holds": {"soak": None}}, {"observed_seconds": "much"}, {"stage": ...}],
)
def test_what_cannot_be_read_was_not_observed(damage: dict[str, Any]) -> None:
    written = known(standing(Status.RUNNING), 500.0).to_json() | damage
    written = {name: value for name, value in written.items() if value is not ...}
    assert progress_from_json(written) is None
    assert progress_from_json(None) is None


def test_json_keeps_what_the_guards_said() -> None:
    rollout = standing(Status.RUNNING)
    judgement = replace(said(rollout, Answer.OK), split="as 2 to 1")
    stage = PLAN.stages[1]
    written = json.loads(json.dumps(judgement_to_json(judgement)))
    assert judgement_from_json(written, PLAN, stage) == judgement
    damages: list[dict[str, Any]] = [
        {"verdicts": []},
        {"verdicts": [{"answer": "fine", "numbers": {}}]},
        {"mood": "good"},
    ]
    for changed in damages:
        assert judgement_from_json(written | changed, PLAN, stage) is None
    assert judgement_from_json(None, PLAN, stage) is None


# --- all of it ------------------------------------------------------------------------------

SEED: Final = parse((Path(flaggate.__file__).parent / "cli" / "demo" / "plan.toml").read_text()).flags["new-invoicing"]


def test_the_seed_plan_from_its_start_to_the_end_of_its_watch() -> None:
    """Four stages of 24 h and a watch of 48 h, by looks of 15 s; the holder of the lease is away for an hour."""
    now, known, went = NOW, None, []
    started = move(SEED, born(SEED, now), Act(Verb.START, SEED.owner, now))
    assert started is not None
    rollout, looks = started[0], 0
    while rollout.status is not Status.COMPLETED:
        now += timedelta(hours=1) if looks == 10_000 else timedelta(seconds=15)
        looks += 1
        guards = guards_judged_in(SEED, SEED.stages[rollout.stage - 1])
        verdicts = tuple(Verdict(guard, Answer.OK) for guard in guards)
        judgement = Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts, 2_000)
        found = tick(SEED, rollout, known, judgement, now)
        known = found.progress
        if found.moved is not None:
            rollout, event = found.moved
            went.append((event.verb, rollout.stage))
        elif [hold.kind for hold in found.holds] == ["approval"]:
            approved = move(SEED, rollout, Act(Verb.APPROVE, SEED.deputies[0], now))
            assert approved is not None
            rollout = approved[0]
    assert went == [*((Verb.ADVANCE, stage) for stage in (2, 3, 4, 5)), (Verb.COMPLETE, 5)]
    day = 24 * 3600 // 15
    assert day * 6 <= looks <= day * 6 + 10, "the hour away was observed for 15 s, and nothing replayed"
