"""What a rollout waits for before it may leave its stage.

Nothing observes time or requests yet, so soak, min_sample and prove are never found served: what
a stage declares is what a person passes over by leaving it (time not observed is not soaked).
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flaggate.flags.fields import duration_text, hours_text
from flaggate.flags.model import Hours, Stage

__all__ = ["declared_conditions", "is_within"]


def declared_conditions(stage: Stage, now: datetime) -> tuple[str, ...]:
    """What would have to be true before the stage is left and is not known to be, in words."""
    words = []
    if stage.soak_seconds:
        words.append(f"soak {duration_text(stage.soak_seconds * 1000)}")
    if stage.min_sample:
        words.append(f"min_sample {stage.min_sample}")
    if stage.prove:
        words.append("prove")
    if stage.hours and not is_within(stage.hours, now):
        words.append(f"hours {hours_text(stage.hours)}")
    if stage.approval:
        words.append("approval" if stage.approval == "any" else "approval by another person")
    return tuple(words)


def is_within(hours: Hours, now: datetime) -> bool:
    """Whether the moment lies in the hours, by the clock of their zone; the end is not included."""
    there = now.astimezone(ZoneInfo(hours.zone))
    return there.weekday() in hours.days and hours.start_minute <= there.hour * 60 + there.minute < hours.end_minute
