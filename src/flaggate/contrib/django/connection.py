"""Which thread's connection the store uses, and when it is closed.

Each thread has its Django connection. Those of the app's threads are Django's to close, at the end of a request; what the
store finds closed there it closes again, so that no thread that never sees a request keeps one. In the keeper's thread no
request ends: there CONN_MAX_AGE and CONN_HEALTH_CHECKS are looked at before and after each use.

Forks: what the store has open is closed before one. A child neither uses nor closes what its parent uses: both would break it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.db import connections

__all__ = ["Connections", "hurried", "hurry_transaction"]

_KEEPER: Final = "flaggate-keeper"
_FORK_WAIT_SECONDS: Final = 1.0
_COUNTS_BUSY_MS: Final = 200
# How long a connection waits for a lock: what asks, what says, and how long is short.
_WAITING: Final = {
    "sqlite": ("PRAGMA busy_timeout", "PRAGMA busy_timeout={}", _COUNTS_BUSY_MS),
    "mysql": ("SELECT @@innodb_lock_wait_timeout", "SET innodb_lock_wait_timeout={}", 1),  # in whole seconds
}
_left_open: list[object] = []
"""Connections that another thread was using during the fork: not ours to close, so they are kept."""


class Connections:
    """The connections of all threads to one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._changed = threading.Condition()
        self._used: list[Any] = []
        """By some thread, just now."""
        self._kept: list[Any] = []
        """Open between two rounds of a keeper."""
        self._is_forking = False

    @contextmanager
    def used(self) -> Iterator[Any]:
        """This thread's connection. No lock is held meanwhile: a thread may wait in here for another's transaction."""
        connection: Any = connections[self._alias]
        is_keeper = threading.current_thread().name == _KEEPER
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking)
            self._used.append(connection)
        try:
            if is_keeper:
                connection.close_if_unusable_or_obsolete()
            was_open = connection.connection is not None
            try:
                yield connection
            finally:
                self._leave(connection, is_keeper=is_keeper, was_open=was_open)
        finally:
            with self._changed:
                self._used.remove(connection)
                self._changed.notify_all()

    def _leave(self, connection: Any, *, is_keeper: bool, was_open: bool) -> None:
        if connection.in_atomic_block or connection.connection is None:
            return
        if not is_keeper:
            if not was_open:
                connection.close()
            return
        connection.close_if_unusable_or_obsolete()
        with self._changed:
            if connection.connection is not None and connection not in self._kept:
                self._kept.append(connection)

    def before_fork(self) -> None:
        """Close what is kept open."""
        with self._changed:
            self._is_forking = True
            # Not for ever: another thread may wait for a writer. Rather a fork with a connection open than none.
            self._changed.wait_for(lambda: not self._used, _FORK_WAIT_SECONDS)
            with suppress(Exception):  # a server that has gone: there is nothing that a child would inherit
                self._close()

    def after_fork(self, *, in_child: bool) -> None:
        """Let the threads go on, or begin anew."""
        if in_child:
            _left_open.append((self._used, self._kept))
            Connections.__init__(self, self._alias)
            return
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def close(self) -> None:
        """Close what a keeper kept open."""
        with self._changed:
            self._close()

    def _close(self) -> None:
        for connection in [one for one in self._kept if one not in self._used]:
            self._kept.remove(connection)
            connection.inc_thread_sharing()  # the keeper's, which waits or has ended
            try:
                connection.close()
            finally:
                connection.dec_thread_sharing()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or at the interpreter's end
            self._close()


@contextmanager
def hurried(connection: Any) -> Iterator[None]:
    """Wait for another writer only shortly: counts are handed over again, and a kill is read by the same thread."""
    if connection.vendor not in _WAITING:
        yield
        return
    ask, say, shortly = _WAITING[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(ask)
        (usual,) = cursor.fetchone()
        cursor.execute(say.format(min(usual, shortly)))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(say.format(usual))


def hurry_transaction(connection: Any) -> None:
    """The same for PostgreSQL, and for this transaction only: a pooler may give the connection to others."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {_COUNTS_BUSY_MS}")
