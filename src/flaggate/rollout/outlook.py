"""What comes next for a rollout, and when at the earliest. For people: nothing is decided by it."""

from __future__ import annotations

from datetime import datetime, timedelta

from flaggate.flags.model import Flag, Stage
from flaggate.rollout.holds import is_within, opens_at
from flaggate.rollout.progress import WATCH_SECONDS, Progress
from flaggate.rollout.state import EXPOSING, Rollout, Status, current_stage

__all__ = ["earliest", "next_stage"]

_GOES_ON = (EXPOSING | {Status.DRAFT}) - {Status.COMPLETED}


def next_stage(flag: Flag, rollout: Rollout) -> Stage | None:
    """The stage that it enters next; None = none, or it does not go on."""
    is_there = rollout.status in _GOES_ON and rollout.stage < len(flag.stages)
    return flag.stages[rollout.stage] if is_there else None


def earliest(flag: Flag, rollout: Rollout, progress: Progress, now: datetime) -> datetime | None:
    """When the clock lets it go on, if every moment until then is observed; None = the clock has no say in it now.

    By the soak, `not_before` and `hours` of its stage; for a watch by what is left of it. Traffic, guards and people
    may take longer.
    """
    stage = current_stage(flag, rollout)
    if stage is None or rollout.killed or rollout.status not in {Status.RUNNING, Status.WATCHING}:
        return None
    if rollout.status is Status.WATCHING:
        return now + timedelta(seconds=max(0.0, WATCH_SECONDS - progress.observed_seconds))
    moment = now + timedelta(seconds=max(0.0, (stage.soak_seconds or 0) - progress.observed_seconds))
    if stage.not_before is not None:
        moment = max(moment, stage.not_before)
    if stage.hours is not None and not is_within(stage.hours, moment):
        moment = opens_at(stage.hours, moment)
    return moment
