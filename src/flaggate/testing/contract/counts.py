"""Counts: each report once, and nobody's revision."""

from __future__ import annotations

import threading
from functools import partial

from flaggate.stores.base import Count, Report, Store, Write
from flaggate.testing.contract.acting import a_count, an_event, failures_of

__all__ = ["CountContract"]


class CountContract:
    """What every store keeps of counts."""

    def test_counts_are_summed_by_flag_attempt_stage_and_arm(self, store: Store) -> None:
        """Over all processes and reports, and histograms edge by edge; in this order."""
        others = [a_count("b", 1, 2, "control"), a_count("b", 1, 2, "off"), a_count("b", 1, 10), a_count("b", 2, 0)]
        store.add_counts(Report("one", 1, (Count("b", 1, 2, "on", 9, 1, {"1.2": 4, "10": 5}), a_count("a"))))
        store.add_counts(Report("one", 2, (others[2], Count("b", 1, 2, "on", 4, 2, {"10": 3, "inf": 1}), others[3])))
        store.add_counts(Report("two", 1, (others[1], Count("b", 1, 2, "on", 2**40, 0, {"10": 1}), others[0])))
        total = Count("b", 1, 2, "on", 13 + 2**40, 3, {"1.2": 4, "10": 9, "inf": 1})
        assert store.counts("b") == [*others[:2], total, *others[2:]]
        assert store.counts() == [a_count("a"), *store.counts("b")]
        assert store.counts("nobody") == []

    def test_what_the_app_measures_is_summed_by_its_name(self, store: Store) -> None:
        """Of one flag as of another; names that a report does not know stay."""
        for process, measured in (("one", {"paid": 1}), ("two", {"paid": 2**40, "Paid": 3}), ("three", {})):
            store.add_counts(Report(process, 1, (Count("a", 1, 1, "on", 5, 0, {}, measured), a_count("b"))))
        (total,) = store.counts("a")
        assert (total.requests, total.measured) == (15, {"paid": 1 + 2**40, "Paid": 3})
        assert store.counts("b") == [Count("b", 1, 1, "on", 3, 0, {"10": 3})]

    def test_a_report_without_counts_adds_none(self, store: Store) -> None:
        """It says that the process is there."""
        store.add_counts(Report("p", 1, (a_count("a"),)))
        store.add_counts(Report("p", 2))
        store.add_counts(Report("p", 2, (a_count("a"),)))
        store.add_counts(Report("q", 1))
        assert store.counts() == [a_count("a")]

    def test_a_report_is_added_once(self, store: Store) -> None:
        """A process repeats what was not confirmed to it, and may overtake itself; numbers may be left out."""
        seen = []
        for process, sequence in zip("pppppqpqq", (1, 1, 3, 3, 2, 2, 1, 1, 3), strict=True):
            store.add_counts(Report(process, sequence, (a_count("a"),)))
            seen.append(sum(count.requests for count in store.counts()))
        assert seen == [1, 1, 2, 2, 2, 3, 3, 3, 4]

    def test_counting_changes_neither_the_revision_nor_a_version(self, store: Store) -> None:
        """Nor does a commit change the counts."""
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history()
        store.add_counts(Report("p", 1, (a_count("a"),)))
        assert (store.revision(), store.changes(), store.history()) == before
        store.commit([Write("flag", "a", 1, {})], [])
        assert store.counts() == [a_count("a")]

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
                store.add_counts(Report(process, sequence, (a_count("a"), a_count("b"))))

        assert failures_of(everyone, [partial(add, process) for process in "ppqr"]) == []
        assert store.counts() == [Count(flag, 1, 1, "on", 30, 0, {"10": 30}) for flag in "ab"]

    def test_a_flag_that_is_removed_takes_its_counts_along(self, store: Store) -> None:
        """Made anew it begins at attempt 0 again: what an older one counted is not its own."""
        store.commit([Write("flag", "a", 0, {}), Write("flag", "b", 0, {}), Write("segment", "b", 0, {})], [])
        counts = Count("a", 1, 1, "on", 1, 0, {}), Count("b", 1, 1, "on", 1, 0, {})
        store.add_counts(Report("p", 1, counts))
        store.commit([Write("flag", "a", 1, None), Write("segment", "b", 1, None)], [])
        assert store.counts() == [counts[1]]
