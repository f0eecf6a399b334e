"""Processes that are killed between any two statements of what they write."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event  # noqa: TID251  # to be there at each statement
from sqlalchemy.pool import Pool  # noqa: TID251

from flaggate.stores.base import Store
from flaggate.stores.sql import SqlStore
from tests.stores.children import fork, wait

__all__ = ["crashes"]

FEW = 500
"""More statements than anything here needs."""


def _die_before_statement(number: int) -> None:
    """From now on, this process kills itself when SQLite is about to run its so many-th statement."""
    left = number

    def count(_statement: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(count)  # COMMIT is a statement too

    event.listen(Pool, "connect", watch)


def crashes(prepared: Path, work: Callable[[Store], object]) -> Iterator[SqlStore]:
    """The store after a crash before the first statement, the second, and so on; the last after none."""
    for number in range(1, FEW):
        directory = prepared.parent / f"crash-{number}"
        directory.mkdir()
        if prepared.exists():
            shutil.copy(prepared, directory / "flags.db")
        url = f"sqlite:///{directory}/flags.db"

        def work_until_killed(number: int = number, url: str = url) -> None:
            _die_before_statement(number)
            work(SqlStore(url))

        code = wait(fork(work_until_killed, is_measured=False))
        assert code in (0, -signal.SIGKILL)
        store = SqlStore(url)
        yield store
        store.close()
        if code == 0:
            return
    pytest.fail(f"after {FEW} statements it was not done yet")
