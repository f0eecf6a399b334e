"""What a person may do to a flag now, and why not the rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flaggate.console.people import Person
from flaggate.errors import MoveError
from flaggate.flags.model import Flag
from flaggate.rollout.moves import Act, legal_verbs, move
from flaggate.rollout.outlook import next_stage
from flaggate.rollout.state import Rollout, Verb
from flaggate.runtime.rights import Right, may, needed

__all__ = ["HARD", "WORDS", "Button", "buttons", "people_buttons"]

HARD: Final = frozenset({Verb.UNKILL, Verb.RESTART})
"""Harder than the others: the flag's name is typed."""
_PEOPLE: Final = (Verb.OWNER_ACCEPT, Verb.OWNER_AWAY, Verb.OWNER_SET)
_ROLLOUT: Final = (
    Verb.START, Verb.APPROVE, Verb.ADVANCE, Verb.RESUME, Verb.COMPLETE, Verb.RESTART,
    Verb.PAUSE, Verb.STEP_BACK, Verb.ROLLBACK, Verb.KILL, Verb.UNKILL,
)  # fmt: skip
_SWITCH: Final = (Verb.ON, Verb.OFF, Verb.KILL, Verb.UNKILL)
WORDS: Final = {
    Verb.START: "Start",
    Verb.APPROVE: "Approve",
    Verb.ADVANCE: "Advance",
    Verb.RESUME: "Resume",
    Verb.COMPLETE: "Complete",
    Verb.RESTART: "Restart",
    Verb.PAUSE: "Pause",
    Verb.STEP_BACK: "Step back",
    Verb.ROLLBACK: "Roll back",
    Verb.KILL: "Kill",
    Verb.UNKILL: "Unkill",
    Verb.ON: "Turn on",
    Verb.OFF: "Turn off",
    Verb.OWNER_ACCEPT: "Accept",
    Verb.OWNER_AWAY: "Away",
    Verb.OWNER_SET: "Hand over",
}


@dataclass(frozen=True, slots=True)
class Button:
    """One act."""

    verb: Verb
    words: str
    who: str
    """The rights of which it takes one, in words."""
    why_not: str | None = None
    """None = it may be pressed."""

    @property
    def kind(self) -> str:
        """For the style sheet."""
        return "stop" if self.verb in {Verb.KILL, Verb.ROLLBACK} else "go" if self.verb in _GO else "plain"


_GO: Final = frozenset({Verb.START, Verb.APPROVE, Verb.ADVANCE, Verb.RESUME, Verb.ON})


def buttons(flag: Flag, rollout: Rollout, person: Person, now: datetime, *, is_read_only: bool) -> list[Button]:
    """All that there are for this kind of flag; what is not legal now and nobody would look for is left out."""
    verbs = _SWITCH if flag.is_switch else _ROLLOUT
    legal = legal_verbs(flag, rollout)
    shown = [verb for verb in verbs if verb in legal or verb in {Verb.ADVANCE, Verb.APPROVE, Verb.KILL}]
    found = [verb for verb in shown if not (flag.is_switch and verb in {Verb.ADVANCE, Verb.APPROVE})]
    return [_button(verb, flag, rollout, person, now, is_read_only) for verb in found]


def people_buttons(flag: Flag, rollout: Rollout, person: Person, now: datetime, *, is_read_only: bool) -> list[Button]:
    """Those about who answers."""
    return [_button(verb, flag, rollout, person, now, is_read_only) for verb in _PEOPLE]


def _button(verb: Verb, flag: Flag, rollout: Rollout, person: Person, now: datetime, is_read_only: bool) -> Button:
    why_not = "this console only shows" if is_read_only else _why_not(verb, flag, rollout, person, now)
    words = WORDS[verb]
    stage = next_stage(flag, rollout)
    if verb is Verb.ADVANCE and stage is not None:
        words = f"Advance to {stage.name}"
    return Button(verb, words, _rights_words(verb), why_not)


def _rights_words(verb: Verb) -> str:
    rights = needed(verb)
    if len(rights) == len(Right) - 1 and Right.VIEW not in rights:
        return "any right but that to view"
    return f"the right to {' or '.join(right.replace('_', ' ') for right in rights)}"


def _why_not(verb: Verb, flag: Flag, rollout: Rollout, person: Person, now: datetime) -> str | None:
    if not may(verb, person.rights):
        return f"it takes {_rights_words(verb)}, which you do not have"
    if verb is Verb.OWNER_SET:
        return None  # to whom is asked first
    try:
        moved = move(flag, rollout, Act(verb, person.name, now, "a reason is asked for", holds=()))
    except MoveError as error:
        return error.why
    return None if moved is not None else "it is so already"
