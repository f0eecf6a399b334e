"""A SQLite file that an older flaggate made goes on; one of a newer one is left alone."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest

from flaggate.errors import StoreError
from flaggate.stores.base import Count, Presence, Report, Row, UnitCount, Write
from flaggate.stores.sql import SqlStore
from flaggate.stores.tables import SCHEMA_VERSION
from tests.stores import version_1, version_2, version_3, version_4
from tests.stores.children import Pipe, fork, wait

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")

ONE = Count("a", 1, 1, "on", 1, 0, {"10": 1})
MEASURED = Count("a", 1, 1, "off", 2, 0, {"10": 2}, {"paid": 1})
UNIT = UnitCount("a", 1, 1, "treatment", "errors", "0123456789abcdef", 2)
Make: TypeAlias = Callable[[Path], None]
THREE = Count("a", 1, 1, "on", 3, 1, {"10": 3})
COUNTED: dict[Make, list[Count]] = {
    version_1.make: [],
    version_2.make: [THREE],
    version_3.make: [THREE],
    version_4.make: [THREE],
}
"""What each version holds of counts."""


@pytest.fixture(params=COUNTED, ids=["version 1", "version 2", "version 3", "version 4"])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


@pytest.fixture
def old(make: Make, tmp_path: Path) -> Path:
    path = tmp_path / "flags.db"
    make(path)
    return path


def _store(path: Path, *, create: bool = True) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", create=create, busy_seconds=30.0)


def _schema(path: Path) -> tuple[int, set[str]]:
    """The version, and the names of all tables, indexes and columns."""
    with closing(sqlite3.connect(path)) as raw:
        (version,) = raw.execute("SELECT schema_version FROM flaggate_meta").fetchone()
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
        columns = {f"{name}.{column[1]}" for name in names for column in raw.execute(f"PRAGMA table_info({name})")}
        return version, names | columns


def test_an_older_file_keeps_what_it_holds(old: Path, make: Make) -> None:
    with closing(_store(old)) as store:
        assert store.counts() == COUNTED[make]
        assert store.changes().rows == (Row("flag", "a", 3, {"n": 1}), Row("flag", "gone", 2, None))
        (event,) = store.history()
        assert (event.id, event.verb, event.reason, event.after) == (1, "apply", "why", {"n": 1})
        assert store.revision() == 7
        assert store.commit([Write("flag", "a", 3, {})], []) == 8


def test_an_older_file_learns_what_it_could_not_do(old: Path, tmp_path: Path) -> None:
    """It has the tables of a new one then."""
    with closing(_store(tmp_path / "new.db")) as new, closing(_store(old)) as store:
        assert new.revision() == 0
        assert (store.lease(), store.progress(), store.presences()) == (None, {}, [])
        store.say(Presence("p", "host:1", 7, 0.0, 15.0))
        assert [presence.who for presence in store.presences()] == ["host:1"]
        assert store.take_lease("one", "host:1", 15.0)
        store.save_progress({"a": {"n": 1}}, holder="one")
        store.add_counts(Report("p", 1, (ONE, MEASURED), (UNIT,)))
        assert store.progress() == {"a": {"n": 1}}
        assert [window.count for window in store.windows("a", 0)] == [MEASURED, ONE]
        assert [one.units for one in store.units("a", 1, 1)] == [1, 1, 1]
        assert MEASURED in store.counts()
        assert ("a", 1, 1, "on") in [(count.flag, count.attempt, count.stage, count.arm) for count in store.counts()]
    assert _schema(old) == _schema(tmp_path / "new.db")
    assert _schema(old)[0] == SCHEMA_VERSION


def test_an_older_file_is_the_same_store_afterwards(old: Path) -> None:
    """Who followed it before goes on: nothing is read anew, and no copy on disk is thrown away."""
    with closing(_store(old)) as store:
        store.revision()
        assert store.identity.startswith("0123456789abcdef0123456789abcdef-")


def test_who_only_looks_at_an_older_file_may_ask_for_everything(old: Path, make: Make) -> None:
    with closing(_store(old, create=False)) as store:
        assert (store.counts(), store.lease(), store.progress()) == (COUNTED[make], None, {})
        assert (store.windows("a", 0), store.units("a", 1, 1), store.pulse(), store.presences()) == ([], [], 0, [])


def test_one_that_had_an_older_file_open_goes_on(old: Path) -> None:
    """A process of an older flaggate does not look at the version again: what it does still works."""
    with closing(_store(old)) as store, closing(sqlite3.connect(old, isolation_level=None)) as running:
        assert running.execute("SELECT revision FROM flaggate_meta").fetchone() == (7,)
        store.add_counts(Report("p", 1, (ONE,)))
        assert running.execute("SELECT revision FROM flaggate_meta").fetchone() == (7,)
        running.execute("UPDATE flaggate_meta SET revision = 8")
        assert store.revision() == 8


def test_one_that_counts_in_an_older_file_goes_on_counting(tmp_path: Path) -> None:
    """A process of the version before knows nothing of what else is measured, nor of windows."""
    version_3.make(tmp_path / "flags.db")
    with closing(_store(tmp_path / "flags.db")) as store:
        store.add_counts(Report("p", 1, (MEASURED,)))
        with closing(sqlite3.connect(tmp_path / "flags.db", isolation_level=None)) as running:
            columns = "flag, attempt, stage, arm, requests, errors, histogram"
            running.execute(f"INSERT INTO flaggate_count ({columns}) VALUES ('b', 1, 1, 'on', 1, 0, '{{\"10\":1}}')")
            running.execute("UPDATE flaggate_count SET requests = requests + 1 WHERE flag = 'a'")
        store.add_counts(Report("p", 2, (Count("b", 1, 1, "on", 1, 0, {"10": 1}, {"paid": 1}),)))
        assert store.counts("b") == [Count("b", 1, 1, "on", 2, 0, {"10": 2}, {"paid": 1})]
        assert store.counts("a")[0] == Count("a", 1, 1, "off", 3, 0, {"10": 2}, {"paid": 1})
        store.add_counts(Report("running", 5, (ONE,)))
        assert store.counts("a")[1].requests == THREE.requests + 1


@forks
def test_processes_that_open_an_older_file_at_once_all_get_to_use_it(old: Path, make: Make) -> None:
    start = Pipe()

    def use() -> None:
        start.receive(1)
        store = _store(old)
        store.add_counts(Report(uuid4().hex, 1, (ONE,), (UNIT,)))
        assert store.progress() == {}

    pids = [fork(use) for _ in range(4)]
    start.send("....")
    codes = [wait(pid) for pid in pids]
    start.close()
    with closing(_store(old)) as store:
        before = sum(count.requests for count in COUNTED[make])
        assert (codes, _schema(old)[0]) == ([0] * 4, SCHEMA_VERSION)
        assert [count.requests for count in store.counts()] == [before + 4]
        assert {(one.units, one.bad) for one in store.units("a", 1, 1) if not one.span} == {(1, 8)}
        assert len(store.changes().rows) == 2


def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    with closing(_store(path)) as store:
        store.commit([Write("flag", "a", 0, {})], [])
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE flaggate_meta SET schema_version = schema_version + 1")
        raw.commit()
    before = path.read_bytes()
    for create in (True, False):
        with closing(_store(path, create=create)) as store, pytest.raises(StoreError) as caught:
            store.take_lease("one", "host:1", 15.0)
        said = (
            f"its schema is version {SCHEMA_VERSION + 1}, this flaggate knows {SCHEMA_VERSION}; use the newer flaggate"
        )
        assert caught.value.problem == said
    assert path.read_bytes() == before
