"""status: where flags stand, what comes next and when, what they wait for, and who looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click

from flaggate.cli.counts import counts_to_json, print_counts
from flaggate.cli.guards import guards_to_json, print_guards
from flaggate.cli.history import event_words
from flaggate.cli.lease import lease_to_json, looks_words
from flaggate.cli.off import OffHere, off_here
from flaggate.cli.options import as_json, program, store_option, text
from flaggate.cli.render import line, local_time, print_json, print_table
from flaggate.cli.waits import progress_in, wait_to_json, wait_words, waits
from flaggate.errors import UnreadableError
from flaggate.flags.place import show
from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.outlook import earliest, next_stage
from flaggate.rollout.state import Event, Status, Verb, current_stage, rollout_to_json
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict_words import written_words
from flaggate.rollout.words import standing
from flaggate.runtime.kept_notices import kept_from_json, notices_words
from flaggate.runtime.sight import sight
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import Count, Lease, Row, Store
from flaggate.stores.record import Record, flag_row, record_of

__all__ = ["about", "status"]

_LOOKED_THROUGH: Final = 1000
"""How many events of a flag are looked through for the one that killed it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known beside the flags."""

    kept: Mapping[str, Mapping[str, Any]]
    """What the lease's holder keeps, by name."""
    lease: Lease | None
    newest: int
    """The id of the last event of all."""
    off: OffHere
    now: datetime


@click.command(help="Where all flags stand, or everything about one: what comes next, and what it waits for.")
@click.argument("flag", required=False, callback=text)
@store_option
@as_json
def status(flag: str | None, store: Store, is_json: bool) -> None:
    """Show where flags stand."""
    rows = sorted((row for row in store.changes().rows if row.kind == "flag" and row.document), key=lambda r: r.name)
    off = off_here(store)
    if not is_json:
        off.say([row.name for row in rows])
    if flag is not None:
        rows = [flag_row(store, flag)]
        record = record_of(rows[0])
    seen = _seen(store, off)
    if is_json:
        counts = store.counts(flag)
        print_json({row.name: _to_json(row, seen, counts) for row in rows})
    elif flag is not None:
        _print_flag(record, seen, store.history(flag, limit=_LOOKED_THROUGH))
        print_guards(record, seen.kept.get(flag))
        print_counts(record.flag, record.rollout, store.counts(flag))
        for one in sight(store, record.flag, record.rollout, seen.now.timestamp()):
            line(f"at this traffic, in stage {one.stage}: {one.words}")
    elif not rows:
        line(f"no flags in {store.url}; {program()} apply flags.toml brings them in")
    else:
        _print_all(rows, seen)


