"""The transitions: how a rollout gets from where it stands to where it stands next.

`move` is the one entry, for people and for `flaggate.rollout.tick`: it takes the flag, its rollout and an act, and
returns where the rollout stands afterwards; it is pure, and takes the time from the act.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from flaggate.errors import MoveError
from flaggate.flags.model import AUTOMATIC, Flag
from flaggate.rollout.holds import PASSABLE, Hold, HoldKind, broken_words
from flaggate.rollout.state import (
    Approval,
    Event,
    Rollout,
    Status,
    Verb,
    current_stage,
    rollout_to_json,
    unguarded_stages,
)

__all__ = ["AUTOMATIC", "Act", "legal_verbs", "move"]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done to a flag."""

    verb: Verb
    actor: str
    at: datetime
    reason: str | None = None
    owner: str | None = None
    """With `owner set`: who."""
    deputies: tuple[str, ...] | None = None
    """With `owner set`: the new deputies; None = as they are."""
    to: str | None = None
    """With `advance`: the stage that is meant; None = whichever is next."""
    holds: tuple[Hold, ...] = ()
    """With `advance`: everything that holds the rollout now."""
    broken: tuple[str, ...] = ()
    """With `start` and `restart`: guards of the first stage that are over their limit without the feature, in words."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """For the event, in JSON's types; of a rollback by the clock it is latched."""


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
    return _asked(replace(rollout, status=status, stage=stage, since=act.at), act)


def _asked(rollout: Rollout, act: Act) -> Rollout:
    return rollout if act.actor == AUTOMATIC else replace(rollout, asked_by=act.actor)


