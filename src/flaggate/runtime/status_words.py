"""Where one flag stands, in words: what `flaggate status` prints, and Django's admin shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from flaggate.rollout.event_words import event_words
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.state import Event, Verb
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict_words import breach_words
from flaggate.rollout.waits import wait_words
from flaggate.rollout.words import answers, standing
from flaggate.runtime.kept_notices import notices_words
from flaggate.runtime.lease_words import looks_words, tells
from flaggate.runtime.overview import Overview, Standing
from flaggate.runtime.reach import serving_words
from flaggate.runtime.ticker import NOTICES

__all__ = ["Reader", "about", "told"]


class Reader(NamedTuple):
    """How whoever reads it is told."""

    at: Callable[[datetime], str]
    """A moment on their clock."""
    program: str
    """What they call the command."""


def about(one: Standing, seen: Overview, events: Sequence[Event], reader: Reader) -> Iterator[tuple[str, str]]:
    """Everything about one flag, by label."""
    flag, rollout = one.flag, one.rollout
    yield "is", f"{standing(flag, rollout)}, since {reader.at(rollout.since)}, attempt {rollout.attempt}"
    if rollout.killed:
        kills = (event_words(event, reader.at) for event in reversed(events) if event.verb == Verb.KILL)
        yield "killed", next(kills, f"too long ago to say by whom; see {reader.program} history")
    if rollout.breach is not None:
        yield from (("breach", words) for words in breach_words(rollout.breach))
    deputies = f"; deputies {', '.join(rollout.deputies)}" if rollout.deputies else ""
    yield "owner", answers(rollout) + deputies
    yield from _plan(one)
    yield from _ahead(one, seen, reader)
    yield "legal now", ", ".join(legal_verbs(flag, rollout))
    yield from (("last", event_words(event, reader.at)) for event in events[-1:])


def _plan(one: Standing) -> Iterator[tuple[str, str]]:
    """What is declared."""
    flag, at = one.flag, one.rollout.stage
    if flag.is_switch:
        yield "audience", audience_words(flag.audience)
    if flag.deny:
        yield "deny", audience_words(flag.deny)
    for number, (stage, conditions) in enumerate(zip(flag.stages, condition_words(flag), strict=True), 1):
        mark = "here" if number == at else "done" if number < at else "next"
        guards = [guard_words(guard) for guard in stage.guards]
        words = "; ".join([stage_words(stage), *([conditions] if conditions else []), *guards])
        yield "stages", f"{number:<2} {mark}  {stage.name}: {words}"
    yield from (("guards", guard_words(guard)) for guard in flag.guards)


def _ahead(one: Standing, seen: Overview, reader: Reader) -> Iterator[tuple[str, str]]:
    """What comes next and when, what it waits for, and who looks."""
    if one.next is not None:
        moment = one.earliest
        when = "" if moment is None or moment <= one.now else f", no earlier than {reader.at(moment)}"
        yield "next", f"{one.next}{when}"
    yield from (("waits for", wait_words(wait, reader.at)) for wait in one.waits)
    if is_looked_at(one.rollout):
        yield "looks", looks_words(seen.lease, one.progress.looked_at, *reader)
    yield from (("served", words) for words in serving_words(seen.presences, seen.revision, seen.now.timestamp()))
    yield from (("told", words) for words in told(seen, is_due=is_looked_at(one.rollout)))


def told(seen: Overview, *, is_due: bool) -> Iterator[str]:
    """Whether people are told of it all; where there is something to tell, or was."""
    written = seen.kept.get(NOTICES)
    if is_due or written is not None:
        yield from notices_words(written, seen.newest, is_told=tells(seen.lease))
