"""Every verb in every status, who may do it, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from flaggate import Flag, Guard, Stage
from flaggate.errors import MoveError
from flaggate.rollout.holds import holds
from flaggate.rollout.moves import AUTOMATIC, legal_verbs, move
from flaggate.rollout.progress import Progress
from flaggate.rollout.state import (
    Approval,
    Event,
    Rollout,
    Status,
    Verb,
    born,
    current_stage,
    rollout_to_json,
    unguarded_stages,
)
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from tests.rollout.plans import BEFORE, DEPUTY, GUARD, NOW, OTHER, OWNER, PLAN, SWITCH, act, flag_for, standing

DRAFT, RUNNING, PAUSED, WATCHING = Status.DRAFT, Status.RUNNING, Status.PAUSED, Status.WATCHING
COMPLETED, ROLLED_BACK, OFF, ON = Status.COMPLETED, Status.ROLLED_BACK, Status.OFF, Status.ON

# Where each verb leads from each status: (status, stage, attempts more); None = it is done already; not there =
# refused. Rollouts stand at stage 2 of 4, or at 4 when they watch or are completed.
TABLE: Final[dict[Verb, dict[Status, tuple[Status, int, int] | None]]] = {
    Verb.START: {DRAFT: (RUNNING, 1, 1)},
    Verb.ADVANCE: {RUNNING: (RUNNING, 3, 0)},
    Verb.STEP_BACK: {RUNNING: (PAUSED, 1, 1), PAUSED: (PAUSED, 1, 1), WATCHING: (PAUSED, 3, 1)},
    Verb.PAUSE: {RUNNING: (PAUSED, 2, 0), PAUSED: None},
    Verb.RESUME: {PAUSED: (RUNNING, 2, 0), RUNNING: None},
    Verb.RESTART: {ROLLED_BACK: (RUNNING, 1, 1)},
    Verb.ROLLBACK: {
        RUNNING: (ROLLED_BACK, 2, 0),
        PAUSED: (ROLLED_BACK, 2, 0),
        WATCHING: (ROLLED_BACK, 4, 0),
        ROLLED_BACK: None,
    },
    Verb.COMPLETE: {WATCHING: (COMPLETED, 4, 0), COMPLETED: None},
    Verb.ON: {OFF: (ON, 0, 0), ON: None},
    Verb.OFF: {ON: (OFF, 0, 0), OFF: None},
}
ASKS: Final = {Verb.START, Verb.ADVANCE, Verb.RESUME, Verb.RESTART}
"""Who does this asked for more."""
GROWING: Final = {Verb.START, Verb.ADVANCE, Verb.RESUME, Verb.RESTART, Verb.COMPLETE, Verb.ON}
LIVE: Final = {RUNNING, PAUSED, WATCHING}


def wanted(verb: Verb, before: Rollout) -> Rollout | str | None:
    """Where the verb leads: a rollout, None = nothing changes, or "refused"."""
    match verb:
        case Verb.KILL:
            return None if before.killed else replace(before, killed=True)
        case Verb.UNKILL if not before.killed:
            return None
        case Verb.UNKILL if before.status in LIVE:
            return replace(before, killed=False, attempt=before.attempt + 1, since=NOW, asked_by=OWNER)
        case Verb.UNKILL:
            return replace(before, killed=False)
        case Verb.OWNER_ACCEPT:
            return None
        case Verb.OWNER_SET:
            return replace(before, owner=OTHER)
        case Verb.OWNER_AWAY:
            return replace(before, accepted_by=None)
        case Verb.APPROVE:
            return "refused"  # neither of these stages asks for one
    to = TABLE[verb].get(before.status, "refused")
    if not isinstance(to, tuple):
        return to
    if before.killed and verb in GROWING:
        return "refused"
    status, stage, more = to
    asked_by = OWNER if verb in ASKS else None
    return replace(before, status=status, stage=stage, attempt=before.attempt + more, since=NOW, asked_by=asked_by)


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("verb", Verb)
def test_every_verb_in_every_status(verb: Verb, status: Status, killed: bool) -> None:
    flag, before, doing = flag_for(status), standing(status, killed=killed), act(verb)
    to = wanted(verb, before)
    if to == "refused":
        with pytest.raises(MoveError) as refused:
            move(flag, before, doing)
        assert (refused.value.flag, refused.value.verb) == (flag.name, verb)
        assert refused.value.legal == legal_verbs(flag, before)
        assert verb not in refused.value.legal
        return
    done = move(flag, before, doing)
    if not isinstance(to, Rollout):
        assert done is None
        return
    assert done is not None
    after, event = done
    assert after == to
    assert replace(event, evidence={}) == Event(
        flag.name, verb, OWNER, NOW, "because", rollout_to_json(before), rollout_to_json(after)
    )


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("status", Status)
def test_what_is_called_legal_is_not_refused_and_nothing_else_changes_anything(status: Status, killed: bool) -> None:
    rollout = standing(status, killed=killed)
    legal = legal_verbs(flag_for(status), rollout)
    assert {Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY} <= set(legal)
    assert (Verb.UNKILL if killed else Verb.KILL) in legal
    for verb in Verb:
        if verb in legal:
            move(flag_for(status), rollout, act(verb))
        else:
            assert wanted(verb, rollout) in (None, "refused")


def test_a_refusal_says_why_and_what_is_legal() -> None:
    with pytest.raises(MoveError) as refused:
        move(PLAN, standing(ROLLED_BACK), act(Verb.START))
    assert str(refused.value) == (
        "invoicing: start refused: it is rolled back. Legal now: restart, kill, owner accept, owner set, owner away."
    )
    with pytest.raises(MoveError, match="advance refused: it is a switch"):
        move(SWITCH, standing(ON), act(Verb.ADVANCE))
    with pytest.raises(MoveError, match="resume refused: it is killed; unkill comes first"):
        move(PLAN, standing(PAUSED, killed=True), act(Verb.RESUME))


def test_the_first_stage_has_none_before_it() -> None:
    first = standing(RUNNING, stage=1)
    assert Verb.STEP_BACK not in legal_verbs(PLAN, first)
    with pytest.raises(MoveError, match="rollback takes it off altogether"):
        move(PLAN, first, act(Verb.STEP_BACK))


def after_moves(flag: Flag, rollout: Rollout, *verbs: Verb) -> Rollout:
    """Where it stands after its owner did these."""
    for verb in verbs:
        done = move(flag, rollout, act(verb))
        assert done is not None
        rollout = done[0]
    return rollout


def test_entering_the_last_stage_starts_the_watch() -> None:
    assert after_moves(PLAN, standing(RUNNING, stage=3), Verb.ADVANCE).status is WATCHING
    single = replace(PLAN, stages=PLAN.stages[-1:])
    started = after_moves(single, born(single, BEFORE), Verb.START)
    assert (started.status, started.stage) == (WATCHING, 1)


def test_a_restart_begins_with_the_first_stage_of_a_shorter_plan_too() -> None:
    short = replace(PLAN, stages=PLAN.stages[2:])
    assert after_moves(short, standing(ROLLED_BACK, stage=4), Verb.RESTART).stage == 1


def test_a_rolled_back_plan_can_be_shortened() -> None:
    """The stage where it stood last may be gone then."""
    short = replace(PLAN, stages=PLAN.stages[2:])
    back = standing(ROLLED_BACK, stage=4)
    assert current_stage(short, back) is None
    assert current_stage(PLAN, back) == PLAN.stages[3]
    assert current_stage(PLAN, standing(DRAFT)) is None


# --- reasons ----------------------------------------------------------------------------------

NEEDS_REASON: Final = {
    Verb.RESTART: standing(ROLLED_BACK),
    Verb.UNKILL: standing(DRAFT, killed=True),
    Verb.COMPLETE: standing(WATCHING),
}
NEEDS_NONE: Final = {
    Verb.START: standing(DRAFT),
    Verb.ADVANCE: standing(RUNNING, stage=2),
    Verb.STEP_BACK: standing(RUNNING),
    Verb.PAUSE: standing(RUNNING),
    Verb.RESUME: standing(PAUSED),
    Verb.ROLLBACK: standing(RUNNING),
    Verb.KILL: standing(RUNNING),
    Verb.ON: standing(OFF),
    Verb.OFF: standing(ON),
    Verb.OWNER_SET: standing(DRAFT),
    Verb.OWNER_AWAY: standing(RUNNING),
}


@pytest.mark.parametrize("reason", [None, "", "  \n"])
@pytest.mark.parametrize("verb", NEEDS_REASON)
def test_a_reason_is_required_by_what_cannot_be_undone_quietly(verb: Verb, reason: str | None) -> None:
    with pytest.raises(MoveError, match="needs a reason"):
        move(PLAN, NEEDS_REASON[verb], act(verb, reason=reason))
    assert move(PLAN, NEEDS_REASON[verb], act(verb, reason="asked by sales"))


@pytest.mark.parametrize("verb", NEEDS_NONE)
def test_no_reason_is_required_by_the_others(verb: Verb) -> None:
    rollout = NEEDS_NONE[verb]
    done = move(flag_for(rollout.status), rollout, act(verb, reason=None))
    assert done is not None
    assert done[1].reason is None


@pytest.mark.parametrize(
    ("verb", "rollout"),
    [(Verb.UNKILL, standing(RUNNING)), (Verb.COMPLETE, standing(COMPLETED)), (Verb.ON, standing(ON, killed=True))],
)
def test_what_is_done_already_needs_no_reason(verb: Verb, rollout: Rollout) -> None:
    assert move(flag_for(rollout.status), rollout, act(verb, reason=None)) is None


def test_an_advance_records_what_it_passes_over() -> None:
    held = holds(PLAN, HELD, Progress(3, 3, 1, 3 * 3600.0), SILENT, NOW)
    done = move(PLAN, HELD, replace(act(Verb.ADVANCE), holds=held))
    assert done is not None
    assert done[1].evidence == {"passed_over": PASSED}
    done = move(PLAN, standing(RUNNING, stage=2), act(Verb.ADVANCE))
    assert done is not None
    assert done[1].evidence == {"passed_over": []}
    with pytest.raises(MoveError, match=f"this passes over {', '.join(PASSED)}; it needs a reason"):
        move(PLAN, HELD, replace(act(Verb.ADVANCE, reason=None), holds=held))


HELD: Final = standing(RUNNING, stage=3)
SILENT: Final = Judgement(3, 3, 1, requests=120)
PASSED: Final = ["soak 3 h of 24 h", "min_sample 120 of 500 requests", "approval"]


@pytest.mark.parametrize(
    ("judgement", "why"),
    [
        (Judgement(3, 3, 1, (Verdict(GUARD, Answer.NO_DATA),)), "nothing is known of errors"),
        (Judgement(3, 3, 1, (Verdict(GUARD, Answer.ERROR),)), "nothing is known of errors"),
        (Judgement(3, 3, 1, (Verdict(replace(GUARD, on_breach="hold"), Answer.BREACH),)), "errors: worse than allowed"),
        (Judgement(3, 3, 1, split="61 % where 50 % should be"), "the split is not as designed: 61 % where"),
    ],
)
def test_nobody_passes_over_a_breach_or_a_blind_guard(judgement: Judgement, why: str) -> None:
    held = holds(PLAN, HELD, Progress(3, 3, 1), judgement, NOW)
    with pytest.raises(MoveError, match=f"nobody may pass over this: {why}"):
        move(PLAN, HELD, replace(act(Verb.ADVANCE), holds=held))


def test_nobody_passes_over_an_absent_owner_but_the_owner_who_is_back() -> None:
    absent = standing(RUNNING, stage=2, accepted_by=None)
    held = holds(PLAN, absent, Progress(3, 2, 1), Judgement(3, 2, 1), NOW)
    assert [hold.kind for hold in held] == ["owner"]
    with pytest.raises(MoveError, match="nobody answers for it"):
        move(PLAN, absent, replace(act(Verb.ADVANCE, OTHER), holds=held))
    done = move(PLAN, absent, replace(act(Verb.ADVANCE, OWNER), holds=held))
    assert done is not None
    assert (done[0].stage, done[0].accepted_by) == (3, OWNER)


# --- approval ---------------------------------------------------------------------------------

BY_ANOTHER: Final = replace(PLAN, stages=(*PLAN.stages[:2], replace(PLAN.stages[2], approval="other"), PLAN.stages[3]))


def test_an_approval_is_of_one_attempt_stage_and_revision() -> None:
    done = move(PLAN, HELD, act(Verb.APPROVE, OTHER))
    assert done is not None
    approved = done[0]
    assert approved.approval == Approval(OTHER, 3, 3, 1)
    assert approved.is_approved(BY_ANOTHER.stages[2])
    assert move(PLAN, approved, act(Verb.APPROVE, DEPUTY)) is None, "it is already"
    assert Verb.APPROVE not in legal_verbs(PLAN, approved)
    for other in ({"attempt": 4}, {"stage": 2}, {"revision": 2}):
        assert not replace(approved, **other).is_approved(BY_ANOTHER.stages[2])  # type: ignore[arg-type]  # numbers by name


def test_where_no_approval_is_asked_none_is_given() -> None:
    rollout = standing(RUNNING, stage=2)
    with pytest.raises(MoveError, match="this stage asks for no approval"):
        move(PLAN, rollout, act(Verb.APPROVE))
    assert Verb.APPROVE not in legal_verbs(PLAN, rollout)


def test_who_asked_does_not_approve_where_it_takes_another() -> None:
    asked = replace(standing(PAUSED, stage=3), asked_by=OWNER)
    with pytest.raises(MoveError, match=f"{OWNER} asked for it, and another person has to approve"):
        move(BY_ANOTHER, asked, act(Verb.APPROVE, OWNER))
    assert move(BY_ANOTHER, asked, act(Verb.APPROVE, DEPUTY))
    assert move(PLAN, asked, act(Verb.APPROVE, OWNER)), "anyone may where it says so"


def test_who_asked_is_who_had_people_let_in_last() -> None:
    started = after_moves(PLAN, born(PLAN, BEFORE), Verb.START)
    assert started.asked_by == OWNER
    by_other = move(PLAN, started, act(Verb.ADVANCE, OTHER))
    assert by_other is not None
    assert by_other[0].asked_by == OTHER
    by_clock = move(PLAN, by_other[0], act(Verb.ADVANCE, AUTOMATIC))
    assert by_clock is not None
    assert by_clock[0].asked_by == OTHER
    paused = move(PLAN, by_clock[0], act(Verb.PAUSE, DEPUTY))
    assert paused is not None
    assert paused[0].asked_by == OTHER
    resumed = move(PLAN, paused[0], act(Verb.RESUME, DEPUTY))
    assert resumed is not None
    assert resumed[0].asked_by == DEPUTY
    back = move(PLAN, replace(resumed[0], killed=True), act(Verb.UNKILL, OTHER))
    assert back is not None
    assert back[0].asked_by == OTHER, "an unkill lets them in again"


def test_an_approval_does_not_count_once_who_gave_it_asks() -> None:
    stage = BY_ANOTHER.stages[2]
    approved = move(BY_ANOTHER, replace(HELD, asked_by=OWNER), act(Verb.APPROVE, DEPUTY))
    assert approved is not None
    assert approved[0].is_approved(stage)
    asks = replace(approved[0], asked_by=DEPUTY)
    assert not asks.is_approved(stage)
    assert asks.is_approved(replace(stage, approval="any"))
    assert move(BY_ANOTHER, asks, act(Verb.APPROVE, OWNER))


def test_during_the_watch_nobody_else_hands_it_over() -> None:
    watched = standing(WATCHING)
    with pytest.raises(MoveError, match="during the watch this is for"):
        move(PLAN, watched, replace(act(Verb.OWNER_SET, OTHER), owner=OTHER))
    assert move(PLAN, watched, replace(act(Verb.OWNER_SET, DEPUTY), owner=OTHER))


# --- breach and watch -------------------------------------------------------------------------


def test_a_breach_is_latched_until_the_restart() -> None:
    evidence = {"guards": [{"metric": "errors", "answer": "breach"}]}
    broken = move(PLAN, standing(RUNNING), replace(act(Verb.ROLLBACK, AUTOMATIC), evidence=evidence))
    assert broken is not None
    assert (broken[0].status, broken[0].breach, broken[1].evidence) == (ROLLED_BACK, evidence, evidence)
    killed = after_moves(PLAN, broken[0], Verb.KILL)
    assert killed.breach == evidence
    restarted = after_moves(PLAN, killed, Verb.UNKILL, Verb.RESTART)
    assert (restarted.status, restarted.breach) == (RUNNING, None)


def test_a_persons_rollback_latches_nothing() -> None:
    assert after_moves(PLAN, standing(RUNNING), Verb.ROLLBACK).breach is None


def test_a_kill_by_others_during_the_watch_is_break_glass() -> None:
    for actor, evidence in ((OTHER, {"break_glass": True}), (OWNER, {}), (DEPUTY, {})):
        done = move(PLAN, standing(WATCHING), act(Verb.KILL, actor, reason=None))
        assert done is not None
        assert done[1].evidence == evidence
    done = move(PLAN, standing(RUNNING), act(Verb.KILL, OTHER))
    assert done is not None
    assert done[1].evidence == {}


def test_during_the_watch_only_owner_and_deputies_unkill() -> None:
    killed = standing(WATCHING, killed=True)
    with pytest.raises(MoveError, match=f"during the watch this is for {OWNER}, {DEPUTY}"):
        move(PLAN, killed, act(Verb.UNKILL, OTHER))
    for actor in (OWNER, DEPUTY):
        assert move(PLAN, killed, act(Verb.UNKILL, actor))


# --- the owner --------------------------------------------------------------------------------

NEEDS_OWNER: Final = {
    Verb.START: {"status": DRAFT},
    Verb.ADVANCE: {"status": RUNNING},
    Verb.RESTART: {"status": ROLLED_BACK},
    Verb.UNKILL: {"status": RUNNING, "killed": True},
}


@pytest.mark.parametrize("verb", NEEDS_OWNER)
def test_growing_needs_someone_who_answers(verb: Verb) -> None:
    absent = standing(**NEEDS_OWNER[verb], accepted_by=None)  # type: ignore[arg-type]  # statuses and bools by name
    for actor in (OTHER, DEPUTY):
        with pytest.raises(MoveError, match=f"nobody answers for it; {OWNER} or a deputy has to accept first"):
            move(PLAN, absent, act(verb, actor))
    by_owner = move(PLAN, absent, act(verb, OWNER))
    assert by_owner is not None
    assert by_owner[0].accepted_by == OWNER


@pytest.mark.parametrize("verb", NEEDS_OWNER)
def test_once_a_deputy_accepted_anybody_with_the_right_can_go_on(verb: Verb) -> None:
    absent = standing(**NEEDS_OWNER[verb], accepted_by=None)  # type: ignore[arg-type]  # statuses and bools by name
    accepted = move(PLAN, absent, act(Verb.OWNER_ACCEPT, DEPUTY))
    assert accepted is not None
    done = move(PLAN, accepted[0], act(verb, OTHER))
    assert done is not None
    assert done[0].accepted_by == DEPUTY


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.STEP_BACK, Verb.ROLLBACK, Verb.KILL])
def test_less_exposure_needs_nobody(verb: Verb) -> None:
    assert move(PLAN, standing(RUNNING, accepted_by=None), act(verb, OTHER))


@pytest.mark.parametrize("status", [DRAFT, COMPLETED, ROLLED_BACK, OFF, ON])
def test_unkill_of_what_exposes_nobody_by_a_plan_in_progress_changes_only_the_bit(status: Status) -> None:
    killed = standing(status, killed=True, accepted_by=None)
    done = move(flag_for(status), killed, act(Verb.UNKILL, OTHER))
    assert done is not None
    assert done[0] == replace(killed, killed=False)


def test_only_owner_and_deputies_accept() -> None:
    with pytest.raises(MoveError, match=r"neither the owner .* nor a deputy"):
        move(PLAN, standing(RUNNING, accepted_by=None), act(Verb.OWNER_ACCEPT, OTHER))
    assert move(PLAN, standing(RUNNING, accepted_by=DEPUTY), act(Verb.OWNER_ACCEPT, DEPUTY)) is None


def test_until_the_new_owner_accepts_the_old_one_answers() -> None:
    named = move(PLAN, standing(RUNNING), act(Verb.OWNER_SET, DEPUTY, owner=OTHER))
    assert named is not None
    assert (named[0].owner, named[0].accepted_by, named[0].deputies) == (OTHER, OWNER, (DEPUTY,))
    accepted = move(PLAN, named[0], act(Verb.OWNER_ACCEPT, OTHER))
    assert accepted is not None
    assert accepted[0].accepted_by == OTHER


def test_deputies_are_named_alone_or_with_the_owner() -> None:
    done = move(PLAN, standing(RUNNING), act(Verb.OWNER_SET, deputies=(OTHER,)))
    assert done is not None
    assert (done[0].owner, done[0].deputies) == (OWNER, (OTHER,))
    done = move(PLAN, standing(RUNNING), act(Verb.OWNER_SET, owner=DEPUTY, deputies=()))
    assert done is not None
    assert (done[0].owner, done[0].deputies) == (DEPUTY, ())
    assert move(PLAN, standing(RUNNING), act(Verb.OWNER_SET, owner=OWNER, deputies=(DEPUTY,))) is None


@pytest.mark.parametrize(("accepted_by", "actor"), [(OWNER, OWNER), (DEPUTY, DEPUTY)])
def test_who_answers_may_leave(accepted_by: str, actor: str) -> None:
    done = move(PLAN, standing(RUNNING, accepted_by=accepted_by), act(Verb.OWNER_AWAY, actor))
    assert done is not None
    assert done[0].accepted_by is None


def test_an_owner_who_is_away_leaves_the_deputy_who_stands_in() -> None:
    assert move(PLAN, standing(RUNNING, accepted_by=DEPUTY), act(Verb.OWNER_AWAY, OWNER)) is None


def test_an_advance_may_say_where_to() -> None:
    running = standing(RUNNING, stage=2)
    with pytest.raises(MoveError, match="the next stage is half, not everyone"):
        move(PLAN, running, replace(act(Verb.ADVANCE), to="everyone"))
    assert move(PLAN, running, replace(act(Verb.ADVANCE), to="half"))


def test_nobody_sends_the_owner_away() -> None:
    for actor in (DEPUTY, OTHER):
        with pytest.raises(MoveError, match=f"only {OWNER}, who answers for it, can say so"):
            move(PLAN, standing(RUNNING), act(Verb.OWNER_AWAY, actor))
    assert move(PLAN, standing(RUNNING, accepted_by=None), act(Verb.OWNER_AWAY, OTHER)) is None


# --- guards -----------------------------------------------------------------------------------

AGAINST_CONTROL: Final = Guard("errors", vs_control=GUARD.limit)


@pytest.mark.parametrize(
    ("guards", "unguarded"),
    [
        ((), "internal, tenth, half, everyone"),
        ((replace(GUARD, on_breach="warn"), replace(GUARD, on_breach="hold")), "internal, tenth, half, everyone"),
        ((AGAINST_CONTROL,), "internal, everyone"),
        ((GUARD,), ""),
        ((AGAINST_CONTROL, GUARD), ""),
    ],
)
def test_no_stage_is_entered_without_a_rollback_guard_that_is_judged_there(
    guards: tuple[Guard, ...], unguarded: str
) -> None:
    flag = replace(PLAN, guards=guards)
    assert ", ".join(unguarded_stages(flag)) == unguarded
    for verb, rollout in ((Verb.START, standing(DRAFT)), (Verb.RESTART, standing(ROLLED_BACK))):
        if unguarded:
            with pytest.raises(MoveError, match=f"no rollback guard is judged in {unguarded}; add one to the plan"):
                move(flag, rollout, act(verb))
        else:
            assert move(flag, rollout, act(verb))


def test_a_stage_may_bring_its_own_guard() -> None:
    stages = tuple(replace(stage, guards=(GUARD,)) for stage in PLAN.stages)
    assert unguarded_stages(replace(PLAN, guards=(), stages=stages)) == ()
    assert unguarded_stages(replace(PLAN, guards=(), stages=(*stages[:3], Stage("everyone")))) == ("everyone",)


def test_who_accepted_before_a_hand_over_does_not_answer_for_a_start() -> None:
    """While it runs the one before answers until the next accepts; a draft has nobody to answer to yet."""
    for status, verb in ((DRAFT, Verb.START), (ROLLED_BACK, Verb.RESTART)):
        handed_over = standing(status, accepted_by=OWNER, owner="next@example.com")
        with pytest.raises(MoveError, match=r"nobody answers for it; next@example\.com or a deputy has to accept"):
            move(PLAN, handed_over, act(verb, actor="carol@example.com"))
        moved = move(PLAN, handed_over, act(verb, actor="next@example.com"))
        assert moved is not None
        assert moved[0].accepted_by == "next@example.com"
        by_deputy = move(PLAN, replace(handed_over, accepted_by=DEPUTY), act(verb, actor="carol@example.com"))
        assert by_deputy is not None
        assert by_deputy[0].accepted_by == DEPUTY


def test_nobody_does_nothing_and_nobody_owns_nothing() -> None:
    with pytest.raises(MoveError, match="the actor has no name"):
        move(PLAN, standing(RUNNING), act(Verb.KILL, actor=" "))
    for owner, deputies in ((" ", None), ("", None), (OTHER, ("",))):
        with pytest.raises(MoveError, match="an owner or a deputy has no name"):
            move(PLAN, standing(RUNNING), act(Verb.OWNER_SET, owner=owner, deputies=deputies))
