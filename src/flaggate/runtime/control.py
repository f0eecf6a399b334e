"""The only way to write: a verb and an actor -> a transition -> compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flaggate.errors import ConflictError, OvertakenError, RevisionError
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.difference import difference
from flaggate.flags.document import Definitions
from flaggate.flags.model import Flag, Segment, segments_asked
from flaggate.rollout.revision import revise
from flaggate.rollout.state import Act, Event, Rollout, Status, Verb, born, move, rollout_to_json
from flaggate.stores.base import Row, Store, Write
from flaggate.stores.record import Record, document_of, read_flag, record_of, segment_of, segment_write

__all__ = ["APPLY", "PRUNE", "Applied", "Control", "Outcome"]

APPLY: Final = "apply"
PRUNE: Final = "prune"
DEFINITIONS_ROW: Final = "applied"
_MUST_WIN: Final = frozenset({Verb.KILL, Verb.ROLLBACK})
_PRUNABLE: Final = frozenset({Status.DRAFT, Status.OFF, Status.ROLLED_BACK, Status.COMPLETED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act."""

    flag: Flag
    rollout: Rollout
    event: Event | None
    """None: it was so already, and nothing was written."""
    revision: int | None = None
    """The store's revision with the change in it."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of definitions: one event for each flag or segment that changed."""

    events: tuple[Event, ...]
    kept: tuple[str, ...]
    """Flags in the store that the definitions do not name, and that stay."""
    revision: int | None = None
    """The store's revision with the change in it; None if nothing was written."""


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


