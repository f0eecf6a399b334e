"""Threads and processes that come and go: a store that was closed, and both sides of a fork."""

from __future__ import annotations

import os
import threading
import time

from flaggate.stores.base import Report, Row, Store, Write
from flaggate.testing.contract.acting import a_count, document_of, increment, succeeds_in_child
from flaggate.testing.contract.leasing import holder_of, take

__all__ = ["ProcessContract"]


class ProcessContract:
    """What every store keeps over a fork. Where there is no fork there is nothing to keep."""

    def test_waiting_ends_after_its_time(self, store: Store) -> None:
        store.wait(0.01, threading.Event())

    def test_waiting_ends_when_it_is_over(self, store: Store) -> None:
        """Well before its time: a process that ends waits for it."""
        is_over = threading.Event()
        threading.Timer(0.05, is_over.set).start()
        begun = time.monotonic()
        while not is_over.is_set():  # it may return early for nothing
            store.wait(60.0, is_over)
        assert time.monotonic() - begun < 30.0

    def test_a_closed_store_can_be_used_again(self, store: Store) -> None:
        store.close()
        store.commit([Write("flag", "a", 0, {})], [])
        store.close()
        store.close()
        assert store.get("flag", "a") == Row("flag", "a", 1, {})

    def test_parent_and_child_both_go_on_after_a_fork(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return
        revision = store.commit([Write("flag", "a", 0, {"n": 1})], [])

        def child() -> bool:
            is_there = document_of(store, "a") == {"n": 1} and store.revision() == revision
            store.commit([Write("flag", "child", 0, {})], [])
            return is_there and store.get("flag", "child") is not None

        assert succeeds_in_child(store, child)
        increment(store, store.get("flag", "a"))
        assert document_of(store, "a") == {"n": 2}

    def test_parent_and_child_both_count_after_a_fork(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return
        store.add_counts(Report("parent", 1, (a_count("a"),)))

        def child() -> bool:
            for process in ("child", "parent"):
                store.add_counts(Report(process, 1, (a_count("a"),)))
            return [count.requests for count in store.counts()] == [2]

        assert succeeds_in_child(store, child)
        store.add_counts(Report("parent", 2, (a_count("b"),)))
        assert store.counts("b") == [a_count("b")]

    def test_parent_and_child_both_know_the_lease_after_a_fork(self, store: Store) -> None:
        """It is the parent's: a child has a name of its own."""
        if not hasattr(os, "fork"):
            return
        take(store, "parent")
        store.save_progress({"a": {"n": 1}}, holder="parent")

        def child() -> bool:
            knows = holder_of(store) == "parent" and store.progress() == {"a": {"n": 1}}
            return knows and not take(store, "child")

        assert succeeds_in_child(store, child)
        assert take(store, "parent")
        store.save_progress({"a": {"n": 2}}, holder="parent")
        assert store.progress() == {"a": {"n": 2}}

    def test_a_fork_while_another_thread_writes(self, store: Store) -> None:
        """The child has no such thread, and must not wait for what it held."""
        if not hasattr(os, "fork"):
            return
        store.commit([Write("flag", "a", 0, {"n": 0})], [])
        is_over = threading.Event()

        def write() -> None:
            while not is_over.is_set():
                increment(store, store.get("flag", "a"))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            results = [succeeds_in_child(store, lambda: store.get("flag", "a") is not None) for _ in range(5)]
        finally:
            is_over.set()
            thread.join()
        assert results == [True] * 5
        row = store.get("flag", "a")
        assert row is not None
        assert row.document == {"n": row.version - 1}
