"""The contract itself: it finds stores that break it, and needs nothing to be imported."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from flaggate.rollout.state import Event
from flaggate.stores.base import Changes, Count, Kind, Report, Row, Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.testing import StoreContract


class OneByOne(MemoryStore):
    """What was written before the refused write stays."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event]) -> int:
        for write in writes:
            super().commit([write], [])
        return super().commit([], events)


class NoTombstones(MemoryStore):
    """Nobody learns of a removal."""

    def changes(self, since: int = 0) -> Changes:
        found = super().changes(since)
        return Changes(found.revision, tuple(row for row in found.rows if row.document is not None))


class LastWriteWins(MemoryStore):
    """Expects whatever is there."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event]) -> int:
        rows = [(write, self.get(write.kind, write.name)) for write in writes]
        present = [Write(w.kind, w.name, row.version if row else 0, w.document) for w, row in rows]
        return super().commit(present, events)


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


class SharedCounts(MemoryStore):
    """Hands out the histograms that it keeps."""

    def counts(self, flag: str | None = None) -> list[Count]:
        return [self._counts[key] for key in sorted(self._counts)]


CONTRACT = StoreContract()


@pytest.mark.parametrize(
    ("store", "test"),
    [
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
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStore) else value.__name__,
)
def test_a_store_that_breaks_the_contract_is_found(store: Store, test: Callable[[Store], None]) -> None:
    with pytest.raises(AssertionError):
        test(store)


def test_importing_the_contract_needs_neither_a_test_runner_nor_a_driver() -> None:
    code = "import sys, flaggate.testing; assert not {'pytest', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
