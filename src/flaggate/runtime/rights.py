"""Who may do what: rights by verb. Less exposure needs fewer rights than more (invariant I17)."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from flaggate.errors import ForbiddenError
from flaggate.rollout.state import Verb

__all__ = ["Right", "check_edit", "check_verb", "may", "needed"]


class Right(StrEnum):
    """What a host app, a console or an API gives to people."""

    VIEW = "view"
    EDIT = "edit"
    ADVANCE = "advance"
    APPROVE = "approve"
    ROLL_BACK = "roll_back"
    KILL = "kill"
    UNKILL = "unkill"


_ADVANCE: Final = (
    Verb.START, Verb.RESTART, Verb.RESUME, Verb.ADVANCE, Verb.COMPLETE, Verb.ON,
    Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY,
)  # fmt: skip
_ROLL_BACK: Final = (Verb.PAUSE, Verb.STEP_BACK, Verb.ROLLBACK, Verb.OFF)
# Who may let people in, or lead there, may take them out again.
_ANY_OF: Final[dict[Verb, tuple[Right, ...]]] = {
    **dict.fromkeys(_ADVANCE, (Right.ADVANCE,)),
    **dict.fromkeys(_ROLL_BACK, (Right.ROLL_BACK, Right.ADVANCE)),
    Verb.APPROVE: (Right.APPROVE,),
    Verb.KILL: tuple(right for right in Right if right is not Right.VIEW),
    Verb.UNKILL: (Right.UNKILL,),
}


def needed(verb: Verb) -> tuple[Right, ...]:
    """The rights of which one is enough."""
    return _ANY_OF[verb]


def may(verb: Verb, rights: Collection[Right]) -> bool:
    """Whether one of these rights is enough."""
    return any(right in rights for right in _ANY_OF[verb])


def check_verb(actor: str, verb: Verb, rights: Collection[Right] | None) -> None:
    """Raises ForbiddenError; None = everything is allowed."""
    if rights is not None and not may(verb, rights):
        raise ForbiddenError(actor, verb, _ANY_OF[verb])


def check_edit(actor: str, what: str, rights: Collection[Right] | None) -> None:
    """Raises ForbiddenError; None = everything is allowed."""
    if rights is not None and Right.EDIT not in rights:
        raise ForbiddenError(actor, what, (Right.EDIT,))
