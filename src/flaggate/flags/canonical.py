"""The canonical form of a flag or a segment: the table a person would write, in JSON's types.

Stores keep it, differences compare it; what is the default is left out.
"""

from __future__ import annotations

from typing import Any

from flaggate.flags.conditions import audience_to_json
from flaggate.flags.fields import duration_text, hours_text
from flaggate.flags.guards import guard_to_json
from flaggate.flags.model import FULL_SHARE, Flag, Segment, Stage
from flaggate.flags.notify import notify_to_json

__all__ = ["flag_to_json", "percent", "segment_to_json"]


def percent(thousandths: int) -> int | float:
    """A share in percent, as JSON writes it."""
    return thousandths // 1000 if thousandths % 1000 == 0 else thousandths / 1000


def _stage_to_json(stage: Stage) -> dict[str, Any]:
    share = stage.share_thousandths
    written = {
        "name": stage.name,
        "audience": audience_to_json(stage.audience) if stage.audience else None,
        "share": None if share == FULL_SHARE else percent(share),
        "soak": None if stage.soak_seconds is None else duration_text(stage.soak_seconds * 1000),
        "min_sample": stage.min_sample,
        "approval": {None: None, "any": True, "other": "other"}[stage.approval],
        "not_before": None if stage.not_before is None else stage.not_before.isoformat(),
        "hours": None if stage.hours is None else hours_text(stage.hours),
        "prove": stage.prove or None,
        "guards": [guard_to_json(guard) for guard in stage.guards] or None,
    }
    return {key: value for key, value in written.items() if value is not None}


def flag_to_json(flag: Flag) -> dict[str, Any]:
    """The flag as a table of a definitions file, in JSON's types, without what is the default."""
    written = {
        "description": flag.description,
        "owner": flag.owner,
        "deputies": list(flag.deputies) or None,
        "unit": None if flag.unit == "user" else flag.unit,
        "cohort": flag.cohort,
        "deny": audience_to_json(flag.deny) if flag.deny else None,
        "audience": audience_to_json(flag.audience) if flag.audience else None,
        "stages": [_stage_to_json(stage) for stage in flag.stages] or None,
        "guards": [guard_to_json(guard) for guard in flag.guards] or None,
        "notify": notify_to_json(flag),
    }
    return {key: value for key, value in written.items() if value is not None}


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """The segment as a table of a definitions file; a list of members is written out, sorted."""
    if segment.unit is None:
        return {"audience": audience_to_json(segment.audience)}
    return {"unit": segment.unit, "members": sorted(segment.members)}
