"""A store in this process's memory: for tests, and for trying things out."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flaggate.errors import ConflictError
from flaggate.rollout.state import Event
from flaggate.stores.base import Changes, Kind, Row, Write

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps everything in this process; a fork gets a copy that goes its own way."""

    url = "memory://"
    poll_seconds = 0.1
    directory: str | None = None

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._revision = 0
        self._rows: dict[tuple[Kind, str], tuple[int, Row]] = {}
        """The rows with the revision of their last write."""
        self._events: list[Event] = []

    def revision(self) -> int:
        return self._revision

    def changes(self, since: int = 0) -> Changes:
        with self._lock:
            return Changes(self._revision, tuple(row for written, row in self._rows.values() if written > since))

    def get(self, kind: Kind, name: str) -> Row | None:
        _, row = self._rows.get((kind, name), (0, None))
        return row if row is not None and row.document is not None else None

    def commit(self, writes: Sequence[Write], events: Sequence[Event]) -> int:
        with self._lock:
            rows = [self._next(write) for write in writes]
            self._revision += 1
            self._rows |= {(row.kind, row.name): (self._revision, row) for row in rows}
            for event in events:
                self._events.append(replace(event, id=len(self._events) + 1))
            return self._revision

    def _next(self, write: Write) -> Row:
        _, row = self._rows.get((write.kind, write.name), (0, None))
        found = row.version if row is not None and row.document is not None else 0
        if found != write.expected:
            raise ConflictError(self.url, write.kind, write.name, expected=write.expected, found=found)
        return Row(write.kind, write.name, (row.version if row else 0) + 1, _copy(write.document))

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        with self._lock:
            found = [event for event in self._events if event.id > after and name in (None, event.name)]
        return found[-limit:]

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()

    def close(self) -> None:
        """Nothing is open."""


def _copy(document: Mapping[str, Any] | None) -> Any:
    """What a database would give back."""
    return json.loads(json.dumps(document))
