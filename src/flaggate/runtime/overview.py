"""What a store says of its flags at one moment: for a terminal, a page, and whoever else shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from threading import Lock
from typing import Any

from flaggate.errors import UnreadableError
from flaggate.flags.model import Flag
from flaggate.rollout.outlook import earliest, next_stage
from flaggate.rollout.progress import Progress
from flaggate.rollout.state import Rollout, Status, current_stage
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict import Judgement, judgement_from_json
from flaggate.rollout.waits import Wait, progress_in, waits
from flaggate.stores.base import Lease, Presence, Row, Store
from flaggate.stores.record import Record, Source, record_of

__all__ = ["Overview", "Standing", "overview"]


@dataclass(frozen=True)
class Standing:
    """One flag: where it stands, what comes next, and what it waits for."""

    flag: Flag
    rollout: Rollout
    kept: Mapping[str, Any] | None
    """What the lease's holder keeps of it."""
    version: int
    now: datetime
    source: Source = "file"

    @cached_property
    def progress(self) -> Progress:
        """What was observed where it stands."""
        return progress_in(self.kept, self.rollout)

    @cached_property
    def waits(self) -> tuple[Wait, ...]:
        """What it waits for, in a tick's order."""
        return waits(self.flag, self.rollout, self.kept, self.now)

    @cached_property
    def judgement(self) -> Judgement | None:
        """What its guards said of where it stands, at the last look; None = nothing yet."""
        stage = current_stage(self.flag, self.rollout)
        if self.kept is None or stage is None or not is_looked_at(self.rollout):
            return None
        judgement = judgement_from_json(self.kept.get("judgement"), self.flag, stage)
        return judgement if judgement is not None and judgement.is_of(self.rollout) else None

    @property
    def next(self) -> str | None:
        """What it goes on to: a stage, or completed."""
        if self.rollout.status is Status.WATCHING:
            return Status.COMPLETED
        stage = next_stage(self.flag, self.rollout)
        return None if stage is None else stage.name

    @cached_property
    def earliest(self) -> datetime | None:
        """When the clock lets it go on; None = the clock has no say in it now."""
        return earliest(self.flag, self.rollout, self.progress, self.now)


@dataclass(frozen=True)
class Overview:
    """All of them, and who looks at them."""

    rows: Mapping[str, Row]
    """Flags, by name, in the order of their names."""
    kept: Mapping[str, Mapping[str, Any]]
    """What the lease's holder keeps, by name."""
    lease: Lease | None
    newest: int
    """The id of the last event of all."""
    presences: Sequence[Presence]
    """The processes that serve flags."""
    revision: int
    """The store's."""
    now: datetime
    record: Callable[[Row], Record] = record_of
    """Reads a row. Raises UnreadableError."""

    def standing(self, name: str) -> Standing:
        """One flag. Raises UnreadableError."""
        row = self.rows[name]
        record = self.record(row)
        return Standing(record.flag, record.rollout, self.kept.get(name), row.version, self.now, record.source)

    def standings(self) -> Iterator[Standing]:
        """All that can be read."""
        for name in self.rows:
            try:
                yield self.standing(name)
            except UnreadableError:  # whoever shows the rows says so
                continue


class Overviews:
    """One after the other: what did not change since the one before is not read again. Safe to use from several threads.

    Args:
        store: What is looked at.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._identity = ""
        self._revision = 0
        self._rows: dict[str, Row] = {}
        self._records: dict[str, Record] = {}
        """Of rows that are still the same."""

    def look(self, now: datetime) -> Overview:
        """Ask the store. Raises StoreError."""
        with self._lock:
            self._follow()
            rows, revision = self._rows, self._revision
        store = self._store
        newest = max((event.id for event in store.history(limit=1)), default=0)
        return Overview(rows, store.progress(), store.lease(), newest, store.presences(), revision, now, self._record)

    def _follow(self) -> None:
        changes = self._store.changes(self._revision)
        if self._store.identity != self._identity or changes.revision < self._revision:  # another one in its place
            self._rows, self._records, self._identity = {}, {}, self._store.identity
            changes = self._store.changes()
        self._revision = changes.revision
        if flags := [row for row in changes.rows if row.kind == "flag"]:
            for row in flags:
                self._records.pop(row.name, None)
            rows = self._rows | {row.name: row for row in flags}
            self._rows = {name: rows[name] for name in sorted(rows) if rows[name].document}

    def _record(self, row: Row) -> Record:
        record = self._records.get(row.name)
        if record is None or self._rows.get(row.name) is not row:
            record = record_of(row)
            self._records[row.name] = record
        return record


def overview(store: Store, now: datetime) -> Overview:
    """One. Raises StoreError."""
    return Overviews(store).look(now)
