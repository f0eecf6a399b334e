"""This process's counts: the requests that asked a flag, how they ended and how long they took.

A count belongs to a flag, an attempt and a stage, and to those who had the feature (`on`) or had not (`off`).
Where a share decided it is counted once more, as `treatment` or `control`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from flaggate.errors import BusyError
from flaggate.runtime.process import importing
from flaggate.runtime.units import Place, StageUnits, forget_others

if TYPE_CHECKING:
    from flaggate.decide.decision import Decision
    from flaggate.runtime.snapshot import Entry, Snapshot
    from flaggate.stores.base import Arm, Report, Store

__all__ = ["HANG_SECONDS", "Asked", "Meter", "Waits"]

HANG_SECONDS: Final = 20.0
"""A request whose response has not started by then has failed."""

_UNCOUNTED: Final = frozenset({"unknown", "fault", "override"})
"""The reasons of answers that a flag's plan did not give."""


_Sums: TypeAlias = "dict[tuple[str, int, int, Arm], list[Any]]"
"""Requests, errors, histogram and what was measured, by flag, attempt, stage and arm."""


class Asked(Protocol):
    """A visit, as far as the meter looks at it."""

    snapshot: Snapshot
    begun: float
    """By perf_counter()."""
    is_counted: bool
    measured: frozenset[str]
    """What the app measured."""

    def unit_key(self, unit: str) -> str | None:
        """The key of its unit as far as it is known."""

    def asked(self) -> Iterable[Decision]:
        """The answers to be counted."""


class Waits(Asked, Protocol):
    """A request in progress that asked a flag."""

    def waits(self) -> bool:
        """Whether its response has not started yet."""


class _Cell:
    """The counts of one answer of one flag where it stands."""

    __slots__ = (
        "buckets", "decision", "edges", "errors", "measured", "own", "place", "requests", "unit", "units", "whose"
    )  # fmt: skip

    def __init__(self, decision: Decision, place: Place, entry: Entry, units: StageUnits | None) -> None:
        self.decision = decision  # kept, so that its id() stays its own
        self.place = place
        self.edges = entry.edges
        self.requests = 0
        self.errors = 0
        self.buckets = [0] * (len(entry.edges) + 1)
        self.own = frozenset[str]() if entry.judged is None else entry.judged.own | entry.judged.wanted
        self.measured: dict[str, int] = {}
        self.unit = entry.unit
        self.whose: Arm = decision.arm or "on"
        self.units = units if decision.arm is not None or decision.is_on else None
        """None = its units are not judged."""

    def note(self, visit: Asked, is_error: bool, milliseconds: float | None) -> None:
        """For the guards: whose request it was, and whether it was bad."""
        units, measured = self.units, visit.measured
        if measured:
            for name in measured & self.own:
                self.measured[name] = self.measured.get(name, 0) + 1
        if units is None:
            return
        took = 0.0 if milliseconds is None else milliseconds
        is_bad = is_error or took > units.slow_from or took > units.slower_from or measured or units.judged.wanted
        if not is_bad and self.decision.arm is None:
            return
        unit = visit.unit_key(self.unit)
        if unit is not None and self.decision.arm is not None and not (self.whose == "treatment" and unit in units.met):
            units.meet(unit, self.whose)
        if is_bad:
            units.note_bad(unit, self.whose, is_error=is_error, milliseconds=took, measured=measured)


class _Cells:
    """The counts of what was answered from one snapshot: in another the same decision may stand elsewhere."""

    __slots__ = ("_units", "by_decision", "snapshot")

    def __init__(self, snapshot: Snapshot, units: dict[Place, StageUnits]) -> None:
        self.snapshot = snapshot  # kept, so that its id() stays its own
        self.by_decision: dict[int, _Cell] = {}
        """By its id()."""
        self._units = units

    def add(self, decision: Decision) -> _Cell | None:
        """A new cell; None if such an answer is not counted."""
        entry = self.snapshot.entries.get(decision.flag)
        if entry is None or decision.reason in _UNCOUNTED:
            return None
        place = decision.flag, entry.attempt, entry.stage
        units = None
        if entry.judged is not None:
            units = self._units.get(place)
            if units is None or units.judged != entry.judged:
                forget_others(self._units, place)
                units = self._units[place] = StageUnits(place, entry.judged)
        cell = self.by_decision[id(decision)] = _Cell(decision, place, entry, units)
        return cell


