"""Where a rollout stands, in words for people."""

from __future__ import annotations

from flaggate.flags.model import FULL_SHARE, Flag
from flaggate.flags.words import audience_words, stage_words
from flaggate.rollout.state import EXPOSING, Rollout, Status, current_stage

__all__ = ["answers", "standing", "who_has_it"]


def who_has_it(flag: Flag, rollout: Rollout) -> str | None:
    """staff, 50 % of city Manchester, never account acme-de; None while it is off for everyone."""
    if rollout.killed or rollout.status not in EXPOSING | {Status.ON}:
        return None
    entered = [stage for stage in flag.stages[: rollout.stage] if stage.share_thousandths]
    if flag.is_switch:
        words = audience_words(flag.audience)
    elif any(not stage.audience and stage.share_thousandths == FULL_SHARE for stage in entered):
        words = "everyone"
    else:
        words = ", ".join(stage_words(stage) for stage in entered) or "nobody"
    return f"{words}, never {audience_words(flag.deny)}" if flag.deny else words


def standing(flag: Flag, rollout: Rollout) -> str:
    """running, stage 4 of 5 (tenth), KILLED."""
    words = rollout.status.replace("_", " ")
    stage = current_stage(flag, rollout)
    if stage is not None and rollout.status is not Status.COMPLETED:
        words += f", stage {rollout.stage} of {len(flag.stages)} ({stage.name})"
    return f"{words}, KILLED" if rollout.killed else words


def answers(rollout: Rollout) -> str:
    """Who answers for it: the owner, or who stands in."""
    if rollout.accepted_by == rollout.owner:
        return rollout.owner
    if rollout.accepted_by is None:
        return f"{rollout.owner} (not accepted)"
    return f"{rollout.accepted_by} stands in for {rollout.owner}"
