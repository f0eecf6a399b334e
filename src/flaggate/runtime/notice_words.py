"""What people are told, in plain words: a title, and a body that says who, when, why, from where to where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from flaggate.flags.model import Flag
from flaggate.flags.words import moment_words, value_words
from flaggate.rollout.holds import HoldKind
from flaggate.rollout.moves import AUTOMATIC
from flaggate.rollout.state import Event, Rollout, Status, Verb, current_stage, rollout_from_json
from flaggate.rollout.verdict import Verdict
from flaggate.rollout.verdict_words import verdict_words, written_words
from flaggate.rollout.words import standing, who_has_it
from flaggate.runtime.applying import APPLY, PRUNE
from flaggate.runtime.told import is_break_glass

if TYPE_CHECKING:
    from flaggate.runtime.apprise import Urgency
    from flaggate.runtime.ticker import Looked

__all__ = ["URGENCIES", "Message", "burst_message", "edits_message", "event_message", "hold_message", "plain"]

_LONGEST_LINE: Final = 300
_LONGEST_BODY: Final = 2000
_MOST_CHANGES: Final = 12
_DONE: Final[dict[str, str]] = {
    Verb.START: "started",
    Verb.ADVANCE: "advanced",
    Verb.STEP_BACK: "stepped back",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.RESTART: "restarted",
    Verb.ROLLBACK: "rolled back",
    Verb.COMPLETE: "completed",
    Verb.ON: "turned on",
    Verb.OFF: "turned off",
    Verb.KILL: "killed",
    Verb.UNKILL: "no longer killed",
    Verb.APPROVE: "approved",
    Verb.OWNER_ACCEPT: "has an owner who accepted",
    Verb.OWNER_SET: "handed over",
    Verb.OWNER_AWAY: "its owner is away",
    APPLY: "edited",
    PRUNE: "removed",
}
_URGENCY: Final[dict[str, Urgency]] = {
    Verb.ROLLBACK: "failure",
    Verb.KILL: "failure",
    Verb.STEP_BACK: "warning",
    Verb.PAUSE: "warning",
    Verb.OWNER_AWAY: "warning",
    Verb.COMPLETE: "success",
}


URGENCIES: Final[tuple[Urgency, ...]] = ("info", "success", "warning", "failure")
"""The least urgent first."""


@dataclass(frozen=True, slots=True)
class Message:
    """What some people are to be told."""

    id: str
    """Of what it is about: the same for whoever notes it."""
    to: tuple[str, ...]
    title: str
    body: str
    urgency: Urgency
    at: datetime
    """When it happened."""


def plain(text: object, most: int = _LONGEST_LINE) -> str:
    """What somebody wrote, on one line that is not too long."""
    words = " ".join("".join(char if char.isprintable() else " " for char in str(text)[: 4 * most]).split())
    return words if len(words) <= most else f"{words[: most - 3]}..."


def _body(lines: Iterable[str | None]) -> str:
    text = "\n".join(plain(line) for line in lines if line)
    return text if len(text) <= _LONGEST_BODY else f"{text[: _LONGEST_BODY - 3]}..."


# --- events ---------------------------------------------------------------------------------


def event_message(event: Event, flag: Flag | None, to: tuple[str, ...]) -> Message:
    """Of one event of a flag; None = its plan is not known."""
    before, after = _rollout(event.before), _rollout(event.after)
    lines = (
        f"By {_who(event)}, {moment_words(event.at)}.",
        f"Why: {event.reason}" if event.reason else None,
        *_from_to(flag, before, after),
        *_numbers(event),
        *_passed_over(event),
        *_what_follows(event, after),
    )
    title = f"{event.name}: {_done(event, flag, after)}"
    return Message(f"event {event.id}", to, plain(title), _body(lines), _URGENCY.get(event.verb, "info"), event.at)


def _who(event: Event) -> str:
    return "flaggate itself" if event.actor == AUTOMATIC else event.actor


def _rollout(state: Mapping[str, Any] | None) -> Rollout | None:
    try:
        return None if state is None else rollout_from_json(state)
    except (AttributeError, KeyError, TypeError, ValueError):  # what a newer flaggate wrote, or none of a flag
        return None


def _done(event: Event, flag: Flag | None, after: Rollout | None) -> str:
    words = _DONE.get(event.verb, event.verb)
    if is_break_glass(event):
        return f"{words} (break-glass)"
    if event.verb == APPLY and event.before is None:
        return "declared"
    stage = None if flag is None or after is None else current_stage(flag, after)
    if stage is not None and event.verb in {Verb.ADVANCE, Verb.STEP_BACK}:
        return f"{words} to {stage.name}"
    return words


def _from_to(flag: Flag | None, before: Rollout | None, after: Rollout | None) -> Iterator[str]:
    if flag is None or after is None:
        return
    now = standing(flag, after)
    was = None if before is None else standing(flag, before)
    if was == now:
        yield f"It is {now}."
        return
    yield from () if was is None else (f"From: {was}",)
    yield f"To: {now}"
    who = who_has_it(flag, after)
    yield "Off for everyone." if who is None else f"On for: {who}."


def _numbers(event: Event) -> Iterator[str]:
    guards = event.evidence.get("guards")
    for guard in guards if isinstance(guards, list) else ():
        if (words := written_words(guard)) is not None:
            yield f"{words}."


def _passed_over(event: Event) -> Iterator[str]:
    if passed := event.evidence.get("passed_over"):
        yield f"Passed over: {', '.join(map(str, passed))}"


def _what_follows(event: Event, after: Rollout | None) -> Iterator[str]:
    """What somebody who reads it should know, or do."""
    if is_break_glass(event):
        yield f"Break-glass: {event.actor}, who does not answer for it, killed it while it was watched."
    if after is None:
        return
    if event.verb == Verb.ADVANCE and after.status is Status.WATCHING:
        yield "The watch begins: 48 observed hours."
    if event.verb == Verb.ROLLBACK and event.actor == AUTOMATIC:
        yield f"It stays off until somebody restarts it: flaggate restart {event.name}"
    if event.verb == Verb.KILL:
        yield f"Its plan is kept. To take the kill back: flaggate unkill {event.name}"
    if event.verb in {Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY}:
        yield f"Owner: {after.owner}; deputies: {', '.join(after.deputies) or 'none'}."
        if after.accepted_by is None:
            yield f"Nobody answers for it now. Who does: flaggate owner accept {event.name}"
        elif after.accepted_by != after.owner:
            yield f"{after.accepted_by} answers until {after.owner} accepts: flaggate owner accept {event.name}"


# --- bursts: one verb, many flags ---------------------------------------------------------------


def burst_message(events: Sequence[Event], flags: Mapping[str, Flag], to: tuple[str, ...]) -> Message:
    """Of what one actor did to many flags, one after the other."""
    first, last = events[0], events[-1]
    what = {_done(event, None, None) for event in events}
    done = what.pop() if len(what) == 1 else _DONE.get(first.verb, first.verb)
    left = len(events) - _MOST_CHANGES
    began, ended = moment_words(first.at), moment_words(last.at)
    lines = (
        f"By {_who(first)}, {began if began == ended else f'{began} to {ended}'}.",
        *(_one_of_many(event, flags.get(event.name)) for event in events[:_MOST_CHANGES]),
        f"And {left} more; flaggate history shows all." if left > 0 else None,
    )
    title = f"{first.name} and {len(events) - 1} more: {done}"
    return Message(f"event {first.id}", to, plain(title), _body(lines), _URGENCY.get(first.verb, "info"), first.at)


def _one_of_many(event: Event, flag: Flag | None) -> str:
    why = "; ".join([event.reason or "", *_numbers(event)]).strip("; ")
    return f"{event.name}: {_done(event, flag, _rollout(event.after))}" + (f": {why}" if why else "")


# --- edits: one file may change many flags ----------------------------------------------------


def edits_message(events: Sequence[Event], flags: Mapping[str, Flag], to: tuple[str, ...]) -> Message:
    """Of events of one apply, of flags and segments, in one message."""
    first = events[0]
    many = f" and {len(events) - 1} more" if len(events) > 1 else ""
    what = {_done(event, flags.get(event.name), None) for event in events}
    title = f"{first.name}{many}: {what.pop() if len(what) == 1 else 'edited'}"
    changes = [change for event in events for change in _changes(event)]
    left = len(changes) - _MOST_CHANGES
    lines = (
        f"By {_who(first)}, {moment_words(first.at)}.",
        f"Why: {first.reason}" if first.reason else None,
        *changes[:_MOST_CHANGES],
        f"And {left} more; flaggate history shows all." if left > 0 else None,
    )
    return Message(f"event {first.id}", to, plain(title), _body(lines), "info", first.at)


def _changes(event: Event) -> Iterator[str]:
    if event.kind == "segment":
        touched = ", ".join(map(str, event.evidence.get("touches", ())))
        yield f"segment {event.name}: edited; it is asked by {touched or 'no flag'}"
        return
    difference = event.evidence.get("difference", ())
    if event.before is None or event.after is None or not difference:
        yield f"{event.name}: {_done(event, None, None)}"
        return
    for path, before, after in difference:
        yield f"{event.name}: {path}: {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    return "nothing" if value is None else plain(value_words(value), 100)


# --- holds ----------------------------------------------------------------------------------


def hold_message(kind: str, one: Looked, verdicts: Sequence[Verdict], to: tuple[str, ...], at: datetime) -> Message:
    """Of what a rollout waits for, or what is feared for it: `approval`, `blind` or `breach`."""
    flag, rollout = one.record.flag, one.record.rollout
    metrics = ", ".join(dict.fromkeys(verdict.guard.metric for verdict in verdicts))
    title, follows = {
        "approval": ("waits for approval", _approval),
        "blind": (f"nothing is known of {metrics}", _blind),
        "breach": (f"{metrics} worse than allowed", _breach),
    }[kind]
    who = who_has_it(flag, rollout)
    lines = (
        f"It is {standing(flag, rollout)}, {moment_words(at)}.",
        None if who is None else f"On for: {who}.",
        *(f"{verdict_words(verdict, flag.unit)}." for verdict in verdicts),
        *follows(one, verdicts),
    )
    place = f"{kind} {flag.name} {rollout.attempt} {rollout.stage} {rollout.revision} {at.isoformat()}"
    urgency: Urgency = "info" if kind == "approval" else "warning"
    return Message(place, to, plain(f"{flag.name}: {title}"), _body(lines), urgency, at)


def _approval(one: Looked, _verdicts: Sequence[Verdict]) -> Iterator[str]:
    flag, rollout = one.record.flag, one.record.rollout
    stage = current_stage(flag, rollout)
    if stage is not None and stage.approval == "other" and rollout.asked_by is not None:
        yield f"Not by {rollout.asked_by}, who asked for it."
    if others := [str(hold) for hold in one.look.holds if hold.kind not in {HoldKind.APPROVAL, HoldKind.UNJUDGED}]:
        yield f"It waits for this, too: {', '.join(others)}."
    yield f"To approve: flaggate approve {flag.name}"


def _blind(one: Looked, _verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield "Its watch stands still." if one.record.rollout.status is Status.WATCHING else "It stays where it is."
    yield "A breach would not be seen."


def _breach(one: Looked, verdicts: Sequence[Verdict]) -> Iterator[str]:
    rollout = one.record.rollout
    if rollout.status is Status.WATCHING:
        yield "It is not completed while this lasts."
    elif any(verdict.holds for verdict in verdicts):
        yield "It stays where it is."
    else:
        yield "This guard only warns."
    yield f"To roll it back: flaggate rollback {rollout.flag}"