class Meter:
    """Counts in memory, and hands them to a store: each exactly once, however often a flush fails."""

    def __init__(self, hang_seconds: float) -> None:
        self._hang_seconds = hang_seconds
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a new process, after a fork: what the parent counted is the parent's."""
        self._lock = threading.RLock()  # a signal handler may end a visit, too
        self._cells: dict[int, _Cells] = {}
        """By the id() of the snapshot."""
        self._latest: _Cells | None = None
        """Those of the snapshot that was counted last."""
        self.waiting: dict[Asked, Waits] = {}
        """Requests from their first question on, in case one hangs; each puts itself here."""
        self._units: dict[Place, StageUnits] = {}
        self._flush_lock = threading.Lock()
        self._sums: _Sums = {}
        """Added up, to be handed over."""
        self._report: Report | None = None
        """What was handed to the store, and not confirmed."""
        self._process = ""
        self._sequence = 0

    # --- counting ---------------------------------------------------------------------------

    def leave(self, visit: Waits) -> None:
        """It has ended, and is not to be counted."""
        self.waiting.pop(visit, None)

    def count(self, visit: Asked, is_error: bool, milliseconds: float | None, requests: int = 1) -> None:
        """Count a request that ended, unless it was counted as hanging; without a time the histogram has none of it."""
        self._lock.acquire()  # `with` takes twice the time
        try:
            self.waiting.pop(visit, None)
            if visit.is_counted:
                return
            visit.is_counted = True
            cells = self._latest
            if cells is None or cells.snapshot is not visit.snapshot:
                cells = self._cells_of(visit.snapshot)
            by_decision = cells.by_decision
            for decision in visit.asked():
                cell = by_decision.get(id(decision)) or cells.add(decision)
                if cell is not None:
                    cell.requests += requests
                    if is_error:
                        cell.errors += 1
                    if milliseconds is not None:
                        cell.buckets[bisect_left(cell.edges, milliseconds)] += 1
                    if requests and (cell.units is not None or visit.measured):
                        cell.note(visit, is_error, milliseconds)
        finally:
            self._lock.release()

    def count_gone(self, visit: Asked, milliseconds: float) -> None:
        """The client left before the response started: how long it waited is a lower bound, and no request."""
        self.count(visit, False, milliseconds, 0)

    def look_for_hangs(self) -> bool:
        """Count the requests as errors whose response has not started for so long. Returns whether there were any."""
        now, found = perf_counter(), False
        for visit in list(self.waiting.values()):
            if now - visit.begun < self._hang_seconds:
                continue
            if visit.waits():
                self.count(visit, True, None)
                found = True
            else:
                self.leave(visit)  # it cannot hang any more; and a test's client may never end it
        return found

    def _cells_of(self, snapshot: Snapshot) -> _Cells:
        cells = self._cells.get(id(snapshot))
        if cells is None:
            cells = self._cells[id(snapshot)] = _Cells(snapshot, self._units)
        self._latest = cells
        return cells

    # --- handing over -----------------------------------------------------------------------

    def has_counts(self) -> bool:
        """Whether anything waits to be handed over."""
        return bool(self._cells or self._sums) or self._report is not None

    def flush(self, store: Store, *, wait_seconds: float = 0.0, is_there: bool = False) -> None:
        """Hand the counts to the store. What it does not take is handed over again, under the same number.

        Args:
            store: To add them to.
            is_there: Whether to say that this process is there, even if it counted nothing.
            wait_seconds: How long to try again where another writer, or another thread that flushes, is in the way.

        Raises:
            StoreError: it did not take them.
        """
        deadline = monotonic() + wait_seconds
        if not self._flush_lock.acquire(timeout=max(wait_seconds, 1.0)):
            return  # another thread is at it
        try:
            self._add_up()  # first: the cells of snapshots that are gone do not stay while the store takes nothing
            if self._report is not None:
                self._hand_over(store, deadline)
            if self._sums or is_there:
                self._report = self._next_report(_salt(store))
                self._hand_over(store, deadline)
        finally:
            self._flush_lock.release()

    def _hand_over(self, store: Store, deadline: float) -> None:
        assert self._report is not None  # the callers looked
        while True:
            try:
                store.add_counts(self._report)
                break
            except BusyError:
                if monotonic() >= deadline:
                    raise
                sleep(0.02)
        self._report = None

    def _add_up(self) -> None:
        with self._lock:
            cells, self._cells, self._latest = self._cells, {}, None
        for each in cells.values():
            for cell in each.by_decision.values():
                _add(cell, self._sums)
                if cell.units is not None and cell.decision.arm is not None and cell.units.judged.is_slower:
                    cell.units.remember(cell.edges, cell.buckets)

    def _next_report(self, salt: str) -> Report:
        from flaggate.stores.base import Count, Report  # with dataclasses: not for those who have nothing to say

        if not self._process:
            with importing():
                from uuid import uuid4

            self._process = uuid4().hex  # drawn here: a fork has its own
        self._sequence += 1
        sums, self._sums = self._sums, {}
        with self._lock:
            units = tuple(unit for each in self._units.values() for unit in each.taken(self._process, salt))
        counts = tuple(Count(*place, *total) for place, total in sums.items())
        return Report(self._process, self._sequence, counts, units)


def _salt(store: Store) -> str:
    """A unit that two processes hash with two salts is counted as two."""
    if not store.salt:
        store.revision()
    return store.salt


def _add(cell: _Cell, sums: _Sums) -> None:
    """By place and arm. Those with an arm are in `on` or `off` too."""
    from flaggate.stores.base import added

    histogram = {_edge(cell.edges, index): count for index, count in enumerate(cell.buckets) if count}
    arms: list[Arm] = ["on" if cell.decision.is_on else "off"]
    if cell.decision.arm is not None:
        arms.append(cell.decision.arm)
    for arm in arms:
        total = sums.setdefault((*cell.place, arm), [0, 0, {}, {}])
        total[0] += cell.requests
        total[1] += cell.errors
        total[2] = added(total[2], histogram)
        total[3] = added(total[3], cell.measured)


def _edge(edges: tuple[float, ...], index: int) -> str:
    return f"{edges[index]:.12g}" if index < len(edges) else "inf"