def _begin(flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    _needs_guards(flag)
    if act.broken:
        raise _RefusalError(f"{broken_words(act.broken)}; its guards could not tell whose fault it is")
    if rollout.accepted_by not in (rollout.owner, *rollout.deputies):
        rollout = replace(rollout, accepted_by=None)  # accepted before a hand-over: nobody has it yet to answer for
    rollout = _needs_owner(rollout, act)
    return _enter(flag, replace(rollout, attempt=rollout.attempt + 1, breach=None), 1, act)


def _advance(flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    ahead = flag.stages[rollout.stage].name
    if act.to not in (None, ahead):
        raise _RefusalError(f"the next stage is {ahead}, not {act.to}")  # somebody was faster, or it is misspelt
    rollout = _needs_owner(rollout, act)
    stops = [str(hold) for hold in act.holds if hold.kind not in PASSABLE and hold.kind is not HoldKind.OWNER]
    if stops:
        raise _RefusalError(f"nobody may pass over this: {', '.join(stops)}")
    if (passed := _passed_over(act)) and not _has_reason(act):
        raise _RefusalError(f"this passes over {', '.join(passed)}; it needs a reason")
    return _enter(flag, rollout, rollout.stage + 1, act)


def _passed_over(act: Act) -> list[str]:
    # While guards are not judged anywhere, each advance passes over them: nothing to give a reason for.
    return [str(hold) for hold in act.holds if hold.kind in PASSABLE and hold.kind is not HoldKind.UNJUDGED]


def _step_back(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    if rollout.stage == 1:
        raise _RefusalError("it is at the first stage; rollback takes it off altogether")
    return replace(rollout, status=Status.PAUSED, stage=rollout.stage - 1, attempt=rollout.attempt + 1, since=act.at)


def _to(status: Status) -> Callable[[Flag, Rollout, Act], Rollout]:
    def change(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
        return replace(rollout, status=status, since=act.at)

    return change


def _resume(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    return _asked(replace(rollout, status=Status.RUNNING, since=act.at), act)


def _rollback(_flag: Flag, rollout: Rollout, act: Act) -> Rollout:
    breach = act.evidence if act.actor == AUTOMATIC else None
    return replace(rollout, status=Status.ROLLED_BACK, since=act.at, breach=breach)


def _kill(_flag: Flag, rollout: Rollout, _act: Act) -> Rollout | None:
    return None if rollout.killed else replace(rollout, killed=True)


def _unkill(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if not rollout.killed:
        return None
    rollout = replace(rollout, killed=False)
    _needs_to_answer(rollout, act)
    if rollout.status in {Status.RUNNING, Status.PAUSED, Status.WATCHING}:
        rollout = _needs_owner(rollout, act)
        return _asked(replace(rollout, attempt=rollout.attempt + 1, since=act.at), act)
    return rollout


def _needs_to_answer(rollout: Rollout, act: Act) -> None:
    if rollout.status is Status.WATCHING and not _answers(rollout, act):
        owners = ", ".join((rollout.owner, *rollout.deputies))
        raise _RefusalError(f"during the watch this is for {owners}")


def _answers(rollout: Rollout, act: Act) -> bool:
    return act.actor in (rollout.owner, *rollout.deputies)


def _approve(flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    stage = current_stage(flag, rollout)
    if stage is None or stage.approval is None:
        raise _RefusalError("this stage asks for no approval")
    if stage.approval == "other" and act.actor == rollout.asked_by:
        raise _RefusalError(f"{act.actor} asked for it, and another person has to approve")
    if rollout.is_approved(stage):
        return None
    given = Approval(act.actor, rollout.attempt, rollout.stage, rollout.revision)
    return replace(rollout, approval=given)


def _owner_accept(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if not _answers(rollout, act):
        raise _RefusalError(f"{act.actor} is neither the owner ({rollout.owner}) nor a deputy; owner set names another")
    return None if rollout.accepted_by == act.actor else replace(rollout, accepted_by=act.actor)


def _owner_set(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    """Name another owner. Until that person accepts, whoever accepted before answers."""
    deputies = rollout.deputies if act.deputies is None else act.deputies
    owner = rollout.owner if act.owner is None else act.owner
    if not all(name.strip() for name in (owner, *deputies)):
        raise _RefusalError("an owner or a deputy has no name")
    changed = replace(rollout, owner=owner, deputies=deputies)
    if changed == rollout:
        return None
    _needs_to_answer(rollout, act)  # or anybody could name themselves, and unkill
    return changed


def _owner_away(_flag: Flag, rollout: Rollout, act: Act) -> Rollout | None:
    if rollout.accepted_by is None:
        return None
    if act.actor not in (rollout.owner, rollout.accepted_by):
        raise _RefusalError(f"only {rollout.accepted_by}, who answers for it, can say so; owner set names another")
    return (
        None if act.actor != rollout.accepted_by else replace(rollout, accepted_by=None)
    )  # a deputy stands in already


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
    Verb.RESUME: _Move(_resume, frozenset({Status.PAUSED}), frozenset({Status.RUNNING}), grows=True),
    Verb.RESTART: _Move(_begin, frozenset({Status.ROLLED_BACK}), grows=True, needs_reason=True),
    Verb.ROLLBACK: _Move(
        _rollback,
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
    Verb.APPROVE: _Move(_approve, frozenset({Status.RUNNING, Status.PAUSED}), grows=True),
    Verb.OWNER_ACCEPT: _Move(_owner_accept, _ANY),
    Verb.OWNER_SET: _Move(_owner_set, _ANY),
    Verb.OWNER_AWAY: _Move(_owner_away, _ANY),
}


def legal_verbs(flag: Flag, rollout: Rollout) -> tuple[Verb, ...]:
    """The verbs that would change something where the rollout stands now."""
    return tuple(verb for verb, its in _MOVES.items() if _is_legal(verb, its, flag, rollout))


def _is_legal(verb: Verb, its: _Move, flag: Flag, rollout: Rollout) -> bool:
    if rollout.killed and (its.grows or verb is Verb.KILL):
        return False
    if verb is Verb.UNKILL and not rollout.killed:
        return False
    if verb is Verb.STEP_BACK and rollout.stage == 1:
        return False
    if verb is Verb.APPROVE:
        stage = current_stage(flag, rollout)
        if stage is None or stage.approval is None or rollout.is_approved(stage):
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
        raise MoveError(flag.name, act.verb, str(refusal), legal_verbs(flag, rollout)) from None
    if after is None:
        return None
    states = rollout_to_json(rollout), rollout_to_json(after)
    evidence = dict(act.evidence) | _evidence(rollout, act)
    return after, Event(flag.name, act.verb, act.actor, act.at, act.reason, *states, evidence)


def _evidence(rollout: Rollout, act: Act) -> dict[str, Any]:
    if act.verb is Verb.ADVANCE and act.actor != AUTOMATIC:
        return {"passed_over": _passed_over(act)}
    if act.verb is Verb.KILL and rollout.status is Status.WATCHING and not _answers(rollout, act):
        return {"break_glass": True}
    return {}


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
    if its.needs_reason and not _has_reason(act) and not already_done and act.actor != AUTOMATIC:
        raise _RefusalError("it needs a reason")
