"""What a store is: versioned rows, one revision over all of them, and an append-only list of events."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from flaggate.rollout.state import Event

__all__ = [
    "HOUR_SECONDS",
    "MOST_UNITS",
    "NOT_EMPTY",
    "PRESENCE_SPANS",
    "PRESENT",
    "REQUESTS",
    "UNITS_KEPT_SECONDS",
    "WINDOWS_KEPT_SECONDS",
    "WINDOW_SECONDS",
    "Arm",
    "Changes",
    "Contents",
    "Count",
    "Kind",
    "Lease",
    "Presence",
    "Report",
    "Row",
    "Store",
    "UnitCount",
    "UnitSet",
    "UnitSum",
    "Window",
    "Write",
    "added",
    "without_password",
]

Kind: TypeAlias = Literal["flag", "segment", "definitions"]
Arm: TypeAlias = Literal["on", "off", "treatment", "control"]
"""Whom a count is of: all who had the feature and all who had not; those with an arm are in one of these, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is stored."""

    kind: Kind
    name: str
    version: int
    """Grows by one with each write, over removals too."""
    document: Mapping[str, Any] | None
    """In JSON's types; None = removed."""


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be written if it is at the expected version still."""

    kind: Kind
    name: str
    expected: int
    """The version that was read; 0 = the row is not there."""
    document: Mapping[str, Any] | None
    """None removes the row."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows written after some revision, removed ones included, as of `revision`."""

    revision: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """What was seen of one flag, where it stood, of one arm."""

    flag: str
    attempt: int
    stage: int
    """The current stage, counted from 1; 0 = none was entered yet."""
    arm: Arm
    requests: int
    """Finished requests that asked the flag."""
    errors: int
    """Those of them that failed: a status of 500 or above, an exception, or no response in time."""
    histogram: Mapping[str, int]
    """How many took longer than the edge before, and at most this one: upper edges in milliseconds, or `inf`."""
    measured: Mapping[str, int] = field(default_factory=dict)
    """Those of them for which the app measured something of its own, by its name."""


@dataclass(frozen=True, slots=True)
class UnitCount:
    """One unit, and how many of its requests were bad."""

    flag: str
    attempt: int
    stage: int
    arm: Arm
    """`treatment` or `control`; `on` here is those that have the feature and no arm."""
    metric: str
    """A guard's key; of REQUESTS it counts that the unit was there at all, of PRESENT that it was there in this window."""
    unit: str
    """A salted hash: 16 hexadecimal digits."""
    bad: int = 1


