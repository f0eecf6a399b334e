"""Counts in SQLite: of several processes, and in a file that was made before there were any."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from flaggate.errors import BusyError
from flaggate.rollout.state import Event
from flaggate.stores.base import Count, Report, Row, Write
from flaggate.stores.sql import SqlStore
from tests.stores import version_1
from tests.stores.children import Pipe, fork, wait

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")

ONE = Count("a", 1, 1, "on", 1, 0, {"10": 1})


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of version 1."""
    path = tmp_path / "flags.db"
    version_1.make(path)
    return path


@pytest.fixture
def store(old: Path) -> Iterator[SqlStore]:
    store = _store(old)
    yield store
    store.close()


def _store(path: Path, *, create: bool = True) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", create=create, busy_seconds=30.0)


def _schema_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("SELECT schema_version FROM flaggate_meta").fetchone()[0])


# --- a file of version 1 ------------------------------------------------------------------------


def test_an_older_file_keeps_what_it_holds_and_can_count(store: SqlStore, old: Path) -> None:
    assert store.counts() == []
    assert _schema_version(old) == 2
    store.add_counts(Report("p", 1, (ONE,)))
    assert store.counts() == [ONE]
    assert store.changes().rows == (Row("flag", "a", 3, {"n": 1}), Row("flag", "gone", 2, None))
    (event,) = store.history()
    assert isinstance(event, Event)
    assert (event.id, event.verb, event.reason, event.after) == (1, "apply", "why", {"n": 1})
    assert store.revision() == 7
    assert store.commit([Write("flag", "a", 3, {})], []) == 8


def test_an_older_file_is_the_same_store_afterwards(old: Path) -> None:
    """Who followed it before goes on: nothing is read anew, and no copy on disk is thrown away."""
    with closing(_store(old)) as store:
        store.revision()
        assert store.identity.startswith("0123456789abcdef0123456789abcdef-")


def test_who_only_looks_at_an_older_file_may_ask_for_counts(old: Path) -> None:
    with closing(_store(old, create=False)) as store:
        assert store.counts() == []


def test_one_that_had_an_older_file_open_goes_on(store: SqlStore, old: Path) -> None:
    """A process of the first flaggate does not look at the version again: what it does still works."""
    with closing(sqlite3.connect(old, isolation_level=None)) as running:
        assert running.execute("SELECT revision FROM flaggate_meta").fetchone() == (7,)
        store.add_counts(Report("p", 1, (ONE,)))
        assert running.execute("SELECT revision FROM flaggate_meta").fetchone() == (7,)
        running.execute("UPDATE flaggate_meta SET revision = 8")
    assert store.revision() == 8


@forks
def test_processes_that_open_an_older_file_at_once_all_get_to_count(old: Path) -> None:
    start = Pipe()

    def count() -> None:
        start.receive(1)
        _store(old).add_counts(Report(uuid4().hex, 1, (ONE,)))

    pids = [fork(count) for _ in range(4)]
    start.send("....")
    codes = [wait(pid) for pid in pids]
    start.close()
    with closing(_store(old)) as store:
        assert (codes, _schema_version(old)) == ([0] * 4, 2)
        assert [count.requests for count in store.counts()] == [4]
        assert len(store.changes().rows) == 2


# --- several processes --------------------------------------------------------------------------


@forks
def test_processes_that_count_at_once_lose_nothing(store: SqlStore, old: Path) -> None:
    """Beside one that changes flags meanwhile."""

    def count() -> None:
        own, process = _store(old), uuid4().hex
        more = Count("a", 1, 1, "off", 2, 1, {"10": 1, "inf": 1})
        reports = [Report(process, sequence, (ONE, more)) for sequence in range(1, 26)]
        while reports:
            with suppress(BusyError):  # it waits for another writer only shortly; then it is handed over again
                own.add_counts(reports[0])
                del reports[0]

    store.revision()
    store.close()
    pids = [fork(count) for _ in range(4)]
    for version in range(3, 28):
        store.commit([Write("flag", "a", version, {})], [])
    assert [wait(pid) for pid in pids] == [0] * 4
    assert store.counts() == [
        Count("a", 1, 1, "off", 200, 100, {"10": 100, "inf": 100}),
        Count("a", 1, 1, "on", 100, 0, {"10": 100}),
    ]
    assert store.revision() == 32


def test_what_a_process_reported_last_is_forgotten_in_time(store: SqlStore, old: Path) -> None:
    """Containers come and go: the file must not grow with each that ever was."""
    store.add_counts(Report("gone", 1, (ONE,)))
    with closing(sqlite3.connect(old)) as raw:
        raw.execute("UPDATE flaggate_process SET seen = seen - 8 * 86400")
        raw.commit()
    store.add_counts(Report("here", 1, (ONE,)))
    store.add_counts(Report("here", 2, (ONE,)))
    with closing(sqlite3.connect(old)) as raw:
        assert raw.execute("SELECT id, sequence FROM flaggate_process").fetchall() == [("here", 2)]
    assert [count.requests for count in store.counts()] == [3]