class Control:
    """Changes what a store holds.

    Args:
        store: What is written to.
        now: The clock, an aware datetime.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = utc_now) -> None:
        self.store = store
        self._now = now

    def act(
        self,
        verb: Verb,
        name: str,
        *,
        actor: str,
        reason: str | None = None,
        owner: str | None = None,
        deputies: tuple[str, ...] | None = None,
        expected_version: int | None = None,
    ) -> Outcome:
        """Do one thing to one flag.

        A kill and a rollback are tried again until they win; any other act that loses a race is not.

        Args:
            expected_version: The version of the flag that the actor looked at; None = whatever is there now.

        Raises:
            UnknownFlagError, MoveError: It is not there, or not legal now.
            OvertakenError: Somebody else changed the flag first.
        """
        while True:
            record = read_flag(self.store, name)
            if expected_version is not None and record.version != expected_version and verb not in _MUST_WIN:
                raise self._overtaken("flag", name, expected_version)
            act = Act(verb, actor, self._now(), reason or None, owner, deputies)
            moved = move(record.flag, record.rollout, act)
            if moved is None:
                return Outcome(record.flag, record.rollout, None)
            rollout, event = moved
            try:
                revision = self.store.commit([record.write(record.flag, rollout)], [event])
            except ConflictError as lost:
                if verb in _MUST_WIN:
                    continue
                raise self._overtaken("flag", name, record.version) from lost
            return Outcome(record.flag, rollout, event, revision)

    def apply(
        self,
        definitions: Definitions,
        *,
        actor: str,
        reason: str | None = None,
        fingerprint: str | None = None,
        prune: bool = False,
        dry_run: bool = False,
    ) -> Applied:
        """Bring definitions into the store, all or nothing, one event for each flag that changes.

        Args:
            fingerprint: Of the file they come from, kept so that nobody applies the same content twice.
            prune: Remove flags and segments that the definitions do not name, as far as nobody has the flag.
            dry_run: Return what would be written, and write nothing.

        Raises:
            RevisionError: With everything that a rollout in progress does not take.
            OvertakenError: Somebody else changed a flag meanwhile.
        """
        plan = _Plan(self.store.changes().rows, actor, self._now(), reason or None)
        plan.add_segments(definitions)
        plan.add_flags(definitions.flags.values())
        if prune:
            plan.prune(definitions)
        if plan.refusals:
            raise RevisionError(plan.refusals)
        if fingerprint is not None:
            plan.add_fingerprint(fingerprint)
        kept = tuple(sorted(set(plan.records) - set(definitions.flags) - plan.removed))
        if dry_run or not plan.writes:
            return Applied(tuple(plan.events), kept)
        try:
            revision = self.store.commit(plan.writes, plan.events)
        except ConflictError as lost:
            raise self._overtaken(lost.kind, lost.name, plan.versions.get((lost.kind, lost.name), 0)) from lost
        return Applied(tuple(plan.events), kept, revision)

    def applied_fingerprint(self) -> str | None:
        """The fingerprint of the file that was applied last."""
        row = self.store.get("definitions", DEFINITIONS_ROW)
        return None if row is None or row.document is None else str(row.document["fingerprint"])

    def _overtaken(self, kind: str, name: str, seen: int) -> OvertakenError:
        """What was done to a row since it was seen at that version: each write of it has one event."""
        while True:
            changes = self.store.changes()
            versions: dict[str, int] = {row.kind: row.version for row in changes.rows if row.name == name}
            count = max(0, versions.get(kind, seen) - seen)
            namesakes = sum(version for other, version in versions.items() if other != kind)
            found = self.store.history(name, limit=count + namesakes)
            if self.store.revision() == changes.revision:  # else somebody wrote in between: look again
                break
        events = [event for event in found if event.kind == kind]
        return OvertakenError(name, events[max(0, len(events) - count) :])


class _Plan:
    """The writes and events that an apply comes to."""

    def __init__(self, rows: Sequence[Row], actor: str, at: datetime, reason: str | None) -> None:
        self.versions: dict[tuple[str, str], int] = {(row.kind, row.name): row.version for row in rows}
        self.rows = {(row.kind, row.name): row for row in rows if row.document is not None}
        self.records = {row.name: record_of(row) for row in self.rows.values() if row.kind == "flag"}
        self.segments = {row.name: segment_of(row) for row in self.rows.values() if row.kind == "segment"}
        self.actor, self.at, self.reason = actor, at, reason
        self.writes: list[Write] = []
        self.events: list[Event] = []
        self.refusals: list[str] = []
        self.removed: set[str] = set()

    def add_segments(self, definitions: Definitions) -> None:
        for segment in definitions.segments.values():
            old = self.segments.get(segment.name)
            if old == segment:
                continue
            version = self.rows["segment", segment.name].version if old else 0
            self.writes.append(segment_write(segment, version))
            touches = [name for name, record in self.records.items() if segment.name in segments_asked(record.flag)]
            states = _segment_summary(old), _segment_summary(segment)
            evidence: dict[str, Any] = {"touches": sorted(touches)}
            if old and old.unit and segment.unit:
                evidence |= {"added": len(segment.members - old.members), "gone": len(old.members - segment.members)}
            self._event("segment", segment.name, APPLY, *states, evidence)

    def add_flags(self, flags: Iterable[Flag]) -> None:
        for flag in flags:
            record = self.records.get(flag.name)
            if record is None:
                self._create(flag)
            elif record.flag != flag:
                self._revise(record, flag)

    def _create(self, flag: Flag) -> None:
        rollout = born(flag, self.at)
        self.writes.append(Write("flag", flag.name, 0, document_of(flag, rollout)))
        self._event("flag", flag.name, APPLY, None, rollout_to_json(rollout), _difference(None, flag))

    def _revise(self, record: Record, flag: Flag) -> None:
        try:
            rollout = revise(record.flag, flag, record.rollout, self.at)
        except RevisionError as error:
            self.refusals += error.refusals
            return
        self.writes.append(record.write(flag, rollout))
        states = rollout_to_json(record.rollout), rollout_to_json(rollout)
        self._event("flag", flag.name, APPLY, *states, _difference(record.flag, flag))

    def prune(self, definitions: Definitions) -> None:
        for name, record in sorted(self.records.items()):
            if name in definitions.flags:
                continue
            if record.rollout.status not in _PRUNABLE:
                self.refusals.append(
                    f"{name} is {record.rollout.status.replace('_', ' ')} and cannot be pruned; roll it back or complete it"
                    if record.flag.stages
                    else f"{name} is on and cannot be pruned; turn it off first"
                )
                continue
            self.removed.add(name)
            self.writes.append(Write("flag", name, record.version, None))
            self._event("flag", name, PRUNE, rollout_to_json(record.rollout), None, _difference(record.flag, None))
        for name, segment in sorted(self.segments.items()):
            if name not in definitions.segments:  # so no flag asks for it: those that stay are in the definitions too
                self.writes.append(Write("segment", name, self.rows["segment", name].version, None))
                self._event("segment", name, PRUNE, _segment_summary(segment), None, {"touches": []})

    def add_fingerprint(self, fingerprint: str) -> None:
        row = self.rows.get(("definitions", DEFINITIONS_ROW))
        document = {"fingerprint": fingerprint}
        if row is None or row.document != document:
            self.writes.append(Write("definitions", DEFINITIONS_ROW, row.version if row else 0, document))

    def _event(self, kind: str, name: str, verb: str, before: Any, after: Any, evidence: dict[str, Any]) -> None:
        self.events.append(Event(name, verb, self.actor, self.at, self.reason, before, after, evidence, kind))


def _difference(old: Flag | None, new: Flag | None) -> dict[str, Any]:
    before, after = (None if flag is None else flag_to_json(flag) for flag in (old, new))
    return {"difference": [[change.path, change.before, change.after] for change in difference(before, after)]}


def _segment_summary(segment: Segment | None) -> dict[str, Any] | None:
    """The segment for an event, which does not repeat 100 000 members."""
    if segment is None or segment.unit is None:
        return None if segment is None else segment_to_json(segment)
    return {"unit": segment.unit, "members": len(segment.members)}
