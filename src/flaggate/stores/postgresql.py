"""A store in a PostgreSQL database, for any number of machines: LISTEN and NOTIFY shorten the wait for a change.

Commits take the row of `flaggate_meta` first, so that revisions are in the order in which they are seen; whoever reads
sees one state of all tables (REPEATABLE READ). Counts, the lease and presences have locks of their own, and wait shortly.

A server that was restored from a backup, or whose place a standby took, may have lost commits that processes had read,
and may count on past their revision. So each start of a server is a run, the one that wrote last is part of what the store
is called, and with another one every process reads everything anew. It leaves a thousand revisions out: whoever says that
he serves an older one has not read it yet.

Forks: a child lets go of its parent's connections without a word to the server, which would end the parent's.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, Final
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flaggate.errors import BusyError, NoStoreError, StoreError
from flaggate.stores import tables
from flaggate.stores.base import Changes, Write, without_password
from flaggate.stores.columns import row_of
from flaggate.stores.ear import Ear
from flaggate.stores.sql_store import SHORTLY_SECONDS, TableStore, is_anew

__all__ = ["PostgresStore"]

_FORM: Final = "say postgresql://user@host/database"
_CONNECT_SECONDS: Final = 5
_SILENT_SECONDS: Final = 6.0
"""How long a server may say nothing at all: longer than `lock_timeout`, and than any statement of ours before its first row."""
_RUN_GAP: Final = 1000
_LOCKS: Final = {"counts": 1, "lease": 2, "presences": None, "schema": 3}
"""Of whom an advisory lock is taken; each process writes a row of its own among the presences."""
_SETTINGS: Final = (
    "SET statement_timeout = '15s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'; "
    # A kill that was confirmed is not to be lost by a crash. What waits for a standby stays as the role has it.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_BUSY: Final = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, errors.SerializationFailure)
_KEEP_ALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_HEAD: Final = "SELECT identity, revision, tableoid::bigint, run FROM flaggate_meta"
_CHANGES: Final = """
    SELECT m.identity, m.revision, m.tableoid::bigint, m.run, r.kind, r.name, r.version, r.document
    FROM flaggate_meta m LEFT JOIN flaggate_row r ON r.revision > %s
"""
_SELECT: Final = select.select
_RUN: Final = "pg_postmaster_start_time()::text"
_left_open: list[object] = []
"""What a child has of its parent's connections: nothing of it may be finished, and its sockets are closed already."""


