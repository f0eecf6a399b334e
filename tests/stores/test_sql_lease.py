"""The lease and the progress in SQLite: of several processes, beside other writers, and what somebody broke."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from flaggate.errors import BusyError, StoreError
from flaggate.stores.base import Store, Write
from flaggate.stores.sql import SqlStore
from flaggate.testing.contract.leasing import take
from tests.stores.children import Pipe, fork, wait
from tests.stores.robbing import nobody_robs_who_is_writing, nothing_comes_after_a_robbery

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")

ROUNDS = 30
LONG = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{path}", busy_seconds=60.0)
    yield store
    store.close()


@forks
def test_of_processes_that_ask_at_once_one_gets_it(store: SqlStore, path: Path) -> None:
    """Round by round."""
    results, turns = Pipe(), [Pipe() for _ in range(3)]

    def ask(name: str, turn: Pipe) -> None:
        own = SqlStore(f"sqlite:///{path}")
        for _ in range(ROUNDS):
            turn.receive(1)
            results.send(name if take(own, name, seconds=LONG) else ".")

    store.revision()
    store.close()
    pids = [fork(partial(ask, name, turn)) for name, turn in zip("abc", turns, strict=True)]
    for _ in range(ROUNDS):
        for turn in turns:
            turn.send()
        *others, winner = sorted(results.receive(1) for _ in turns)
        assert others == [".", "."]
        lease = store.lease()
        assert lease is not None
        assert (lease.holder, lease.who) == (winner, f"host of {winner}")
        store.release_lease(winner)
    assert [wait(pid) for pid in pids] == [0] * 3
    for pipe in (results, *turns):
        pipe.close()


@forks
def test_nothing_of_a_former_holder_is_written_once_another_has_it(path: Path) -> None:
    nothing_comes_after_a_robbery(lambda clock: SqlStore(f"sqlite:///{path}", clock=clock))


def test_nobody_takes_the_lease_while_its_holder_writes(path: Path) -> None:
    nobody_robs_who_is_writing(lambda clock: SqlStore(f"sqlite:///{path}", clock=clock))


def _writes(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.take_lease("one", "host:1", LONG),
        lambda: store.save_progress({"a": {"n": 2}}, holder="one"),
        lambda: store.release_lease("one"),
    ]


def test_another_writer_is_waited_for_only_shortly(store: SqlStore, path: Path) -> None:
    """The keeper asks, and must go on to read what was killed; reading does not wait at all. Then it is as it was."""
    assert store.take_lease("one", "host:1", LONG)
    store.save_progress({"a": {"n": 1}}, holder="one")
    lease = store.lease()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        for write in _writes(store):
            with pytest.raises(BusyError):
                write()
        assert (store.lease(), store.progress()) == (lease, {"a": {"n": 1}})
    for write in _writes(store):
        write()
    assert (store.lease(), store.progress()) == (None, {"a": {"n": 2}})


def test_progress_that_somebody_broke_is_left_out(store: SqlStore, path: Path) -> None:
    """One that cannot be read is not to keep the others from being looked at; it is written anew."""
    store.take_lease("one", "host:1", LONG)
    store.save_progress({name: {"n": 1} for name in "abc"}, holder="one")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("""UPDATE flaggate_progress SET document = '{"n": ' WHERE name = 'a'""")
        raw.execute("UPDATE flaggate_progress SET document = '[1]' WHERE name = 'b'")
        raw.commit()
    assert store.progress() == {"c": {"n": 1}}
    store.save_progress({"a": {"n": 2}, "b": {"n": 2}}, holder="one")
    assert store.progress() == {"a": {"n": 2}, "b": {"n": 2}, "c": {"n": 1}}


def test_what_no_database_can_keep_is_a_store_error(store: SqlStore) -> None:
    with pytest.raises(StoreError):
        store.take_lease("one", "host \udcff", LONG)
    assert store.lease() is None
    store.take_lease("one", "host:1", LONG)
    with pytest.raises(StoreError):
        store.save_progress({"a": {"n": 1}, "\udcff": {"n": 1}}, holder="one")
    assert store.progress() == {}
    store.commit([Write("flag", "a", 0, {})], [], holder="one")
