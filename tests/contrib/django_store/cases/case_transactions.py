"""Within the app's own transaction: seen once it commits, gone with its rollback, and never its end."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, connections, transaction
from django.test import TestCase

from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import BusyError, ConflictError, StoreError
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.gate import Gate
from flaggate.stores.base import Count, Report, Write
from tests.contrib.django_store.acting import elsewhere, put, rows

COUNT = Count("a", 1, 1, "on", 1, 0, {"10": 1})
BANNER = '[flags.banner]\ndescription = "A switch"\nowner = "owner@example.com"\n'


class AppError(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """A block of the app that fails at its end."""
    with suppress(AppError), transaction.atomic():
        yield
        raise AppError


@pytest.fixture
def gate(store: DjangoStore) -> Iterator[Gate]:
    gate = Gate(store, background=False)
    yield gate
    gate.close()


def _seen(store: DjangoStore) -> tuple[int, set[str], int]:
    """By others: the revision, the rows, and how many events."""
    return elsewhere(lambda: (store.revision(), {row.name for row in store.changes().rows}, len(store.history())))  # type: ignore[no-any-return]


def test_rows_and_event_are_seen_when_the_app_commits(store: DjangoStore) -> None:
    with transaction.atomic():
        Group.objects.create(name="with the flag")
        put(store, "a")
        put(store, "a", 1, number=2)
        row = store.get("flag", "a")
        assert row is not None
        assert row.document == {"n": 2}
        assert len(store.history("a")) == 2
        assert {row.name for row in store.changes().rows} == {"a"}
        assert _seen(store) == (0, set(), 0)
    assert _seen(store) == (2, {"a"}, 2)


def test_rows_and_event_vanish_when_the_app_rolls_back(store: DjangoStore) -> None:
    put(store, "a")
    with rolled_back():
        put(store, "a", 1, number=2)
        put(store, "b")
    assert (_seen(store), store.revision()) == ((1, {"a"}, 1), 1)
    put(store, "a", 1, number=3)


def test_a_gate_serves_it_from_the_commit_on_and_not_before(store: DjangoStore, gate: Gate) -> None:
    """At once, without a keeper's round."""
    Control(store).apply(parse(BANNER), actor="owner@example.com")
    gate.refresh()
    gate.ready = gate.begun()  # as a keeper would leave it
    with transaction.atomic():
        Control(store).act(Verb.ON, "banner", actor="owner@example.com")
        gate.pull()
        assert not gate.is_on("banner")
    assert gate.is_on("banner")


def test_a_gate_is_not_misled_by_a_number_that_is_given_again(store: DjangoStore, gate: Gate) -> None:
    """What was rolled back had the revision that the next commit has."""
    put(store, "a")
    gate.refresh()
    with rolled_back():
        put(store, "a", 1, number=2)
        gate.refresh()
        assert rows(gate)["a"] == {"n": 0}
    put(store, "a", 1, number=3)
    gate.refresh()
    assert rows(gate)["a"] == {"n": 3}


def test_a_gate_that_first_looks_within_the_transaction_looks_anew_after_it(store: DjangoStore, gate: Gate) -> None:
    put(store, "a")
    with rolled_back():
        put(store, "a", 1, number=2)
        put(store, "b")
        gate.refresh()
    gate.refresh()
    assert rows(gate) == {"a": {"n": 0}}


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_along(store: DjangoStore, gate: Gate) -> None:
    put(store, "a")
    gate.refresh()
    with transaction.atomic():
        with rolled_back():
            put(store, "a", 1, number=2)
        assert store.revision() == 1
        put(store, "b")
        with rolled_back():
            put(store, "c")
        gate.pull()
        assert rows(gate) == {"a": {"n": 0}}
    assert rows(gate) == {"a": {"n": 0}, "b": {"n": 0}}


@pytest.mark.parametrize(
    "name",
    [
        "lost",
        "cannot be encoded",
        pytest.param("too long", marks=pytest.mark.not_on("sqlite", "it takes text of any length")),
    ],
)
def test_a_write_that_fails_leaves_the_apps_transaction_as_it_was(store: DjangoStore, name: str) -> None:
    put(store, "a")
    writes = {
        "lost": (ConflictError, Write("flag", "a", 0, {})),
        "cannot be encoded": (StoreError, Write("flag", "\ud800", 0, {})),
        "too long": (StoreError, Write("flag", "x" * 300, 0, {})),
    }
    error, write = writes[name]
    with transaction.atomic():
        Group.objects.create(name="before")
        put(store, "b")
        with pytest.raises(error) as caught:
            store.commit([Write("flag", "c", 0, {}), write], [])
        assert type(caught.value) is error
        Group.objects.create(name="after")
        put(store, "d")
    assert {group.name for group in Group.objects.all()} == {"before", "after"}
    assert _seen(store) == (3, {"a", "b", "d"}, 3)


