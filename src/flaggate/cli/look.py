"""The commands that only look: status, explain, history."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flaggate.cli.options import as_json, store_option
from flaggate.cli.render import local_time, print_json, print_table, stage_words, standing, value_words
from flaggate.decide.context import Context
from flaggate.decide.explain import explain as explain_flag
from flaggate.errors import UnknownFlagError
from flaggate.rollout.holds import declared_conditions
from flaggate.rollout.state import Event, Status, current_stage, legal_verbs, rollout_to_json
from flaggate.runtime.disk import OffSwitch
from flaggate.stores.base import Store
from flaggate.stores.record import Record, read_flag, records_of, segment_of

__all__ = ["explain", "history", "status"]


def _waits_for(record: Record) -> tuple[str, ...]:
    """What stands between the flag and its next stage."""
    stage = current_stage(record.flag, record.rollout)
    if record.rollout.killed:
        return ("unkill",)
    if record.rollout.status is Status.DRAFT:
        return ("start",)
    if record.rollout.status is Status.WATCHING:
        return ("complete",)
    if record.rollout.status is not Status.RUNNING or stage is None:
        return ()
    owner = () if record.rollout.accepted_by else ("an owner who accepts",)
    return owner + declared_conditions(stage, datetime.now(UTC))


def _answers(record: Record) -> str:
    """Who answers for it."""
    rollout = record.rollout
    if rollout.accepted_by == rollout.owner:
        return rollout.owner
    return (
        f"{rollout.owner} (not accepted)"
        if rollout.accepted_by is None
        else f"{rollout.accepted_by} for {rollout.owner}"
    )


def _say_off(store: Store) -> None:
    """The kill that needs no store is not in the store: say it wherever somebody looks."""
    off = OffSwitch(None if store.directory is None else Path(store.directory)).names()
    if off:
        click.echo(
            f"off on this machine, whatever is below: {', '.join(sorted(off))} (FLAGGATE_OFF or the off file)", err=True
        )


@click.command(help="Where all flags stand, or everything about one.")
@click.argument("flag", required=False)
@store_option
@as_json
def status(flag: str | None, store: Store, is_json: bool) -> None:
    """Show where flags stand."""
    records = records_of(store) if flag is None else {flag: read_flag(store, flag)}
    if is_json:
        print_json({name: _status_json(record) for name, record in records.items()})
        return
    _say_off(store)
    if flag is not None:
        _print_flag(records[flag])
    elif not records:
        click.echo(f"no flags in {store.url}; flaggate apply flags.toml brings them in")
    else:
        rows = [
            (name, standing(r.flag, r.rollout), local_time(r.rollout.since), _answers(r), ", ".join(_waits_for(r)))
            for name, r in records.items()
        ]
        print_table(("flag", "is", "since", "owner", "waits for"), rows)


def _status_json(record: Record) -> dict[str, Any]:
    flag, rollout = record.flag, record.rollout
    stage = current_stage(flag, rollout)
    return rollout_to_json(rollout) | {
        "description": flag.description,
        "stage_name": None if stage is None else stage.name,
        "stages": [stage.name for stage in flag.stages],
        "waits_for": list(_waits_for(record)),
        "legal": list(legal_verbs(rollout)),
        "version": record.version,
    }


def _print_flag(record: Record) -> None:
    flag, rollout = record.flag, record.rollout
    click.echo(f"{flag.name}: {flag.description}")
    click.echo(f"  is        {standing(flag, rollout)}, since {local_time(rollout.since)}, attempt {rollout.attempt}")
    click.echo(
        f"  owner     {_answers(record)}" + (f"; deputies {', '.join(rollout.deputies)}" if rollout.deputies else "")
    )
    for number, stage in enumerate(flag.stages, 1):
        mark = "here" if number == rollout.stage else "done" if number < rollout.stage else "next"
        click.echo(f"  {'stage' if number == 1 else '     '} {number}   {mark}  {stage.name}: {stage_words(stage)}")
    if _waits_for(record):
        click.echo(f"  waits for {', '.join(_waits_for(record))}")
    click.echo(f"  legal now {', '.join(legal_verbs(rollout))}")


def _attributes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    attributes = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if not is_there:
            raise click.BadParameter(f"{text!r} has no value; say NAME=VALUE")
        try:
            attributes[name] = json.loads(value)
        except ValueError:
            attributes[name] = value
    return attributes


@click.command(help="Whether a flag is on for somebody, and why, step by step.")
@click.argument("flag")
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
    record = read_flag(store, flag)
    rows = store.changes().rows
    segments = {row.name: segment_of(row) for row in rows if row.kind == "segment" and row.document is not None}
    explanation = explain_flag(record.flag, record.rollout, Context(**asked), segments)
    if is_json:
        print_json(explanation.decision._asdict() | {"steps": explanation.steps})
        return
    _say_off(store)
    for step in explanation.steps:
        click.echo(step)
    click.echo("on" if explanation.decision.is_on else "off")


@click.command(help="What changed, who did it and why: of one flag or segment, or of all; the newest last.")
@click.argument("name", required=False)
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
    keys = [key for key in event.after if key != "since" and event.before.get(key) != event.after[key]]
    words = [f"{key} {value_words(event.before.get(key))} -> {value_words(event.after[key])}" for key in keys]
    words += [f"passed over {item}" for item in event.evidence.get("passed_over", ())]
    edited = [path for path, _, _ in event.evidence.get("difference", ())]
    return ", ".join([*words, *([f"edited {', '.join(edited)}"] if edited else [])])
