"""The commands on a definitions file: check, schema, apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from flaggate.cli.options import acting, as_json, definitions_file, writing_store
from flaggate.cli.render import line, print_json
from flaggate.errors import NoStoreError, StoreError
from flaggate.flags.advice import advice, misspelt
from flaggate.flags.document import json_schema
from flaggate.flags.words import counted, value_words
from flaggate.rollout.state import Event
from flaggate.runtime.control import Applied, Control
from flaggate.runtime.definitions import load
from flaggate.stores import open_store
from flaggate.stores.base import Store

__all__ = ["apply", "check", "schema"]


@click.command(help="Read a definitions file and say every mistake in it. Exit code 2 if there is one.")
@definitions_file
@as_json
def check(file: str, is_json: bool) -> None:
    """Validate a file."""
    definitions = load(file).definitions
    notes = list(advice(definitions.flags))
    if is_json:
        advised = [{"path": path, "words": words} for path, words in notes]
        print_json({"flags": list(definitions.flags), "segments": list(definitions.segments), "advice": advised})
        return
    for path, words in notes:
        line(f"{file}: {path}: {words}")
    counts = f"{counted(len(definitions.flags), 'flag')}, {counted(len(definitions.segments), 'segment')}"
    line(f"{file}: {counts}, no mistakes" + (f", {len(notes)} to think about" if notes else ""))


@click.command(help="Print a JSON Schema of definitions files, for editors.")
def schema() -> None:
    """Print the schema."""
    print_json(json_schema())


@click.command(help="Bring a definitions file into the store: all of it, or nothing.")
@definitions_file
@click.option("--dry-run", is_flag=True, is_eager=True, help="Show the difference, change nothing.")
@click.option("--prune", is_flag=True, help="Remove flags that left the file; only draft, off, rolled back, completed.")
@writing_store
@acting
@as_json
def apply(file: str, dry_run: bool, prune: bool, store: Store, actor: str, reason: str | None, is_json: bool) -> None:
    """Apply a file."""
    loaded, url = load(file), store.url
    if dry_run:
        store = _as_it_is(store)
    is_new = store.revision() == 0  # nothing was ever written
    applied = Control(store).apply(
        loaded.definitions,
        actor=actor,
        reason=reason,
        fingerprint=loaded.fingerprint,
        prune=prune,
        dry_run=dry_run,
    )
    if is_json:
        changes = [{"name": e.name, "kind": e.kind, "verb": e.verb, **e.evidence} for e in applied.events]
        new = {"new_store": url} if is_new else {}
        print_json({"dry_run": dry_run, "changes": changes, "kept": list(applied.kept)} | new)
        return
    for path, words in misspelt(loaded.definitions.flags):
        line(f"{file}: {path}: {words}", err=True)
    if is_new and not dry_run:
        line(f"new store {store.url}")
    _print(applied, dry_run)


def _as_it_is(store: Store) -> Store:
    """The store; an empty one in memory where there is none, which a dry run does not make."""
    try:
        store.revision()
    except NoStoreError:
        return open_store("memory://")
    except StoreError:
        if store.directory is None or Path(store.directory.removesuffix(".flaggate")).exists():
            raise
        return open_store("memory://")
    return store


def _print(applied: Applied, dry_run: bool) -> None:
    for event in applied.events:
        line(f"{_sign(event)} {event.kind} {event.name}")
        if event.before is not None and event.after is not None:
            for path, before, after in event.evidence.get("difference", ()):
                line(f"    {path}: {_was(before)} -> {_was(after)}")
            for words in _begins_anew(event):
                line(f"    {words}")
            for name in event.evidence.get("touches", ()):
                line(f"    touches flag {name}")
    for name in applied.kept:
        line(f"  flag {name} is in the store, not in the file; it stays (--prune removes it)")
    if not applied.events:
        line("nothing to change")
    elif dry_run:
        line("dry run: nothing was changed")


def _begins_anew(event: Event) -> Iterator[str]:
    """What an edit of a running rollout undoes."""
    before, after = event.before or {}, event.after or {}
    if before.get("revision") != after.get("revision") and before.get("attempt"):
        yield "the stage that it is in begins anew: soak, evidence, watch and approval no longer count"
    elif before.get("approval") is not None and after.get("approval") is None:
        yield "its approval no longer counts: the next stage is another one"


def _sign(event: Event) -> str:
    if event.before is None:
        return "+"
    return "-" if event.after is None else "~"


def _was(value: object) -> str:
    return "(not there)" if value is None else value_words(value)
