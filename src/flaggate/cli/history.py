"""history: what changed, who did it and why; for people, for programs, and for export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from flaggate.cli.options import as_json, store_option, text
from flaggate.cli.render import local_time, print_json, print_json_line, print_table
from flaggate.errors import UnknownFlagError
from flaggate.rollout.event_words import change_words
from flaggate.rollout.state import Event
from flaggate.stores.base import Store

__all__ = ["ALL", "event_line", "event_to_json", "history"]

ALL: Final = 2**31 - 1
"""As many events as any store can be asked for."""
_NEWEST: Final = 50


@click.command(help="What changed, who did it and why: of one flag or segment, or of all; the newest last.")
@click.argument("name", required=False, callback=text)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1, max=ALL),
    help=f"The newest so many; {_NEWEST} if neither this nor --all nor --after is said.",
)  # fmt: skip
@click.option("--all", "is_whole", is_flag=True, help="All of it.")
@click.option("--after", metavar="ID", type=click.IntRange(min=0), help="Only what came after the event with this id.")
@click.option("--jsonl", "is_lines", is_flag=True, help="Print JSON lines, one event each, for export.")
@store_option
@as_json
def history(
    name: str | None,
    limit: int | None,
    is_whole: bool,
    after: int | None,
    is_lines: bool,
    store: Store,
    is_json: bool,
) -> None:
    """Show events."""
    if is_whole and limit is not None:
        raise click.UsageError("--all and --limit contradict each other; say one of them.")
    if after is not None and limit is not None:
        raise click.UsageError("--after is all that came after that event, --limit the newest of all; say one of them.")
    if is_lines and is_json:
        raise click.UsageError("--json prints one list, --jsonl a line for each event; say one of them.")
    most = limit or (ALL if is_whole or after is not None else _NEWEST)
    events = store.history(name, limit=most, after=after or 0)
    if name is not None and not events and not store.history(name, limit=1):
        raise UnknownFlagError(name, (row.name for row in store.changes().rows if row.kind != "definitions"))
    if is_lines:
        for event in events:
            print_json_line(event_to_json(event))
    elif is_json:
        print_json([event_to_json(event) for event in events])
    else:
        _print(events)


def _print(events: Sequence[Event]) -> None:
    rows = [(local_time(e.at), e.name, e.actor, e.verb, change_words(e), e.reason or "") for e in events]
    print_table(("when", "flag", "who", "what", "change", "why"), rows)


def event_to_json(event: Event) -> dict[str, Any]:
    """All of it, in JSON's types."""
    return asdict(event) | {"at": event.at.isoformat()}


def event_line(event: Event) -> str:
    """The same with the flag and what is different now: for a log."""
    change = f" ({words})" if (words := change_words(event)) else ""
    why = f": {event.reason}" if event.reason else ""
    return f"{local_time(event.at)} {event.name}: {event.actor} {event.verb}{change}{why}"
