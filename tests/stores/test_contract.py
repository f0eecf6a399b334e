"""The contract itself: it finds stores that break it, and needs nothing to be imported."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from flaggate.errors import LeaseError
from flaggate.rollout.state import Event
from flaggate.stores.base import Changes, Contents, Count, Kind, Lease, Report, Row, Store, UnitSum, Window, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sums import units_of
from flaggate.testing import StoreContract
from flaggate.testing.contract.acting import AT

Documents: TypeAlias = Mapping[str, Mapping[str, Any] | None]


class OneByOne(MemoryStore):
    """What was written before the refused write stays."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        for write in writes:
            super().commit([write], [], holder=holder)
        return super().commit([], events, holder=holder)


class HalfFilled(MemoryStore):
    """Takes the rows alone, and whatever was there before."""

    def fill(self, contents: Contents) -> None:
        self._revision = 0
        self._counts = {}
        super().fill(replace(contents, events=(), salt=""))


class NoTombstones(MemoryStore):
    """Nobody learns of a removal."""

    def changes(self, since: int = 0) -> Changes:
        found = super().changes(since)
        return Changes(found.revision, tuple(row for row in found.rows if row.document is not None))


class LastWriteWins(MemoryStore):
    """Expects whatever is there."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        rows = [(write, self.get(write.kind, write.name)) for write in writes]
        present = [Write(w.kind, w.name, row.version if row else 0, w.document) for w, row in rows]
        return super().commit(present, events, holder=holder)


class Shared(MemoryStore):
    """Hands out what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self._handed_out: dict[tuple[Kind, str], Row | None] = {}

    def get(self, kind: Kind, name: str) -> Row | None:
        return self._handed_out.setdefault((kind, name), super().get(kind, name))


class OldestFirst(MemoryStore):
    """Takes the limit from the wrong end."""

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        return super().history(name, limit=1_000, after=after)[:limit]


class Gullible(MemoryStore):
    """Adds whatever it is handed."""

    def add_counts(self, report: Report) -> None:
        self._reported.clear()
        super().add_counts(report)


class OneClock(MemoryStore):
    """Takes the numbers of one process for another's."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(replace(report, process="everybody"))


class LastHistogram(MemoryStore):
    """Keeps the edges of the last report only."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(report)
        for count in report.counts:
            key = count.flag, count.attempt, count.stage, count.arm
            self._counts[key] = replace(self._counts[key], histogram=count.histogram)


class CommitsCounts(MemoryStore):
    """Every flush makes every process read all flags again."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(report)
        self.commit([], [])


class OtherMinutes(MemoryStore):
    """Has the time of its windows from elsewhere."""

    def windows(self, flag: str, since: float) -> list[Window]:
        return [replace(window, began=window.began + 60) for window in super().windows(flag, since)]


class KeepsWindows(MemoryStore):
    """For ever."""

    def _forget(self, report: Report, now: float) -> None:
        return


class ForgetsSums(MemoryStore):
    """With the windows."""

    def _forget(self, report: Report, now: float) -> None:
        super()._forget(report, now)
        recent = {place for _, place in self._windows}
        self._counts = {place: count for place, count in self._counts.items() if place in recent}
        self._units = {group: units for group, units in self._units.items() if group.span}


class CountsTwice(MemoryStore):
    """Takes a unit that another process met for another one."""

    def add_counts(self, report: Report) -> None:
        units = [replace(unit, unit=f"{unit.unit}-{report.process}") for unit in report.units]
        super().add_counts(replace(report, units=tuple(units)))


class OneMetric(MemoryStore):
    """Compares names without regard to case, as some databases do."""

    def add_counts(self, report: Report) -> None:
        units = [replace(unit, metric=unit.metric.lower()) for unit in report.units]
        super().add_counts(replace(report, units=tuple(units)))


class ByArm(MemoryStore):
    """A set that is nearly full takes those of one arm first."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(replace(report, units=tuple(sorted(report.units, key=lambda unit: unit.arm))))


class NeverFull(MemoryStore):
    """Takes whatever is new under another name of its set."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(report)
        for group, seen in units_of(report.units, self._clock()).items():
            self._units[group] = dict(seen) | self._units[group]


class OneHour(MemoryStore):
    """All hours are one."""

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        found = super().units(flag, attempt, stage)
        return [one for one in found if one.began == max(other.began for other in found if other.span == one.span)]


class KeepsUnits(MemoryStore):
    """Of a flag that was made anew those of a former one."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        units = self._units
        revision = super().commit(writes, events, holder=holder)
        self._units = units
        return revision


class LastNumber(MemoryStore):
    """Its pulse is that of one process, and another one begins anew."""

    def add_counts(self, report: Report) -> None:
        super().add_counts(report)
        self._pulse = report.sequence


class SharedCounts(MemoryStore):
    """Hands out the histograms that it keeps."""

    def counts(self, flag: str | None = None) -> list[Count]:
        return [self._counts[key] for key in sorted(self._counts)]


