"""The only way to write: a verb and an actor -> a transition -> compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from flaggate.errors import BusyError, ConflictError, FlaggateError, OvertakenError, RevisionError, UnreadableError
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.difference import difference
from flaggate.flags.document import Definitions
from flaggate.flags.model import Flag, Segment, segments_asked
from flaggate.flags.words import span_words
from flaggate.rollout.holds import Hold, holds
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import LEASE_SECONDS, WATCH_SECONDS, progress_from_json, progress_of
from flaggate.rollout.revision import revise
from flaggate.rollout.state import Event, Rollout, Status, Verb, born, current_stage, rollout_to_json
from flaggate.rollout.verdict import Judgement, judgement_from_json
from flaggate.runtime.judging import broken_without
from flaggate.runtime.rights import Right, check_edit, check_verb
from flaggate.stores.base import Kind, Row, Store, Write
from flaggate.stores.record import (
    Record,
    document_of,
    flag_row,
    record_of,
    rollout_of,
    segment_of,
    segment_write,
)

__all__ = ["APPLY", "PRUNE", "Applied", "Control", "Outcome", "holds_by"]

APPLY: Final = "apply"
PRUNE: Final = "prune"
DEFINITIONS_ROW: Final = "applied"
_BEGINS: Final = frozenset({Verb.START, Verb.RESTART})
_MUST_WIN: Final = frozenset({Verb.KILL, Verb.ROLLBACK})
_BUSY_TRIES: Final = 12  # each waits as long as the store waits for another writer: a minute with SQLite
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
        to: str | None = None,
        expected_version: int | None = None,
        rights: Collection[Right] | None = None,
    ) -> Outcome:
        """Do one thing to one flag.

        A kill and a rollback are tried again until they win; any other act that loses a race is not.

        Args:
            to: The stage that an advance is meant to enter; None = whichever is next.
            expected_version: The version of the flag that the actor looked at; None = whatever is there now.
            rights: What the actor may do; None = everything, as for who holds the store's credentials.

        Raises:
            ForbiddenError: The actor has no right to it.
            UnknownFlagError, MoveError: It is not there, or not legal now.
            OvertakenError: Somebody else changed the flag first.
        """
        actor = _somebody(actor)
        check_verb(actor, verb, rights)
        busy = 0
        while True:
            act = Act(verb, actor, self._now(), reason or None, owner, deputies, to)
            try:
                return self._try(act, name, expected_version)
            except ConflictError as lost:
                if verb not in _MUST_WIN:
                    raise self._overtaken("flag", name, lost.expected) from lost
            except BusyError:
                busy += 1
                if verb not in _MUST_WIN or busy == _BUSY_TRIES:
                    raise

    def _try(self, act: Act, name: str, expected_version: int | None) -> Outcome:
        row = flag_row(self.store, name)
        if act.verb not in _MUST_WIN and expected_version is not None and expected_version != row.version:
            raise ConflictError(self.store.url, "flag", name, expected=expected_version, found=row.version)
        flag, rollout = _read_for(act, row)
        if act.verb is Verb.ADVANCE:
            act = replace(act, holds=self.holds(flag, rollout, act.at))
        elif act.verb in _BEGINS:
            broken = broken_without(self.store, flag, 1, act.at.timestamp()).values()
            act = replace(act, broken=tuple(broken))
        elif act.verb is Verb.COMPLETE:
            act = replace(act, evidence={"passed_over": self._left_of_watch(rollout)})
        moved = move(flag, rollout, act)
        if moved is None:
            return Outcome(flag, rollout, None)
        after, event = moved
        return Outcome(flag, after, event, self.write(row, event))

    def _left_of_watch(self, rollout: Rollout) -> list[str]:
        known = progress_from_json(self.store.progress().get(rollout.flag))
        observed = progress_of(rollout, known).observed_seconds
        is_over = observed >= WATCH_SECONDS
        return [] if is_over else [f"watch {span_words(observed)} of {span_words(WATCH_SECONDS)}"]

    def write(self, row: Row, event: Event, *, holder: str | None = None) -> int:
        """Write where a flag stands after a transition, with its event. Returns the store's revision.

        Args:
            row: As it was read before.
            holder: Who has to hold the lease still; None = nobody has to.

        Raises:
            ConflictError, LeaseError: Somebody else was faster.
        """
        document = dict(row.document or {})
        kept = document.get("rollout")
        changed = {key: value for key, value in (event.after or {}).items() if value != (event.before or {})[key]}
        document["rollout"] = {**(kept if isinstance(kept, dict) else {}), **changed}
        return self.store.commit([Write("flag", row.name, row.version, document)], [event], holder=holder)

    def holds(self, flag: Flag, rollout: Rollout, now: datetime | None = None) -> tuple[Hold, ...]:
        """What a running rollout waits for, by what the lease's holder saw last; nothing for others."""
        if rollout.status is not Status.RUNNING:
            return ()
        at = self._now() if now is None else now
        return holds_by(self.store.progress().get(flag.name), flag, rollout, at)

    def apply(
        self,
        definitions: Definitions,
        *,
        actor: str,
        reason: str | None = None,
        fingerprint: str | None = None,
        prune: bool = False,
        dry_run: bool = False,
        rights: Collection[Right] | None = None,
    ) -> Applied:
        """Bring definitions into the store, all or nothing, one event for each flag that changes.

        Args:
            fingerprint: Of the file they come from, kept so that nobody applies the same content twice.
            prune: Remove flags and segments that the definitions do not name, as far as nobody has the flag.
            dry_run: Return what would be written, and write nothing.
            rights: As in `act`.

        Raises:
            RevisionError: With everything that a rollout in progress does not take.
            OvertakenError: Somebody else changed a flag meanwhile.
        """
        actor = _somebody(actor)
        check_edit(actor, APPLY, rights)
        seen = max((event.id for event in self.store.history(limit=1)), default=0)
        if not actor:
            raise FlaggateError("nobody says who applies this; the actor has no name")
        plan = _Plan(self.store.changes().rows, actor, self._now(), reason or None)
        plan.add_segments(definitions)
        plan.add_flags(definitions.flags.values())
        if prune:
            plan.prune(definitions)
        if plan.refusals:
            raise RevisionError(plan.refusals)
        plan.add_fingerprint(fingerprint)
        kept = tuple(sorted(set(plan.records) - set(definitions.flags) - plan.removed))
        if dry_run or not plan.writes:
            return Applied(tuple(plan.events), kept)
        try:
            revision = self.store.commit(plan.writes, plan.events)
        except ConflictError as lost:
            if lost.kind == "definitions":
                raise OvertakenError("what is declared", self.store.history(after=seen)) from lost
            raise self._overtaken(lost.kind, lost.name, plan.versions.get((lost.kind, lost.name), 0)) from lost
        return Applied(tuple(plan.events), kept, revision)

    def applied_fingerprint(self) -> str | None:
        """The fingerprint of the file that was applied last."""
        row = self.store.get("definitions", DEFINITIONS_ROW)
        found: str | None = None if row is None or row.document is None else row.document.get("fingerprint")
        return found

    def _overtaken(self, kind: str, name: str, seen: int) -> OvertakenError:
        """What was done to a row since it was seen at that version: each write of it has one event."""
        for _ in range(10):
            changes = self.store.changes()
            versions: dict[str, int] = {row.kind: row.version for row in changes.rows if row.name == name}
            count = max(0, versions.get(kind, seen) - seen)
            namesakes = sum(version for other, version in versions.items() if other != kind)
            found = self.store.history(name, limit=count + namesakes)
            if self.store.revision() == changes.revision:  # else somebody wrote in between: look again
                break
        events = [event for event in found if event.kind == kind]
        return OvertakenError(name, events[max(0, len(events) - count) :])


