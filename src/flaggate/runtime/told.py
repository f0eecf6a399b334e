"""Whom an event or a hold concerns, by the plan of its flag. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flaggate.flags.model import Flag
from flaggate.flags.notify import DEPUTIES, OWNER, told
from flaggate.rollout.state import Event, Rollout, Status, Verb
from flaggate.runtime.applying import APPLY, PRUNE

__all__ = ["is_break_glass", "kinds_of", "told_of_event", "told_of_hold"]

_ABOUT_OWNERS: Final = frozenset({Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY})
_EDITS: Final = frozenset({APPLY, PRUNE})
_PAGED: Final = frozenset({Verb.ROLLBACK, Verb.KILL, Verb.UNKILL})
"""Of these owner and deputies are told during the watch, whatever the plan says."""
_MOST_RECIPIENTS: Final = 100
_LONGEST_RECIPIENT: Final = 300  # no tag is longer


def kinds_of(event: Event) -> frozenset[str]:
    """As the plan calls them. A newer flaggate's verb is a kind that only those are told who are told everything."""
    if event.verb in _ABOUT_OWNERS:
        return frozenset({OWNER})
    if event.verb in _EDITS:
        is_handed_over = event.after is not None and _named(event.before) != _named(event.after)
        return frozenset({"edit", OWNER} if is_handed_over else {"edit"})
    return frozenset({event.verb})


def is_break_glass(event: Event) -> bool:
    """Whether somebody killed during the watch who does not answer for it."""
    return event.evidence.get("break_glass") is True


def told_of_event(event: Event, flag: Flag | None) -> tuple[str, ...]:
    """The recipients of an event of a flag; None = its plan is not known."""
    found = [*told(flag, kinds_of(event))]
    if event.verb in _PAGED and (event.before or {}).get("status") == Status.WATCHING:
        found += [OWNER, DEPUTIES]
    people = [_people(event.after), _people(event.before)]  # after a hand-over both
    return _in_person(found, people)


def told_of_hold(kind: str, flag: Flag, rollout: Rollout) -> tuple[str, ...]:
    """The recipients of what holds a rollout, or is feared for it."""
    people = {"owner": rollout.owner, "accepted_by": rollout.accepted_by, "deputies": rollout.deputies}
    return _in_person(told(flag, frozenset({kind})), [_people(people)])


def _people(state: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """Who they are in a rollout as an event has it. Until a new owner accepts, whoever did before answers."""
    found = state or {}
    owners, deputies = (found.get("owner"), found.get("accepted_by")), found.get("deputies")
    return {
        OWNER: tuple(who for who in owners if isinstance(who, str)),
        DEPUTIES: tuple(map(str, deputies)) if isinstance(deputies, (list, tuple)) else (),
    }


def _named(state: Mapping[str, Any] | None) -> tuple[Any, ...]:
    return tuple((state or {}).get(role) for role in ("owner", "deputies"))


def _in_person(names: Iterable[str], people: Iterable[Mapping[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """With the rollout's own people in place of what stands for them, each once."""
    states, found = [*people], dict[str, str]()
    for name in names:
        meant = [who for state in states for who in state[name]] if name in (OWNER, DEPUTIES) else [name]
        for who in meant:
            found.setdefault(who.lower(), who[:_LONGEST_RECIPIENT])  # as tags are compared
    return tuple(found.values())[:_MOST_RECIPIENTS]
