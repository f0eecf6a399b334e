"""From one store to another: nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace

from flaggate.errors import StoreError
from flaggate.stores.base import REQUESTS, WINDOW_SECONDS, Contents, Report, Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.testing.contract.acting import a_count, an_event, verbs_of
from flaggate.testing.contract.leasing import Timed
from flaggate.testing.contract.unit_acting import a_unit

__all__ = ["MoveContract"]


def _write_all(store: Store) -> None:
    """Something of everything."""
    store.commit([Write("flag", "a", 0, {"n": 1}), Write("segment", "pilot", 0, {"ü": [1.5, None]})], [an_event("a")])
    store.commit([Write("flag", "b", 0, {})], [replace(an_event("b", "start"), reason='"it\'s" time', after={"n": 2})])
    store.commit([Write("flag", "b", 1, None)], [an_event("b", "remove")])
    units = [a_unit(1), a_unit(2, bad=3), a_unit(1, REQUESTS), a_unit(3, arm="control"), a_unit(4, stage=2)]
    store.add_counts(Report("one", 1, (a_count("a"), a_count("a", arm="treatment")), tuple(units)))
    assert store.take_lease("one", "host:1", 10.0)
    store.save_progress({"a": {"soaked": 12.5}}, holder="one")


def _as_read(contents: Contents) -> Contents:
    """Sets without a unit are none."""
    return replace(contents, units=tuple(units for units in contents.units if units.units))


def _from_one(contents: Contents) -> Contents:
    """Ids are the store's to give, as long as they grow: a table that was emptied goes on from where it was."""
    events = (replace(event, id=number) for number, event in enumerate(contents.events, start=1))
    return replace(contents, events=tuple(events))


def _refusal_of(store: Store, contents: Contents) -> StoreError:
    try:
        store.fill(contents)
    except StoreError as error:
        return error
    raise AssertionError(f"{store.url} took it")


class MoveContract(Timed):
    """What every store gives to another, and takes from it."""

    def test_an_empty_store_has_no_contents(self, store: Store) -> None:
        found = store.contents()
        assert (found.revision, found.rows, found.events, found.counts, found.windows) == (0, (), (), (), ())
        assert (found.units, found.progress) == ((), {})

    def test_all_that_was_written_is_in_its_contents(self, store: Store) -> None:
        other = MemoryStore(clock=self.clock)
        for each in (store, other):
            _write_all(each)
            self.clock.move(WINDOW_SECONDS)
            each.add_counts(Report("two", 1, (a_count("a"),), (a_unit(1),)))
            self.clock.move(-WINDOW_SECONDS)
        found, expected = _as_read(store.contents()), _as_read(replace(other.contents(), salt=store.salt))
        assert _from_one(found) == _from_one(expected)

    def test_what_it_is_filled_with_it_has(self, store: Store) -> None:
        other = MemoryStore(clock=self.clock)
        _write_all(other)
        contents = other.contents()
        store.fill(contents)
        assert _as_read(store.contents()) == _as_read(contents)
        assert store.revision() == contents.revision
        assert store.salt == contents.salt
        assert store.units("a", 1, 1) == other.units("a", 1, 1)

    def test_it_goes_on_from_there(self, store: Store) -> None:
        other = MemoryStore(clock=self.clock)
        _write_all(other)
        store.fill(other.contents())
        before = store.revision()
        for each in (store, other):
            each.commit([Write("flag", "a", 1, {"n": 2}), Write("flag", "b", 0, {"again": 1})], [an_event("a", "kill")])
            each.add_counts(Report("three", 1, (a_count("a"),), (a_unit(1), a_unit(9))))
        assert verbs_of(store.history()) == ["apply", "start", "remove", "kill"]
        assert [event.id for event in store.history()] == sorted({event.id for event in store.history()})
        assert {row.name: row.version for row in store.changes(before).rows} == {"a": 2, "b": 3}
        assert store.counts() == other.counts()
        assert store.units("a", 1, 1) == other.units("a", 1, 1)

    def test_one_that_is_not_empty_takes_nothing(self, store: Store) -> None:
        other = MemoryStore(clock=self.clock)
        _write_all(other)
        store.commit([Write("flag", "mine", 0, {})], [an_event("mine")])
        before = store.contents()
        assert "empty" in str(_refusal_of(store, other.contents()))
        assert store.contents() == before
