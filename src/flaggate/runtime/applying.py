"""The writes and events that definitions come to, and what of them is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from flaggate.errors import ForbiddenError, MoveError, RevisionError, UnreadableError
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.difference import difference
from flaggate.flags.document import Definitions
from flaggate.flags.model import Flag, Segment, segments_asked
from flaggate.rollout.moves import Act, move
from flaggate.rollout.revision import revise
from flaggate.rollout.state import EXPOSING, Event, Status, Verb, born, rollout_to_json
from flaggate.runtime.rights import Right, check_verb, may, needed
from flaggate.stores.base import Kind, Row, Write
from flaggate.stores.record import Record, Source, document_of, record_of, segment_of, segment_write

__all__ = ["APPLY", "DEFINITIONS_ROW", "PRUNE", "Plan"]

APPLY: Final = "apply"
PRUNE: Final = "prune"
DEFINITIONS_ROW: Final = "applied"
_PRUNABLE: Final = frozenset({Status.DRAFT, Status.OFF, Status.ROLLED_BACK, Status.COMPLETED})
_ELSEWHERE: Final[dict[Source, str]] = {
    "file": "is declared in a file: change it there, and apply that",
    "console": "is kept by the console: change it there, and leave it out of the file",
}


class Plan:
    """The writes and events that an apply comes to."""

    def __init__(
        self,
        rows: Sequence[Row],
        actor: str,
        at: datetime,
        reason: str | None,
        source: Source,
        rights: Collection[Right] | None,
    ) -> None:
        self.source = source
        self.rights = rights
        """Of the actor; None = all."""
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

    def of_this_source(self) -> Iterator[str]:
        """The flags that are declared there."""
        return (name for name, record in self.records.items() if record.source == self.source)

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

    def add_flags(self, definitions: Definitions) -> None:
        for flag in definitions.flags.values():
            record = self.records.get(flag.name)
            if not self._is_readable("flag", flag.name) or not self._knows_segments(flag, definitions.segments):
                continue
            if record is None:
                self._create(flag)
            elif record.flag != flag:
                if record.source == self.source:
                    self._revise(record, flag)
                else:
                    self.refusals.append(f"{flag.name} {_ELSEWHERE[record.source]}")

    def _knows_segments(self, flag: Flag, declared: Collection[str]) -> bool:
        """A rule that asks for one that is not there would fail, and the flag be off."""
        missing = sorted(segments_asked(flag) - set(declared) - set(self.segments))
        for name in missing:
            known = ", ".join(sorted({*declared, *self.segments})) or "none is declared"
            self.refusals.append(f"{flag.name} asks for a segment {name}; allowed: {known}")
        return not missing

    def _create(self, flag: Flag) -> None:
        rollout = born(flag, self.at)
        self.writes.append(Write("flag", flag.name, 0, document_of(flag, rollout, self.source)))
        self._event("flag", flag.name, APPLY, None, rollout_to_json(rollout), _difference(None, flag))

    def _revise(self, record: Record, flag: Flag) -> None:
        try:
            rollout = revise(record.flag, flag, record.rollout, self.at)
            self._check_rights(record, flag)
        except RevisionError as error:
            self.refusals += error.refusals
            return
        except MoveError as error:
            self.refusals.append(f"{flag.name}: the owner stays: {error.why}")
            return
        self.writes.append(record.write(flag, rollout))
        states = rollout_to_json(record.rollout), rollout_to_json(rollout)
        self._event("flag", flag.name, APPLY, *states, _difference(record.flag, flag))

    def _check_rights(self, record: Record, flag: Flag) -> None:
        """Who may only edit neither lets people in nor names who answers: less exposure needs fewer rights than more.

        Raises:
            ForbiddenError, MoveError: The actor may not; as `owner set` would not be legal now.
        """
        if self.rights is None:
            return
        old, rollout = record.flag, record.rollout
        if (old.owner, old.deputies) != (flag.owner, flag.deputies):
            check_verb(self.actor, Verb.OWNER_SET, self.rights)
            people = Act(Verb.OWNER_SET, self.actor, self.at, self.reason, flag.owner, flag.deputies)
            move(old, rollout, people)
        here = slice(rollout.stage)
        who_has_it = [(one.unit, one.deny, one.audience, one.stages[here]) for one in (old, flag)]
        is_on = rollout.status in EXPOSING | {Status.ON}
        if is_on and who_has_it[0] != who_has_it[1] and not may(Verb.ADVANCE, self.rights):
            raise ForbiddenError(self.actor, f"change who has {flag.name} now", needed(Verb.ADVANCE))

    def prune(self, definitions: Definitions) -> None:
        for kind, name in self.unreadable:  # it may ask for any segment
            if kind == "flag" and name not in definitions.flags:
                self._is_readable("flag", name)
        for name, record in sorted(self.records.items()):
            if name in definitions.flags or record.source != self.source:
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
