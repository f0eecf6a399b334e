"""The commands that only look: status, explain, history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from flaggate.cli.counts import counts_to_json, print_counts
from flaggate.cli.off import OffHere, off_here
from flaggate.cli.options import as_json, flag_argument, program, store_option, text
from flaggate.cli.render import counted, line, local_time, print_json, print_table
from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.decide.explain import Explanation
from flaggate.decide.explain import explain as explain_flag
from flaggate.errors import UnknownFlagError, UnreadableError
from flaggate.flags.model import Segment
from flaggate.flags.place import show
from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from flaggate.rollout.moves import legal_verbs
from flaggate.rollout.state import Event, Status, Verb, current_stage, rollout_to_json
from flaggate.rollout.words import standing
from flaggate.runtime.control import holds_by
from flaggate.stores.base import Count, Row, Store
from flaggate.stores.record import Record, flag_row, record_of, segment_of

__all__ = ["explain", "history", "status"]

_LOOKED_THROUGH = 1000
"""How many events of a flag are looked through for the one that killed it."""


def _waits_for(record: Record, kept: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What stands between the flag and its next stage."""
    if record.rollout.killed:
        return ("unkill",)
    if record.rollout.status is Status.DRAFT:
        return ("start",)
    if record.rollout.status is Status.WATCHING:
        return ("complete",)
    return tuple(str(hold) for hold in holds_by(kept, record.flag, record.rollout, datetime.now(UTC)))


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


def _flag_rows(store: Store) -> list[Row]:
    rows = (row for row in store.changes().rows if row.kind == "flag" and row.document is not None)
    return sorted(rows, key=lambda row: row.name)


@click.command(help="Where all flags stand, or everything about one.")
@click.argument("flag", required=False, callback=text)
@store_option
@as_json
def status(flag: str | None, store: Store, is_json: bool) -> None:
    """Show where flags stand."""
    rows, off = _flag_rows(store), off_here(store)
    if not is_json:
        off.say([row.name for row in rows])
    if flag is not None:
        row = flag_row(store, flag)
        record = record_of(row)
        counts, kept = store.counts(flag), store.progress()
        if is_json:
            print_json({flag: _status_json(row, off, counts, kept)})
        else:
            _print_flag(record, kept.get(flag), store.history(flag, limit=_LOOKED_THROUGH))
            print_counts(record.flag, record.rollout, counts)
    elif is_json:
        counts, kept = store.counts(), store.progress()
        print_json({row.name: _status_json(row, off, counts, kept) for row in rows})
    elif not rows:
        line(f"no flags in {store.url}; {program()} apply flags.toml brings them in")
    else:
        kept = store.progress()
        print_table(("flag", "is", "since", "owner", "waits for"), [_cells(row, kept.get(row.name)) for row in rows])


def _cells(row: Row, kept: Mapping[str, Any] | None) -> Sequence[str]:
    try:
        record = record_of(row)
    except UnreadableError as error:  # it is not to hide the others
        return row.name, f"cannot be read: {error.problem}"
    words = standing(record.flag, record.rollout)
    return row.name, words, local_time(record.rollout.since), _answers(record), ", ".join(_waits_for(record, kept))


