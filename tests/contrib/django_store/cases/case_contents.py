"""All that the store keeps, given to another one and taken from it: what the contract does not ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import TestCase

from flaggate.contrib.django import models as tables
from flaggate.contrib.django import store_contents
from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import BusyError, StoreError
from flaggate.runtime.carry import carry
from flaggate.runtime.gate import Gate
from flaggate.stores.base import Contents, Count, Report, UnitCount, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.contrib.django_store.acting import elsewhere, put, rows


@pytest.fixture
def given() -> Contents:
    """Of a store with two flags, of which one is counted."""
    store = MemoryStore()
    put(store, "a")
    put(store, "b")
    store.take_lease("one", "host:1", 10.0)
    store.save_progress({"a": {"soaked": 12.5}}, holder="one")
    units = [UnitCount("a", 1, 1, "on", "errors", f"{number:016x}") for number in range(2_000)]
    store.add_counts(Report("one", 1, (Count("a", 1, 1, "on", 1, 0, {"10": 1}),), tuple(units)))
    return store.contents()


def test_within_the_apps_transaction_it_takes_nothing(store: DjangoStore, given: Contents) -> None:
    with transaction.atomic(), pytest.raises(BusyError, match="not before the end of the app's transaction"):
        store.fill(given)
    assert store.contents().rows == ()
    store.fill(given)
    assert store.contents() == given


def test_within_a_testcase_it_takes_it(store: DjangoStore, given: Contents) -> None:
    found: list[Contents] = []

    class _Case(TestCase):
        def runTest(self) -> None:  # noqa: N802  # unittest's name
            store.fill(given)
            found.append(store.contents())

    result = _Case().run()
    assert result is not None
    assert result.wasSuccessful(), result.errors
    assert found == [given]


def test_within_the_apps_transaction_it_gives_what_is_seen_there(store: DjangoStore) -> None:
    put(store, "a")
    with transaction.atomic():
        put(store, "b")
        assert [row.name for row in store.contents().rows] == ["a", "b"]


def test_one_that_has_counted_takes_nothing(store: DjangoStore, given: Contents) -> None:
    store.add_counts(Report("two", 1, (Count("mine", 1, 1, "on", 1, 0, {}),)))
    with pytest.raises(StoreError, match="it is not empty"):
        store.fill(given)
    assert [count.flag for count in store.contents().counts] == ["mine"]


def test_a_failure_half_way_leaves_it_empty(store: DjangoStore, given: Contents) -> None:
    broken = replace(given, progress={"\ud800" if connection.vendor == "sqlite" else "x" * 300: {}})
    with pytest.raises(StoreError):
        store.fill(broken)
    found = store.contents()
    assert (found.revision, found.rows, found.events, found.counts, found.units) == (0, (), (), (), ())
    assert not tables.Unit.objects.exists()
    store.fill(given)  # and so it may be tried again
    assert store.contents() == given


def test_what_a_process_kept_that_looked_at_nothing_is_in_nobodys_way(store: DjangoStore, given: Contents) -> None:
    assert store.take_lease("two", "host:2", 10.0)
    store.save_progress({"a": {"soaked": 0.0}, "nobodys": {}}, holder="two")
    store.fill(given)
    assert store.progress() == {"a": {"soaked": 12.5}}


def test_it_is_written_in_as_many_statements_as_it_takes(
    store: DjangoStore, given: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_contents, "_MOST_AT_ONCE", 1000)
    store.fill(given)
    assert store.contents() == given


@pytest.fixture
def gate(store: DjangoStore, tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(store, background=False, directory=tmp_path)  # without the copy of another test
    yield gate
    gate.close()


def test_a_gate_that_was_open_on_the_empty_store_takes_all_of_it(
    store: DjangoStore, gate: Gate, given: Contents
) -> None:
    gate.refresh()
    assert rows(gate) == {}
    elsewhere(lambda: DjangoStore().fill(given))
    gate.refresh()
    assert rows(gate) == {"a": {"n": 0}, "b": {"n": 0}}
    assert store.salt == given.salt


@pytest.mark.not_on(
    "sqlite", "there a reader keeps what it saw anyway, and in a file of the default mode nobody writes"
)
def test_what_is_written_meanwhile_is_not_in_it(store: DjangoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a")
    before, look = store.contents(), store._look

    def look_and_wait(uncommitted: None) -> int:
        revision = look(uncommitted)
        writer = threading.Thread(target=lambda: DjangoStore().commit([Write("flag", "b", 0, {})], []))
        writer.start()
        writer.join()
        return revision

    monkeypatch.setattr(store, "_look", look_and_wait)
    assert store.contents() == before


def test_it_moves_to_a_file_and_from_one(store: DjangoStore, given: Contents, tmp_path: Path) -> None:
    old, new = (SqlStore(f"sqlite:///{tmp_path}/{name}.db") for name in ("old", "new"))
    with closing(old), closing(new):
        old.fill(given)
        carry(old, store)
        carry(store, new)
        assert new.contents() == store.contents() == given
        put(store, "c")
        *came, new_one = (event.id for event in store.history())
        assert (came, new_one > 2) == ([1, 2], True)
