"""Counts in SQLite, of several processes."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from flaggate.errors import BusyError
from flaggate.stores.base import Count, Report, Write
from flaggate.stores.sql import SqlStore
from tests.stores.children import fork, wait

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")

ONE = Count("a", 1, 1, "on", 1, 0, {"10": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = _store(path)
    yield store
    store.close()


def _store(path: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", busy_seconds=30.0)


@forks
def test_processes_that_count_at_once_lose_nothing(store: SqlStore, path: Path) -> None:
    """Beside one that changes flags meanwhile."""

    def count() -> None:
        own, process = _store(path), uuid4().hex
        more = Count("a", 1, 1, "off", 2, 1, {"10": 1, "inf": 1})
        reports = [Report(process, sequence, (ONE, more)) for sequence in range(1, 26)]
        while reports:
            with suppress(BusyError):  # it waits for another writer only shortly; then it is handed over again
                own.add_counts(reports[0])
                del reports[0]

    store.commit([Write("flag", "a", 0, {})], [])
    store.close()
    pids = [fork(count) for _ in range(4)]
    for version in range(1, 26):
        store.commit([Write("flag", "a", version, {})], [])
    assert [wait(pid) for pid in pids] == [0] * 4
    assert store.counts() == [
        Count("a", 1, 1, "off", 200, 100, {"10": 100, "inf": 100}),
        Count("a", 1, 1, "on", 100, 0, {"10": 100}),
    ]
    assert store.revision() == 26


def test_what_a_process_reported_last_is_forgotten_in_time(store: SqlStore, path: Path) -> None:
    """Containers come and go: the file must not grow with each that ever was."""
    store.add_counts(Report("gone", 1, (ONE,)))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE flaggate_process SET seen = seen - 8 * 86400")
        raw.commit()
    store.add_counts(Report("here", 1, (ONE,)))
    store.add_counts(Report("here", 2, (ONE,)))
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT id, sequence FROM flaggate_process").fetchall() == [("here", 2)]
    assert [count.requests for count in store.counts()] == [3]
