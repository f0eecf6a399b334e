"""Where a flag stands, and the transitions that a person makes.

`move` is the one entry: it takes the flag, its rollout and an act, and returns where the rollout
stands afterwards; it is pure, and takes the time from the act. What moves by the clock or by a
verdict will call the same transitions from `flaggate.rollout.tick`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from flaggate.errors import MoveError
from flaggate.flags.model import Flag, Stage, guards_judged_in
from flaggate.rollout.holds import declared_conditions

__all__ = [
    "EXPOSING",
    "Act",
    "Event",
    "Rollout",
    "Status",
    "Verb",
    "born",
    "current_stage",
    "legal_verbs",
    "move",
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
    """What a person can do to a flag, as the CLI spells it."""

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
    OWNER_ACCEPT = "owner accept"
    OWNER_SET = "owner set"
    OWNER_AWAY = "owner away"


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


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person does to a flag."""

    verb: Verb
    actor: str
    at: datetime
    reason: str | None = None
    owner: str | None = None
    """With `owner set`: who."""
    deputies: tuple[str, ...] | None = None
    """With `owner set`: the new deputies; None = as they are."""


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
    return Rollout(
        **{name: value for name, value in written.items() if name in Rollout.__slots__}
        | {
            "status": Status(written["status"]),
            "since": datetime.fromisoformat(written["since"]),
            "deputies": tuple(written["deputies"]),
        }
    )


def current_stage(flag: Flag, rollout: Rollout) -> Stage | None:
    """The stage where the rollout stands or stood last; None = none, or one that an edit took away since."""
    return flag.stages[rollout.stage - 1] if 0 < rollout.stage <= len(flag.stages) else None


def unguarded_stages(flag: Flag) -> tuple[str, ...]:
    """The stages in which no guard that could roll back would be judged."""
    return tuple(
        stage.name
        for stage in flag.stages
        if not any(guard.on_breach == "rollback" for guard in guards_judged_in(flag, stage))
    )


# --- the transitions: each returns the new rollout, or None where nothing changes -------------


class _RefusalError(Exception):
    """Why a transition is not taken; `move` adds who, what and what is legal."""


def _has_reason(act: Act) -> bool:
    return bool(act.reason and act.reason.strip())


def _needs_owner(rollout: Rollout, act: Act) -> Rollout:
    """An owner who does it has accepted; nobody else can go on without one (invariant I2)."""
    if act.actor == rollout.owner:
        return replace(rollout, accepted_by=act.actor)
    if rollout.accepted_by is None:
        raise _RefusalError(f"nobody answers for it; {rollout.owner} or a deputy has to accept first (owner accept)")
    return rollout


def _needs_guards(flag: Flag) -> None:
    missing = unguarded_stages(flag)
    if missing:
        raise _RefusalError(f"no rollback guard is judged in {', '.join(missing)}; add one to the plan")


def _enter(flag: Flag, rollout: Rollout, stage: int, act: Act) -> Rollout:
    """Enter a stage; entering the last one starts the watch."""
    status = Status.WATCHING if stage == len(flag.stages) else Status.RUNNING
    return replace(rollout, status=status, stage=stage, since=act.at)


