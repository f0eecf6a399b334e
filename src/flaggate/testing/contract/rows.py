"""Rows, the revision over them, compare-and-set, and events."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from flaggate.rollout.state import Event
from flaggate.stores.base import Row, Store, Write
from flaggate.testing.contract.acting import AT, an_event, conflict_of, document_of, failures_of, increment, verbs_of

__all__ = ["RowContract"]


class RowContract:
    """What every store keeps of rows and events."""

    # --- rows -------------------------------------------------------------------------------

    def test_a_new_store_holds_nothing(self, store: Store) -> None:
        """Revision 0 means that nothing was ever written."""
        assert store.revision() == 0
        assert store.changes().revision == 0
        assert store.changes().rows == ()
        assert store.get("flag", "a") is None
        assert store.history() == []
        assert store.counts() == store.counts("a") == []

    def test_a_row_comes_back_as_it_was_written(self, store: Store) -> None:
        """Text of any script, numbers, nesting and null are equal after the journey."""
        document = {"Grüße, 世界 🚦": [1, 2.5, -7, True, None, {"a": []}], "big": 2**53, "quote": 'it\'s "so"\n\\'}
        store.commit([Write("flag", "a", 0, document)], [])
        assert store.get("flag", "a") == Row("flag", "a", 1, document)

    def test_kinds_have_names_of_their_own(self, store: Store) -> None:
        """A flag and a segment of the same name are two rows."""
        store.commit([Write("flag", "beta", 0, {"n": 1}), Write("segment", "beta", 0, {"n": 2})], [])
        assert document_of(store, "beta") == {"n": 1}
        assert store.get("segment", "beta") == Row("segment", "beta", 1, {"n": 2})
        assert store.get("definitions", "beta") is None

    def test_what_is_stored_is_nobody_elses_to_change(self, store: Store) -> None:
        """Neither the document that was handed in nor one that was handed out is the stored one."""
        document: dict[str, Any] = {"list": [1]}
        state: dict[str, Any] = {"list": [1]}
        store.commit([Write("flag", "a", 0, document)], [replace(an_event("a"), after=state)])
        document["list"].append(2)
        state["list"].append(2)
        handed_out = [document_of(store, "a"), store.changes().rows[0].document, store.history()[0].after]
        for given in handed_out:
            assert given == {"list": [1]}
            given["list"].append(3)
        assert document_of(store, "a") == {"list": [1]}
        assert store.history()[0].after == {"list": [1]}

    def test_versions_grow_by_one_with_each_write(self, store: Store) -> None:
        for version in range(4):
            store.commit([Write("flag", "a", version, {"n": version})], [])
            assert store.get("flag", "a") == Row("flag", "a", version + 1, {"n": version})

    def test_a_removed_row_is_gone_but_known_to_changes(self, store: Store) -> None:
        """Who follows the changes learns of a removal by a row without a document."""
        store.commit([Write("flag", "a", 0, {})], [])
        before = store.revision()
        store.commit([Write("flag", "a", 1, None)], [])
        assert store.get("flag", "a") is None
        assert store.changes(since=before).rows == (Row("flag", "a", 2, None),)
        assert store.changes().rows == (Row("flag", "a", 2, None),)

    def test_versions_go_on_after_a_removal(self, store: Store) -> None:
        """A row made anew never has a version again that somebody may still hold."""
        store.commit([Write("flag", "a", 0, {"n": 1})], [])
        store.commit([Write("flag", "a", 1, None)], [])
        store.commit([Write("flag", "a", 0, {"n": 2})], [])
        assert store.get("flag", "a") == Row("flag", "a", 3, {"n": 2})

    # --- revision and changes ---------------------------------------------------------------

    def test_the_revision_grows_with_each_commit(self, store: Store) -> None:
        """Also with one that writes events only; `commit` returns what `revision` says then."""
        commits: list[tuple[list[Write], list[Event]]] = [
            ([Write("flag", "a", 0, {})], []),
            ([], [an_event("a")]),
            ([Write("flag", "a", 1, {}), Write("flag", "b", 0, {})], []),
            ([Write("flag", "a", 2, None)], []),
        ]
        seen = [0]
        for writes, events in commits:
            seen.append(store.commit(writes, events))
            assert store.revision() == seen[-1]
        assert seen == sorted(set(seen))

    def test_changes_are_the_rows_written_since(self, store: Store) -> None:
        """Each row once, as it is now; with the revision to ask from the next time."""
        first = store.commit([Write("flag", "a", 0, {"n": 1}), Write("flag", "b", 0, {"n": 1})], [])
        store.commit([Write("flag", "b", 1, {"n": 2})], [])
        last = store.commit([Write("flag", "b", 2, {"n": 3}), Write("segment", "s", 0, {})], [])
        rows = {(row.kind, row.name): row for row in store.changes(since=first).rows}
        assert rows == {("flag", "b"): Row("flag", "b", 3, {"n": 3}), ("segment", "s"): Row("segment", "s", 1, {})}
        assert len(store.changes(since=first).rows) == 2
        assert len(store.changes().rows) == 3
        assert store.changes(since=first).revision == last
        assert store.changes(since=last).rows == ()

    # --- compare-and-set --------------------------------------------------------------------

    def test_a_write_that_expects_another_version_is_refused(self, store: Store) -> None:
        """The error says what was expected and what was found; an absent or removed row is found at 0."""
        store.commit([Write("flag", "a", 0, {"n": 1}), Write("flag", "gone", 0, {})], [])
        store.commit([Write("flag", "gone", 1, None)], [])
        for name, expected, found in (("a", 0, 1), ("a", 2, 1), ("new", 1, 0), ("gone", 2, 0)):
            error = conflict_of(store, [Write("flag", name, expected, {"n": 2})])
            assert (error.kind, error.name, error.expected, error.found) == ("flag", name, expected, found)
            assert error.url == store.url
        assert document_of(store, "a") == {"n": 1}
        assert store.get("flag", "new") is None
        assert store.get("flag", "gone") is None

    def test_a_commit_is_all_or_nothing(self, store: Store) -> None:
        """One refused write, wherever it stands, undoes rows, removals, events and revision."""
        store.commit([Write("flag", "a", 0, {"n": 1}), Write("flag", "b", 0, {"n": 1})], [an_event("a")])
        refused = Write("flag", "b", 7, {"n": 2})
        good = [Write("flag", "a", 1, {"n": 2}), Write("flag", "new", 0, {}), Write("segment", "s", 0, {})]
        for place in range(len(good) + 1):
            before = store.changes(), store.history()
            conflict_of(store, [*good[:place], refused, *good[place:]], [an_event("a"), an_event("b")])
            assert (store.changes(), store.history()) == before
        conflict_of(store, [Write("flag", "a", 1, None), refused])
        assert document_of(store, "a") == {"n": 1}

    def test_of_threads_that_read_the_same_version_one_writes(self, store: Store) -> None:
        """The others are refused, round by round; no write and no event is lost or doubled."""
        store.commit([Write("flag", "a", 0, {"n": 0})], [])
        everyone = threading.Barrier(4)
        wins: list[int] = []

        def race() -> None:
            for _ in range(25):
                row = store.get("flag", "a")
                everyone.wait()
                wins.extend(increment(store, row))
                everyone.wait()

        assert failures_of(everyone, [race] * 4) == []
        assert wins == list(range(1, 26))
        assert store.get("flag", "a") == Row("flag", "a", 26, {"n": 25})
        assert [event.after for event in store.history()] == [{"n": n} for n in wins]

    # --- events -----------------------------------------------------------------------------

    def test_an_event_comes_back_as_it_was_written(self, store: Store) -> None:
        """With its microseconds; the store adds only the id."""
        full = Event("a", "rollback", "zoë@example.com", AT, "Größe", {"n": 1}, {"n": [2]}, {"x": None}, "segment")
        bare = Event("b", "apply", "owner@example.com", AT)
        store.commit([], [full, bare])
        first, second = store.history()
        assert (replace(first, id=0), replace(second, id=0)) == (full, bare)
        assert first.at.utcoffset() is not None
        assert 0 < first.id < second.id

    def test_history_is_the_newest_events_oldest_first(self, store: Store) -> None:
        for count in range(4):
            store.commit([], [an_event("a", f"{count}a"), an_event("b", f"{count}b")])
        assert verbs_of(store.history()) == ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b"]
        assert verbs_of(store.history(limit=3)) == ["2b", "3a", "3b"]
        assert verbs_of(store.history("b", limit=3)) == ["1b", "2b", "3b"]
        assert store.history("nobody") == []
        assert store.history(limit=0) == []

    def test_history_after_an_event_is_what_came_since(self, store: Store) -> None:
        store.commit([], [an_event("a", "1"), an_event("b", "2"), an_event("a", "3"), an_event("a", "4")])
        ids = [event.id for event in store.history()]
        assert ids == sorted(set(ids))
        assert verbs_of(store.history(after=ids[1])) == ["3", "4"]
        assert verbs_of(store.history("a", after=ids[0])) == ["3", "4"]
        assert verbs_of(store.history("a", after=ids[0], limit=1)) == ["4"]
        assert store.history(after=ids[-1]) == []