class Open(MemoryStore):
    """Gives the lease to whoever asks."""

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        self._lease = None
        return super().take_lease(holder, who, seconds)


class ForEver(MemoryStore):
    """A lease has no end."""

    def lease(self) -> Lease | None:
        return self._lease


class WaitsForTheFuture(MemoryStore):
    """Takes a clock that was turned back for a lease that has just begun."""

    def lease(self) -> Lease | None:
        lease = self._lease
        return lease if lease is not None and self._clock() - lease.renewed_at < lease.seconds else None


class NeverRenewed(MemoryStore):
    """The holder has it, but for no longer."""

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        return super().take_lease(holder, who, seconds) if self.lease() is None else self._is_of(holder)

    def _is_of(self, holder: str) -> bool:
        return self._lease is not None and self._lease.holder == holder


class AnybodyReleases(MemoryStore):
    """Without looking whose it is."""

    def release_lease(self, holder: str) -> None:
        self._lease = None


class Unfenced(MemoryStore):
    """Everybody writes."""

    def _check_lease(self, holder: str) -> None:
        return


class FencedByName(MemoryStore):
    """Who had it last writes, however long ago."""

    def _check_lease(self, holder: str) -> None:
        if self._lease is None or self._lease.holder != holder:
            raise LeaseError(self.url)


class FencedTooLate(MemoryStore):
    """What was written before it is refused stays."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        revision = super().commit(writes, events)
        if holder is not None:
            self._check_lease(holder)
        return revision

    def save_progress(self, documents: Documents, *, holder: str) -> None:
        self._progress = {name: document for name, document in self._progress.items() if documents.get(name, "")}
        super().save_progress(documents, holder=holder)


class Merged(MemoryStore):
    """What a document had before stays in it."""

    def save_progress(self, documents: Documents, *, holder: str) -> None:
        kept = self.progress()
        merged = {name: new and {**kept.get(name, {}), **new} for name, new in documents.items()}
        super().save_progress(merged, holder=holder)


class OnlyTheLast(MemoryStore):
    """What is not named is removed."""

    def save_progress(self, documents: Documents, *, holder: str) -> None:
        super().save_progress(dict.fromkeys(self._progress) | dict(documents), holder=holder)


class CommitsProgress(MemoryStore):
    """Every tick makes every process read all flags again."""

    def save_progress(self, documents: Documents, *, holder: str) -> None:
        super().save_progress(documents, holder=holder)
        self.commit([], [])


class KeepsProgress(MemoryStore):
    """A flag made anew goes on where another one of its name ended."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        progress = self._progress
        revision = super().commit(writes, events, holder=holder)
        self._progress = progress
        return revision


class SharedProgress(MemoryStore):
    """Hands out what it was handed."""

    def save_progress(self, documents: Documents, *, holder: str) -> None:
        super().save_progress(documents, holder=holder)
        self._handed_in = documents

    def progress(self) -> dict[str, Mapping[str, Any]]:
        return {name: document for name, document in self._handed_in.items() if document is not None}


