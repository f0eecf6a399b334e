"""What the lease's holder keeps beside the rows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from flaggate.errors import BusyError, LeaseError
from flaggate.stores.base import Store, Write
from flaggate.testing.contract.acting import an_event, failures_of
from flaggate.testing.contract.leasing import SECONDS, Timed, is_refused, losses, take

__all__ = ["ProgressContract"]


class ProgressContract(Timed):
    """What every store keeps of the progress."""

    def test_a_new_store_keeps_no_progress(self, store: Store) -> None:
        assert store.progress() == {}

    def test_progress_comes_back_as_it_was_saved(self, store: Store) -> None:
        """Text of any script, numbers, nesting and null; a name need be no flag's."""
        documents = {
            "a": {"Grüße, 世界 🚦": [1, 2.5, True, None, {"a": []}], "seconds": 0.1 + 0.2, "quote": 'it\'s "so"\n\\'},
            ":notices": {},
        }
        _save(store, documents)
        assert store.progress() == documents

    def test_progress_is_replaced_and_the_others_stay(self, store: Store) -> None:
        """Whole: nothing of the document before is left in it."""
        _save(store, {"a": {"n": 1, "old": True}, "b": {"n": 1}})
        _save(store, {"a": {"n": 2}, "c": {"n": 1}})
        assert store.progress() == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 1}}
        _save(store, {})
        assert store.progress() == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 1}}

    def test_progress_is_removed_by_none(self, store: Store) -> None:
        """Also together with what is kept; and what is not there may be removed."""
        _save(store, {"a": {"n": 1}, "b": {"n": 1}})
        _save(store, {"a": None, "b": {"n": 2}, "nobody": None})
        assert store.progress() == {"b": {"n": 2}}
        _save(store, {"b": None})
        assert store.progress() == {}

    def test_progress_is_the_next_holders_to_go_on_from(self, store: Store) -> None:
        _save(store, {"a": {"n": 1}, "b": {"n": 1}})
        self.clock.move(3600.0)
        assert take(store, "two")
        assert store.progress() == {"a": {"n": 1}, "b": {"n": 1}}
        store.save_progress({"a": {"n": 2}}, holder="two")
        store.release_lease("two")
        assert store.progress() == {"a": {"n": 2}, "b": {"n": 1}}

    def test_progress_of_who_has_no_lease_is_not_saved(self, store: Store) -> None:
        """Nothing of it, and nothing is removed: of another while it lasts, and of the holder once it lost it."""
        _save(store, {"a": {"n": 1}, "b": {"n": 1}})
        for what in losses(store, self.clock):
            for documents in ({"a": {"n": 2}, "b": None, "c": {}}, {}):
                assert is_refused(partial(store.save_progress, documents, holder="one")), what
            assert store.progress() == {"a": {"n": 1}, "b": {"n": 1}}

    def test_nothing_of_a_former_holder_comes_after_the_next_ones(self, store: Store) -> None:
        """However late it writes, and in whatever thread."""
        everyone = threading.Barrier(2)
        is_over = threading.Event()
        take(store, "one")

        def go_on() -> None:
            save = partial(store.save_progress, {"a": {"by": "one"}}, holder="one")
            everyone.wait()
            while not is_over.is_set():
                with suppress(LeaseError, BusyError):
                    save()
            assert is_refused(save)

        def take_over() -> None:
            try:
                everyone.wait()
                self.clock.move(SECONDS)
                assert take(store, "two")
                _save(store, {"a": {"by": "two"}}, holder="two")
            finally:
                is_over.set()

        assert failures_of(everyone, [go_on, take_over]) == []
        assert store.progress() == {"a": {"by": "two"}}

    def test_saved_progress_is_nobody_elses_to_change(self, store: Store) -> None:
        document: dict[str, Any] = {"list": [1]}
        _save(store, {"a": document})
        document["list"].append(2)
        store.progress()["a"]["list"].append(3)
        assert store.progress() == {"a": {"list": [1]}}

    def test_saving_touches_neither_the_revision_nor_a_version(self, store: Store) -> None:
        """Nor the counts; nor does a commit touch what is saved."""
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history(), store.counts()
        _save(store, {"a": {"n": 1}})
        _save(store, {"b": {"n": 1}, "c": None})
        assert (store.revision(), store.changes(), store.history(), store.counts()) == before
        store.commit([Write("flag", "a", 1, {})], [])
        assert store.progress() == {"a": {"n": 1}, "b": {"n": 1}}

    def test_a_flag_that_is_removed_takes_its_progress_along(self, store: Store) -> None:
        """And only its own: not a segment that is called as a flag."""
        store.commit([Write("flag", "a", 0, {}), Write("flag", "b", 0, {}), Write("segment", "b", 0, {})], [])
        _save(store, {"a": {"n": 1}, "b": {"n": 1}})
        store.commit([Write("flag", "a", 1, None), Write("segment", "b", 1, None)], [])
        assert store.progress() == {"b": {"n": 1}}

    def test_a_flag_that_is_made_anew_has_no_progress(self, store: Store) -> None:
        """Though somebody, who had looked before it was removed, saved some since."""
        store.commit([Write("flag", "a", 0, {})], [])
        store.commit([Write("flag", "a", 1, None)], [])
        _save(store, {"a": {"n": 1}})
        store.commit([Write("flag", "a", 0, {})], [])
        assert store.progress() == {}


def _save(store: Store, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str = "one") -> None:
    """As who has the lease; again where another writer did not end in time."""
    while True:
        assert take(store, holder)
        try:
            return store.save_progress(documents, holder=holder)
        except BusyError:
            continue