def about(record: Record, store: Store, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """What `status` says of one flag, by label, for whoever shows it elsewhere.

    Args:
        events: Its own, the newest last.
    """
    yield from _about(record, _seen(store, off_here(store)), events)


def _seen(store: Store, off: OffHere) -> _Seen:
    newest = max((event.id for event in store.history(limit=1)), default=0)
    return _Seen(store.progress(), store.lease(), newest, off, datetime.now(UTC))


# --- of all -----------------------------------------------------------------------------------


def _print_all(rows: Sequence[Row], seen: _Seen) -> None:
    print_table(("flag", "is", "since", "owner", "waits for"), [_cells(row, seen) for row in rows])
    looked_at = [record.rollout for record in _records(rows) if is_looked_at(record.rollout)]
    if looked_at:
        moments = (progress_in(seen.kept.get(rollout.flag), rollout).looked_at for rollout in looked_at)
        line(looks_words(seen.lease, max(filter(None, moments), default=None)))
    for words in _told(seen, is_due=bool(looked_at)):
        line(words)


def _records(rows: Sequence[Row]) -> Iterator[Record]:
    for row in rows:
        try:
            yield record_of(row)
        except UnreadableError:  # the table says so
            continue


def _cells(row: Row, seen: _Seen) -> Sequence[str]:
    try:
        record = record_of(row)
    except UnreadableError as error:  # it is not to hide the others
        return row.name, f"cannot be read: {error.problem}"
    found = waits(record, seen.kept.get(row.name), seen.now)
    since, words = local_time(record.rollout.since), ", ".join(wait.why for wait in found)
    return row.name, standing(record.flag, record.rollout), since, _answers(record), words


def _answers(record: Record) -> str:
    """Who answers for it."""
    rollout = record.rollout
    if rollout.accepted_by == rollout.owner:
        return rollout.owner
    return (
        f"{rollout.owner} (not accepted)"
        if rollout.accepted_by is None
        else f"{rollout.accepted_by} stands in for {rollout.owner}"
    )


# --- of one -----------------------------------------------------------------------------------


def _print_flag(record: Record, seen: _Seen, events: Sequence[Event]) -> None:
    line(f"{record.flag.name}: {record.flag.description}")
    last = ""
    for label, words in _about(record, seen, [event for event in events if event.kind == "flag"]):
        line(f"  {'' if label == last else label:<9} {words}")
        last = label


def _about(record: Record, seen: _Seen, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Everything about one flag, by label."""
    flag, rollout = record.flag, record.rollout
    yield "is", f"{standing(flag, rollout)}, since {local_time(rollout.since)}, attempt {rollout.attempt}"
    if rollout.killed:
        kills = (event_words(event) for event in reversed(events) if event.verb == Verb.KILL)
        yield "killed", next(kills, f"too long ago to say by whom; see {program()} history")
    if rollout.breach is not None:
        yield from (("breach", words) for words in _breach_words(rollout.breach))
    deputies = f"; deputies {', '.join(rollout.deputies)}" if rollout.deputies else ""
    yield "owner", _answers(record) + deputies
    yield from _plan(record)
    yield from _ahead(record, seen)
    yield "legal now", ", ".join(legal_verbs(flag, rollout))
    yield from (("last", event_words(event)) for event in events[-1:])


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


def _ahead(record: Record, seen: _Seen) -> Iterator[tuple[str, str]]:
    """What comes next and when, what it waits for, and who looks."""
    kept = seen.kept.get(record.flag.name)
    if (what := _next(record)) is not None:
        moment = _earliest(record, seen)
        when = "" if moment is None or moment <= seen.now else f", no earlier than {local_time(moment)}"
        yield "next", f"{what}{when}"
    yield from (("waits for", wait_words(wait)) for wait in waits(record, kept, seen.now))
    if is_looked_at(record.rollout):
        yield "looks", looks_words(seen.lease, progress_in(kept, record.rollout).looked_at)
    yield from (("told", words) for words in _told(seen, is_due=is_looked_at(record.rollout)))


def _told(seen: _Seen, *, is_due: bool) -> Iterator[str]:
    """Whether people are told of it all; where there is something to tell, or was."""
    written = seen.kept.get(NOTICES)
    if is_due or written is not None:
        yield from notices_words(written, seen.newest)


def _next(record: Record) -> str | None:
    """What it goes on to: a stage, or completed."""
    if record.rollout.status is Status.WATCHING:
        return Status.COMPLETED
    stage = next_stage(record.flag, record.rollout)
    return None if stage is None else stage.name


def _earliest(record: Record, seen: _Seen) -> datetime | None:
    progress = progress_in(seen.kept.get(record.flag.name), record.rollout)
    return earliest(record.flag, record.rollout, progress, seen.now)


def _breach_words(breach: Mapping[str, Any]) -> Iterator[str]:
    """Why it was rolled back, with its numbers."""
    guards = breach.get("guards")
    for guard in guards if isinstance(guards, list) else [breach]:
        yield written_words(guard) or show(guard)


# --- for programs -----------------------------------------------------------------------------


def _to_json(row: Row, seen: _Seen, counts: Sequence[Count]) -> dict[str, Any]:
    here = {"off_here": seen.off.covers(row.name), "version": row.version, "counts": counts_to_json(counts, row.name)}
    try:
        record = record_of(row)
    except UnreadableError as error:
        return here | {"problem": error.problem}
    flag, rollout = record.flag, record.rollout
    stage, kept, moment = current_stage(flag, rollout), seen.kept.get(row.name), _earliest(record, seen)
    found, progress = waits(record, kept, seen.now), progress_in(kept, rollout)
    return rollout_to_json(rollout) | here | {
        "description": flag.description,
        "stage_name": None if stage is None else stage.name,
        "stages": [stage.name for stage in flag.stages],
        "next": _next(record),
        "earliest": None if moment is None else moment.isoformat(),
        "waits_for": [wait.why for wait in found],
        "waits": [wait_to_json(wait) for wait in found],
        "observed_seconds": progress.observed_seconds,
        "looked_at": None if progress.looked_at is None else progress.looked_at.isoformat(),
        "lease": lease_to_json(seen.lease),
        "notices": _notices_to_json(seen.kept.get(NOTICES)),
        "guards": guards_to_json(record, kept),
        "legal": list(legal_verbs(flag, rollout)),
    }  # fmt: skip


def _notices_to_json(written: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Of all flags; None = nobody is told anything."""
    kept = kept_from_json(written)
    if kept is None:
        return None
    waiting = [
        {"title": pending.message.title, "to": list(pending.message.to), "tries": pending.tries, "why": pending.why}
        for pending in kept.pending.values()
    ]
    return {"waiting": waiting, "failures": kept.failures, "last_failures": kept.last}