REQUESTS: Final = "requests"
PRESENT: Final = "present now"
"""Of this it counts that a unit of control was there within ten minutes."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one process adds to the counts."""

    process: str
    sequence: int
    """Counted from 1: a store adds no report twice, and none older than the last one."""
    counts: tuple[Count, ...] = ()
    units: tuple[UnitCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted within ten minutes."""

    began: int
    """Unix time, a multiple of WINDOW_SECONDS, by the clock of whoever added it."""
    count: Count


@dataclass(frozen=True, slots=True)
class UnitSum:
    """The units of one set: what they have in common, and how many they are. No unit is twice in a set, nor in that of
    treatment and in that of control: whom a lowered share moved stays where it was met first."""

    arm: Arm
    metric: str
    span: int
    """Of which time: 0 = the whole stage, HOUR_SECONDS or WINDOW_SECONDS."""
    began: int
    """Unix time, a multiple of the span, by the clock of whoever added it; 0 for the whole stage."""
    units: int
    bad: int
    """The sum of their bad requests."""
    squares: int
    """The sum over units of the square of each one's bad requests."""


@dataclass(frozen=True, slots=True)
class UnitSet:
    """A set of units, whole: for another store."""

    flag: str
    attempt: int
    stage: int
    arm: Arm
    metric: str
    span: int
    began: int
    units: Mapping[str, int]
    """How many requests of each were bad, by its hash."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a store keeps, but for the lease, and what processes said of themselves."""

    salt: str
    revision: int
    rows: tuple[Row, ...]
    """By kind and name; removed ones too, for their versions go on."""
    events: tuple[Event, ...]
    """With their ids, the oldest first."""
    counts: tuple[Count, ...]
    """By flag, attempt, stage and arm."""
    windows: tuple[Window, ...]
    """By when they began, and then as the counts."""
    units: tuple[UnitSet, ...]
    """By flag, attempt, stage, metric, span, when they began, and arm."""
    progress: Mapping[str, Mapping[str, Any]]


WINDOW_SECONDS: Final = 600
HOUR_SECONDS: Final = 3600
WINDOWS_KEPT_SECONDS: Final = 8 * 86_400
"""For so long a store tells windows of counts apart."""
UNITS_KEPT_SECONDS: Final = 2 * HOUR_SECONDS
"""For so long it keeps the units of hours and windows; of the whole stage until another one is reported."""
NOT_EMPTY: Final = "it is not empty: only an empty store takes another one's contents"
MOST_UNITS: Final = 20_000
"""Of one metric in one span: a set that is full takes no more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to tick and to tell people, which one process at a time has."""

    holder: str
    """The process's id."""
    who: str
    """For people: host and pid."""
    renewed_at: float
    """Unix time, by the store's clock."""
    seconds: float
    """How long it lasts from then."""

    def is_held(self, now: float) -> bool:
        """Whether it still counts. One from the future is of a clock that was turned back since."""
        return abs(now - self.renewed_at) < self.seconds


@dataclass(frozen=True, slots=True)
class Presence:
    """What a process that serves flags says of itself."""

    process: str
    """Its id: 32 hexadecimal digits."""
    who: str
    """For people: host and pid."""
    revision: int
    """Of what it answers from; 0 = of nothing that the store ever said."""
    asked_seconds: float
    """How long ago the store had confirmed that, when it said so."""
    every_seconds: float
    """How often it says so, at least."""
    said_at: float = 0.0
    """Unix time, by the store's clock, which sets it."""

    def is_there(self, now: float) -> bool:
        """Whether it still counts: not after three times its own span. One from the future is of a clock that was turned
        back since."""
        return abs(now - self.said_at) < PRESENCE_SPANS * self.every_seconds


PRESENCE_SPANS: Final = 3
"""After so many times that a process said nothing, it has gone."""


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The sum of two histograms."""
    return {edge: one.get(edge, 0) + other.get(edge, 0) for edge in {**one, **other}}


def without_password(url: str) -> str:
    """A store's URL as people may see it, also one that no driver understands."""
    shown = re.sub(r"(//[^/:@]*:).*@", r"\1***@", url)
    return re.sub(r"([?&][a-z]*password=)[^&]*", r"\1***", shown, flags=re.IGNORECASE)


class Store(Protocol):
    """Where flags are kept. Safe to use from several threads; raises StoreError and nothing else.

    Constructing one opens nothing. `flaggate.testing.StoreContract` holds what an implementation
    has to keep.
    """

    url: str
    """What people are shown: without a password."""
    poll_seconds: float
    """How often a process asks for the revision."""
    identity: str
    """Which store this is, and which run of its server wrote it last: one that was restored, or whose place another one
    took, may have lost what processes had read of it. With another identity they read all of it anew. Known once the
    store was asked for anything."""
    salt: str
    """Of the hashes of units. Drawn when the store was made, known once it was asked for anything; moves along to another
    store, so that no unit is counted twice there."""
    directory: str | None
    """Where this machine keeps the copy of the last snapshot and looks for the `off` file, unless the
    gate is told otherwise; None = nowhere."""

    def revision(self) -> int:
        """A number that grows with each commit; 0 = nothing was ever written. As cheap as can be."""

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        """Return after so many seconds; earlier if something may have been written meanwhile, or once `is_over` is set,
        a moment later at most. For one thread at a time.

        Returns:
            Whether the store told that something was written.
        """

    def changes(self, since: int = 0) -> Changes:
        """The rows written after that revision, in one consistent view. Sets `identity` as well."""

    def get(self, kind: Kind, name: str) -> Row | None:
        """One row; None if it is not there or was removed."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        """Write all rows and events, or nothing. Returns the new revision. With a flag's row its counts and its progress
        are removed: one of the same name that is made later begins anew.

        Args:
            holder: Who has to hold the lease, still; None = nobody has to.

        Raises:
            ConflictError: a row is not at the version that was expected.
            LeaseError: the lease is not the holder's, or is over.
        """

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        """The newest events, oldest first: of one flag or segment, or of all; only those with a greater id."""

    def add_counts(self, report: Report) -> None:
        """Add a process's counts to the sums, to their window, and to the sets of units, once: a report that was added
        already changes nothing. One without counts says that the process is there. What is not kept any longer is
        forgotten along with a process's first report and its hundredth, or more often.

        Touches neither the revision nor any row's version. Waits for another writer only shortly.

        Raises:
            BusyError: it did not end; nothing was added, and the report may be handed over again.
        """

    def counts(self, flag: str | None = None) -> list[Count]:
        """The sums of one flag, or of all: by flag, attempt, stage and arm, in this order."""

    def windows(self, flag: str, since: float) -> list[Window]:
        """What was counted of a flag in windows that end after `since` (Unix time), the oldest first."""

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        """The sets of units of one stage."""

    def pulse(self) -> int:
        """A number that changes whenever a process reports."""

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        """Take the lease, or renew it. Returns whether this process has it now: not while another one's lasts; of several
        that ask at once one gets it. Waits for another writer only shortly.

        Raises:
            BusyError: it did not end; ask again.
        """

    def lease(self) -> Lease | None:
        """Whose it is now; None = nobody's. As cheap as can be."""

    def release_lease(self, holder: str) -> None:
        """Let the next one have it at once, if it is this process's.

        Raises:
            BusyError: as `take_lease`.
        """

    def progress(self) -> dict[str, Mapping[str, Any]]:
        """What the lease's holder keeps beside the rows, by name."""

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        """Keep these in place of what is there by their names, all or nothing; None removes one. Touches neither the
        revision nor any row's version. Waits for another writer only shortly.

        Raises:
            LeaseError: the lease is not the holder's, or is over.
            BusyError: another writer did not end; nothing was kept, and the same may be handed over again.
        """

    def say(self, presence: Presence) -> None:
        """Keep what a process says of itself in place of what it said before. Touches neither the revision nor any row's
        version. Waits for another writer only shortly.

        Raises:
            BusyError: it did not end; nothing was kept, and the same may be said again.
        """

    def presences(self) -> list[Presence]:
        """The processes that are there, by `who` and id: not those that fell silent for three times their own span."""

    def unsay(self, process: str) -> None:
        """It ends: it is there no more.

        Raises:
            BusyError: as `say`.
        """

    def contents(self) -> Contents:
        """All that it keeps, in one consistent view."""

    def fill(self, contents: Contents) -> None:
        """Take all of it, or nothing: rows with their versions, events with their ids; revisions go on from there.

        Raises:
            StoreError: this store is not empty: something was written or counted.
        """

    def before_fork(self) -> None:
        """In the parent, just before a fork: let nothing be open that a child must not inherit."""

    def after_fork(self, *, in_child: bool) -> None:
        """Just after a fork, on both sides."""

    def close(self) -> None:
        """Let go of every connection. The store may be used again."""
