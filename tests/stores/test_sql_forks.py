"""Forks while a thread of the parent is at an SQLite file: what the child has of it, and what it can do."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flaggate.errors import BusyError
from flaggate.stores import sql
from flaggate.stores.base import Presence, Write
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import until
from tests.stores.children import Pipe, fork, forked, wait
from tests.stores.slow import Slow

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc/self/fd")

GENERATIONS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(SqlStore(f"sqlite:///{tmp_path}/flags.db")) as made:
        made.commit([Write("flag", "first", 0, {})], [])
    return tmp_path / "flags.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    made = SqlStore(f"sqlite:///{path}", busy_seconds=60.0)
    yield made
    made.close()


def open_files(path: Path) -> list[str]:
    """What this process has open of the store, once for each descriptor."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:  # what lists them
            continue
    return sorted(link for link in links if link.startswith(str(path)))


def in_generations(store: SqlStore, act: Callable[[], None], number: int = 1) -> None:
    """Each is a child of the one before, forked as a gate does while a thread waits to write."""
    waiting = threading.Thread(target=lambda: store.commit([Write("flag", f"of-{number}", 0, {})], []), daemon=True)
    waiting.start()
    until(lambda: store._engine is not None, "it tries")
    store.before_fork()

    def begin() -> None:
        store.after_fork(in_child=True)
        act()
        if number < GENERATIONS:
            in_generations(store, act, number + 1)

    child = fork(begin)
    store.after_fork(in_child=False)
    assert wait(child) == 0


def test_twenty_generations_forked_while_a_thread_waits_for_a_writer_leave_nothing_open(
    store: SqlStore, path: Path
) -> None:
    is_held = Pipe()

    def hold() -> None:
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        is_held.send()
        threading.Event().wait()  # until it is killed

    def look() -> None:
        assert open_files(path) == []
        assert store.revision() == 1
        assert open_files(path) == [f"{path}{end}" for end in ("", "-shm", "-wal")]

    with forked(hold):
        is_held.receive()
        in_generations(store, look)
        look_again = open_files(path)
    until(lambda: store.get("flag", "of-1"), "who waited goes on")
    assert look_again == [f"{path}{end}" for end in ("", "-shm", "-wal")]
    is_held.close()


def test_a_child_forked_while_a_thread_waits_for_a_writer_writes_itself(store: SqlStore, path: Path) -> None:
    is_held = Pipe()

    def hold() -> None:
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        is_held.send()
        threading.Event().wait()  # until it is killed

    def write() -> None:
        store.after_fork(in_child=True)
        store.commit([Write("flag", "of the child", 0, {})], [])

    with forked(hold):
        is_held.receive()
        thread = threading.Thread(target=lambda: store.commit([Write("flag", "of the parent", 0, {})], []))
        thread.start()
        until(lambda: store._engine is not None, "it tries")
        store.before_fork()
        child = fork(write)
        store.after_fork(in_child=False)
    assert wait(child) == 0
    thread.join(60)
    assert {row.name for row in store.changes().rows} == {"first", "of the child", "of the parent"}
    is_held.close()


def test_a_child_forked_in_the_midst_of_a_write_reads_and_says_why_it_does_not_write(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs: a fork does not wait for ever. What SQLite remembers of locks nobody can take away from the child;
    nor do its own children have more open than it has."""
    monkeypatch.setattr(sql, "_FORK_SECONDS", 0.05)
    slow = Slow()
    thread = threading.Thread(target=lambda: store.commit(slow, []))
    thread.start()
    slow.is_asked.wait()

    def use(number: int = 1, before: int = 99) -> None:
        store.after_fork(in_child=True)
        store._busy_seconds = 0.05
        assert store.revision() in (1, 2), "it follows what the parent writes"
        descriptors = len(open_files(store._path))
        assert descriptors <= before
        with pytest.raises(BusyError, match="forked in the midst of a write"):
            store.commit([Write("flag", "a", 0, {})], [])
        with pytest.raises(BusyError, match="restart it"):
            store.say(Presence("p", "who", 1, 0.0, 15.0))
        if number < GENERATIONS:
            store.before_fork()
            child = fork(lambda: use(number + 1, descriptors))
            store.after_fork(in_child=False)
            assert wait(child) == 0

    store.before_fork()
    child = fork(use)
    store.after_fork(in_child=False)
    slow.is_released.set()
    thread.join()
    assert wait(child) == 0
    assert {row.name for row in store.changes().rows} == {"first", "slow"}
