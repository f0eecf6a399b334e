"""Edits of a flag that has a rollout: what is taken while it runs, and what it restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flaggate.errors import RevisionError
from flaggate.flags.canonical import percent
from flaggate.flags.model import Flag, Stage, guards_judged_in
from flaggate.rollout.state import EXPOSING, Rollout, Status, born, unguarded_stages

__all__ = ["revise"]


def revise(old: Flag, new: Flag, rollout: Rollout, at: datetime) -> Rollout:
    """Where the rollout stands once `new` has taken the place of `old`.

    While it exposes (running, paused, watching, completed), an edit may change guards, deny and later
    stages and may lower a share of stages 1..current. Owner and deputies of the file each count only
    where that line changed; a new owner has to accept.

    Raises:
        RevisionError: with every change that is not taken, and what to do first.
    """
    if new.owner != old.owner:
        rollout = replace(rollout, owner=new.owner)
    if new.deputies != old.deputies:
        rollout = replace(rollout, deputies=new.deputies)
    if new.is_switch != old.is_switch:
        return _change_kind(new, rollout, at)
    if rollout.status not in EXPOSING:
        return rollout
    refusals = _refusals(old, new, rollout)
    if refusals:
        raise RevisionError(refusals)
    current, is_new = old.stages[rollout.stage - 1], new.stages[rollout.stage - 1]
    touches = current != is_new or guards_judged_in(old, current) != guards_judged_in(new, is_new)
    if touches:
        return replace(rollout, revision=rollout.revision + 1)
    before, after = (flag.stages[rollout.stage : rollout.stage + 1] for flag in (old, new))
    return rollout if before == after else replace(rollout, approval=None)  # it was given for another stage


def _change_kind(new: Flag, rollout: Rollout, at: datetime) -> Rollout:
    if rollout.status not in {Status.DRAFT, Status.OFF}:
        kind, status = "a switch" if new.is_switch else "a rollout", rollout.status.replace("_", " ")
        raise RevisionError(
            [f"{new.name}: it is {status} and cannot become {kind}; give the new kind a flag of its own"]
        )
    return replace(rollout, status=born(new, at).status, since=at)


def _refusals(old: Flag, new: Flag, rollout: Rollout) -> list[str]:
    where = f"{new.name} is {rollout.status} at stage {rollout.stage} ({old.stages[rollout.stage - 1].name})"
    found = [
        f"{where}: {what} would move units between in and out; {_remedy(rollout, 1)}"
        for what, is_changed in (
            (f"unit ({old.unit} -> {new.unit})", old.unit != new.unit),
            (f"cohort ({old.cohort} -> {new.cohort})", old.cohort != new.cohort),
        )
        if is_changed
    ]
    for index, stage in enumerate(old.stages[: rollout.stage]):
        problem = _stage_refusal(stage, new.stages[index] if index < len(new.stages) else None)
        if problem:
            found.append(f"{where}: stage {stage.name}: {problem}; {_remedy(rollout, index + 1)}")
    was_last, is_last = (rollout.stage == len(flag.stages) for flag in (old, new))
    if was_last != is_last and not found:
        change = "the last stage now" if is_last else "no longer the last stage"
        found.append(f"{where}: that stage would be {change}; {_remedy(rollout, rollout.stage)}")
    missing = unguarded_stages(new)
    if missing:
        found.append(f"{where}: no rollback guard would be judged in {', '.join(missing)}; add one")
    return found


def _remedy(rollout: Rollout, stage: int) -> str:
    """What to do first about an edit of what stands since this stage, counted from 1, was entered."""
    if rollout.status is Status.COMPLETED:
        return "a completed rollout keeps its plan; give the new one a flag of its own"
    return "roll back first" if stage == 1 else "step back to before it, or roll back, first"


def _stage_refusal(old: Stage, new: Stage | None) -> str | None:
    """What is wrong with the new form of a stage that was entered; guards and a lower share are fine."""
    if new is None:
        return "it was entered and cannot be removed"
    if new.name != old.name:
        return f"{new.name} stands in its place"
    if new.audience != old.audience:
        return "its audience cannot change"
    if new.share_thousandths > old.share_thousandths:
        rise = f"{percent(old.share_thousandths)} % to {percent(new.share_thousandths)} %"
        return f"its share cannot rise ({rise}); write a later stage with the larger share"
    if replace(new, share_thousandths=old.share_thousandths, guards=old.guards) != old:
        return "what must be true before it is left cannot change"
    return None