def test_a_read_that_fails_leaves_the_apps_transaction_as_it_was(store: DjangoStore) -> None:
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE flaggate_django_event RENAME TO elsewhere")
    try:
        with transaction.atomic():
            Group.objects.create(name="before")
            with pytest.raises(StoreError, match=r"manage\.py migrate flaggate makes its tables"):
                store.history()
            Group.objects.create(name="after")
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE elsewhere RENAME TO flaggate_django_event")
    assert Group.objects.count() == 2


def test_a_transaction_that_is_broken_already_is_told_as_a_store_error(store: DjangoStore) -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(StoreError):
            store.revision()
        with pytest.raises(StoreError):
            put(store, "a")
    assert store.revision() == 0


@pytest.mark.not_on("sqlite", "it lets nobody write meanwhile")
def test_a_transaction_that_began_long_ago_overwrites_nothing(store: DjangoStore) -> None:
    """MySQL's REPEATABLE READ still shows it what was there then."""
    put(store, "a")
    with transaction.atomic():
        assert store.revision() == 1
        elsewhere(lambda: put(store, "a", 1, number=2))
        with pytest.raises(ConflictError) as lost:
            put(store, "a", 1, number=3)
        assert lost.value.found == 2
    row = store.get("flag", "a")
    assert row is not None
    assert row.document == {"n": 2}


def test_counts_wait_for_the_end_of_the_apps_transaction(store: DjangoStore) -> None:
    """Its rollback would lose them."""
    with transaction.atomic():
        with pytest.raises(BusyError):
            store.add_counts(Report("p", 1, (COUNT,)))
        Group.objects.create(name="goes on")
    store.add_counts(Report("p", 1, (COUNT,)))
    assert store.counts() == [COUNT]


def test_counts_wait_only_shortly_for_another_writer(store: DjangoStore) -> None:
    """The keeper hands them over, and must go on to read what was killed. They can be handed over again."""
    store.commit([Write("flag", "a", 0, {})], [])
    store.add_counts(Report("p", 1, (COUNT,)))
    report = Report("p", 2, (COUNT,))
    with transaction.atomic():
        store.commit([Write("flag", "a", 1, None)], [])  # with its counts
        with pytest.raises(BusyError):
            elsewhere(lambda: _raised(lambda: store.add_counts(report)))()
    store.add_counts(report)
    assert store.counts() == [COUNT]
    with connection.cursor() as cursor:  # and whoever uses this connection next waits as usual
        if connection.vendor == "sqlite":
            assert cursor.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_a_writer_that_holds_the_store_is_waited_for_and_told(store: DjangoStore) -> None:
    """As long as the database is told to wait."""
    put(store, "a")
    said = {"sqlite": "PRAGMA busy_timeout = 50", "mysql": "SET innodb_lock_wait_timeout = 1"}
    with transaction.atomic():
        put(store, "b")

        def write() -> Callable[[], None]:
            with connection.cursor() as cursor:
                cursor.execute(said.get(connection.vendor, "SET lock_timeout = 50"))
            try:
                return _raised(lambda: put(store, "c"))
            finally:
                connections.close_all()

        with pytest.raises(BusyError):
            elsewhere(write)()
    assert _seen(store)[1] == {"a", "b"}


def test_within_a_test_case_of_django_it_is_as_if_there_were_no_transaction(store: DjangoStore) -> None:
    class OfAProject(TestCase):
        def test_it(self) -> None:
            gate = Gate(store, background=False)
            put(store, "a")
            store.add_counts(Report("p", 1, (COUNT,)))
            with transaction.atomic():
                put(store, "b")
            gate.refresh()
            assert set(rows(gate)) == {"a", "b"}
            assert (store.revision(), store.counts()) == (2, [COUNT])
            with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
                put(store, "c")
            assert set(rows(gate)) == {"a", "b", "c"}

    result = unittest.TestResult()
    unittest.TestSuite([OfAProject("test_it")]).run(result)
    assert (result.errors, result.failures, result.testsRun) == ([], [], 1)
    assert store.revision() == 0


def test_without_autocommit_a_write_is_refused_where_nobody_would_commit_it(store: DjangoStore) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(StoreError, match="autocommit is off"):
            put(store, "a")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def _raised(work: Callable[[], Any]) -> Callable[[], None]:
    """Do it, and raise here what was raised there."""
    try:
        work()
    except (StoreError, DatabaseError) as error:
        caught = error

        def again() -> None:
            raise caught

        return again
    return lambda: None
