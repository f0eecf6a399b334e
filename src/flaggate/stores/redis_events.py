"""An event as the Redis store's stream has it: JSON, in a text."""

from __future__ import annotations

import json
from types import SimpleNamespace

from flaggate.rollout.state import Event
from flaggate.stores.columns import event_columns, event_of

__all__ = ["event_from", "event_text"]


def event_text(event: Event) -> str:
    """All but the id, which is the entry's."""
    return json.dumps(event_columns(event))


def event_from(entry: str, text: str) -> Event:
    """Of an entry's id, `17-0`. Raises ValueError for what is no JSON."""
    return event_of(SimpleNamespace(id=int(entry.partition("-")[0]), **json.loads(text)))
