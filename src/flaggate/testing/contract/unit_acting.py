"""What the tests of windows and units share."""

from __future__ import annotations

from typing import Final

from flaggate.errors import BusyError
from flaggate.stores.base import HOUR_SECONDS, WINDOW_SECONDS, Arm, Report, Store, UnitCount, UnitSum
from flaggate.testing.contract.acting import AT

__all__ = ["HOUR", "WINDOW", "a_unit", "add", "come_by", "sets_of", "spans"]

HOUR: Final = int(AT.timestamp()) // HOUR_SECONDS * HOUR_SECONDS
WINDOW: Final = int(AT.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS


def a_unit(
    number: int, metric: str = "errors", arm: Arm = "treatment", *, bad: int = 1, flag: str = "a", stage: int = 1
) -> UnitCount:
    return UnitCount(flag, 1, stage, arm, metric, f"{number:016x}", bad)


def spans(sums: tuple[int, int, int], metric: str = "errors", arm: Arm = "treatment") -> list[UnitSum]:
    """The same of the whole stage, of the hour and of the window that the tests begin in: units, bad, squares."""
    began = ((0, 0), (WINDOW_SECONDS, WINDOW), (HOUR_SECONDS, HOUR))
    return [UnitSum(arm, metric, *span, *sums) for span in began]


def sets_of(store: Store, flag: str = "a", attempt: int = 1, stage: int = 1) -> list[UnitSum]:
    """Of a stage: by metric, arm, span and when it began."""
    found = store.units(flag, attempt, stage)
    return sorted(found, key=lambda one: (one.metric, one.arm, one.span, one.began))


def add(store: Store, report: Report) -> None:
    """Hand it over, and again where another writer did not end in time."""
    while True:
        try:
            return store.add_counts(report)
        except BusyError:
            continue


def come_by(store: Store, process: str, *units: UnitCount) -> None:
    """A process begins and reports a hundred times: by then whatever is over has to be forgotten."""
    for sequence in (1, 2, 100):
        store.add_counts(Report(process, sequence, (), units))
