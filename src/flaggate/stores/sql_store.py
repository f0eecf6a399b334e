"""What stores in an SQL database share, through SQLAlchemy Core; each database says how it connects, locks and waits."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from flaggate.errors import ConflictError, LeaseError, StoreError
from flaggate.rollout.state import Event
from flaggate.stores import sql_contents, sql_counts, tables
from flaggate.stores.base import (
    NOT_EMPTY,
    PRESENCE_SPANS,
    Changes,
    Contents,
    Count,
    Kind,
    Lease,
    Presence,
    Report,
    Row,
    UnitSum,
    Window,
    Write,
)
from flaggate.stores.columns import documents_of, dumps, event_columns, event_of, row_of

__all__ = ["SHORTLY_SECONDS", "TableStore", "is_anew"]

SHORTLY_SECONDS = 0.2
"""How long what is written beside the rows waits for another writer."""


class TableStore:
    """A store in the tables of `flaggate.stores.tables`. A database's own module says the rest."""

    url: str
    poll_seconds: float
    directory: str | None
    identity = salt = ""

    @abstractmethod
    def revision(self) -> int:
        """As the Protocol has it."""

    @abstractmethod
    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        """As the Protocol has it."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that sees one state of all tables."""

    @abstractmethod
    def _writing(self, writes: Sequence[Write] | None = None) -> AbstractContextManager[sa.Connection]:
        """A transaction that is the only one to write rows; and counts, where the writes remove any or there are none."""

    @abstractmethod
    def _beside(self, what: str) -> AbstractContextManager[sa.Connection]:
        """A transaction that is the only one to write `counts`, the `lease` or what processes say (`presences`), and
        waits for another one only shortly."""

    @abstractmethod
    def _next_revision(self, connection: sa.Connection) -> int:
        """Of this commit; kept already."""

    @abstractmethod
    def _now(self, connection: sa.Connection) -> float:
        """Unix time, by the store's clock."""

    @abstractmethod
    def _call(self, salt: str, *which: object) -> None:
        """Set what the store is called: what was drawn for it, and what else `_head` has."""

    @abstractmethod
    def close(self) -> None:
        """As the Protocol has it."""

    # --- rows -------------------------------------------------------------------------------

    def changes(self, since: int = 0) -> Changes:
        with self._reading() as connection:
            salt, revision, *which = connection.execute(self._head()).one()
            self._call(salt, *which)  # it may have been filled from another one, or been made anew
            column = tables.rows.c
            query = sa.select(column.kind, column.name, column.version, column.document)
            found = connection.execute(query.where(column.revision > since)).all()
            return Changes(revision, tuple(row_of(*columns) for columns in found))

    def _head(self) -> sa.Select[Any]:
        """What was drawn for the store, its revision, and what else it is called by."""
        return sa.select(tables.meta.c.identity, tables.meta.c.revision)

    def get(self, kind: Kind, name: str) -> Row | None:
        with self._reading() as connection:
            column = tables.rows.c
            query = sa.select(column.version, column.document).where(column.kind == kind, column.name == name)
            found = connection.execute(query).first()
            return None if found is None or found.document is None else row_of(kind, name, *found)

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        with self._writing(writes) as connection:
            if holder is not None:
                self._check_lease(connection, holder)
            revision = self._next_revision(connection)
            for write in writes:
                self._write(connection, write, revision)
            if events:
                connection.execute(sa.insert(tables.events), [event_columns(event) for event in events])
        return revision

    def _write(self, connection: sa.Connection, write: Write, revision: int) -> None:
        column = tables.rows.c
        key = (column.kind == write.kind) & (column.name == write.name)
        row = connection.execute(sa.select(column.version, column.document).where(key)).first()
        found = 0 if row is None or row.document is None else row.version
        if found != write.expected:
            raise ConflictError(self.url, write.kind, write.name, expected=write.expected, found=found)
        values = {
            "version": (row.version if row else 0) + 1,
            "revision": revision,
            "document": dumps(write.document),
        }
        if row is None:
            connection.execute(sa.insert(tables.rows).values(kind=write.kind, name=write.name, **values))
        else:
            connection.execute(sa.update(tables.rows).where(key).values(**values))
        if is_anew(write):
            sql_counts.remove_flag(connection, write.name)
            connection.execute(sa.delete(tables.progress).where(tables.progress.c.name == write.name))

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        column = tables.events.c
        query = sa.select(tables.events).where(column.id > after).order_by(column.id.desc()).limit(limit)
        if name is not None:
            query = query.where(column.name == name)
        with self._reading() as connection:
            return [event_of(row) for row in reversed(connection.execute(query).all())]

    # --- counts -----------------------------------------------------------------------------

    def add_counts(self, report: Report) -> None:
        with self._beside("counts") as connection:
            sql_counts.add_report(connection, report, self._now(connection))

    def counts(self, flag: str | None = None) -> list[Count]:
        with self._reading() as connection:
            return sql_counts.counts(connection, flag)

    def windows(self, flag: str, since: float) -> list[Window]:
        with self._reading() as connection:
            return sql_counts.windows(connection, flag, since)

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        with self._reading() as connection:
            return sql_counts.units(connection, flag, attempt, stage)

    def pulse(self) -> int:
        with self._reading() as connection:
            return sql_counts.pulse(connection)

    # --- the lease and what its holder keeps ------------------------------------------------

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        with self._beside("lease") as connection:
            held = self._held(connection)
            if held is not None and held.holder != holder:
                return False
            connection.execute(sa.delete(tables.leases))
            values = {"id": 1, "holder": holder, "who": who, "renewed_at": self._now(connection), "seconds": seconds}
            connection.execute(sa.insert(tables.leases).values(values))
            return True

    def lease(self) -> Lease | None:
        with self._reading() as connection:
            return self._held(connection)

    def _held(self, connection: sa.Connection, *, is_kept: bool = False) -> Lease | None:
        query = sa.select(tables.leases)
        found = connection.execute(query.with_for_update(read=True) if is_kept else query).first()
        if found is None:
            return None
        lease = Lease(found.holder, found.who, found.renewed_at, found.seconds)
        return lease if lease.is_held(self._now(connection)) else None

    def release_lease(self, holder: str) -> None:
        with self._beside("lease") as connection:
            connection.execute(sa.delete(tables.leases).where(tables.leases.c.holder == holder))

    def _check_lease(self, connection: sa.Connection, holder: str) -> None:
        held = self._held(connection, is_kept=True)  # until this transaction ends nobody else takes it
        if held is None or held.holder != holder:
            raise LeaseError(self.url)

    def progress(self) -> dict[str, Mapping[str, Any]]:
        with self._reading() as connection:
            found = connection.execute(sa.select(tables.progress.c.name, tables.progress.c.document))
            return documents_of((name, text) for name, text in found)

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        kept = [
            {"name": name, "document": dumps(document)} for name, document in documents.items() if document is not None
        ]
        with self._beside("lease") as connection:
            self._check_lease(connection, holder)
            connection.execute(sa.delete(tables.progress).where(tables.progress.c.name.in_(list(documents))))
            if kept:
                connection.execute(sa.insert(tables.progress), kept)

    # --- processes --------------------------------------------------------------------------

    def say(self, presence: Presence) -> None:
        presences = tables.presences
        with self._beside("presences") as connection:
            said = asdict(replace(presence, said_at=self._now(connection)))
            known = connection.execute(
                sa.update(presences).where(presences.c.process == presence.process).values(said)
            ).rowcount
            if not known:
                forgotten = presences.c.said_at < said["said_at"] - PRESENCE_SPANS * presences.c.every_seconds
                connection.execute(sa.delete(presences).where(forgotten))
                connection.execute(sa.insert(presences).values(said))

    def presences(self) -> list[Presence]:
        with self._reading() as connection:
            found = [Presence(*row) for row in connection.execute(sa.select(tables.presences))]
            now = self._now(connection)
        there = [presence for presence in found if presence.is_there(now)]
        return sorted(there, key=lambda presence: (presence.who, presence.process))

    def unsay(self, process: str) -> None:
        with self._beside("presences") as connection:
            connection.execute(sa.delete(tables.presences).where(tables.presences.c.process == process))

    def contents(self) -> Contents:
        with self._reading() as connection:
            return sql_contents.contents(connection)

    def fill(self, contents: Contents) -> None:
        with self._writing() as connection:
            if not sql_contents.is_empty(connection):
                raise StoreError(self.url, NOT_EMPTY)
            sql_contents.fill(connection, contents)
        self.close()  # what it is called changes with it


def is_anew(write: Write) -> bool:
    """Whether a flag goes, or is made anew: nothing that was counted of it stays."""
    return write.kind == "flag" and (write.document is None or not write.expected)
