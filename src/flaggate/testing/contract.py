"""For the tests of those who use flaggate: the contract that every store keeps."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from flaggate.errors import ConflictError
from flaggate.rollout.state import Event
from flaggate.stores.base import Arm, Count, Report, Row, Store, Write

__all__ = ["StoreContract"]

_AT: Final = datetime(2026, 3, 1, 9, 30, 15, 250_000, tzinfo=UTC)
_CHILD_SECONDS: Final = 20
"""After this a child that hangs is killed, so that its test fails instead of hanging too."""


class StoreContract:
    """What every store keeps. Subclass it, with a fixture `store` that gives a new and empty one:

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self) -> Iterator[Store]:
                store = MyStore(...)
                yield store
                store.close()

    With `pytest.register_assert_rewrite("flaggate.testing.contract")` in the conftest.py a failure shows its values.
    """

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
        assert _document(store, "beta") == {"n": 1}
        assert store.get("segment", "beta") == Row("segment", "beta", 1, {"n": 2})
        assert store.get("definitions", "beta") is None

    def test_what_is_stored_is_nobody_elses_to_change(self, store: Store) -> None:
        """Neither the document that was handed in nor one that was handed out is the stored one."""
        document: dict[str, Any] = {"list": [1]}
        state: dict[str, Any] = {"list": [1]}
        store.commit([Write("flag", "a", 0, document)], [replace(_event("a"), after=state)])
        document["list"].append(2)
        state["list"].append(2)
        handed_out = [_document(store, "a"), store.changes().rows[0].document, store.history()[0].after]
        for given in handed_out:
            assert given == {"list": [1]}
            given["list"].append(3)
        assert _document(store, "a") == {"list": [1]}
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
            ([], [_event("a")]),
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
            error = _conflict(store, [Write("flag", name, expected, {"n": 2})])
            assert (error.kind, error.name, error.expected, error.found) == ("flag", name, expected, found)
            assert error.url == store.url
        assert _document(store, "a") == {"n": 1}
        assert store.get("flag", "new") is None
        assert store.get("flag", "gone") is None

    def test_a_commit_is_all_or_nothing(self, store: Store) -> None:
        """One refused write, wherever it stands, undoes rows, removals, events and revision."""
        store.commit([Write("flag", "a", 0, {"n": 1}), Write("flag", "b", 0, {"n": 1})], [_event("a")])
        refused = Write("flag", "b", 7, {"n": 2})
        good = [Write("flag", "a", 1, {"n": 2}), Write("flag", "new", 0, {}), Write("segment", "s", 0, {})]
        for place in range(len(good) + 1):
            before = store.changes(), store.history()
            _conflict(store, [*good[:place], refused, *good[place:]], [_event("a"), _event("b")])
            assert (store.changes(), store.history()) == before
        _conflict(store, [Write("flag", "a", 1, None), refused])
        assert _document(store, "a") == {"n": 1}

    def test_of_threads_that_read_the_same_version_one_writes(self, store: Store) -> None:
        """The others are refused, round by round; no write and no event is lost or doubled."""
        store.commit([Write("flag", "a", 0, {"n": 0})], [])
        everyone = threading.Barrier(4)
        wins: list[int] = []

        def race() -> None:
            for _ in range(25):
                row = store.get("flag", "a")
                everyone.wait()
                wins.extend(_increment(store, row))
                everyone.wait()

        assert _failures(everyone, [race] * 4) == []
        assert wins == list(range(1, 26))
        assert store.get("flag", "a") == Row("flag", "a", 26, {"n": 25})
        assert [event.after for event in store.history()] == [{"n": n} for n in wins]

    # --- events -----------------------------------------------------------------------------

    def test_an_event_comes_back_as_it_was_written(self, store: Store) -> None:
        """With its microseconds; the store adds only the id."""
        full = Event("a", "rollback", "zoë@example.com", _AT, "Größe", {"n": 1}, {"n": [2]}, {"x": None}, "segment")
        bare = Event("b", "apply", "owner@example.com", _AT)
        store.commit([], [full, bare])
        first, second = store.history()
        assert (replace(first, id=0), replace(second, id=0)) == (full, bare)
        assert first.at.utcoffset() is not None
        assert 0 < first.id < second.id

    def test_history_is_the_newest_events_oldest_first(self, store: Store) -> None:
        for count in range(4):
            store.commit([], [_event("a", f"{count}a"), _event("b", f"{count}b")])
        assert _verbs(store.history()) == ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b"]
        assert _verbs(store.history(limit=3)) == ["2b", "3a", "3b"]
        assert _verbs(store.history("b", limit=3)) == ["1b", "2b", "3b"]
        assert store.history("nobody") == []
        assert store.history(limit=0) == []

    def test_history_after_an_event_is_what_came_since(self, store: Store) -> None:
        store.commit([], [_event("a", "1"), _event("b", "2"), _event("a", "3"), _event("a", "4")])
        ids = [event.id for event in store.history()]
        assert ids == sorted(set(ids))
        assert _verbs(store.history(after=ids[1])) == ["3", "4"]
        assert _verbs(store.history("a", after=ids[0])) == ["3", "4"]
        assert _verbs(store.history("a", after=ids[0], limit=1)) == ["4"]
        assert store.history(after=ids[-1]) == []

    # --- counts -----------------------------------------------------------------------------

    def test_counts_are_summed_by_flag_attempt_stage_and_arm(self, store: Store) -> None:
        """Over all processes and reports, and histograms edge by edge; in this order."""
        others = [_count("b", 1, 2, "control"), _count("b", 1, 2, "off"), _count("b", 1, 10), _count("b", 2, 0)]
        store.add_counts(Report("one", 1, (Count("b", 1, 2, "on", 9, 1, {"1.2": 4, "10": 5}), _count("a"))))
        store.add_counts(Report("one", 2, (others[2], Count("b", 1, 2, "on", 4, 2, {"10": 3, "inf": 1}), others[3])))
        store.add_counts(Report("two", 1, (others[1], Count("b", 1, 2, "on", 2**40, 0, {"10": 1}), others[0])))
        total = Count("b", 1, 2, "on", 13 + 2**40, 3, {"1.2": 4, "10": 9, "inf": 1})
        assert store.counts("b") == [*others[:2], total, *others[2:]]
        assert store.counts() == [_count("a"), *store.counts("b")]
        assert store.counts("nobody") == []

    def test_a_report_is_added_once(self, store: Store) -> None:
        """A process repeats what was not confirmed to it, and may overtake itself; numbers may be left out."""
        seen = []
        for process, sequence in zip("pppppqpqq", (1, 1, 3, 3, 2, 2, 1, 1, 3), strict=True):
            store.add_counts(Report(process, sequence, (_count("a"),)))
            seen.append(sum(count.requests for count in store.counts()))
        assert seen == [1, 1, 2, 2, 2, 3, 3, 3, 4]

    def test_counting_changes_neither_the_revision_nor_a_version(self, store: Store) -> None:
        """Nor does a commit change the counts."""
        store.commit([Write("flag", "a", 0, {})], [_event("a")])
        before = store.revision(), store.changes(), store.history()
        store.add_counts(Report("p", 1, (_count("a"),)))
        assert (store.revision(), store.changes(), store.history()) == before
        store.commit([Write("flag", "a", 1, {})], [])
        assert store.counts() == [_count("a")]

    def test_what_was_counted_is_nobody_elses_to_change(self, store: Store) -> None:
        histogram = {"10": 1}
        store.add_counts(Report("p", 1, (Count("a", 1, 1, "on", 1, 0, histogram),)))
        histogram["10"] = 99
        store.counts()[0].histogram["10"] = 99  # type: ignore[index]  # a Mapping; but who is to stop it
        assert store.counts()[0].histogram == {"10": 1}

    def test_counts_added_by_threads_at_once_are_all_there(self, store: Store) -> None:
        """Also of threads that are the same process and repeat themselves."""
        everyone = threading.Barrier(4)

        def add(process: str) -> None:
            everyone.wait()
            for sequence in (1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10):
                store.add_counts(Report(process, sequence, (_count("a"), _count("b"))))

        assert _failures(everyone, [partial(add, process) for process in "ppqr"]) == []
        assert store.counts() == [Count(flag, 1, 1, "on", 30, 0, {"10": 30}) for flag in "ab"]

    def test_a_flag_that_is_removed_takes_its_counts_along(self, store: Store) -> None:
        """Made anew it begins at attempt 0 again: what an older one counted is not its own."""
        store.commit([Write("flag", "a", 0, {}), Write("flag", "b", 0, {}), Write("segment", "b", 0, {})], [])
        counts = Count("a", 1, 1, "on", 1, 0, {}), Count("b", 1, 1, "on", 1, 0, {})
        store.add_counts(Report("p", 1, counts))
        store.commit([Write("flag", "a", 1, None), Write("segment", "b", 1, None)], [])
        assert store.counts() == [counts[1]]

    # --- processes --------------------------------------------------------------------------

    def test_a_closed_store_can_be_used_again(self, store: Store) -> None:
        store.close()
        store.commit([Write("flag", "a", 0, {})], [])
        store.close()
        store.close()
        assert store.get("flag", "a") == Row("flag", "a", 1, {})

    def test_parent_and_child_both_go_on_after_a_fork(self, store: Store) -> None:
        """Where there is no fork there is nothing to keep."""
        if not hasattr(os, "fork"):
            return
        revision = store.commit([Write("flag", "a", 0, {"n": 1})], [])

        def child() -> bool:
            is_there = _document(store, "a") == {"n": 1} and store.revision() == revision
            store.commit([Write("flag", "child", 0, {})], [])
            return is_there and store.get("flag", "child") is not None

        assert _succeeds_in_child(store, child)
        _increment(store, store.get("flag", "a"))
        assert _document(store, "a") == {"n": 2}

    def test_parent_and_child_both_count_after_a_fork(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return
        store.add_counts(Report("parent", 1, (_count("a"),)))

        def child() -> bool:
            for process in ("child", "parent"):
                store.add_counts(Report(process, 1, (_count("a"),)))
            return [count.requests for count in store.counts()] == [2]

        assert _succeeds_in_child(store, child)
        store.add_counts(Report("parent", 2, (_count("b"),)))
        assert store.counts("b") == [_count("b")]

    def test_a_fork_while_another_thread_writes(self, store: Store) -> None:
        """The child has no such thread, and must not wait for what it held."""
        if not hasattr(os, "fork"):
            return
        store.commit([Write("flag", "a", 0, {"n": 0})], [])
        is_over = threading.Event()

        def write() -> None:
            while not is_over.is_set():
                _increment(store, store.get("flag", "a"))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            results = [_succeeds_in_child(store, lambda: store.get("flag", "a") is not None) for _ in range(5)]
        finally:
            is_over.set()
            thread.join()
        assert results == [True] * 5
        row = store.get("flag", "a")
        assert row is not None
        assert row.document == {"n": row.version - 1}


def _count(flag: str, attempt: int = 1, stage: int = 1, arm: Arm = "on") -> Count:
    """One request."""
    return Count(flag, attempt, stage, arm, 1, 0, {"10": 1})


def _event(name: str, verb: str = "apply") -> Event:
    return Event(name, verb, "owner@example.com", _AT)


def _verbs(events: Sequence[Event]) -> list[str]:
    return [event.verb for event in events]


def _document(store: Store, name: str) -> Any:
    row = store.get("flag", name)
    return None if row is None else row.document


def _conflict(store: Store, writes: Sequence[Write], events: Sequence[Event] = ()) -> ConflictError:
    try:
        store.commit(writes, events)
    except ConflictError as error:
        return error
    raise AssertionError(f"{store.url} took {writes}")


def _increment(store: Store, row: Row | None) -> list[int]:
    """Count one further, if the row is as it was read. Returns the new number, if so."""
    assert row is not None
    assert row.document is not None
    number = row.document["n"] + 1
    try:
        write = Write("flag", row.name, row.version, {"n": number})
        store.commit([write], [replace(_event(row.name), after={"n": number})])
    except ConflictError:
        return []
    return [number]


def _failures(everyone: threading.Barrier, works: Sequence[Callable[[], None]]) -> list[BaseException]:
    """Do all of it at once, each in a thread. Returns what was raised; then nobody waits for the others any more."""
    failures: list[BaseException] = []

    def do(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
            everyone.abort()

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def _succeeds_in_child(store: Store, question: Callable[[], bool]) -> bool:
    """Fork as a gate does, and answer the question in the child, in a thread of its own as a keeper would."""
    store.before_fork()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of the threads; they are the point here
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(_CHILD_SECONDS)
            store.after_fork(in_child=True)
            answers: list[bool] = []
            thread = threading.Thread(target=lambda: answers.append(question()))
            thread.start()
            thread.join()
            status = 0 if answers == [True] else 2
        finally:
            os._exit(status)  # not through the test runner's own ending
    store.after_fork(in_child=False)
    _, status = os.waitpid(pid, 0)
    return status == 0