def holds_by(written: Mapping[str, Any] | None, flag: Flag, rollout: Rollout, now: datetime) -> tuple[Hold, ...]:
    """What a rollout waits for, by what the lease's holder kept. What it saw long ago says nothing about now."""
    known = progress_from_json(written)
    stage = current_stage(flag, rollout)
    judgement: Judgement | None = None
    if written is not None and known is not None and stage is not None and known.looked_at is not None:
        is_fresh = abs((now - known.looked_at).total_seconds()) < LEASE_SECONDS
        judgement = judgement_from_json(written.get("judgement"), flag, stage) if is_fresh else None
    return holds(flag, rollout, progress_of(rollout, known), judgement, now)


def _somebody(actor: str) -> str:
    """Without white space around it, which would make another of the same person."""
    if actor.strip() == AUTOMATIC:
        raise FlaggateError(f"{AUTOMATIC} is who acts where the clock or a guard does; say who you are")
    return actor.strip()


def _read_for(act: Act, row: Row) -> tuple[Flag, Rollout]:
    """The flag of a row and where it stands. A kill needs neither, and is stopped by nothing that cannot be read."""
    try:
        record = record_of(row)
        return record.flag, record.rollout
    except UnreadableError:
        if act.verb is not Verb.KILL:
            raise
    flag = Flag(row.name, description="", owner="")
    try:
        return flag, rollout_of(row)
    except UnreadableError:
        return flag, born(flag, act.at)