class PostgresStore(TableStore):
    """A store at `postgresql://user@host/database`.

    Args:
        url: What libpq takes: `?sslmode=verify-full`, `?host=/run/postgresql` for a Unix socket, and so on.
        create: Whether to make the tables when they are not there.
        clock: Unix time, for the lease and the windows; None = the server's, which is one for all machines.
    """

    poll_seconds = 2.0
    directory: str | None = None

    def __init__(self, url: str, *, create: bool = True, clock: Callable[[], float] | None = None) -> None:
        try:
            parsed = sa.make_url(url)
        except (SQLAlchemyError, ValueError) as error:  # ValueError: a port that is no number
            raise StoreError(without_password(url), f"this is no URL of a store; {_FORM}") from error
        if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
            raise StoreError(without_password(url), f"flaggate talks to PostgreSQL by psycopg; {_FORM}")
        self._url = parsed.set(drivername="postgresql+psycopg")
        self.url = without_password(parsed.set(drivername="postgresql").render_as_string(hide_password=True))
        self.create = create
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._ear = Ear(self._listen)
        self._database = self._channel = ""

    # --- asking -----------------------------------------------------------------------------

    def revision(self) -> int:
        ((salt, revision, *which),) = self._asked(_HEAD)
        self._call(salt, *which)
        return int(revision)

    def changes(self, since: int = 0) -> Changes:
        # One statement sees one state, and takes one way to the server and back.
        found = self._asked(_CHANGES, (since,))
        salt, revision, *which = found[0][:4]
        self._call(salt, *which)
        return Changes(revision, tuple(row_of(*row[4:]) for row in found if row[4] is not None))

    def _asked(self, query: str, parameters: tuple[int, ...] = ()) -> Sequence[Any]:
        """What every process asks again and again: past most of SQLAlchemy."""
        with self._errors(), self._open().connect() as connection:
            plain = connection.execution_options(isolation_level="AUTOCOMMIT")
            found = plain.exec_driver_sql(query, parameters).all()
            if not found:
                raise StoreError(self.url, "its table flaggate_meta is empty")
            return found

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        if select.select is not _SELECT:  # gevent came later than psycopg, which would keep all greenlets waiting
            is_over.wait(seconds)
            return False
        return self._ear.wait(seconds, is_over)

    def _head(self) -> sa.Select[Any]:
        return super()._head().add_columns(sa.literal_column("tableoid::bigint"), tables.meta.c.run)

    def _call(self, salt: str, *which: object) -> None:
        # With the table's own number: one that was dropped and made anew, from a dump, is another store.
        self.salt, self.identity = salt, "/".join((salt, self._database, *map(str, which)))
        channel = f"flaggate_{which[0]}"
        if channel != self._channel:
            self._ear.close()  # it hears of the table that was there before
            self._channel = channel

    def _now(self, connection: sa.Connection) -> float:
        if self._clock is not None:
            return self._clock()
        return float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)

    # --- transactions -----------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._errors(), self._open().connect() as connection:
            seeing_one_state = connection.execution_options(isolation_level="REPEATABLE READ")
            with seeing_one_state.begin():
                yield seeing_one_state

    @contextmanager
    def _writing(self, writes: Sequence[Write] | None = None) -> Iterator[sa.Connection]:
        with self._errors(), self._open().connect() as connection:
            transaction = connection.begin()
            try:
                if writes is None or any(map(is_anew, writes)):
                    _take_lock(connection, "counts")  # first: of two who wait for each other one would be refused
                connection.execute(sa.select(tables.meta.c.id).with_for_update())
                yield connection
                number, run = connection.execute(sa.text(f"SELECT txid_current(), {_RUN}")).one()
                connection.execute(sa.text("SELECT pg_notify(:channel, '')"), {"channel": self._channel})
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                if not error.connection_invalidated or not self._was_committed(number, run):
                    raise

    @contextmanager
    def _beside(self, what: str) -> Iterator[sa.Connection]:
        with self._errors(), self._open().begin() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{int(SHORTLY_SECONDS * 1000)}ms'"))
            if _LOCKS[what] is not None:
                _take_lock(connection, what)
            yield connection

    def _next_revision(self, connection: sa.Connection) -> int:
        meta = tables.meta.c
        now: sa.ColumnElement[str] = sa.literal_column(_RUN)
        revision, known, run = connection.execute(sa.select(meta.revision, meta.run, now)).one()
        revision += 1 if known in ("", run) else _RUN_GAP
        connection.execute(sa.update(tables.meta).values(revision=revision, run=run))
        return int(revision)

    def _was_committed(self, number: int, run: str) -> bool:
        """The server did not say; ask it, once it answers again. Raises StoreError where it cannot tell."""
        until = monotonic() + 2 * _CONNECT_SECONDS
        cause: Exception | None = None
        while monotonic() < until:
            try:
                with self._open().connect() as connection:
                    query = sa.text(f"SELECT txid_status(:number), {_RUN}")
                    status, now = connection.execute(query, {"number": number}).one()
            except (SQLAlchemyError, StoreError) as error:
                cause = error
            else:
                if now != run:  # a server that started anew, or another one: its numbers may be others' by now
                    break
                if status != "in progress":
                    return bool(status == "committed")
            sleep(0.1)
        words = "the connection broke while it was written, and nobody can tell whether it was: look"
        raise StoreError(self.url, words) from cause

    # --- connections ------------------------------------------------------------------------

    def _open(self) -> sa.Engine:
        engine = self._engine
        if engine is not None:
            return engine
        with self._lock:
            if self._engine is None:
                engine = sa.create_engine(
                    self._url, pool_size=2, max_overflow=10, pool_timeout=_CONNECT_SECONDS, pool_use_lifo=True,
                    pool_pre_ping=True, connect_args=_arguments(),
                )  # fmt: skip
                sa.event.listen(engine, "do_connect", _connect)
                sa.event.listen(engine, "connect", self._connected)
                try:
                    self._check_schema(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _connected(self, connection: Any, _: object) -> None:
        self._connections.add(connection.driver_connection if hasattr(connection, "driver_connection") else connection)
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)
        connection.commit()

    def _check_schema(self, engine: sa.Engine) -> None:
        """See that the tables are there, of this version; make them if they are not and may be made."""
        with engine.connect() as connection:
            has_tables = sa.inspect(connection).has_table(tables.meta.name)
        if not has_tables:
            if not self.create:
                raise NoStoreError(self.url, "there is no flaggate store in this database; flaggate apply makes it")
            with engine.begin() as connection:
                _take_lock(connection, "schema")
                if not sa.inspect(connection).has_table(tables.meta.name):  # nobody else was faster
                    tables.metadata.create_all(connection)
                    made = {"id": 1, "identity": uuid4().hex, "schema_version": tables.SCHEMA_VERSION, "revision": 0}
                    connection.execute(sa.insert(tables.meta).values(made))
        with engine.connect() as connection:
            query = sa.text("SELECT oid::text FROM pg_database WHERE datname = current_database()")
            self._database = str(connection.scalar(query))
            version = connection.scalar(sa.select(tables.meta.c.schema_version))
            salt, _, *which = connection.execute(self._head()).one()
        self._call(salt, *which)
        if version != tables.SCHEMA_VERSION:
            known = f"this flaggate knows {tables.SCHEMA_VERSION}; use the newer flaggate"
            raise StoreError(self.url, f"its schema is version {version}, {known}")

    def _listen(self) -> psycopg.Connection[Any]:
        """A connection that hears of commits. Raises StoreError."""
        with self._errors():
            self._open()
            parameters = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = _Impatient.connect(parameters, autocommit=True, **_arguments())
            self._connections.add(connection)
            connection.execute(f'LISTEN "{self._channel}"')
            return connection

    def before_fork(self) -> None:
        """Nothing is to be closed: a child leaves its parent's connections alone."""

    def after_fork(self, *, in_child: bool) -> None:
        if not in_child:
            return
        _left_open.append((self._engine, self._ear, list(self._connections)))
        for connection in list(self._connections):
            with suppress(psycopg.Error, OSError):  # closed, or never open
                os.close(connection.fileno())  # the socket alone: the server hears nothing, and the parent has its own
        self._begin()

    def close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        self._ear.close()
        if engine is not None:
            engine.dispose()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or at the interpreter's end
            self.close()  # of a test's app that nobody closed

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, psycopg.Error, OSError, ValueError) as error:  # ValueError: no JSON
            cause = getattr(error, "orig", None) or error
            kind = BusyError if isinstance(cause, _BUSY) else StoreError
            words = " ".join(str(cause).split())
            raise kind(self.url, f"the database did not do it: {words}{_hint(cause)}") from error


