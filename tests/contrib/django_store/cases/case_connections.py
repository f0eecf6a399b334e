"""No thread keeps a connection that nobody closes, and none is open over a fork."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections

from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import ConflictError, StoreError
from flaggate.runtime.gate import Gate
from flaggate.stores.base import Row, Write
from tests.contrib.django_store.acting import elsewhere, put, rows
from tests.runtime.scenes import until
from tests.stores.children import Pipe, fork, wait

KEEPER = "flaggate-keeper"


@pytest.fixture
def lasting() -> Iterator[None]:
    """CONN_MAX_AGE = None, in every thread that connects from now on."""
    connections.settings["default"]["CONN_MAX_AGE"] = None
    yield
    connections.settings["default"]["CONN_MAX_AGE"] = 0


def _wrapper(store: DjangoStore) -> Any:
    """Of this thread's connection, which the store has opened."""
    store.revision()
    return connections["default"]


def _open(store: DjangoStore) -> bool:
    store.revision()
    return connection.connection is not None


def test_a_thread_of_the_app_is_left_as_it_was(store: DjangoStore) -> None:
    """Open stays open, for Django to close; closed stays closed."""
    assert not _open(store)
    connection.ensure_connection()
    assert _open(store)


@pytest.mark.usefixtures("lasting")
def test_a_thread_that_sees_no_request_keeps_no_connection(store: DjangoStore) -> None:
    assert not elsewhere(lambda: _open(store))


def test_the_keeper_keeps_none_between_its_rounds(store: DjangoStore) -> None:
    assert not elsewhere(lambda: _open(store), KEEPER)


@pytest.mark.usefixtures("lasting")
def test_the_keeper_keeps_one_for_as_long_as_the_project_says(store: DjangoStore) -> None:
    def look() -> list[Any]:
        store.revision()
        first = connection.connection
        store.revision()
        kept = connection.connection is first and first is not None
        wrapper = connections["default"]
        wrapper.close_at = 0.0  # its time is over
        store.revision()
        return [kept, connection.connection is not first, connection]

    assert elsewhere(look, KEEPER)[:2] == [True, True]


@pytest.mark.usefixtures("lasting")
def test_a_kept_connection_is_closed_with_the_store_and_before_a_fork(store: DjangoStore) -> None:
    looked, ended = threading.Event(), threading.Event()
    kept: list[Any] = []

    def keep() -> None:
        store.revision()
        kept.append(connections["default"])
        looked.set()
        ended.wait()

    thread = threading.Thread(target=keep, name=KEEPER)
    thread.start()
    try:
        looked.wait()
        assert kept[0].connection is not None
        store.before_fork()
        assert kept[0].connection is None
        store.after_fork(in_child=False)
        assert store.revision() == 0
    finally:
        ended.set()
        thread.join()
    other = DjangoStore()
    wrapper = elsewhere(partial(_wrapper, other), KEEPER)
    assert wrapper.connection is not None
    del other
    gc.collect()
    assert wrapper.connection is None


@pytest.mark.not_on("sqlite", "a file does not break off")
@pytest.mark.usefixtures("lasting")
def test_the_keeper_comes_back_after_its_connection_broke(store: DjangoStore) -> None:
    """Without waiting for the end of a request, which it never sees."""

    def keep() -> list[Any]:
        answers: list[Any] = [store.revision()]
        connections["default"].connection.close()  # as a server that restarts would
        for _ in range(2):
            try:
                answers.append(store.revision())
            except StoreError as error:
                answers.append(type(error))
        return answers

    assert elsewhere(keep, KEEPER) == [0, StoreError, 0]


@pytest.mark.usefixtures("lasting")
def test_gates_on_both_sides_of_a_fork_go_on(store: DjangoStore) -> None:
    """With a keeper in each, and connections that last."""
    put(store, "a")
    store.poll_seconds = 0.1
    gate = Gate(store, background=True)
    heard = Pipe()
    try:
        until(lambda: "a" in rows(gate), "the keeper has looked")

        def child() -> None:
            gate.begun()  # starts the child's keeper
            heard.send()
            until(lambda: "b" in rows(gate), "the child hears of it")
            assert gate.health().problem is None
            put(store, "c")

        pid = fork(child)
        heard.receive()
        put(store, "b")
        assert wait(pid) == 0
        until(lambda: set(rows(gate)) == {"a", "b", "c"}, "the parent hears of it")
        assert gate.health().problem is None
    finally:
        gate.close()
        heard.close()


def test_of_two_processes_that_write_the_same_version_one_wins(store: DjangoStore) -> None:
    """A hundred times; no row, event or revision is lost or doubled."""
    put(store, "a")
    results, turns = Pipe(), [Pipe(), Pipe()]

    def race(mine: Pipe) -> None:
        connection.ensure_connection()  # and keep it: it is not to be seen how long it takes to connect
        for version in range(1, 101):
            mine.receive(1)
            try:
                put(store, "a", version, number=version)
                results.send("w")
            except ConflictError:
                results.send("l")

    pids = [fork(partial(race, pipe)) for pipe in turns]
    outcomes = []
    for _ in range(100):
        for pipe in turns:
            pipe.send()
        outcomes.append("".join(sorted(results.receive(1) + results.receive(1))))
    assert [wait(pid) for pid in pids] == [0, 0]
    assert outcomes == ["lw"] * 100
    assert store.get("flag", "a") == Row("flag", "a", 101, {"n": 100})
    assert store.revision() == 101
    assert [event.after for event in store.history(limit=300)] == [{"n": n} for n in range(101)]
    for pipe in (results, *turns):
        pipe.close()


def test_processes_that_write_a_new_store_at_once_all_get_to_write(store: DjangoStore) -> None:
    """Making the ledger is a race too."""
    start = Pipe()

    def write(name: str) -> None:
        start.receive(1)
        store.commit([Write("flag", name, 0, {})], [])

    pids = [fork(partial(write, name)) for name in "abcd"]
    start.send("....")
    assert [wait(pid) for pid in pids] == [0] * 4
    start.close()
    assert store.revision() == 4
    assert {row.name for row in store.changes().rows} == set("abcd")


def test_revisions_are_seen_in_the_order_of_their_commits(store: DjangoStore) -> None:
    """Who asks for what changed since the last look misses nothing, however many write."""
    over = threading.Event()
    answers: list[dict[str, int]] = []

    def connected(work: Callable[..., None], *arguments: str) -> None:
        connection.ensure_connection()  # and keep it: it is not to be seen how long it takes to connect
        work(*arguments)
        connections.close_all()

    def write(name: str) -> None:
        for version in range(30):
            put(store, name, version, number=version)

    def follow() -> None:
        seen: dict[str, int] = {}
        last = 0
        while True:
            is_over = over.is_set()
            changes = store.changes(since=last)
            assert changes.revision >= last
            last = changes.revision
            seen |= {row.name: row.version for row in changes.rows}
            if is_over:
                answers.append(seen)
                return

    follower = threading.Thread(target=connected, args=(follow,))
    writers = [threading.Thread(target=connected, args=(write, name)) for name in ("a", "b")]
    for thread in (follower, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    follower.join()
    assert answers == [{"a": 30, "b": 30}]
