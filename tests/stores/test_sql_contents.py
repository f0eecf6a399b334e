"""All that an SQLite store keeps, given to another one and taken from it: what the contract does not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
from flaggate.stores.base import Contents, Count, Report, UnitCount
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import FRIENDS, bring, turn, until

ADA, BOB = Context("ada"), Context("bob")


@pytest.fixture
def given() -> Contents:
    """Of a store with a switch that is on for friends, and something of everything else."""
    store = MemoryStore()
    bring(store, FRIENDS)
    turn(store, Verb.ON, "friendly")
    store.take_lease("one", "host:1", 10.0)
    store.save_progress({":notices": {"of": "the old one"}}, holder="one")
    units = UnitCount("friendly", 1, 1, "on", "errors", "0" * 16)
    store.add_counts(Report("one", 1, (Count("friendly", 1, 1, "on", 1, 0, {"10": 1}),), (units,)))
    return store.contents()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], SqlStore]]:
    """Opens the same file again and again, as processes do."""
    stores: list[SqlStore] = []

    def open_it() -> SqlStore:
        stores.append(SqlStore(f"sqlite:///{tmp_path}/flags.db"))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


def test_a_gate_that_was_open_on_the_empty_store_takes_all_of_it(
    opened: Callable[[], SqlStore], given: Contents
) -> None:
    with closing(Gate(opened(), background=False)) as gate:
        gate.refresh()
        assert not gate.is_on("friendly", ADA)
        opened().fill(given)
        gate.refresh()
        assert gate.is_on("friendly", ADA)
        assert not gate.is_on("friendly", BOB)
        assert gate.health().revision == given.revision
        assert gate.store.salt == given.salt  # or its units would be counted twice
        turn(opened(), Verb.KILL, "friendly")
        gate.refresh()
        assert not gate.is_on("friendly", ADA)


def test_so_does_one_with_a_thread_and_one_on_the_store_that_is_filled(
    opened: Callable[[], SqlStore], given: Contents
) -> None:
    store = opened()
    with (
        closing(Gate(opened(), background=True)) as elsewhere,
        closing(Gate(store, background=True)) as here,
    ):
        gates = (elsewhere, here)
        for gate in gates:
            gate.begun()
        store.fill(given)
        for gate in gates:
            until(partial(gate.is_on, "friendly", ADA), "it serves what was carried")
            assert gate.store.salt == given.salt


def test_what_a_process_kept_that_looked_at_nothing_is_in_nobodys_way(
    opened: Callable[[], SqlStore], given: Contents
) -> None:
    store = opened()
    assert store.take_lease("two", "host:2", 10.0)
    store.save_progress({":notices": {"of": "the new one"}, "nobodys": {}}, holder="two")
    store.fill(given)
    assert store.progress() == {":notices": {"of": "the old one"}}


def test_a_failure_half_way_leaves_it_empty(opened: Callable[[], SqlStore], given: Contents) -> None:
    store = opened()
    empty = store.contents()
    with pytest.raises(StoreError):
        store.fill(replace(given, progress={"\ud800": {}}))
    assert store.contents() == empty
    store.fill(given)  # and so it may be tried again
    assert store.contents() == given
