"""Where a flag stands, and what became of it. How it gets from one place to another is in `flaggate.rollout.moves`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from flaggate.flags.model import Flag, Stage, guards_judged_in

__all__ = [
    "EXPOSING",
    "Approval",
    "Event",
    "Rollout",
    "Status",
    "Verb",
    "born",
    "current_stage",
    "rollout_from_json",
    "rollout_to_json",
    "unguarded_stages",
]


class Status(StrEnum):
    """Where a rollout stands (draft to completed) or how a switch is set (off, on)."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    WATCHING = "watching"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    OFF = "off"
    ON = "on"


EXPOSING: Final = frozenset({Status.RUNNING, Status.PAUSED, Status.WATCHING, Status.COMPLETED})
"""The statuses in which stages 1..current let people in."""


class Verb(StrEnum):
    """What can be done to a flag, as the CLI spells it."""

    START = "start"
    ADVANCE = "advance"
    STEP_BACK = "step-back"
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"
    ROLLBACK = "rollback"
    COMPLETE = "complete"
    ON = "on"
    OFF = "off"
    KILL = "kill"
    UNKILL = "unkill"
    APPROVE = "approve"
    OWNER_ACCEPT = "owner accept"
    OWNER_SET = "owner set"
    OWNER_AWAY = "owner away"


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's word that a stage may be left. It counts for that attempt, stage and revision only (invariant I13)."""

    by: str
    attempt: int
    stage: int
    revision: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where one flag stands."""

    flag: str
    salt: str
    """The flag's name at birth: buckets come from it, so it outlives a new name."""
    status: Status
    since: datetime
    """When it came to this status and stage."""
    owner: str
    """Who is named to answer for the rollback."""
    deputies: tuple[str, ...] = ()
    accepted_by: str | None = None
    """Who accepted, and answers now; None = the owner is absent."""
    stage: int = 0
    """The current stage, counted from 1; 0 = none was entered yet."""
    attempt: int = 0
    """Grows with each start, restart, step-back and unkill; what belongs to an older one no longer counts."""
    revision: int = 0
    """Grows with each edit that touches the current stage or its guards; restarts their evidence."""
    killed: bool = False
    asked_by: str | None = None
    """Who last had more people let in: by start, restart, resume or advance."""
    approval: Approval | None = None
    """The last one, which may be about another stage: see `is_approved`."""
    breach: Mapping[str, Any] | None = None
    """Why the clock rolled it back, in JSON's types; latched until it is restarted (invariant I7)."""

    def is_approved(self, stage: Stage) -> bool:
        """Whether somebody said that the current stage, which is this one, may be left: another than who asked for it,
        where it says so.
        """
        given = self.approval
        if given is None or (given.attempt, given.stage, given.revision) != (self.attempt, self.stage, self.revision):
            return False
        return stage.approval != "other" or given.by != self.asked_by


@dataclass(frozen=True, slots=True)
class Event:
    """What changed, who did it, why, before, after, evidence. Append-only."""

    name: str
    """The flag's name, or the segment's where `kind` is `segment`."""
    verb: str
    actor: str
    at: datetime
    reason: str | None = None
    before: Mapping[str, Any] | None = None
    """In JSON's types; None = it was not there."""
    after: Mapping[str, Any] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "flag"
    id: int = 0
    """Given by the store, growing; 0 = not stored yet."""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.at:%Y-%m-%d %H:%M:%S %Z} {self.actor} {self.verb}{why}"


def born(flag: Flag, at: datetime) -> Rollout:
    """Where a flag stands that nobody has started."""
    status = Status.OFF if flag.is_switch else Status.DRAFT
    return Rollout(flag.name, flag.name, status, at, owner=flag.owner, deputies=flag.deputies)


def rollout_to_json(rollout: Rollout) -> dict[str, Any]:
    """The rollout in JSON's types."""
    return asdict(rollout) | {"since": rollout.since.isoformat(), "deputies": list(rollout.deputies)}


def rollout_from_json(written: Mapping[str, Any]) -> Rollout:
    """The opposite of `rollout_to_json`. What a newer flaggate keeps beside it is passed over."""
    approval = written.get("approval")
    return Rollout(
        **{name: value for name, value in written.items() if name in Rollout.__slots__}
        | {
            "status": Status(written["status"]),
            "since": datetime.fromisoformat(written["since"]),
            "deputies": tuple(written["deputies"]),
            "approval": None if approval is None else Approval(**approval),
        }
    )


def current_stage(flag: Flag, rollout: Rollout) -> Stage | None:
    """The stage where the rollout stands or stood last; None = none, or one that an edit took away since."""
    return flag.stages[rollout.stage - 1] if 0 < rollout.stage <= len(flag.stages) else None


def unguarded_stages(flag: Flag) -> tuple[str, ...]:
    """The stages in which no guard that could roll back would be judged."""
    return tuple(
        stage.name for stage in flag.stages if not any(guard.rolls_back for guard in guards_judged_in(flag, stage))
    )
