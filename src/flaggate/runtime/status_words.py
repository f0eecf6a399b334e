"""Where one flag stands, in words: what `flaggate status` prints, and Django's admin shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flaggate.flags.place import show
from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from flaggate.rollout.event_words import event_words
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.outlook import earliest, next_stage
from flaggate.rollout.state import Event, Status, Verb
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict_words import written_words
from flaggate.rollout.words import standing
from flaggate.runtime.kept_notices import notices_words
from flaggate.runtime.lease_words import looks_words
from flaggate.runtime.ticker import NOTICES
from flaggate.runtime.waits import progress_in, wait_words, waits
from flaggate.stores.base import Lease, Store
from flaggate.stores.record import Record

__all__ = ["Seen", "about", "answers", "earliest_in", "next_words", "seen_in", "told"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known beside the flags, and how the reader is told."""

    kept: Mapping[str, Mapping[str, Any]]
    """What the lease's holder keeps, by name."""
    lease: Lease | None
    newest: int
    """The id of the last event of all."""
    now: datetime
    at: Callable[[datetime], str]
    """A moment on the reader's clock."""
    program: str
    """What the reader calls the command."""


def seen_in(store: Store, at: Callable[[datetime], str], program: str) -> Seen:
    """What the store says now."""
    newest = max((event.id for event in store.history(limit=1)), default=0)
    return Seen(store.progress(), store.lease(), newest, datetime.now(UTC), at, program)


def answers(record: Record) -> str:
    """Who answers for it."""
    rollout = record.rollout
    if rollout.accepted_by == rollout.owner:
        return rollout.owner
    return (
        f"{rollout.owner} (not accepted)"
        if rollout.accepted_by is None
        else f"{rollout.accepted_by} stands in for {rollout.owner}"
    )


def about(record: Record, seen: Seen, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Everything about one flag, by label."""
    flag, rollout = record.flag, record.rollout
    yield "is", f"{standing(flag, rollout)}, since {seen.at(rollout.since)}, attempt {rollout.attempt}"
    if rollout.killed:
        kills = (event_words(event, seen.at) for event in reversed(events) if event.verb == Verb.KILL)
        yield "killed", next(kills, f"too long ago to say by whom; see {seen.program} history")
    if rollout.breach is not None:
        yield from (("breach", words) for words in _breach_words(rollout.breach))
    deputies = f"; deputies {', '.join(rollout.deputies)}" if rollout.deputies else ""
    yield "owner", answers(record) + deputies
    yield from _plan(record)
    yield from _ahead(record, seen)
    yield "legal now", ", ".join(legal_verbs(flag, rollout))
    yield from (("last", event_words(event, seen.at)) for event in events[-1:])


def _plan(record: Record) -> Iterator[tuple[str, str]]:
    """What is declared."""
    flag = record.flag
    if flag.is_switch:
        yield "audience", audience_words(flag.audience)
    if flag.deny:
        yield "deny", audience_words(flag.deny)
    for number, (stage, conditions) in enumerate(zip(flag.stages, condition_words(flag), strict=True), 1):
        at = record.rollout.stage
        mark = "here" if number == at else "done" if number < at else "next"
        guards = [guard_words(guard) for guard in stage.guards]
        words = "; ".join([stage_words(stage), *([conditions] if conditions else []), *guards])
        yield "stages", f"{number:<2} {mark}  {stage.name}: {words}"
    yield from (("guards", guard_words(guard)) for guard in flag.guards)


def _ahead(record: Record, seen: Seen) -> Iterator[tuple[str, str]]:
    """What comes next and when, what it waits for, and who looks."""
    kept = seen.kept.get(record.flag.name)
    if (what := next_words(record)) is not None:
        moment = earliest_in(record, seen)
        when = "" if moment is None or moment <= seen.now else f", no earlier than {seen.at(moment)}"
        yield "next", f"{what}{when}"
    yield from (("waits for", wait_words(wait, seen.at)) for wait in waits(record, kept, seen.now))
    if is_looked_at(record.rollout):
        yield "looks", looks_words(seen.lease, progress_in(kept, record.rollout).looked_at, seen.at, seen.program)
    yield from (("told", words) for words in told(seen, is_due=is_looked_at(record.rollout)))


def told(seen: Seen, *, is_due: bool) -> Iterator[str]:
    """Whether people are told of it all; where there is something to tell, or was."""
    written = seen.kept.get(NOTICES)
    if is_due or written is not None:
        yield from notices_words(written, seen.newest)


def next_words(record: Record) -> str | None:
    """What it goes on to: a stage, or completed."""
    if record.rollout.status is Status.WATCHING:
        return Status.COMPLETED
    stage = next_stage(record.flag, record.rollout)
    return None if stage is None else stage.name


def earliest_in(record: Record, seen: Seen) -> datetime | None:
    """When it can go on, if all goes well; None = nobody can tell."""
    progress = progress_in(seen.kept.get(record.flag.name), record.rollout)
    return earliest(record.flag, record.rollout, progress, seen.now)


def _breach_words(breach: Mapping[str, Any]) -> Iterator[str]:
    """Why it was rolled back, with its numbers."""
    guards = breach.get("guards")
    for guard in guards if isinstance(guards, list) else [breach]:
        yield written_words(guard) or show(guard)
