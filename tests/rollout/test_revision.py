"""Edits of a flag that has a rollout: what is taken, what is refused with which words, and what restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Context, Flag, Guard, Stage
from flaggate.decide.compile import compile_flag
from flaggate.errors import RevisionError
from flaggate.flags.audience import Condition
from flaggate.flags.model import Hours
from flaggate.rollout.revision import revise
from flaggate.rollout.state import EXPOSING, Approval, Rollout, Status
from tests.decide.worlds import KEYS, contexts, flags, keyless_audiences, running, shares
from tests.rollout.plans import BEFORE, DEPUTY, GUARD, NOW, OTHER, OWNER, PLAN, STAFF, SWITCH, standing

DENY: Final = ((Condition("account", "equals", ("acme-de",)),),)
BETA: Final = ((Condition("group", "equals", ("beta",)),),)
NEW: Final = Stage("new", BETA, soak_seconds=0)
AGAINST_CONTROL: Final = Guard("errors", vs_control=GUARD.limit)
AT_TENTH: Final = standing(Status.RUNNING)
"""Runs at the second of internal, tenth, half, everyone."""


def edited(number: int, **changes: Any) -> Flag:
    """The plan with a stage changed; the first is 1."""
    stages = list(PLAN.stages)
    stages[number - 1] = replace(stages[number - 1], **changes)
    return replace(PLAN, stages=tuple(stages))


def staged(*stages: Stage) -> Flag:
    """The plan with these stages."""
    return replace(PLAN, stages=stages)


INTERNAL, TENTH, HALF, EVERYONE = PLAN.stages


@pytest.mark.parametrize(
    ("new", "restarts"),
    [
        (PLAN, False),
        (replace(PLAN, description="Another text"), False),
        (replace(PLAN, deny=DENY), False),
        # the guards of the current stage, and of others
        (replace(PLAN, guards=(GUARD, replace(GUARD, on_breach="warn"))), True),
        (replace(PLAN, guards=(GUARD, AGAINST_CONTROL)), True),
        (edited(2, guards=(AGAINST_CONTROL,)), True),
        (edited(1, guards=(GUARD,)), False),
        (edited(3, guards=(AGAINST_CONTROL,)), False),
        # a lower share
        (edited(2, share_thousandths=5_000), True),
        (edited(2, share_thousandths=0), True),
        (edited(1, share_thousandths=90_000), False),
        # later stages
        (edited(3, share_thousandths=100_000), False),
        (edited(3, name="two-thirds", audience=BETA, soak_seconds=60), False),
        (staged(INTERNAL, TENTH, EVERYONE), False),
        (staged(INTERNAL, TENTH, EVERYONE, HALF), False),
        (staged(INTERNAL, TENTH, NEW, HALF, EVERYONE), False),
        (staged(INTERNAL, TENTH, HALF, EVERYONE, NEW), False),
    ],
)
@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
def test_an_edit_that_is_taken(new: Flag, restarts: bool, status: Status) -> None:
    rollout = standing(status)
    assert revise(PLAN, new, rollout, NOW) == replace(rollout, revision=rollout.revision + restarts)


def test_a_guard_against_control_is_nothing_to_a_stage_without_one() -> None:
    """It is not judged there, so nothing restarts."""
    at_first = standing(Status.RUNNING, stage=1)
    assert revise(PLAN, replace(PLAN, guards=(GUARD, AGAINST_CONTROL)), at_first, NOW) == at_first


BEFORE_IT: Final = "step back to before it, or roll back, first"
AT: Final = "invoicing is running at stage 2 (tenth)"
REFUSED: Final = [
    (
        replace(PLAN, unit="account"),
        f"{AT}: unit (user -> account) would move units between in and out; roll back first",
    ),
    (
        replace(PLAN, cohort="autumn"),
        f"{AT}: cohort (None -> autumn) would move units between in and out; roll back first",
    ),
    (edited(1, audience=BETA), f"{AT}: stage internal: its audience cannot change; roll back first"),
    (edited(2, audience=BETA), f"{AT}: stage tenth: its audience cannot change; {BEFORE_IT}"),
    (
        edited(2, share_thousandths=10_500),
        f"{AT}: stage tenth: its share cannot rise (10 % to 10.5 %); write a later stage with the larger share; "
        f"{BEFORE_IT}",
    ),
    (edited(2, name="ten"), f"{AT}: stage tenth: ten stands in its place; {BEFORE_IT}"),
    *(
        (
            edited(2, **change),
            f"{AT}: stage tenth: what must be true before it is left cannot change; {BEFORE_IT}",
        )
        for change in (
            {"soak_seconds": 60},
            {"min_sample": 10},
            {"approval": "other"},
            {"prove": True},
            {"hours": Hours((0,), 540, 960, "Europe/London")},
            {"not_before": datetime(2026, 12, 1, 9, tzinfo=UTC)},
        )
    ),
    (
        staged(INTERNAL, TENTH),
        f"{AT}: that stage would be the last stage now; {BEFORE_IT}",
    ),
    (
        replace(PLAN, guards=()),
        f"{AT}: no rollback guard would be judged in internal, tenth, half, everyone; add one",
    ),
    (
        replace(PLAN, guards=(AGAINST_CONTROL,)),
        f"{AT}: no rollback guard would be judged in internal, everyone; add one",
    ),
]


@pytest.mark.parametrize(("new", "words"), REFUSED)
def test_an_edit_that_is_refused(new: Flag, words: str) -> None:
    with pytest.raises(RevisionError) as refused:
        revise(PLAN, new, AT_TENTH, NOW)
    assert refused.value.refusals == (words,)
    assert str(refused.value) == words


@pytest.mark.parametrize("status", sorted(EXPOSING))
@pytest.mark.parametrize("new", [new for new, _ in REFUSED])
def test_what_is_refused_while_running_is_refused_while_paused_watching_and_completed(
    new: Flag, status: Status
) -> None:
    with pytest.raises(RevisionError, match=f"^invoicing is {status} at stage"):
        revise(PLAN, new, standing(status), NOW)


@pytest.mark.parametrize("status", [Status.DRAFT, Status.ROLLED_BACK])
@pytest.mark.parametrize("new", [new for new, _ in REFUSED])
def test_before_the_start_and_after_a_rollback_anything_may_change(new: Flag, status: Status) -> None:
    rollout = standing(status, killed=True)
    assert revise(PLAN, new, rollout, NOW) == rollout


def test_all_refusals_are_told_at_once() -> None:
    new = replace(
        staged(replace(TENTH, share_thousandths=20_000), replace(INTERNAL, audience=BETA), HALF, EVERYONE),
        unit="visitor",
        cohort="autumn",
        guards=(),
    )
    with pytest.raises(RevisionError) as refused:
        revise(PLAN, new, AT_TENTH, NOW)
    told = [refusal.removeprefix(f"{AT}: ").split(";")[0] for refusal in refused.value.refusals]
    assert told == [
        "unit (user -> visitor) would move units between in and out",
        "cohort (None -> autumn) would move units between in and out",
        "stage internal: tenth stands in its place",
        "stage tenth: internal stands in its place",
        "no rollback guard would be judged in tenth, internal, half, everyone",
    ]


def test_a_stage_that_was_entered_cannot_be_removed() -> None:
    with pytest.raises(RevisionError) as refused:
        revise(PLAN, staged(EVERYONE), standing(Status.PAUSED), NOW)
    assert [refusal.split(": ", 1)[1] for refusal in refused.value.refusals] == [
        "stage internal: everyone stands in its place; roll back first",
        f"stage tenth: it was entered and cannot be removed; {BEFORE_IT}",
    ]


def test_a_watch_ends_at_the_last_stage() -> None:
    """A stage behind it would make it one in the middle, watched and done."""
    with pytest.raises(RevisionError) as refused:
        revise(PLAN, staged(*PLAN.stages, NEW), standing(Status.WATCHING), NOW)
    assert refused.value.refusals == (
        f"invoicing is watching at stage 4 (everyone): that stage would be no longer the last stage; {BEFORE_IT}",
    )


def test_a_completed_rollout_has_no_way_back_to_advise() -> None:
    for new in (replace(PLAN, unit="account"), edited(2, audience=BETA), staged(*PLAN.stages, NEW)):
        with pytest.raises(
            RevisionError, match="a completed rollout keeps its plan; give the new one a flag of its own"
        ):
            revise(PLAN, new, standing(Status.COMPLETED), NOW)
    lower = edited(4, share_thousandths=90_000)
    assert revise(PLAN, lower, standing(Status.COMPLETED), NOW).revision == 2


# --- owner and deputies -----------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
def test_a_new_owner_line_is_a_hand_over_to_be_accepted(status: Status) -> None:
    old = SWITCH if status in {Status.ON, Status.OFF} else PLAN
    rollout = standing(status)
    assert revise(old, replace(old, owner=OTHER), rollout, NOW) == replace(rollout, owner=OTHER)


def test_an_unchanged_line_never_undoes_what_was_named_in_the_store() -> None:
    """Each line for itself: owner named in the store, deputies changed in the file, and the other way round."""
    named = replace(AT_TENTH, owner=OTHER, accepted_by=OTHER)
    assert revise(PLAN, replace(PLAN, description="Another text"), named, NOW) == named
    assert revise(PLAN, replace(PLAN, deputies=()), named, NOW) == replace(named, deputies=())
    deputised = replace(AT_TENTH, deputies=(OTHER,))
    assert revise(PLAN, replace(PLAN, owner=DEPUTY), deputised, NOW) == replace(deputised, owner=DEPUTY)
    assert PLAN.owner == OWNER


# --- kinds ------------------------------------------------------------------------------------

AS_SWITCH: Final = replace(PLAN, stages=(), guards=())


def test_what_was_never_exposed_may_become_the_other_kind() -> None:
    assert revise(PLAN, AS_SWITCH, standing(Status.DRAFT), NOW) == replace(
        standing(Status.DRAFT), status=Status.OFF, since=NOW
    )
    off = replace(standing(Status.OFF), flag=PLAN.name, salt=PLAN.name)
    assert revise(AS_SWITCH, PLAN, off, NOW) == replace(off, status=Status.DRAFT, since=NOW)
    handed_over = revise(PLAN, replace(AS_SWITCH, owner=OTHER), standing(Status.DRAFT), NOW)
    assert (handed_over.status, handed_over.owner) == (Status.OFF, OTHER)


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.DRAFT, Status.OFF}])
def test_what_is_or_was_exposed_keeps_its_kind(status: Status) -> None:
    is_switch = status is Status.ON
    old, new, kind = (AS_SWITCH, PLAN, "a rollout") if is_switch else (PLAN, AS_SWITCH, "a switch")
    words = status.replace("_", " ")
    with pytest.raises(RevisionError, match=f"invoicing: it is {words} and cannot become {kind}"):
        revise(old, new, replace(standing(status), flag=PLAN.name), NOW)


@pytest.mark.parametrize("status", [Status.ON, Status.OFF])
def test_the_audience_of_a_switch_may_change_at_any_time(status: Status) -> None:
    switch = standing(status)
    assert revise(SWITCH, replace(SWITCH, audience=STAFF, deny=DENY), switch, BEFORE) == switch


# --- invariant I5 -----------------------------------------------------------------------------


@given(
    flag=flags(of=keyless_audiences),
    new=flags(of=keyless_audiences),
    share=shares,
    data=st.data(),
    context=contexts,
)
def test_i5_an_edit_in_progress_lets_nobody_in_but_by_deny(
    flag: Flag, new: Flag, share: int, data: st.DataObject, context: Context
) -> None:
    flag = replace(flag, guards=(GUARD,))
    stage = data.draw(st.integers(1, len(flag.stages)))
    status = Status.WATCHING if stage == len(flag.stages) else Status.RUNNING
    rollout = replace(running(flag, stage), status=status)
    number = data.draw(st.integers(0, len(flag.stages) - 1))
    touched = list(flag.stages)
    touched[number] = replace(touched[number], share_thousandths=share)
    edits = [replace(flag, stages=tuple(touched)), replace(flag, stages=new.stages), replace(new, guards=(GUARD,))]
    for edit in edits:
        edit = replace(edit, deny=flag.deny)
        try:
            after = revise(flag, edit, rollout, NOW)
        except RevisionError:
            continue
        had, has = (
            {key for key in KEYS if compile_flag(one, where, {}).is_on(context.replace(**{one.unit: key}))}
            for one, where in ((flag, rollout), (edit, after))
        )
        assert has <= had


def test_an_approval_is_of_the_stage_that_it_leads_to() -> None:
    approved = replace(AT_TENTH, approval=Approval("ada", AT_TENTH.attempt, AT_TENTH.stage, AT_TENTH.revision))
    wider = replace(PLAN.stages[2], share_thousandths=90_000)
    edited_next = replace(PLAN, stages=(*PLAN.stages[:2], wider, *PLAN.stages[3:]))
    assert revise(PLAN, edited_next, approved, NOW) == replace(approved, approval=None)
    later = replace(PLAN, stages=(*PLAN.stages[:3], replace(PLAN.stages[3], min_sample=1)))
    assert revise(PLAN, later, approved, NOW) == approved


def test_nothing_else_of_the_rollout_changes() -> None:
    rollout: Rollout = standing(Status.RUNNING, killed=True)
    assert revise(PLAN, edited(2, share_thousandths=1), rollout, NOW) == replace(rollout, revision=2)
