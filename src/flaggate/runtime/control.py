"""The only way to write: a verb and an actor -> a transition -> compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from flaggate.errors import BusyError, ConflictError, FlaggateError, OvertakenError, RevisionError, UnreadableError
from flaggate.flags.document import Definitions
from flaggate.flags.model import Flag
from flaggate.flags.words import span_words
from flaggate.rollout.holds import Hold
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import WATCH_SECONDS, progress_from_json, progress_of
from flaggate.rollout.state import Event, Rollout, Status, Verb, born
from flaggate.rollout.waits import holds_by
from flaggate.runtime.applying import APPLY, DEFINITIONS_ROW, PRUNE, Plan
from flaggate.runtime.judging import broken_without
from flaggate.runtime.rights import Right, check_edit, check_verb
from flaggate.stores.base import Row, Store, Write
from flaggate.stores.record import (
    Source,
    flag_row,
    record_of,
    rollout_of,
)

__all__ = ["APPLY", "PRUNE", "Applied", "Control", "Outcome"]

_BEGINS: Final = frozenset({Verb.START, Verb.RESTART})
_MUST_WIN: Final = frozenset({Verb.KILL, Verb.ROLLBACK})
_BUSY_TRIES: Final = 12  # each waits as long as the store waits for another writer: a minute with SQLite


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
        busy_tries: How often a kill or a rollback is tried while others write.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = utc_now, busy_tries: int = _BUSY_TRIES) -> None:
        self.store = store
        self._busy_tries = busy_tries
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
                if verb not in _MUST_WIN or busy == self._busy_tries:
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
        source: Source = "file",
        expected: Mapping[str, int] | None = None,
    ) -> Applied:
        """Bring definitions into the store, all or nothing, one event for each flag that changes.

        Args:
            fingerprint: Of the file they come from, kept so that nobody applies the same content twice.
            prune: Remove flags and segments that the definitions do not name, as far as nobody has the flag.
            dry_run: Return what would be written, and write nothing.
            rights: As in `act`.
            source: Where they are declared: a flag of the console is not changed from a file, nor the other way round.
            expected: The versions of flags that the actor looked at; None = whatever is there now.

        Raises:
            RevisionError: With everything that a rollout in progress does not take.
            OvertakenError: Somebody else changed a flag meanwhile.
        """
        actor = _somebody(actor)
        check_edit(actor, APPLY, rights)
        seen = max((event.id for event in self.store.history(limit=1)), default=0)
        if not actor:
            raise FlaggateError("nobody says who applies this; the actor has no name")
        plan = Plan(self.store.changes().rows, actor, self._now(), reason or None, source, rights)
        for name, version in (expected or {}).items():
            if plan.versions.get(("flag", name), 0) != version:
                raise self._overtaken("flag", name, version)
        plan.add_segments(definitions)
        plan.add_flags(definitions)
        if prune:
            plan.prune(definitions)
        if plan.refusals:
            raise RevisionError(plan.refusals)
        plan.add_fingerprint(fingerprint)
        kept = tuple(sorted({*plan.of_this_source()} - set(definitions.flags) - plan.removed))
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
