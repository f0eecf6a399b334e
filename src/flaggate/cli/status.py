"""status: where flags stand, what comes next and when, what they wait for, and who looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from flaggate.cli.counts import counts_to_json, print_counts
from flaggate.cli.guards import guards_to_json, print_guards
from flaggate.cli.off import OffHere, off_here
from flaggate.cli.options import as_json, directory_option, program, store_option, text
from flaggate.cli.render import line, local_time, print_json, print_table
from flaggate.errors import UnknownFlagError, UnreadableError
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.state import Event, current_stage, rollout_to_json
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.waits import wait_to_json
from flaggate.rollout.words import answers, standing
from flaggate.runtime.kept_notices import kept_from_json
from flaggate.runtime.lease_words import lease_to_json, looks_words
from flaggate.runtime.overview import Overview, Standing, overview
from flaggate.runtime.reach import reach_of, reach_to_json, serving_words
from flaggate.runtime.sight import sight
from flaggate.runtime.status_words import Reader, about, told
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import Count, Store

__all__ = ["status"]

_LOOKED_THROUGH: Final = 1000
"""How many events of a flag are looked through for the one that killed it."""


@click.command(help="Where all flags stand, or everything about one: what comes next, and what it waits for.")
@click.argument("flag", required=False, callback=text)
@directory_option
@store_option
@as_json
def status(flag: str | None, directory: Path | None, store: Store, is_json: bool) -> None:
    """Show where flags stand."""
    off = off_here(store, directory)
    seen = overview(store, datetime.now(UTC))
    if not is_json:
        off.say(seen.rows)
    if flag is not None and flag not in seen.rows:
        raise UnknownFlagError(flag, seen.rows)
    one = None if flag is None else seen.standing(flag)
    if is_json:
        names, counts = [flag] if flag else list(seen.rows), store.counts(flag)
        print_json({name: _to_json(name, seen, off, counts) for name in names})
    elif one is not None:
        _print_flag(one, seen, store.history(flag, limit=_LOOKED_THROUGH))
        print_guards(one)
        print_counts(one.flag, one.rollout, store.counts(flag))
        for found in sight(store, one.flag, one.rollout, seen.now.timestamp()):
            line(f"at this traffic, in stage {found.stage}: {found.words}")
    elif not seen.rows:
        line(f"no flags in {store.url}; {program()} apply flags.toml brings them in")
    else:
        _print_all(seen)


# --- of all -----------------------------------------------------------------------------------


def _print_all(seen: Overview) -> None:
    print_table(("flag", "is", "since", "owner", "waits for"), [_cells(name, seen) for name in seen.rows])
    looked_at = [each for each in seen.standings() if is_looked_at(each.rollout)]
    if looked_at:
        moments = (each.progress.looked_at for each in looked_at)
        line(looks_words(seen.lease, max(filter(None, moments), default=None), *_reader()))
    for words in serving_words(seen.presences, seen.revision, seen.now.timestamp()):
        line(words)
    for words in told(seen, is_due=bool(looked_at)):
        line(words)


def _cells(name: str, seen: Overview) -> Sequence[str]:
    try:
        one = seen.standing(name)
    except UnreadableError as error:  # it is not to hide the others
        return name, f"cannot be read: {error.problem}"
    since, words = local_time(one.rollout.since), ", ".join(wait.why for wait in one.waits)
    return name, standing(one.flag, one.rollout), since, answers(one.rollout), words


# --- of one -----------------------------------------------------------------------------------


def _print_flag(one: Standing, seen: Overview, events: Sequence[Event]) -> None:
    line(f"{one.flag.name}: {one.flag.description}")
    last = ""
    for label, words in about(one, seen, [event for event in events if event.kind == "flag"], _reader()):
        line(f"  {'' if label == last else label:<9} {words}")
        last = label


def _reader() -> Reader:
    return Reader(local_time, program())


# --- for programs -----------------------------------------------------------------------------


def _to_json(name: str, seen: Overview, off: OffHere, counts: Sequence[Count]) -> dict[str, Any]:
    here = {"off_here": off.covers(name), "version": seen.rows[name].version, "counts": counts_to_json(counts, name)}
    try:
        one = seen.standing(name)
    except UnreadableError as error:
        return here | {"problem": error.problem}
    flag, rollout, progress = one.flag, one.rollout, one.progress
    stage = current_stage(flag, rollout)
    return rollout_to_json(rollout) | here | {
        "description": flag.description,
        "stage_name": None if stage is None else stage.name,
        "stages": [stage.name for stage in flag.stages],
        "next": one.next,
        "earliest": None if one.earliest is None else one.earliest.isoformat(),
        "waits_for": [wait.why for wait in one.waits],
        "waits": [wait_to_json(wait) for wait in one.waits],
        "observed_seconds": progress.observed_seconds,
        "looked_at": None if progress.looked_at is None else progress.looked_at.isoformat(),
        "lease": lease_to_json(seen.lease),
        "processes": reach_to_json(reach_of(seen.presences, seen.revision)),
        "notices": _notices_to_json(seen.kept.get(NOTICES)),
        "guards": guards_to_json(one),
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