class _Impatient(psycopg.Connection[Any]):
    """Gives up a server that says nothing: one that hangs, or behind a network that takes all and brings nothing. libpq would
    wait for ever, and with it the thread that follows the flags."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(self._within_limits(gen), *args, **options)

    def _within_limits(self, asking: Any) -> Any:
        until = monotonic() + _SILENT_SECONDS
        try:
            wanted = next(asking)
            while True:
                is_ready = yield wanted
                if is_ready:
                    until = monotonic() + _SILENT_SECONDS
                elif monotonic() > until:
                    self.close()
                    raise psycopg.OperationalError(f"the server has said nothing for {_SILENT_SECONDS:.0f} s")
                wanted = asking.send(is_ready)
        except StopIteration as ended:
            return ended.value


def _connect(_dialect: object, _record: object, words: Any, options: Any) -> _Impatient:
    return _Impatient.connect(*words, **options)


def _arguments() -> dict[str, Any]:
    # Nothing is prepared: a pooler between may give each transaction another connection.
    return {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "flaggate",
        "prepare_threshold": None,
    } | _KEEP_ALIVE


def _take_lock(connection: sa.Connection, what: str) -> None:
    """Until the transaction ends. By the name of the schema's table: two stores of a database do not wait for each other."""
    query = "SELECT pg_advisory_xact_lock(hashtext('flaggate ' || current_schema()), :number)"
    connection.execute(sa.text(query), {"number": _LOCKS[what]})


def _hint(cause: BaseException) -> str:
    if isinstance(cause, errors.ReadOnlySqlTransaction):
        return "; it takes no writes: is this a standby?"
    if isinstance(cause, errors.InsufficientPrivilege):
        return "; the role needs SELECT, INSERT, UPDATE and DELETE on the tables, to make them CREATE on the schema"
    return ""
