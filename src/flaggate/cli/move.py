"""move: everything from one store to another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from flaggate.cli.options import as_json, opened_place, program
from flaggate.cli.render import line, print_json
from flaggate.flags.words import counted
from flaggate.runtime.carry import Carried, carry
from flaggate.stores.base import Contents, Store, without_password

__all__ = ["move"]


@click.command(
    help="Carry everything from one store to another, empty one: flags and where they stand, segments, events, counts. "
    "Stop the processes of the app first, and let them start with the other URL."
)
@click.option("--from", "old", metavar="URL", required=True, help="The store that is used now; it stays as it is.")
@click.option("--to", "new", metavar="URL", required=True, help="The other one; its tables are made.")
@click.option("--anyway", is_flag=True, help="Also while processes use the old one: what they write there is lost.")
@as_json
def move(old: str, new: str, anyway: bool, is_json: bool) -> None:
    """Move house."""
    source, target = opened_place(old, create=False), opened_place(new, create=True)
    if _is_same(source, target):
        raise click.UsageError(f"--from and --to name the same store: {without_password(new)}.")
    carried = carry(source, target, anyway=anyway)
    if is_json:
        print_json(_to_json(source, target, carried))
    else:
        for words in _words(source, target, carried.contents):
            line(words)
    for words in _warnings(source, target, carried):
        line(words, err=True)


def _is_same(one: Store, other: Store) -> bool:
    """Also of two ways to write the path of a file."""
    files = [_file(store) for store in (one, other)]
    return one.url == other.url or (files[0] == files[1] and files[0] is not None)


def _file(store: Store) -> str | None:
    if not store.url.startswith("sqlite:") or store.directory is None:
        return None
    return os.path.realpath(store.directory.removesuffix(".flaggate"))


def _words(source: Store, target: Store, contents: Contents) -> Iterator[str]:
    found = _counted(contents)
    kept = [
        counted(found["flags"], "flag"),
        counted(found["segments"], "segment"),
        counted(found["events"], "event"),
        f"the counts of {counted(found['counted'], 'flag')}",
        f"what was observed of {counted(found['observed'], 'rollout')}",
    ]
    yield f"carried to {target.url}: {', '.join(kept[:-1])} and {kept[-1]}"
    yield "read back from there: it is the same"
    yield f"{source.url} is as it was, and nothing marks it: a process that goes on with it is not seen by the others"
    where = f"where {source.url} was said (FLAGGATE_STORE, --store, Gate.open), and start every process anew"
    yield f"next: say {target.url} {where}; then {program()} status"


def _warnings(source: Store, target: Store, carried: Carried) -> Iterator[str]:
    yield from carried.users
    if carried.users:
        yield f"what they write to {source.url} from now on is lost: what people do there, kills too, and what is counted"
    if carried.meanwhile is not None:
        yield f"{carried.meanwhile}: {target.url} has it not"
    if source.directory is None or source.directory == target.directory:
        return
    off = Path(source.directory, "off")
    if os.path.exists(off):
        there = target.directory or "the `directory` that Gate.open is given"
        yield f"{off} turns flags off on this machine, and does not come along: it belongs into {there}"


def _counted(contents: Contents) -> dict[str, int]:
    there = [(row.kind, row.name) for row in contents.rows if row.document is not None]
    flags = {name for kind, name in there if kind == "flag"}
    return {
        "flags": len(flags),
        "segments": sum(kind == "segment" for kind, _ in there),
        "events": len(contents.events),
        "counted": len({count.flag for count in contents.counts}),
        "observed": len(flags.intersection(contents.progress)),
    }


def _to_json(source: Store, target: Store, carried: Carried) -> dict[str, Any]:
    return {
        "from": source.url,
        "to": target.url,
        "revision": carried.contents.revision,
        **_counted(carried.contents),
        "in_use": list(carried.users),
        "meanwhile": carried.meanwhile,
    }
