"""status: where flags stand, what comes next and when, what they wait for, and who looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from flaggate.cli.counts import counts_to_json, print_counts
from flaggate.cli.guards import guards_to_json, print_guards
from flaggate.cli.off import OffHere, off_here
from flaggate.cli.options import as_json, program, store_option, text
from flaggate.cli.render import line, local_time, print_json, print_table
from flaggate.errors import UnreadableError
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.state import Event, current_stage, rollout_to_json
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.words import standing
from flaggate.runtime.kept_notices import kept_from_json
from flaggate.runtime.lease_words import lease_to_json, looks_words
from flaggate.runtime.sight import sight
from flaggate.runtime.status_words import Seen, about, answers, earliest_in, next_words, seen_in, told
from flaggate.runtime.ticker import NOTICES
from flaggate.runtime.waits import progress_in, wait_to_json, waits
from flaggate.stores.base import Count, Row, Store
from flaggate.stores.record import Record, flag_row, record_of

__all__ = ["status"]

_LOOKED_THROUGH: Final = 1000
"""How many events of a flag are looked through for the one that killed it."""


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
    seen = seen_in(store, local_time, program())
    if is_json:
        counts = store.counts(flag)
        print_json({row.name: _to_json(row, seen, off, counts) for row in rows})
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


# --- of all -----------------------------------------------------------------------------------


def _print_all(rows: Sequence[Row], seen: Seen) -> None:
    print_table(("flag", "is", "since", "owner", "waits for"), [_cells(row, seen) for row in rows])
    looked_at = [record.rollout for record in _records(rows) if is_looked_at(record.rollout)]
    if looked_at:
        moments = (progress_in(seen.kept.get(rollout.flag), rollout).looked_at for rollout in looked_at)
        line(looks_words(seen.lease, max(filter(None, moments), default=None), seen.at, seen.program))
    for words in told(seen, is_due=bool(looked_at)):
        line(words)


def _records(rows: Sequence[Row]) -> Iterator[Record]:
    for row in rows:
        try:
            yield record_of(row)
        except UnreadableError:  # the table says so
            continue


def _cells(row: Row, seen: Seen) -> Sequence[str]:
    try:
        record = record_of(row)
    except UnreadableError as error:  # it is not to hide the others
        return row.name, f"cannot be read: {error.problem}"
    found = waits(record, seen.kept.get(row.name), seen.now)
    since, words = local_time(record.rollout.since), ", ".join(wait.why for wait in found)
    return row.name, standing(record.flag, record.rollout), since, answers(record), words


# --- of one -----------------------------------------------------------------------------------


def _print_flag(record: Record, seen: Seen, events: Sequence[Event]) -> None:
    line(f"{record.flag.name}: {record.flag.description}")
    last = ""
    for label, words in about(record, seen, [event for event in events if event.kind == "flag"]):
        line(f"  {'' if label == last else label:<9} {words}")
        last = label


# --- for programs -----------------------------------------------------------------------------


def _to_json(row: Row, seen: Seen, off: OffHere, counts: Sequence[Count]) -> dict[str, Any]:
    here = {"off_here": off.covers(row.name), "version": row.version, "counts": counts_to_json(counts, row.name)}
    try:
        record = record_of(row)
    except UnreadableError as error:
        return here | {"problem": error.problem}
    flag, rollout = record.flag, record.rollout
    stage, kept, moment = current_stage(flag, rollout), seen.kept.get(row.name), earliest_in(record, seen)
    found, progress = waits(record, kept, seen.now), progress_in(kept, rollout)
    return rollout_to_json(rollout) | here | {
        "description": flag.description,
        "stage_name": None if stage is None else stage.name,
        "stages": [stage.name for stage in flag.stages],
        "next": next_words(record),
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