class _Plan:
    """The writes and events that an apply comes to."""

    def __init__(self, rows: Sequence[Row], actor: str, at: datetime, reason: str | None) -> None:
        self.versions: dict[tuple[str, str], int] = {(row.kind, row.name): row.version for row in rows}
        self.rows = {(row.kind, row.name): row for row in rows if row.document is not None}
        self.actor, self.at, self.reason = actor, at, reason
        self.writes: list[Write] = []
        self.events: list[Event] = []
        self.refusals: list[str] = []
        self.removed: set[str] = set()
        self.records: dict[str, Record] = {}
        self.segments: dict[str, Segment] = {}
        self.unreadable: dict[tuple[str, str], str] = {}
        """What a newer flaggate wrote, or somebody broke: it stays as it is."""
        for row in self.rows.values():
            self._read(row)

    def _read(self, row: Row) -> None:
        try:
            if row.kind == "flag":
                self.records[row.name] = record_of(row)
            elif row.kind == "segment":
                self.segments[row.name] = segment_of(row)
        except UnreadableError as error:
            self.unreadable[row.kind, row.name] = str(error)

    def _is_readable(self, kind: Kind, name: str) -> bool:
        problem = self.unreadable.get((kind, name))
        if problem is not None:
            self.refusals.append(f"{problem}; nothing was put in its place")
        return problem is None

    def add_segments(self, definitions: Definitions) -> None:
        for segment in definitions.segments.values():
            old = self.segments.get(segment.name)
            if old == segment or not self._is_readable("segment", segment.name):
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
            if not self._is_readable("flag", flag.name):
                continue
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
        for kind, name in self.unreadable:  # it may ask for any segment
            if kind == "flag" and name not in definitions.flags:
                self._is_readable("flag", name)
        for name, record in sorted(self.records.items()):
            if name in definitions.flags:
                continue
            if (refusal := _prune_refusal(record)) is not None:
                self.refusals.append(f"{name} is {refusal}")
                continue
            self.removed.add(name)
            self.writes.append(Write("flag", name, record.version, None))
            self._event("flag", name, PRUNE, rollout_to_json(record.rollout), None, _difference(record.flag, None))
        for name, segment in sorted(self.segments.items()):
            if name not in definitions.segments:  # so no flag asks for it: those that stay are in the definitions too
                self.writes.append(Write("segment", name, self.rows["segment", name].version, None))
                self._event("segment", name, PRUNE, _segment_summary(segment), None, {"touches": []})

    def add_fingerprint(self, fingerprint: str | None) -> None:
        """Note which file was applied. Every apply writes this row, so that of two at once only one wins."""
        row = self.rows.get(("definitions", DEFINITIONS_ROW))
        known = None if row is None or row.document is None else row.document.get("fingerprint")
        if self.writes or fingerprint not in (None, known):
            document = {"fingerprint": known if fingerprint is None else fingerprint}
            self.writes.append(Write("definitions", DEFINITIONS_ROW, row.version if row else 0, document))

    def _event(self, kind: str, name: str, verb: str, before: Any, after: Any, evidence: dict[str, Any]) -> None:
        self.events.append(Event(name, verb, self.actor, self.at, self.reason, before, after, evidence, kind))


def _prune_refusal(record: Record) -> str | None:
    """Why a flag may not go, and what to do first."""
    status = record.rollout.status
    if status not in _PRUNABLE:
        first = "roll it back or complete it" if record.flag.stages else "turn it off first"
        return f"{status.replace('_', ' ')} and cannot be pruned; {first}"
    if record.rollout.killed and status is not Status.COMPLETED:  # declared again, it would have forgotten
        return "killed and cannot be pruned; unkill it first"  # which lets nobody in; it would where it is completed
    return None


def _difference(old: Flag | None, new: Flag | None) -> dict[str, Any]:
    before, after = (None if flag is None else flag_to_json(flag) for flag in (old, new))
    return {"difference": [[change.path, change.before, change.after] for change in difference(before, after)]}


def _segment_summary(segment: Segment | None) -> dict[str, Any] | None:
    """The segment for an event, which does not repeat 100 000 members."""
    if segment is None or segment.unit is None:
        return None if segment is None else segment_to_json(segment)
    return {"unit": segment.unit, "members": len(segment.members)}
