"""A store in this process's memory: for tests, and for trying things out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from flaggate.errors import ConflictError, LeaseError, StoreError
from flaggate.rollout.state import Event
from flaggate.stores import sums
from flaggate.stores.base import (
    NOT_EMPTY,
    WINDOW_SECONDS,
    Changes,
    Contents,
    Count,
    Kind,
    Lease,
    Presence,
    Report,
    Row,
    UnitSet,
    UnitSum,
    Window,
    Write,
)

__all__ = ["MemoryStore"]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A row as a database would keep it."""

    version: int
    revision: int
    """Of the last write."""
    document: str | None
    """JSON; None = removed."""


class MemoryStore:
    """Keeps everything in this process; a fork gets a copy that goes its own way.

    Args:
        clock: Unix time, for the lease and the windows.
    """

    url = "memory://"
    poll_seconds = 0.1
    directory: str | None = None

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.identity = self.salt = uuid4().hex
        self._lock = threading.RLock()
        self._revision = 0
        self._rows: dict[tuple[Kind, str], _Kept] = {}
        self._events: list[Event] = []
        self._counts: dict[sums.Place, Count] = {}
        self._windows: dict[tuple[int, sums.Place], Count] = {}
        self._units: dict[sums.Group, dict[sums.Member, int]] = {}
        """How many of a unit's requests were bad."""
        self._pulse = 0
        self._reported: dict[str, int] = {}
        self._lease: Lease | None = None
        self._progress: dict[str, str] = {}
        self._presences: dict[str, Presence] = {}

    def revision(self) -> int:
        return self._revision

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        is_over.wait(seconds)
        return False

    def changes(self, since: int = 0) -> Changes:
        with self._lock:
            rows = [_row(*key, kept) for key, kept in self._rows.items() if kept.revision > since]
            return Changes(self._revision, tuple(rows))

    def get(self, kind: Kind, name: str) -> Row | None:
        kept = self._rows.get((kind, name))
        return None if kept is None or kept.document is None else _row(kind, name, kept)

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        with self._lock:
            if holder is not None:
                self._check_lease(holder)
            rows = {(write.kind, write.name): self._next(write) for write in writes}
            last = self._events[-1].id if self._events else 0
            stored = [_own_event(event, last + count) for count, event in enumerate(events, start=1)]
            self._revision += 1
            self._rows |= rows
            gone = {
                write.name
                for write in writes
                if write.kind == "flag" and (write.document is None or not write.expected)
            }
            self._counts = {key: count for key, count in self._counts.items() if key[0] not in gone}
            self._windows = {key: count for key, count in self._windows.items() if key[1][0] not in gone}
            self._units = {group: units for group, units in self._units.items() if group.flag not in gone}
            self._progress = {name: document for name, document in self._progress.items() if name not in gone}
            self._events += stored
            return self._revision

    def _next(self, write: Write) -> _Kept:
        kept = self._rows.get((write.kind, write.name))
        found = 0 if kept is None or kept.document is None else kept.version
        if found != write.expected:
            raise ConflictError(self.url, write.kind, write.name, expected=write.expected, found=found)
        version = 0 if kept is None else kept.version
        document = None if write.document is None else json.dumps(write.document)
        return _Kept(version + 1, self._revision + 1, document)

    def add_counts(self, report: Report) -> None:
        with self._lock:
            last = self._reported.get(report.process, 0)
            if report.sequence <= last:
                return
            now = self._clock()
            self._reported[report.process] = report.sequence
            self._pulse += 1
            window = sums.span_began(now, WINDOW_SECONDS)
            for place, count in sums.merged(report.counts).items():
                nothing = Count(*place, 0, 0, {})
                self._counts[place] = sums.plus(self._counts.get(place, nothing), count)
                self._windows[window, place] = sums.plus(self._windows.get((window, place), nothing), count)
            for group, seen in sums.units_of(report.units, now).items():
                known = self._units.setdefault(group, {})
                known |= sums.grown(group, seen, known, len(known))
            if sums.forgets(report, is_first=not last):
                self._forget(report, now)

    def _forget(self, report: Report, now: float) -> None:
        oldest = sums.oldest_window(now)
        self._windows = {key: count for key, count in self._windows.items() if key[0] >= oldest}
        newest = sums.newest_stages(report)
        self._units = {group: units for group, units in self._units.items() if not sums.is_over(group, newest, now)}

    def counts(self, flag: str | None = None) -> list[Count]:
        with self._lock:
            found = [count for place, count in sorted(self._counts.items()) if flag in (None, place[0])]
        return [_own_count(count) for count in found]

    def windows(self, flag: str, since: float) -> list[Window]:
        with self._lock:
            found = [
                (began, count)
                for (began, place), count in sorted(self._windows.items())
                if place[0] == flag and began + WINDOW_SECONDS > since
            ]
        return [Window(began, _own_count(count)) for began, count in found]

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        with self._lock:
            return [
                total.of(arm, group)
                for group, units in sorted(self._units.items())
                if group[:3] == (flag, attempt, stage)
                for arm, total in sorted(sums.growth({}, units).items())
            ]

    def pulse(self) -> int:
        return self._pulse

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        with self._lock:
            found = [event for event in self._events if event.id > after and name in (None, event.name)]
        return [_own_event(event, event.id) for event in found[max(0, len(found) - limit) :]]

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        with self._lock:
            held = self.lease()
            if held is not None and held.holder != holder:
                return False
            self._lease = Lease(holder, who, self._clock(), seconds)
            return True

    def lease(self) -> Lease | None:
        lease = self._lease
        return lease if lease is not None and lease.is_held(self._clock()) else None

    def release_lease(self, holder: str) -> None:
        with self._lock:
            if self._lease is not None and self._lease.holder == holder:
                self._lease = None

    def _check_lease(self, holder: str) -> None:
        held = self.lease()
        if held is None or held.holder != holder:
            raise LeaseError(self.url)

    def progress(self) -> dict[str, Mapping[str, Any]]:
        with self._lock:
            return {name: json.loads(document) for name, document in self._progress.items()}

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        with self._lock:
            self._check_lease(holder)
            kept = {name: json.dumps(document) for name, document in documents.items() if document is not None}
            rest = {name: document for name, document in self._progress.items() if name not in documents}
            self._progress = rest | kept

    def say(self, presence: Presence) -> None:
        with self._lock:
            now = self._clock()
            there = {name: one for name, one in self._presences.items() if one.is_there(now)}
            self._presences = there | {presence.process: replace(presence, said_at=now)}

    def presences(self) -> list[Presence]:
        now = self._clock()
        there = [presence for presence in self._presences.values() if presence.is_there(now)]
        return sorted(there, key=lambda presence: (presence.who, presence.process))

    def unsay(self, process: str) -> None:
        with self._lock:
            self._presences.pop(process, None)

    def contents(self) -> Contents:
        with self._lock:
            return Contents(
                self.salt,
                self._revision,
                tuple(_row(*key, kept) for key, kept in sorted(self._rows.items())),
                tuple(self.history(limit=len(self._events))),
                tuple(self.counts()),
                tuple(Window(began, _own_count(count)) for (began, _), count in sorted(self._windows.items())),
                tuple(_unit_sets(self._units)),
                self.progress(),
            )

    def fill(self, contents: Contents) -> None:
        with self._lock:
            if self._revision or self._counts:
                raise StoreError(self.url, NOT_EMPTY)
            self.salt, self._revision = contents.salt, contents.revision
            for row in contents.rows:
                document = None if row.document is None else json.dumps(row.document)
                self._rows[row.kind, row.name] = _Kept(row.version, contents.revision, document)
            self._events = [_own_event(event, event.id) for event in contents.events]
            self._counts = sums.merged(map(_own_count, contents.counts))
            windows = ((window.began, _own_count(window.count)) for window in contents.windows)
            self._windows = {(began, sums.count_place(count)): count for began, count in windows}
            for each in contents.units:
                units = self._units.setdefault(sums.group_of(each), {})
                units |= {(each.arm, unit): bad for unit, bad in each.units.items()}
            self._progress = {name: json.dumps(document) for name, document in contents.progress.items()}

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()

    def close(self) -> None:
        """Nothing is open."""


def _unit_sets(kept: Mapping[sums.Group, Mapping[sums.Member, int]]) -> Iterator[UnitSet]:
    for group, members in sorted(kept.items()):
        for arm in sorted({arm for arm, _ in members}):
            yield sums.set_of(arm, group, {unit: bad for (its, unit), bad in members.items() if its == arm})


def _row(kind: Kind, name: str, kept: _Kept) -> Row:
    return Row(kind, name, kept.version, None if kept.document is None else json.loads(kept.document))


def _own(state: Any) -> Any:
    """A copy in JSON's types: what a database would give back."""
    return json.loads(json.dumps(state))


def _own_count(count: Count) -> Count:
    return replace(count, histogram=dict(count.histogram), measured=dict(count.measured))


def _own_event(event: Event, number: int) -> Event:
    states = {"before": _own(event.before), "after": _own(event.after), "evidence": _own(event.evidence)}
    return replace(event, id=number, **states)