def _begin(flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    _needs_guards(flag)
    if rollout.accepted_by not in (rollout.owner, *rollout.deputies):
        rollout = replace(rollout, accepted_by=None)  # accepted before a hand-over: nobody has it yet to answer for
    rollout = _needs_owner(rollout, act)
    return _enter(flag, replace(rollout, attempt=rollout.attempt + 1), 1, act)


def _advance(flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    rollout = _needs_owner(rollout, act)
    passed = declared_conditions(flag.stages[rollout.stage - 1], act.at)
    if passed and not _has_reason(act):
        raise _RefusalError(f"this passes over {', '.join(passed)}; it needs a reason")
    return _enter(flag, rollout, rollout.stage + 1, act)


def _step_back(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    if rollout.stage == 1:
        raise _RefusalError("it is at the first stage; rollback takes it off altogether")
    return replace(rollout, status=Status.PAUSED, stage=rollout.stage - 1, attempt=rollout.attempt + 1, since=act.at)


def _to(status: Status) -> Callable[[Flag, Rollout, Act], Rollout]:
    def change(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
        return replace(rollout, status=status, since=act.at)

    return change


def _kill(_flag: Flag, rollout: Rollout, _act: Act) -> Rollout | None:
    return None if rollout.killed else replace(rollout, killed=True)


def _unkill(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if not rollout.killed:
        return None
    rollout = replace(rollout, killed=False)
    if rollout.status in {Status.RUNNING, Status.PAUSED, Status.WATCHING}:
        rollout = _needs_owner(rollout, act)
        return replace(rollout, attempt=rollout.attempt + 1, since=act.at)
    return rollout


def _owner_accept(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if act.actor not in (rollout.owner, *rollout.deputies):
        raise _RefusalError(f"{act.actor} is neither the owner ({rollout.owner}) nor a deputy; owner set names another")
    return None if rollout.accepted_by == act.actor else replace(rollout, accepted_by=act.actor)


def _owner_set(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    """Name another owner. Until that person accepts, whoever accepted before answers."""
    deputies = rollout.deputies if act.deputies is None else act.deputies
    owner = rollout.owner if act.owner is None else act.owner
    if not all(name.strip() for name in (owner, *deputies)):
        raise _RefusalError("an owner or a deputy has no name")
    changed = replace(rollout, owner=owner, deputies=deputies)
    return None if changed == rollout else changed


def _owner_away(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if rollout.accepted_by is None:
        return None
    if act.actor not in (rollout.owner, rollout.accepted_by):
        raise _RefusalError(f"only {rollout.accepted_by}, who answers for it, can say so; owner set names another")
    return replace(rollout, accepted_by=None)


@dataclass(frozen=True, slots=True)
class _Move:
    change: Callable[[Flag, Rollout, Act], Rollout | None]
    legal_in: frozenset[Status]
    nothing_in: frozenset[Status] = frozenset()
    """Where the act is already done: it changes nothing, which is no mistake."""
    grows: bool = False
    """Whether it lets people in, or leads there: refused while killed."""
    needs_reason: bool = False


_SWITCH: Final = frozenset({Status.OFF, Status.ON})
_ROLLOUT: Final = frozenset(Status) - _SWITCH
_ANY: Final = frozenset(Status)
_MOVES: Final[dict[Verb, _Move]] = {
    Verb.START: _Move(_begin, frozenset({Status.DRAFT}), grows=True),
    Verb.ADVANCE: _Move(_advance, frozenset({Status.RUNNING}), grows=True),
    Verb.STEP_BACK: _Move(_step_back, frozenset({Status.RUNNING, Status.PAUSED, Status.WATCHING})),
    Verb.PAUSE: _Move(_to(Status.PAUSED), frozenset({Status.RUNNING}), frozenset({Status.PAUSED})),
    Verb.RESUME: _Move(_to(Status.RUNNING), frozenset({Status.PAUSED}), frozenset({Status.RUNNING}), grows=True),
    Verb.RESTART: _Move(_begin, frozenset({Status.ROLLED_BACK}), grows=True, needs_reason=True),
    Verb.ROLLBACK: _Move(
        _to(Status.ROLLED_BACK),
        frozenset({Status.RUNNING, Status.PAUSED, Status.WATCHING}),
        frozenset({Status.ROLLED_BACK}),
    ),
    Verb.COMPLETE: _Move(
        _to(Status.COMPLETED),
        frozenset({Status.WATCHING}),
        frozenset({Status.COMPLETED}),
        grows=True,
        needs_reason=True,
    ),
    Verb.ON: _Move(_to(Status.ON), frozenset({Status.OFF}), frozenset({Status.ON}), grows=True),
    Verb.OFF: _Move(_to(Status.OFF), frozenset({Status.ON}), frozenset({Status.OFF})),
    Verb.KILL: _Move(_kill, _ANY),
    Verb.UNKILL: _Move(_unkill, _ANY, needs_reason=True),
    Verb.OWNER_ACCEPT: _Move(_owner_accept, _ANY),
    Verb.OWNER_SET: _Move(_owner_set, _ANY),
    Verb.OWNER_AWAY: _Move(_owner_away, _ANY),
}


def legal_verbs(rollout: Rollout) -> tuple[Verb, ...]:
    """The verbs that would change something where the rollout stands now."""
    return tuple(verb for verb, its in _MOVES.items() if _is_legal(verb, its, rollout))


def _is_legal(verb: Verb, its: _Move, rollout: Rollout) -> bool:
    if rollout.killed and (its.grows or verb is Verb.KILL):
        return False
    if verb is Verb.UNKILL and not rollout.killed:
        return False
    if verb is Verb.STEP_BACK and rollout.stage == 1:
        return False
    return rollout.status in its.legal_in


def move(flag: Flag, rollout: Rollout, act: Act) -> tuple[Rollout, Event] | None:
    """Do what the act says. Returns where it stands then, and the event; None if nothing changes.

    Raises:
        MoveError: the act is not legal now, or asks for a reason that it was not given.
    """
    its = _MOVES[act.verb]
    try:
        if not act.actor.strip():
            raise _RefusalError("nobody says who does it; the actor has no name")
        if rollout.status in its.nothing_in:
            return None
        _check(act, its, rollout)
        after = its.change(flag, rollout, act)
    except _RefusalError as refusal:
        raise MoveError(flag.name, act.verb, str(refusal), legal_verbs(rollout)) from None
    if after is None:
        return None
    evidence = {}
    if act.verb is Verb.ADVANCE:
        evidence = {"passed_over": list(declared_conditions(flag.stages[rollout.stage - 1], act.at))}
    states = rollout_to_json(rollout), rollout_to_json(after)
    return after, Event(flag.name, act.verb, act.actor, act.at, act.reason, *states, evidence)


def _check(act: Act, its: _Move, rollout: Rollout) -> None:
    if rollout.status not in its.legal_in:
        is_switch = rollout.status not in _ROLLOUT
        if is_switch is not (its.legal_in <= _SWITCH):
            raise _RefusalError("it is a switch" if is_switch else "it is a rollout")
        raise _RefusalError(
            f"it is {'a draft' if rollout.status is Status.DRAFT else rollout.status.replace('_', ' ')}"
        )
    if rollout.killed and its.grows:
        raise _RefusalError("it is killed; unkill comes first")
    already_done = act.verb is Verb.UNKILL and not rollout.killed
    if its.needs_reason and not _has_reason(act) and not already_done:
        raise _RefusalError("it needs a reason")
