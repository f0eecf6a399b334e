"""The copy of the last snapshot on this machine's disk, for a start while the store is gone.

An SQLite file, so that a change costs what changed, whatever else there is. Its journal is SQLite's oldest (DELETE): such
a file can be read where nothing can be written, which WAL's cannot, and between two saves nothing is beside it. No
connection outlives a save: a fork finds none.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from flaggate.errors import FlaggateError
from flaggate.stores.base import Changes, Kind, Row

__all__ = ["DiskCopy"]

_FORMAT: Final = 2
_BUSY_SECONDS: Final = 0.1
"""How long another process of this machine is waited for: no longer, for the keeper's next round may bring a kill."""
_SCHEMA: Final = """
CREATE TABLE head (format INTEGER NOT NULL, store TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE rows (
    kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""
_NO_COPY: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite's codes for a file that is not ours: without our tables, damaged, or of another kind."""

_Key: TypeAlias = tuple[Kind, str]
_Rows: TypeAlias = Mapping[_Key, Row]


class _Head(NamedTuple):
    """What the rows are of."""

    store: str
    revision: int


class _Due(NamedTuple):
    """What is to be written, in place of what has this head."""

    over: _Head
    rows: list[Row]
    gone: list[_Key]


class Whole(Protocol):
    """All rows, as of a revision."""

    @property
    def revision(self) -> int:
        """The store's."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """In any order."""


class _Save(NamedTuple):
    """What is to be on disk."""

    head: _Head
    changes: Whole
    is_whole: bool
    new: tuple[Row, ...] | None

    def rows(self) -> _Rows:
        return {(row.kind, row.name): row for row in self.changes.rows}


class DiskCopy:
    """The rows of the last snapshot, in `snapshot.db`; the processes of a machine share it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "snapshot.db"
        self._known: _Head | None = None
        """Of what this process saved, or found saved: over that it knows what differs without a look at the rows."""

    def save(self, identity: str, changes: Whole, *, is_whole: bool = False, new: Iterable[Row] | None = None) -> None:
        """Write what differs, whole or not at all; what is no copy of ours makes way.

        Args:
            identity: Which store the rows are of. Over a newer copy of the same one nothing is written: another
                process saw more, and a kill that is on disk stays there.
            changes: All rows of the snapshot; looked at only if they have to be.
            is_whole: The store was just read from its beginning: it may have been set back, and knows better.
            new: The rows that came since this process saved last, removed ones included; None = nobody knows.

        Raises:
            BlockingIOError: Another process writes just now.
            OSError: The disk does not take it.
        """
        save = _Save(_Head(identity, changes.revision), changes, is_whole, None if new is None else tuple(new))
        # By the umask, as the store beside it: another user's processes look for the `off` file here too.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._update(save):
                with _alone_in(self.path.parent):
                    if not self._update(save):  # nobody else has made it meanwhile
                        self._make(save)
        except sqlite3.Error as error:
            kind = BlockingIOError if _code(error) == sqlite3.SQLITE_BUSY else OSError
            raise kind(f"{self.path}: {error}") from error

    def load(self) -> Changes | None:
        """The rows that were saved last; None if there are none. Raises FlaggateError for a file of another kind."""
        if not os.path.lexists(self.path):
            return None
        try:
            with self._connected() as connection:
                (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if sound != "ok":
                    raise ValueError(sound)
                connection.execute("BEGIN")  # one view
                revision = _head(connection).revision
                found = connection.execute("SELECT kind, name, version, document FROM rows")
                rows = ((kind, name, version, json.loads(document)) for kind, name, version, document in found)
                return Changes(revision, tuple(Row(*columns) for columns in rows))
        except (OSError, ValueError, TypeError, sqlite3.Error) as error:
            raise FlaggateError(f"{self.path}: this copy cannot be read: {error!r}") from error

    def head(self) -> tuple[str, int]:
        """The identity of its store, and its revision. Raises OSError or ValueError if there is none that can be read."""
        try:
            with self._connected() as connection:
                return _head(connection)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error

    def _update(self, save: _Save) -> bool:
        """Bring what is there up to date. Returns whether there is a copy of ours at all."""
        if not os.path.lexists(self.path):
            return False
        try:
            with self._connected() as connection:
                connection.execute("BEGIN")
                due = self._due(connection, save)
                connection.execute("COMMIT")
                if due is not None:
                    connection.execute("BEGIN IMMEDIATE")
                    if _head(connection) != due.over:
                        due = self._due(connection, save)
                    if due is not None:
                        _write(connection, save.head, due.rows, due.gone)
                    connection.execute("COMMIT")
                if _head(connection) == save.head:
                    self._known = save.head
        except sqlite3.DatabaseError as error:
            if _code(error) not in _NO_COPY:
                raise
            return False
        except (ValueError, TypeError):
            return False
        return True

    def _due(self, connection: sqlite3.Connection, save: _Save) -> _Due | None:
        """What differs; None if the copy is to stay as it is."""
        there, head = _head(connection), save.head
        is_same = there.store == head.store
        if is_same and not save.is_whole and there.revision >= head.revision:
            return None
        if self._known == there and not save.is_whole and save.new is not None:
            new = [row for row in save.new if row.document is not None]
            gone = [(row.kind, row.name) for row in save.new if row.document is None]
        else:
            # A store that was set back counts its versions anew: then, and of another store, what they say counts too.
            is_told = is_same and not save.is_whole
            new, gone = _compared(connection, save.rows(), is_told_by_version=is_told)
        return _Due(there, new, gone) if new or gone or there != head else None

    def _make(self, save: _Save) -> None:
        draft = self.path.with_name(f".snapshot-{os.getpid()}-{id(self)}")
        try:
            draft.touch()
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=MEMORY")
                connection.executescript(f"BEGIN;{_SCHEMA}")
                _write(connection, save.head, save.changes.rows, ())
                connection.execute("COMMIT")
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)  # else it would be played back
            draft.replace(self.path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._known = save.head

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection to what is there; for reading only, where it cannot be written."""
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection


def _code(error: sqlite3.Error) -> int:
    """SQLite's, without what it adds to it; 0 = it is an error of the module's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _head(connection: sqlite3.Connection) -> _Head:
    found = connection.execute("SELECT format, store, revision FROM head").fetchall()
    if len(found) != 1:
        raise ValueError(f"{len(found)} heads, not one")
    ((form, store, revision),) = found
    if form != _FORMAT:
        raise ValueError(f"format {form}, not {_FORMAT}")
    return _Head(store, int(revision))


def _compared(connection: sqlite3.Connection, rows: _Rows, *, is_told_by_version: bool) -> tuple[list[Row], list[_Key]]:
    """The rows that are not there as they should be, and the keys of those that should not be there."""
    if is_told_by_version:
        versions = {(kind, name): version for kind, name, version in connection.execute(_VERSIONS)}
        new = [row for key, row in rows.items() if versions.get(key) != row.version]
        return new, list(versions.keys() - rows.keys())
    texts = {(kind, name): (version, text) for kind, name, version, text in connection.execute(_ALL)}
    new = [row for key, row in rows.items() if texts.get(key) != (row.version, json.dumps(row.document))]
    return new, list(texts.keys() - rows.keys())


_VERSIONS: Final = "SELECT kind, name, version FROM rows"
_ALL: Final = "SELECT kind, name, version, document FROM rows"


def _write(connection: sqlite3.Connection, head: _Head, rows: Iterable[Row], gone: Iterable[_Key]) -> None:
    connection.executemany("DELETE FROM rows WHERE kind = ? AND name = ?", gone)
    written = ((row.kind, row.name, row.version, json.dumps(row.document)) for row in rows)
    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", written)
    connection.execute("DELETE FROM head")
    connection.execute("INSERT INTO head VALUES (?, ?, ?)", (_FORMAT, *head))


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Of the processes that make a copy, one at a time. Raises BlockingIOError if another one does just now."""
    if sys.platform == "win32":  # pragma: no cover  # there a file that somebody has open cannot be replaced
        yield
        return
    import fcntl

    opened = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        fcntl.flock(opened, fcntl.LOCK_UN)  # not by closing it alone: a child that was forked meanwhile has it open too
        os.close(opened)