def _status_json(
    row: Row, off: OffHere, counts: Sequence[Count], kept: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    here = {"off_here": off.covers(row.name), "version": row.version, "counts": counts_to_json(counts, row.name)}
    try:
        record = record_of(row)
    except UnreadableError as error:
        return here | {"problem": error.problem}
    flag, rollout = record.flag, record.rollout
    stage = current_stage(flag, rollout)
    return rollout_to_json(rollout) | here | {
        "description": flag.description,
        "stage_name": None if stage is None else stage.name,
        "stages": [stage.name for stage in flag.stages],
        "waits_for": list(_waits_for(record, kept.get(row.name))),
        "legal": list(legal_verbs(flag, rollout)),
    }  # fmt: skip


def _print_flag(record: Record, kept: Mapping[str, Any] | None, events: Sequence[Event]) -> None:
    line(f"{record.flag.name}: {record.flag.description}")
    last = ""
    for label, words in _about(record, kept, [event for event in events if event.kind == "flag"]):
        line(f"  {'' if label == last else label:<9} {words}")
        last = label


def _about(record: Record, kept: Mapping[str, Any] | None, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Everything about one flag, by label."""
    flag, rollout = record.flag, record.rollout
    yield "is", f"{standing(flag, rollout)}, since {local_time(rollout.since)}, attempt {rollout.attempt}"
    if rollout.killed:
        kills = (_event_words(event) for event in reversed(events) if event.verb == Verb.KILL)
        yield "killed", next(kills, f"too long ago to say by whom; see {program()} history")
    deputies = f"; deputies {', '.join(rollout.deputies)}" if rollout.deputies else ""
    yield "owner", _answers(record) + deputies
    if flag.is_switch:
        yield "audience", audience_words(flag.audience)
    if flag.deny:
        yield "deny", audience_words(flag.deny)
    for number, (stage, conditions) in enumerate(zip(flag.stages, condition_words(flag), strict=True), 1):
        mark = "here" if number == rollout.stage else "done" if number < rollout.stage else "next"
        guards = [guard_words(guard) for guard in stage.guards]
        words = "; ".join([stage_words(stage), *([conditions] if conditions else []), *guards])
        yield "stages", f"{number:<2} {mark}  {stage.name}: {words}"
    yield from (("guards", guard_words(guard)) for guard in flag.guards)
    if waits := _waits_for(record, kept):
        yield "waits for", ", ".join(waits)
    yield "legal now", ", ".join(legal_verbs(flag, rollout))
    yield from (("last", _event_words(event)) for event in events[-1:])


def _event_words(event: Event) -> str:
    return f"{local_time(event.at)} {event.actor} {event.verb}" + (f": {event.reason}" if event.reason else "")


def _attributes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    attributes = {}
    for written in texts:
        name, is_there, value = written.partition("=")
        if not is_there:
            raise click.BadParameter(f"{written!r} has no value; say NAME=VALUE")
        try:
            attributes[name] = json.loads(value)
        except ValueError:
            attributes[name] = value
    return attributes


@click.command(help="Whether a flag is on for somebody, and why, step by step.")
@flag_argument
@click.option("--user", help="The user's key.")
@click.option("--account", help="The account's key.")
@click.option("--visitor", help="The visitor's key.")
@click.option("--staff", is_flag=True, help="One of our own.")
@click.option("--group", "groups", multiple=True, help="A group; may be said several times.")
@click.option("--tier", help="The account's tier.")
@click.option("--city", help="The city's English name.")
@click.option("--city-id", type=int, help="The city's GeoNames id.")
@click.option("--region", help="The region.")
@click.option("--country", help="The country's ISO 3166 code.")
@click.option("--ip", help="The client's address.")
@click.option(
    "--attribute", "attributes", metavar="NAME=VALUE", multiple=True, callback=_attributes,
    help="One of the app's own; VALUE is JSON, else text.",
)  # fmt: skip
@store_option
@as_json
def explain(flag: str, store: Store, is_json: bool, **asked: Any) -> None:
    """Explain a decision."""
    row, off = flag_row(store, flag), off_here(store)
    if off.covers(flag):  # the words of Gate.explain
        steps = ("kill: yes, in this process (FLAGGATE_OFF or the off file)",)
        explanation = Explanation(Decision(flag, False, "killed"), steps)
    else:
        record = record_of(row)
        segments = dict(_segments(store.changes().rows))
        explanation = explain_flag(record.flag, record.rollout, Context(**asked), segments)
    if is_json:
        print_json(explanation.decision._asdict() | {"steps": explanation.steps})
        return
    if off.problem is not None:
        line(off.problem, err=True)
    for step in explanation.steps:
        line(step)
    line("on" if explanation.decision.is_on else "off")


def _segments(rows: Iterable[Row]) -> Iterator[tuple[str, Segment]]:
    for row in rows:
        if row.kind == "segment" and row.document is not None:
            with suppress(UnreadableError):  # whoever asks for it is told that it is missing
                yield row.name, segment_of(row)


@click.command(help="What changed, who did it and why: of one flag or segment, or of all; the newest last.")
@click.argument("name", required=False, callback=text)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@store_option
@as_json
def history(name: str | None, limit: int, store: Store, is_json: bool) -> None:
    """Show events."""
    events = store.history(name, limit=limit)
    if name is not None and not events:
        raise UnknownFlagError(name, (row.name for row in store.changes().rows if row.kind != "definitions"))
    if is_json:
        print_json([asdict(event) | {"at": event.at.isoformat()} for event in events])
        return
    rows = [(local_time(e.at), e.name, e.actor, e.verb, _change(e), e.reason or "") for e in events]
    print_table(("when", "flag", "who", "what", "change", "why"), rows)


def _change(event: Event) -> str:
    """What is different in where the flag stands, in a few words."""
    if event.before is None or event.after is None:
        return "new" if event.before is None else "removed"
    before, after = event.before, event.after
    keys = [key for key in after if key != "since" and before.get(key) != after[key]]
    words = [f"{key.replace('_', ' ')} {_value(key, before)} -> {_value(key, after)}" for key in keys]
    words += [f"passed over {item}" for item in event.evidence.get("passed_over", ())]
    words += [f"{path}: {_edited(was)} -> {_edited(now)}" for path, was, now in event.evidence.get("difference", ())]
    words += [f"{counted(event.evidence[key], 'member')} {key}" for key in ("added", "gone") if event.evidence.get(key)]
    return ", ".join(words)


def _value(key: str, state: Mapping[str, Any]) -> str:
    """A value of where it stands."""
    value = state.get(key)
    if value is None or value == []:
        return "nobody" if key in {"accepted_by", "deputies"} else "(not there)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "deputies":
        return ", ".join(value)
    return value.replace("_", " ") if key == "status" else value if isinstance(value, str) else show(value)


def _edited(value: Any) -> str:
    """A value of the plan."""
    return "(not there)" if value is None else show(value)
