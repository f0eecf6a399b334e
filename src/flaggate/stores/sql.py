"""A store in an SQLite file, for any number of processes of one machine.

SQLite: WAL, so that readers and the one writer do not wait for each other; every write transaction
is BEGIN IMMEDIATE, so that a compare-and-set reads what nobody else is changing.

Forks: an SQLite connection that is open while the process forks takes the child's locks away
(SQLite counts locks by process in memory that the child inherits, the kernel does not), so before a
fork every connection is closed, and both sides open their own. See sqlite.org/howtocorrupt.html 2.6.
So that a fork finds it closed, whoever waits for another process lets go of the connection again and again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flaggate.errors import BusyError, StoreError
from flaggate.stores import tables
from flaggate.stores.base import Write, without_password
from flaggate.stores.sql_store import SHORTLY_SECONDS, TableStore

__all__ = ["SqlStore"]

_READ_ONLY = "; SQLite's WAL needs the right to write the file and its folder, even to read"
_HINTS = {"SQLITE_READONLY": _READ_ONLY, "SQLITE_READONLY_DIRECTORY": _READ_ONLY, "SQLITE_CANTOPEN": _READ_ONLY}
_ANYTHING = "SELECT revision FROM flaggate_meta"
_FORM = "name a file: sqlite:///flags.db; for a store in memory say memory://"
_FORK_SECONDS = 5.0
"""How long a fork waits for a transaction. Not for ever: its disk may hang. Nobody waits for a lock that long: see
`_patiently`."""
_left_open: set[Path] = set()
"""Files that another thread was writing or reading during the fork. SQLite remembers its locks here, and nothing of it may be
closed: what this process opens by itself can be read, but if that was a write, not written."""
_kept: list[object] = []
"""The connections to them."""
_AFTER_FORK = "; this process was forked in the midst of a write, and cannot write itself: restart it"
_T = TypeVar("_T")


class SqlStore(TableStore):
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
        self._is_held = False

    def revision(self) -> int:
        with self._errors():
            return self._patiently(self._revision, self._busy_seconds)

    def _revision(self) -> int:
        with self._lock:
            self._open()
            assert self._connection is not None  # _open made it
            # Past SQLAlchemy, at a seventh of its price: this is asked ten times a second, for ever.
            (revision,) = self._connection.execute(_ANYTHING).fetchone()
            return int(revision)

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        is_over.wait(seconds)
        return False

    def before_fork(self) -> None:
        self._is_held = self._lock.acquire(timeout=_FORK_SECONDS)
        if self._is_held:
            self._let_go()

    def after_fork(self, *, in_child: bool) -> None:
        if in_child:
            self._lock = threading.RLock()
            if not self._is_held:
                _kept.append((self._engine, self._connection))
                _left_open.add(self._path)
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
            self._path,
            timeout=min(self._busy_seconds, SHORTLY_SECONDS),
            isolation_level=None,
            check_same_thread=False,
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
        self.identity = ""
        self._call(salt)
        if found not in tables.KNOWN_VERSIONS:
            known = f"this flaggate knows {tables.SCHEMA_VERSION}; use the newer flaggate"
            raise StoreError(self.url, f"its schema is version {found}, {known}")
        if found != tables.SCHEMA_VERSION:
            with _begun(engine, "BEGIN IMMEDIATE") as connection:
                tables.complete(connection)
                older = tables.meta.c.schema_version == found  # unless somebody was faster
                connection.execute(sa.update(tables.meta).where(older).values(schema_version=tables.SCHEMA_VERSION))

    def _call(self, salt: str, *_: object) -> None:
        if salt != self.salt or not self.identity:
            # With the file's own number: a copy of this database that goes on elsewhere is another store.
            self.salt, self.identity = salt, f"{salt}-{self._path.stat().st_ino}"

    def _use_wal(self) -> None:
        assert self._connection is not None  # the engine made it
        if self._connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # For this SQLite does not wait, and others who make the same file do it just now.
            self._connection.execute("PRAGMA journal_mode=WAL")

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return self._transaction()

    def _writing(self, _: Sequence[Write] | None = None) -> AbstractContextManager[sa.Connection]:
        return self._transaction("BEGIN IMMEDIATE")

    def _next_revision(self, connection: sa.Connection) -> int:
        revision = int(connection.scalar(sa.select(tables.meta.c.revision)) or 0) + 1
        connection.execute(sa.update(tables.meta).values(revision=revision))
        return revision

    def _now(self, _: sa.Connection) -> float:
        return self._clock()

    def _beside(self, _: str) -> AbstractContextManager[sa.Connection]:
        # What is refused is handed over again, and a kill is read by the same thread.
        return self._transaction("BEGIN IMMEDIATE", is_patient=False)

    @contextmanager
    def _transaction(self, begin: str = "BEGIN", *, is_patient: bool = True) -> Iterator[sa.Connection]:
        def begun() -> tuple[sa.Connection, ExitStack]:
            with ExitStack() as each:
                each.enter_context(self._lock)
                connection = each.enter_context(_begun(self._open(), begin))
                if begin == "BEGIN":
                    connection.exec_driver_sql(_ANYTHING)  # from here on it sees one state, and waits for nobody
                return connection, each.pop_all()

        with self._errors():
            if not is_patient and self._engine is None:
                self._patiently(
                    self._revision, self._busy_seconds
                )  # who makes the tables, or completes them, soon ends
            connection, each = self._patiently(begun, self._busy_seconds if is_patient else 0.0)
            with each:
                yield connection

    def _patiently(self, act: Callable[[], _T], busy_seconds: float) -> _T:
        """Try again for so long while another process is in the way. Between two tries a fork gets the connection."""
        deadline = time.monotonic() + busy_seconds
        while True:
            try:
                return act()
            except (SQLAlchemyError, sqlite3.Error) as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON
            cause = getattr(error, "orig", None) or error
            hint = _HINTS.get(getattr(cause, "sqlite_errorname", ""), "")
            if is_busy := _is_busy(error):
                hint = _AFTER_FORK if self._path in _left_open else ""
            kind = BusyError if is_busy else StoreError
            raise kind(self.url, f"the database did not do it: {cause}{hint} ({self._path})") from error


def _is_busy(error: Exception) -> bool:
    """Whether another process, or another connection, has it."""
    name: str = getattr(getattr(error, "orig", None) or error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


@contextmanager
def _begun(engine: sa.Engine, begin: str) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(flaggate_begin=begin) as connection, connection.begin():
        yield connection


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("flaggate_begin", "BEGIN"))
