"""Sets of units: nobody is twice in one, however many processes met it."""

from __future__ import annotations

import os
import threading
from functools import partial

from flaggate.stores.base import (
    HOUR_SECONDS,
    MOST_UNITS,
    REQUESTS,
    UNITS_KEPT_SECONDS,
    WINDOW_SECONDS,
    Report,
    Store,
    UnitCount,
    UnitSum,
    Write,
)
from flaggate.testing.contract.acting import a_count, an_event, failures_of, succeeds_in_child
from flaggate.testing.contract.leasing import Timed
from flaggate.testing.contract.unit_acting import HOUR, a_unit, add, come_by, sets_of, spans

__all__ = ["UnitContract"]


class UnitContract(Timed):
    """What every store keeps of units."""

    def test_a_unit_is_counted_once_in_each_set(self, store: Store) -> None:
        """Over reports and processes, and its bad requests are summed."""
        store.add_counts(Report("one", 1, (), (a_unit(1), a_unit(2, bad=3))))
        store.add_counts(Report("one", 2, (), (a_unit(2), a_unit(3), a_unit(3))))
        store.add_counts(Report("two", 1, (), (a_unit(1, bad=4), a_unit(3))))
        assert sets_of(store) == spans((3, 5 + 4 + 3, 25 + 16 + 9))

    def test_units_are_told_apart_by_metric_and_arm(self, store: Store) -> None:
        """Names are compared as they are written."""
        others = a_unit(1, "Errors", bad=2), a_unit(2, "errors", "control", bad=3), a_unit(1, "errors", "on", bad=4)
        store.add_counts(Report("one", 1, (), (a_unit(1), *others)))
        store.add_counts(Report("one", 2, (), (a_unit(1), *others)))
        assert sets_of(store) == [
            *spans((1, 4, 16), "Errors"),
            *spans((1, 6, 36), "errors", "control"),
            *spans((1, 8, 64), "errors", "on"),
            *spans((1, 2, 4)),
        ]

    def test_whom_a_lowered_share_moved_to_the_control_is_no_new_unit_there(self, store: Store) -> None:
        """Or else the arms look split in another way than designed: nobody who stayed is new."""
        for metric in (REQUESTS, "errors"):
            moved = a_unit(1, metric, "control", bad=3)
            store.add_counts(Report(f"one {metric}", 1, (), (a_unit(1, metric), a_unit(2, metric, "control"), moved)))
            store.add_counts(Report(f"two {metric}", 1, (), (moved, a_unit(2, metric), a_unit(1, metric, "on"))))
        assert {(one.arm, one.metric, one.span): one.units for one in sets_of(store) if not one.span} == {
            (arm, metric, 0): 1 for arm in ("treatment", "control", "on") for metric in (REQUESTS, "errors")
        }
        assert {one.bad for one in sets_of(store)} == {1}

    def test_units_are_of_one_flag_and_stage(self, store: Store) -> None:
        store.add_counts(Report("one", 1, (), (a_unit(1, stage=2, bad=2), a_unit(1, flag="b", bad=3))))
        assert sets_of(store) == []
        assert sets_of(store, "A", stage=2) == []
        assert sets_of(store, attempt=2) == []
        assert sets_of(store, stage=2) == spans((1, 2, 4))
        assert sets_of(store, "b") == spans((1, 3, 9))
        store.add_counts(Report("one", 2, (), (UnitCount("a", 2, 1, "treatment", "errors", f"{1:016x}", 5),)))
        assert sets_of(store, attempt=2) == spans((1, 5, 25))

    def test_those_that_were_there_are_counted_for_the_stage_only(self, store: Store) -> None:
        """However often they are met: how bad they were is not the question."""
        store.add_counts(Report("one", 1, (), (a_unit(1, REQUESTS), a_unit(2, REQUESTS, bad=7), a_unit(1, REQUESTS))))
        store.add_counts(Report("two", 1, (), (a_unit(1, REQUESTS), a_unit(3, REQUESTS, "control"))))
        assert sets_of(store) == [
            UnitSum("control", REQUESTS, 0, 0, 1, 1, 1),
            UnitSum("treatment", REQUESTS, 0, 0, 2, 2, 2),
        ]

    def test_each_hour_and_each_window_begins_with_nobody(self, store: Store) -> None:
        """A moment on the border belongs to the next."""
        self.clock.move(HOUR + HOUR_SECONDS - 0.5 - self.clock())
        store.add_counts(Report("one", 1, (), (a_unit(1, bad=2),)))
        self.clock.move(0.5)
        store.add_counts(Report("one", 2, (), (a_unit(1), a_unit(2))))
        self.clock.move(WINDOW_SECONDS)
        store.add_counts(Report("one", 3, (), (a_unit(1),)))
        later = HOUR + HOUR_SECONDS
        assert sets_of(store) == [
            UnitSum("treatment", "errors", 0, 0, 2, 5, 17),
            UnitSum("treatment", "errors", WINDOW_SECONDS, later - WINDOW_SECONDS, 1, 2, 4),
            UnitSum("treatment", "errors", WINDOW_SECONDS, later, 2, 2, 2),
            UnitSum("treatment", "errors", WINDOW_SECONDS, later + WINDOW_SECONDS, 1, 1, 1),
            UnitSum("treatment", "errors", HOUR_SECONDS, HOUR, 1, 2, 4),
            UnitSum("treatment", "errors", HOUR_SECONDS, later, 2, 3, 5),
        ]

    def test_units_of_a_report_are_added_once(self, store: Store) -> None:
        """Also when it is repeated in the next hour; and along with its counts."""
        for _ in range(3):
            store.add_counts(Report("one", 2, (a_count("a"),), (a_unit(1),)))
            store.add_counts(Report("one", 1, (a_count("a"),), (a_unit(2),)))
            self.clock.move(HOUR_SECONDS)
        assert sets_of(store) == spans((1, 1, 1))
        assert store.counts() == [a_count("a")]

    def test_a_set_that_is_full_takes_no_more_units(self, store: Store) -> None:
        """Over all arms, and by one report more at most. Those that are in it go on."""
        size = MOST_UNITS // 4 + 1
        for sequence in range(4):
            numbers = range(sequence * size, (sequence + 1) * size)
            units = [a_unit(number, arm="control" if number % 2 else "treatment") for number in numbers]
            store.add_counts(Report("one", sequence + 1, (), tuple(units)))
        before = {(one.arm, one.span): one for one in sets_of(store)}
        for span in (0, HOUR_SECONDS, WINDOW_SECONDS):
            total = before["control", span].units + before["treatment", span].units
            assert MOST_UNITS <= total < MOST_UNITS + size
            assert abs(before["control", span].units - before["treatment", span].units) <= 1, "one arm is favoured"
        late = a_unit(10**6), a_unit(10**6 + 1, arm="control"), a_unit(10**6 + 2, arm="on"), a_unit(0, bad=2)
        store.add_counts(Report("one", 5, (), late))
        for one in sets_of(store):
            grown = 2 if one.arm == "treatment" else 0
            was = before[one.arm, one.span]
            assert (one.units, one.bad, one.squares) == (was.units, was.bad + grown, was.squares + (8 if grown else 0))

    def test_hours_and_windows_are_forgotten_in_time_and_the_stage_is_not(self, store: Store) -> None:
        store.add_counts(Report("one", 1, (), (a_unit(1), a_unit(1, flag="b"), a_unit(1, REQUESTS))))
        self.clock.move(UNITS_KEPT_SECONDS)
        come_by(store, "two")
        assert len(sets_of(store)) == 4
        self.clock.move(HOUR_SECONDS)
        come_by(store, "three")
        assert sets_of(store) == [
            UnitSum("treatment", "errors", 0, 0, 1, 1, 1),
            UnitSum("treatment", REQUESTS, 0, 0, 1, 1, 1),
        ]
        assert sets_of(store, "b") == [UnitSum("treatment", "errors", 0, 0, 1, 1, 1)]
        store.add_counts(Report("one", 2, (), (a_unit(1),)))
        assert sets_of(store)[0].units == 1

    def test_units_of_a_stage_that_was_left_are_forgotten(self, store: Store) -> None:
        """Once those of a later one are reported. A straggler of the former one takes nothing away."""
        store.add_counts(Report("one", 1, (), (a_unit(1, stage=2), a_unit(1, flag="b"))))
        come_by(store, "two", a_unit(1, stage=10, bad=2))
        assert [sets_of(store, stage=2), sets_of(store, stage=10)] == [[], spans((1, 6, 36))]
        come_by(store, "three", UnitCount("a", 2, 1, "treatment", "errors", f"{1:016x}", 1))
        come_by(store, "straggler", a_unit(7, stage=10))
        assert sets_of(store, attempt=2) == spans((1, 3, 9))
        come_by(store, "four", UnitCount("a", 2, 1, "treatment", "errors", f"{2:016x}", 1))
        assert sets_of(store, stage=10) == []
        assert sets_of(store, "b") == spans((1, 1, 1))

    def test_a_flag_that_is_removed_takes_its_units_along(self, store: Store) -> None:
        """Those of its name that are met afterwards are other ones."""
        store.commit([Write("flag", "a", 0, {}), Write("flag", "b", 0, {})], [])
        store.add_counts(Report("one", 1, (), (a_unit(1, bad=3), a_unit(1, flag="b"))))
        store.commit([Write("flag", "a", 1, None)], [])
        assert sets_of(store) == []
        assert sets_of(store, "b") == spans((1, 1, 1))
        store.add_counts(Report("one", 2, (), (a_unit(1),)))
        assert sets_of(store) == spans((1, 1, 1))

    def test_a_flag_that_is_made_anew_has_no_units(self, store: Store) -> None:
        """Nor counts nor windows: a straggler may have told of the former one after it was removed."""
        store.commit([Write("flag", "a", 0, {})], [])
        store.commit([Write("flag", "a", 1, None)], [])
        store.add_counts(Report("one", 1, (a_count("a"),), (a_unit(1),)))
        store.commit([Write("flag", "a", 0, {})], [])
        assert (sets_of(store), store.counts("a"), store.windows("a", 0)) == ([], [], [])

    def test_units_touch_neither_the_revision_nor_a_version(self, store: Store) -> None:
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history(), store.counts()
        store.add_counts(Report("one", 1, (), (a_unit(1), a_unit(1, REQUESTS))))
        assert (store.revision(), store.changes(), store.history(), store.counts()) == before
        store.commit([Write("flag", "a", 1, {})], [])
        assert len(sets_of(store)) == 4

    def test_units_that_threads_meet_at_once_are_counted_once(self, store: Store) -> None:
        everyone = threading.Barrier(4)

        def meet(process: str) -> None:
            everyone.wait()
            for sequence in range(1, 11):
                add(store, Report(process, sequence, (), tuple(map(a_unit, range(sequence, sequence + 3)))))

        assert failures_of(everyone, [partial(meet, process) for process in "pqrs"]) == []
        met = [4, 8, *[12] * 8, 8, 4]  # each by three reports of each process; the outer ones by fewer
        assert sets_of(store) == spans((12, sum(met), sum(bad**2 for bad in met)))

    def test_parent_and_child_meet_the_same_units_after_a_fork(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return
        store.add_counts(Report("parent", 1, (a_count("a"),), (a_unit(1),)))

        def child() -> bool:
            store.add_counts(Report("child", 1, (a_count("a"),), (a_unit(1), a_unit(2))))
            return sets_of(store) == spans((2, 3, 5)) and len(store.windows("a", 0)) == 1

        assert succeeds_in_child(store, child)
        store.add_counts(Report("parent", 2, (), (a_unit(2),)))
        assert sets_of(store)[0].units == 2

    # --- the pulse --------------------------------------------------------------------------

    def test_the_pulse_changes_with_every_report(self, store: Store) -> None:
        """Of whichever process, whatever it tells; not while nobody does. No number comes twice, though processes are
        forgotten.
        """
        seen = [store.pulse()]
        for process in ("one", "two", "three", "four"):
            for sequence in (1, 2, 3):
                store.add_counts(Report(process, sequence, (a_count("a"),) if sequence == 2 else ()))
                seen.append(store.pulse())
                assert store.pulse() == seen[-1]
            self.clock.move(30 * 86_400.0)
        assert len(set(seen)) == len(seen)
