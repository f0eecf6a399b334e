"""What a database has in its columns for what a store holds: a document is JSON, in a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from flaggate.rollout.state import Event
from flaggate.stores.base import Count, Kind, Row

__all__ = [
    "count_columns",
    "count_of",
    "documents_of",
    "dumps",
    "event_columns",
    "event_of",
    "histogram_of",
    "loads",
    "row_of",
]


def dumps(document: Mapping[str, Any] | None) -> Any:
    """The text of a document; None stays None."""
    # In ASCII: a MySQL database may know three bytes a character only.
    return None if document is None else json.dumps(document, separators=(",", ":"))


def loads(text: str | None) -> Any:
    """The opposite of `dumps`. Raises ValueError for what is no JSON."""
    return None if text is None else json.loads(text)


def row_of(kind: Kind, name: str, version: int, document: str | None) -> Row:
    """A row of the rows' table. Raises ValueError for what is no JSON."""
    return Row(kind, name, version, loads(document))


def event_columns(event: Event) -> dict[str, Any]:
    """All but the id, which the database gives."""
    return {
        "kind": event.kind,
        "name": event.name,
        "verb": event.verb,
        "actor": event.actor,
        "at": event.at.isoformat(),
        "reason": event.reason,
        "before": dumps(event.before),
        "after": dumps(event.after),
        "evidence": dumps(event.evidence),
    }


def event_of(row: Any) -> Event:
    """A row of the events' table, columns as attributes. Raises ValueError for what is no JSON."""
    return Event(
        row.name,
        row.verb,
        row.actor,
        datetime.fromisoformat(row.at),
        row.reason,
        loads(row.before),
        loads(row.after),
        loads(row.evidence),
        row.kind,
        row.id,
    )


def count_columns(count: Count) -> dict[str, Any]:
    """What is counted, without its place."""
    return {
        "requests": count.requests,
        "errors": count.errors,
        "histogram": dumps(count.histogram),
        "measured": dumps(count.measured),
    }


def count_of(row: Any) -> Count:
    """A row of the counts' table or of the windows', columns as attributes. What somebody broke counts as nothing."""
    return Count(
        row.flag,
        row.attempt,
        row.stage,
        row.arm,
        row.requests,
        row.errors,
        histogram_of(row.histogram),
        histogram_of(row.measured),
    )


def histogram_of(text: str) -> dict[str, int]:
    """What was counted so far. Nothing for what is no histogram, whoever wrote it there: the counts go on without."""
    try:
        return {str(edge): int(number) for edge, number in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def documents_of(kept: Iterable[tuple[str, str]]) -> dict[str, Mapping[str, Any]]:
    """Names and texts of the progress. What is no document is left out, whoever wrote it there: one that cannot be read
    is not to keep all rollouts from being looked at, and the next look writes it anew.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name, text in kept:
        try:
            document = json.loads(text)
        except ValueError:
            continue
        if isinstance(document, dict):
            found[name] = document
    return found
