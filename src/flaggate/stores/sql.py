"""A store in an SQL database, through SQLAlchemy Core: SQLite, one file, any number of processes.

SQLite: WAL, so that readers and the one writer do not wait for each other; every write transaction
is BEGIN IMMEDIATE, so that a compare-and-set reads what nobody else is changing.

Forks: an SQLite connection that is open while the process forks takes the child's locks away
(SQLite counts locks by process in memory that the child inherits, the kernel does not), so before a
fork every connection is closed, and both sides open their own. See sqlite.org/howtocorrupt.html 2.6.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flaggate.errors import BusyError, ConflictError, LeaseError, StoreError
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
    without_password,
)
from flaggate.stores.columns import documents_of, dumps, event_columns, event_of, row_of

__all__ = ["SqlStore"]

_READ_ONLY = "; SQLite's WAL needs the right to write the file and its folder, even to read"
_HINTS = {"SQLITE_READONLY": _READ_ONLY, "SQLITE_READONLY_DIRECTORY": _READ_ONLY, "SQLITE_CANTOPEN": _READ_ONLY}
_FORM = "name a file: sqlite:///flags.db; for a store in memory say memory://"
_SHORTLY_SECONDS = 0.2
_left_open: list[object] = []
"""Connections that another thread was using during the fork: not ours to close, so they are kept."""


class SqlStore:
    """A store at an SQLAlchemy URL: `sqlite:///flags.db`.

    Args:
        url: Of a file; a database in memory is private to a connection and refused.
        create: Whether to make the file and its tables when they are not there.
        busy_seconds: How long a write waits for another process's.
        clock: Unix time, for the lease and the windows.
    """

    poll_seconds = 0.1

    def __init__(
        self, url: str, *, create: bool = True, busy_seconds: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            parsed = sa.make_url(url)
        except (SQLAlchemyError, ValueError) as error:  # ValueError: a port that is no number
            raise StoreError(without_password(url), f"this is no URL of a store; {_FORM}") from error
        self.url = parsed.render_as_string(hide_password=True)
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise StoreError(without_password(url), f"this names no file; {_FORM}")
        try:
            self._path = Path(parsed.database).absolute()
        except OSError as error:
            raise StoreError(
                self.url, f"the folder that this runs in has gone ({error}); give an absolute path"
            ) from error
        self.directory: str | None = f"{self._path}.flaggate"
        self._create = create
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._url = parsed.set(database=str(self._path))
        self._lock = threading.RLock()
        self._engine: sa.Engine | None = None
        self._connection: sqlite3.Connection | None = None
        """The one connection that the engine uses too."""
        self._file: tuple[int, int] | None = None
        """Device and inode of what is open."""
        self.identity = self.salt = ""
        self._is_held = False

    def revision(self) -> int:
        with self._errors(), self._lock:
            self._open()
            assert self._connection is not None  # _open made it
            # Past SQLAlchemy, at a seventh of its price: this is asked ten times a second, for ever.
            (revision,) = self._connection.execute("SELECT revision FROM flaggate_meta").fetchone()
            return int(revision)

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        is_over.wait(seconds)
        return False

    def changes(self, since: int = 0) -> Changes:
        with self._transaction() as connection:
            meta, column = tables.meta.c, tables.rows.c
            salt, revision = connection.execute(sa.select(meta.identity, meta.revision)).one()
            if salt != self.salt:  # it was filled from another store while this process had it open
                self._call(salt)
            query = sa.select(column.kind, column.name, column.version, column.document)
            found = connection.execute(query.where(column.revision > since)).all()
            return Changes(revision, tuple(row_of(*columns) for columns in found))

    def get(self, kind: Kind, name: str) -> Row | None:
        with self._transaction() as connection:
            column = tables.rows.c
            query = sa.select(column.version, column.document).where(column.kind == kind, column.name == name)
            found = connection.execute(query).first()
            return None if found is None or found.document is None else row_of(kind, name, *found)

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if holder is not None:
                self._check_lease(connection, holder)
            revision = int(connection.scalar(sa.select(tables.meta.c.revision)) or 0) + 1
            for write in writes:
                self._write(connection, write, revision)
            if events:
                connection.execute(sa.insert(tables.events), [event_columns(event) for event in events])
            connection.execute(sa.update(tables.meta).values(revision=revision))
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
        if write.kind == "flag" and (write.document is None or not write.expected):  # gone, or made anew
            sql_counts.remove_flag(connection, write.name)
            connection.execute(sa.delete(tables.progress).where(tables.progress.c.name == write.name))

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        column = tables.events.c
        query = sa.select(tables.events).where(column.id > after).order_by(column.id.desc()).limit(limit)
        if name is not None:
            query = query.where(column.name == name)
        with self._transaction() as connection:
            return [event_of(row) for row in reversed(connection.execute(query).all())]

    # --- counts -----------------------------------------------------------------------------

    def add_counts(self, report: Report) -> None:
        with self._beside() as connection:
            sql_counts.add_report(connection, report, self._clock())

    def counts(self, flag: str | None = None) -> list[Count]:
        with self._transaction() as connection:
            return sql_counts.counts(connection, flag)

    def windows(self, flag: str, since: float) -> list[Window]:
        with self._transaction() as connection:
            return sql_counts.windows(connection, flag, since)

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        with self._transaction() as connection:
            return sql_counts.units(connection, flag, attempt, stage)

    def pulse(self) -> int:
        with self._transaction() as connection:
            return sql_counts.pulse(connection)

    # --- the lease and what its holder keeps ------------------------------------------------

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        with self._beside() as connection:
            held = self._held(connection)
            if held is not None and held.holder != holder:
                return False
            connection.execute(sa.delete(tables.leases))
            values = {"id": 1, "holder": holder, "who": who, "renewed_at": self._clock(), "seconds": seconds}
            connection.execute(sa.insert(tables.leases).values(values))
            return True

    def lease(self) -> Lease | None:
        with self._transaction() as connection:
            return self._held(connection)

    def _held(self, connection: sa.Connection) -> Lease | None:
        found = connection.execute(sa.select(tables.leases)).first()
        lease = None if found is None else Lease(found.holder, found.who, found.renewed_at, found.seconds)
        return lease if lease is not None and lease.is_held(self._clock()) else None

    def release_lease(self, holder: str) -> None:
        with self._beside() as connection:
            connection.execute(sa.delete(tables.leases).where(tables.leases.c.holder == holder))

    def _check_lease(self, connection: sa.Connection, holder: str) -> None:
        held = self._held(connection)
        if held is None or held.holder != holder:
            raise LeaseError(self.url)

    def progress(self) -> dict[str, Mapping[str, Any]]:
        with self._transaction() as connection:
            found = connection.execute(sa.select(tables.progress.c.name, tables.progress.c.document))
            return documents_of((name, text) for name, text in found)

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        kept = [
            {"name": name, "document": dumps(document)} for name, document in documents.items() if document is not None
        ]
        with self._beside() as connection:
            self._check_lease(connection, holder)
            connection.execute(sa.delete(tables.progress).where(tables.progress.c.name.in_(list(documents))))
            if kept:
                connection.execute(sa.insert(tables.progress), kept)

    # --- processes --------------------------------------------------------------------------

    def say(self, presence: Presence) -> None:
        presences = tables.presences
        said = asdict(replace(presence, said_at=self._clock()))
        with self._beside() as connection:
            known = connection.execute(
                sa.update(presences).where(presences.c.process == presence.process).values(said)
            ).rowcount
            if not known:
                forgotten = presences.c.said_at < said["said_at"] - PRESENCE_SPANS * presences.c.every_seconds
                connection.execute(sa.delete(presences).where(forgotten))
                connection.execute(sa.insert(presences).values(said))

    def presences(self) -> list[Presence]:
        columns = tables.presences.c
        query = sa.select(tables.presences).order_by(columns.who, columns.process)
        with self._transaction() as connection:
            found = [Presence(*row) for row in connection.execute(query)]
        now = self._clock()
        return [presence for presence in found if presence.is_there(now)]

    def unsay(self, process: str) -> None:
        with self._beside() as connection:
            connection.execute(sa.delete(tables.presences).where(tables.presences.c.process == process))

    def contents(self) -> Contents:
        with self._transaction() as connection:
            return sql_contents.contents(connection)

    def fill(self, contents: Contents) -> None:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if not sql_contents.is_empty(connection):
                raise StoreError(self.url, NOT_EMPTY)
            sql_contents.fill(connection, contents)
        self.close()  # what it is called changes with it

    def before_fork(self) -> None:
        # Not for ever: another thread may wait for a writer. Rather a fork with a connection open than none.
        self._is_held = self._lock.acquire(timeout=1.0)
        if self._is_held:
            self._let_go()

    def after_fork(self, *, in_child: bool) -> None:
        if in_child:
            self._lock = threading.RLock()
            if not self._is_held:
                _left_open.append((self._engine, self._connection))
                self._engine = self._connection = None
        elif self._is_held:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or at the interpreter's end
            self._let_go()  # of a test's app that nobody closed: Python 3.13 warns of a connection that is left open

    # --- connections ------------------------------------------------------------------------

    def _let_go(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = self._connection = None

    def _connect(self) -> sqlite3.Connection:
        """A connection that any thread may use, one at a time (the store's lock), and that begins nothing itself."""
        if not self._path.parent.is_dir():
            raise StoreError(self.url, f"there is no folder {self._path.parent}")
        if not self._create and not self._path.exists():
            raise StoreError(self.url, f"there is no such file; flaggate apply makes it (looked for {self._path})")
        connection = sqlite3.connect(
            self._path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")  # a kill that was confirmed outlives a power cut
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _open(self) -> sa.Engine:
        if self._engine is not None and self._file != self._found_file():
            self._let_go()  # another file was put in its place: what is open is one that nobody else writes
        if self._engine is None:
            engine = sa.create_engine(self._url, creator=self._connect, poolclass=sa.StaticPool)
            sa.event.listen(engine, "begin", _begin)
            try:
                self._check_schema(engine)
            except BaseException:
                engine.dispose()
                raise
            self._file = self._found_file()
            self._engine = engine
        return self._engine

    def _found_file(self) -> tuple[int, int]:
        """Raises OSError where the file has gone: then the store is, and it is not for us to make an empty one."""
        found = os.stat(self._path)
        return found.st_dev, found.st_ino

    def _check_schema(self, engine: sa.Engine) -> None:
        """See that the tables are there, of this version; make them if they are not and may be made."""
        with _begun(engine, "BEGIN") as connection:
            has_tables = sa.inspect(connection).has_table(tables.meta.name)
        if not has_tables and not self._create:
            raise StoreError(
                self.url, f"there is no flaggate store in this file; flaggate apply makes it ({self._path})"
            )
        self._use_wal()  # not before: the file may be somebody else's
        if not has_tables:
            with _begun(engine, "BEGIN IMMEDIATE") as connection:
                if not sa.inspect(connection).has_table(tables.meta.name):  # nobody else was faster
                    tables.metadata.create_all(connection)
                    made = {"id": 1, "identity": uuid4().hex, "schema_version": tables.SCHEMA_VERSION, "revision": 0}
                    connection.execute(sa.insert(tables.meta).values(made))
        with _begun(engine, "BEGIN") as connection:
            found, salt = connection.execute(sa.select(tables.meta.c.schema_version, tables.meta.c.identity)).one()
        self._call(salt)
        if found not in tables.KNOWN_VERSIONS:
            known = f"this flaggate knows {tables.SCHEMA_VERSION}; use the newer flaggate"
            raise StoreError(self.url, f"its schema is version {found}, {known}")
        if found != tables.SCHEMA_VERSION:
            with _begun(engine, "BEGIN IMMEDIATE") as connection:
                tables.complete(connection)
                older = tables.meta.c.schema_version == found  # unless somebody was faster
                connection.execute(sa.update(tables.meta).where(older).values(schema_version=tables.SCHEMA_VERSION))

    def _call(self, salt: str) -> None:
        # With the file's own number: a copy of this database that goes on elsewhere is another store.
        self.salt, self.identity = salt, f"{salt}-{self._path.stat().st_ino}"

    def _use_wal(self) -> None:
        assert self._connection is not None  # the engine made it
        deadline = time.monotonic() + self._busy_seconds
        while self._connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # For this SQLite does not wait, and others who make the same file do it just now.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _transaction(self, begin: str = "BEGIN") -> Iterator[sa.Connection]:
        with self._errors(), self._lock, _begun(self._open(), begin) as connection:
            yield connection

    @contextmanager
    def _beside(self) -> Iterator[sa.Connection]:
        """A write beside the rows. It waits for another writer only shortly: what is refused is handed over again, and
        a kill is read by the same thread.
        """
        with self._lock:
            with self._errors():
                self._open()
            self._set_busy_seconds(min(self._busy_seconds, _SHORTLY_SECONDS))
            try:
                with self._transaction("BEGIN IMMEDIATE") as connection:
                    yield connection
            finally:
                self._set_busy_seconds(self._busy_seconds)

    def _set_busy_seconds(self, seconds: float) -> None:
        if self._connection is not None:
            with self._errors():
                self._connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON
            cause = getattr(error, "orig", None) or error
            name = getattr(cause, "sqlite_errorname", "")
            kind = BusyError if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else StoreError
            raise kind(self.url, f"the database did not do it: {cause}{_HINTS.get(name, '')} ({self._path})") from error


@contextmanager
def _begun(engine: sa.Engine, begin: str) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(flaggate_begin=begin) as connection, connection.begin():
        yield connection


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("flaggate_begin", "BEGIN"))
