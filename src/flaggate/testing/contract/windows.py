"""Windows: counts once more, by the ten minutes in which they were added."""

from __future__ import annotations

from flaggate.stores.base import WINDOW_SECONDS, WINDOWS_KEPT_SECONDS, Count, Report, Store, Window, Write
from flaggate.testing.contract.acting import AT, a_count
from flaggate.testing.contract.leasing import Timed
from flaggate.testing.contract.unit_acting import come_by

__all__ = ["WindowContract"]

_FIRST = int(AT.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
_ONE = Count("a", 1, 1, "on", 1, 0, {"10": 1}, {"paid": 1})
_TWO = Count("a", 1, 1, "on", 2, 0, {"10": 2}, {"paid": 2})


class WindowContract(Timed):
    """What every store keeps of windows."""

    def test_counts_are_summed_by_window(self, store: Store) -> None:
        """Of ten minutes by the clock, over all processes; a moment on the border belongs to the next."""
        self.clock.move(_FIRST - self.clock())
        store.add_counts(Report("one", 1, (_ONE,)))
        self.clock.move(WINDOW_SECONDS - 0.5)
        store.add_counts(Report("two", 1, (_ONE,)))
        self.clock.move(0.5)
        store.add_counts(Report("one", 2, (_ONE,)))
        self.clock.move(3 * WINDOW_SECONDS)
        store.add_counts(Report("one", 3, (_ONE, _ONE)))
        began = [_FIRST + number * WINDOW_SECONDS for number in (0, 1, 4)]
        assert store.windows("a", 0) == [Window(began[0], _TWO), Window(began[1], _ONE), Window(began[2], _TWO)]
        assert [count.requests for count in store.counts()] == [5]

    def test_windows_are_of_one_flag_by_attempt_stage_and_arm(self, store: Store) -> None:
        """In this order, and by names as they are written."""
        counts = [a_count("a", 1, 2), a_count("a", 1, 2, "treatment"), a_count("a", 1, 10), a_count("a", 2, 0, "off")]
        store.add_counts(Report("one", 1, (counts[3], counts[1], a_count("b"), counts[0], counts[2])))
        assert [window.count for window in store.windows("a", 0)] == counts
        assert [window.count for window in store.windows("b", 0)] == [a_count("b")]
        assert store.windows("A", 0) == []
        assert store.windows("nobody", 0) == []

    def test_windows_that_ended_before_are_left_out(self, store: Store) -> None:
        for sequence in (1, 2, 3):
            store.add_counts(Report("one", sequence, (_ONE,)))
            self.clock.move(WINDOW_SECONDS)
        for since, first in ((0.0, 0), (_FIRST + 599.75, 0), (_FIRST + 600.0, 1), (_FIRST + 1799.0, 2), (2.0**40, 3)):
            found = [window.began for window in store.windows("a", since)]
            assert found == [_FIRST + number * WINDOW_SECONDS for number in range(first, 3)], since

    def test_a_report_is_added_to_one_window(self, store: Store) -> None:
        """To none if it is repeated later."""
        for _ in range(3):
            store.add_counts(Report("one", 1, (_ONE,)))
            self.clock.move(WINDOW_SECONDS)
        assert store.windows("a", 0) == [Window(_FIRST, _ONE)]

    def test_windows_are_forgotten_in_time_and_sums_never(self, store: Store) -> None:
        """Not before; along with what is reported later."""
        store.add_counts(Report("one", 1, (_ONE, a_count("b"))))
        self.clock.move(WINDOWS_KEPT_SECONDS)
        store.add_counts(Report("one", 2, (_ONE,)))
        come_by(store, "two")
        assert [window.began for window in store.windows("a", 0)] == [_FIRST, _FIRST + WINDOWS_KEPT_SECONDS]
        self.clock.move(3 * WINDOW_SECONDS)
        come_by(store, "three")
        assert [window.began for window in store.windows("a", 0)] == [_FIRST + WINDOWS_KEPT_SECONDS]
        assert store.windows("b", 0) == []
        assert store.counts() == [_TWO, a_count("b")]

    def test_a_flag_that_is_removed_takes_its_windows_along(self, store: Store) -> None:
        store.commit([Write("flag", "a", 0, {}), Write("flag", "b", 0, {})], [])
        store.add_counts(Report("one", 1, (_ONE, a_count("b"))))
        store.commit([Write("flag", "a", 1, None)], [])
        assert store.windows("a", 0) == []
        assert [window.count for window in store.windows("b", 0)] == [a_count("b")]

    def test_windows_that_were_handed_out_are_nobody_elses_to_change(self, store: Store) -> None:
        measured = {"paid": 1}
        store.add_counts(Report("one", 1, (Count("a", 1, 1, "on", 1, 0, {"10": 1}, measured),)))
        measured["paid"] = 99
        store.windows("a", 0)[0].count.histogram["10"] = 99  # type: ignore[index]  # as for counts
        store.counts("a")[0].measured["paid"] = 99  # type: ignore[index]
        assert store.windows("a", 0) == [Window(_FIRST, _ONE)]
        assert store.counts("a") == [_ONE]
