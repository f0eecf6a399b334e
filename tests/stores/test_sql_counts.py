"""Counts in SQLite, of several processes."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from flaggate.errors import BusyError
from flaggate.stores.base import Count, Report, UnitCount, Write
from flaggate.stores.sql import SqlStore
from tests.stores.children import fork, wait

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")

AT = 1_800_000_123.0
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


@forks
def test_processes_that_meet_the_same_units_count_each_once(store: SqlStore, path: Path) -> None:
    """Of the stage as of the hour and the ten minutes; and no bad request is lost."""

    def meet(first: int) -> None:
        own, process = SqlStore(f"sqlite:///{path}", clock=lambda: AT), uuid4().hex
        reports = [
            Report(process, sequence, (ONE,), tuple(_unit(first + number) for number in range(sequence, sequence + 20)))
            for sequence in range(1, 21)
        ]
        while reports:
            with suppress(BusyError):
                own.add_counts(reports[0])
                del reports[0]

    pids = [fork(partial(meet, first)) for first in (0, 0, 10, 10)]
    assert [wait(pid) for pid in pids] == [0] * 4
    times = Counter(
        first + number for first in (0, 0, 10, 10) for one in range(1, 21) for number in range(one, one + 20)
    )
    squares = sum(number**2 for number in times.values())
    assert [(one.units, one.bad, one.squares) for one in store.units("a", 1, 1)] == [(49, 1600, squares)] * 3
    assert [window.count.requests for window in store.windows("a", 0)] == [80]
    assert store.pulse() == 80


def test_units_that_are_forgotten_leave_nothing_in_the_file(store: SqlStore, path: Path) -> None:
    """Else it would grow with each stage of each flag."""
    store.commit([Write("flag", "b", 0, {})], [])
    store.add_counts(Report("p", 1, (), (_unit(1), replace(_unit(1), stage=2))))
    store.add_counts(Report("p", 100, (), (replace(_unit(1), stage=2), replace(_unit(1), flag="b"))))
    assert _kept(path) == (6, 6)
    store.commit([Write("flag", "b", 1, None)], [])
    assert _kept(path) == (3, 3)


def _kept(path: Path) -> tuple[int, int]:
    """How many sets, and how many units in them."""
    with closing(sqlite3.connect(path)) as raw:
        (sets,), (units,) = (
            raw.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("flaggate_unit_set", "flaggate_unit")
        )
        return sets, units


def _unit(number: int) -> UnitCount:
    return UnitCount("a", 1, 1, "treatment", "errors", f"{number:016x}")


def test_counts_go_on_where_somebody_wrote_what_is_no_histogram(store: SqlStore, path: Path) -> None:
    store.add_counts(Report("p", 1, (ONE,)))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE flaggate_count SET histogram = '[1]', measured = 'what'")
        raw.commit()
    assert store.counts() == [Count("a", 1, 1, "on", 1, 0, {})]
    store.add_counts(Report("p", 2, (ONE,)))
    assert store.counts() == [Count("a", 1, 1, "on", 2, 0, {"10": 1})]


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