CONTRACT = StoreContract()
CLOCK = CONTRACT.clock


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (HalfFilled(clock=CLOCK), CONTRACT.test_what_it_is_filled_with_it_has),
        (HalfFilled(clock=CLOCK), CONTRACT.test_it_goes_on_from_there),
        (HalfFilled(clock=CLOCK), CONTRACT.test_one_that_is_not_empty_takes_nothing),
        (OneByOne(), CONTRACT.test_a_commit_is_all_or_nothing),
        (NoTombstones(), CONTRACT.test_a_removed_row_is_gone_but_known_to_changes),
        (LastWriteWins(), CONTRACT.test_a_write_that_expects_another_version_is_refused),
        (LastWriteWins(), CONTRACT.test_of_threads_that_read_the_same_version_one_writes),
        (Shared(), CONTRACT.test_what_is_stored_is_nobody_elses_to_change),
        (OldestFirst(), CONTRACT.test_history_is_the_newest_events_oldest_first),
        (OldestFirst(), CONTRACT.test_history_after_an_event_is_what_came_since),
        (Gullible(), CONTRACT.test_a_report_is_added_once),
        (Gullible(), CONTRACT.test_counts_added_by_threads_at_once_are_all_there),
        (OneClock(), CONTRACT.test_a_report_is_added_once),
        (OneClock(), CONTRACT.test_counts_are_summed_by_flag_attempt_stage_and_arm),
        (LastHistogram(), CONTRACT.test_counts_are_summed_by_flag_attempt_stage_and_arm),
        (CommitsCounts(), CONTRACT.test_counting_changes_neither_the_revision_nor_a_version),
        (SharedCounts(), CONTRACT.test_what_was_counted_is_nobody_elses_to_change),
        (Gullible(clock=CLOCK), CONTRACT.test_a_report_is_added_to_one_window),
        (Gullible(clock=CLOCK), CONTRACT.test_units_of_a_report_are_added_once),
        (OtherMinutes(clock=CLOCK), CONTRACT.test_counts_are_summed_by_window),
        (KeepsWindows(clock=CLOCK), CONTRACT.test_windows_are_forgotten_in_time_and_sums_never),
        (KeepsWindows(clock=CLOCK), CONTRACT.test_hours_and_windows_are_forgotten_in_time_and_the_stage_is_not),
        (KeepsWindows(clock=CLOCK), CONTRACT.test_units_of_a_stage_that_was_left_are_forgotten),
        (ForgetsSums(clock=CLOCK), CONTRACT.test_windows_are_forgotten_in_time_and_sums_never),
        (ForgetsSums(clock=CLOCK), CONTRACT.test_hours_and_windows_are_forgotten_in_time_and_the_stage_is_not),
        (CountsTwice(clock=CLOCK), CONTRACT.test_a_unit_is_counted_once_in_each_set),
        (CountsTwice(clock=CLOCK), CONTRACT.test_units_that_threads_meet_at_once_are_counted_once),
        (OneMetric(clock=CLOCK), CONTRACT.test_units_are_told_apart_by_metric_and_arm),
        (ByArm(clock=CLOCK), CONTRACT.test_a_set_that_is_full_takes_no_more_units),
        (NeverFull(clock=CLOCK), CONTRACT.test_a_set_that_is_full_takes_no_more_units),
        (OneHour(clock=CLOCK), CONTRACT.test_each_hour_and_each_window_begins_with_nobody),
        (KeepsUnits(clock=CLOCK), CONTRACT.test_a_flag_that_is_removed_takes_its_units_along),
        (KeepsUnits(clock=CLOCK), CONTRACT.test_a_flag_that_is_made_anew_has_no_units),
        (LastNumber(clock=CLOCK), CONTRACT.test_the_pulse_changes_with_every_report),
        (MemoryStore(), CONTRACT.test_the_lease_is_of_who_took_it),  # by another clock
        (Open(clock=CLOCK), CONTRACT.test_another_is_refused_while_it_lasts),
        (Open(clock=CLOCK), CONTRACT.test_of_threads_that_ask_at_once_one_gets_it),
        (ForEver(clock=CLOCK), CONTRACT.test_it_is_over_after_its_time),
        (WaitsForTheFuture(clock=CLOCK), CONTRACT.test_a_clock_that_is_turned_back_leaves_nobody_waiting),
        (NeverRenewed(clock=CLOCK), CONTRACT.test_the_holder_renews_it),
        (AnybodyReleases(clock=CLOCK), CONTRACT.test_nobody_releases_anothers_lease),
        (Unfenced(clock=CLOCK), CONTRACT.test_a_fenced_commit_of_anybody_else_writes_nothing),
        (Unfenced(clock=CLOCK), CONTRACT.test_progress_of_who_has_no_lease_is_not_saved),
        (Unfenced(clock=CLOCK), CONTRACT.test_nothing_of_a_former_holder_comes_after_the_next_ones),
        (FencedByName(clock=CLOCK), CONTRACT.test_a_fenced_commit_of_anybody_else_writes_nothing),
        (FencedByName(clock=CLOCK), CONTRACT.test_progress_of_who_has_no_lease_is_not_saved),
        (FencedTooLate(clock=CLOCK), CONTRACT.test_a_fenced_commit_of_anybody_else_writes_nothing),
        (FencedTooLate(clock=CLOCK), CONTRACT.test_progress_of_who_has_no_lease_is_not_saved),
        (Merged(clock=CLOCK), CONTRACT.test_progress_is_replaced_and_the_others_stay),
        (OnlyTheLast(clock=CLOCK), CONTRACT.test_progress_is_replaced_and_the_others_stay),
        (CommitsProgress(clock=CLOCK), CONTRACT.test_saving_touches_neither_the_revision_nor_a_version),
        (KeepsProgress(clock=CLOCK), CONTRACT.test_a_flag_that_is_removed_takes_its_progress_along),
        (KeepsProgress(clock=CLOCK), CONTRACT.test_a_flag_that_is_made_anew_has_no_progress),
        (SharedProgress(clock=CLOCK), CONTRACT.test_saved_progress_is_nobody_elses_to_change),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStore) else value.__name__,
)
def test_a_store_that_breaks_the_contract_is_found(store: Store, test: Callable[[Store], None]) -> None:
    CLOCK.move(AT.timestamp() - CLOCK())  # where the contract begins, and not where the last one ended
    with pytest.raises(AssertionError):
        test(store)


def test_importing_the_contract_needs_neither_a_test_runner_nor_a_driver() -> None:
    code = "import sys, flaggate.testing; assert not {'pytest', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_store_of_ones_own_runs_the_contract_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    (example,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_store.py").write_text(example)
    (tmp_path / "conftest.py").write_text(
        'import pytest\npytest.register_assert_rewrite("flaggate.testing.contract")\n'
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_store.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    asked = [name for name in dir(StoreContract) if name.startswith("test_")]
    assert done.returncode == 0, done.stdout
    assert f"{len(asked)} passed" in done.stdout
