"""All flags as of one revision, compiled. Immutable: a change makes a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from flaggate.decide.compile import CompiledFlag, compile_flag, constant_flag
from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.errors import FlaggateError
from flaggate.flags.model import Flag, Segment, guards_judged_in, segments_asked
from flaggate.rollout.edges import EDGES_MS
from flaggate.rollout.state import Rollout, current_stage
from flaggate.rollout.tick import is_looked_at
from flaggate.runtime.off_switch import EVERYTHING
from flaggate.runtime.units import Judged
from flaggate.stores.base import Changes, Row
from flaggate.stores.record import record_of, segment_of

__all__ = ["Entry", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A flag of a snapshot."""

    compiled: CompiledFlag
    row: Row | None = None
    """As it is stored; None = a test says what it is."""
    segments: frozenset[str] = frozenset()
    problem: str | None = None
    """Why it could not be compiled, and is off."""
    unit: str = "user"
    attempt: int = 0
    stage: int = 0
    """Where it stands, for what is counted; the current stage from 1."""
    edges: tuple[float, ...] = EDGES_MS
    """Of its latency histogram: a guard's limit is one."""
    judged: Judged | None = None
    """What is counted for the guards; None = where it stands nobody is judged."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a process answers from."""

    revision: int = 0
    others: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    """The rows of whatever is no flag, by kind and name."""
    segments: Mapping[str, Segment] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """By name, in this order."""
    off: frozenset[str] = frozenset()
    """Flags that are off in this process whatever the store says; `*` = all."""
    decide: Mapping[str, Callable[[Context], Decision]] = field(default_factory=dict)
    is_on: Mapping[str, Callable[[Context], bool]] = field(default_factory=dict)
    """`decide` and `is_on` are what is picked at run time: entries, but for those that are off."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """The flags that are off because they could not be compiled, and why."""

    def updated(self, changes: Changes) -> Snapshot:
        """The snapshot with these rows in it; compiles only the flags that changed, or whose segments did. Whatever else
        it holds is copied as it is: of ten thousand flags a change costs little more than of a hundred.
        """
        others, segments, changed = dict(self.others), dict(self.segments), set[str]()
        for row in changes.rows:
            if row.kind != "flag":
                others[row.kind, row.name] = row
                if row.document is None:
                    del others[row.kind, row.name]
            if row.kind == "segment":
                changed.add(row.name)
                _put_segment(segments, row)
        stale = {row.name: row for row in changes.rows if row.kind == "flag"}
        if changed:
            asking = (entry.row for entry in self.entries.values() if not changed.isdisjoint(entry.segments))
            stale = {row.name: row for row in asking if row is not None} | stale
        entries, problems = dict(self.entries), dict(self.problems)
        for name, row in stale.items():
            problems.pop(name, None)
            if row.document is None:
                entries.pop(name, None)
                continue
            entry = entries[name] = _entry(row, segments)
            if entry.problem is not None:
                problems[name] = entry.problem
        if any(name not in self.entries for name in stale):
            entries = {name: entries[name] for name in sorted(entries)}
        return replace(
            self, revision=changes.revision, others=others, segments=segments, entries=entries, problems=problems
        )._picked(stale)

    def flag_rows(self) -> list[Row]:
        """Of all flags that are stored, by name."""
        return [entry.row for entry in self.entries.values() if entry.row is not None]

    def with_off(self, off: frozenset[str]) -> Snapshot:
        """The snapshot with these flags off."""
        return replace(self, off=off)._picked(self.entries)

    def is_off(self, name: str) -> bool:
        """Whether the flag is off in this process whatever the store says."""
        return name in self.off or EVERYTHING in self.off

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them, by kind."""
        return *self.flag_rows(), *self.others.values()

    def _picked(self, stale: Iterable[str]) -> Snapshot:
        """With what is picked of these flags as the entries say now."""
        decide, is_on = dict(self.decide), dict(self.is_on)
        for name in stale:
            if name not in self.entries:
                decide.pop(name, None)
                is_on.pop(name, None)
                continue
            flag = self.entries[name].compiled
            if self.is_off(name):
                flag = constant_flag(Decision(name, False, "killed"))
            decide[name], is_on[name] = flag.decide, flag.is_on
        return replace(self, decide=decide, is_on=is_on)


def _put_segment(segments: dict[str, Segment], row: Row) -> None:
    segments.pop(row.name, None)
    if row.document is not None:
        try:
            segments[row.name] = segment_of(row)
        except Exception:  # whatever somebody stored: the flags that ask it will say that it is missing, and be off
            return


def _entry(row: Row, segments: Mapping[str, Segment]) -> Entry:
    """Compile a flag; one that cannot be is off, and the others go on."""
    asked: frozenset[str] = frozenset()
    try:
        record = record_of(row)
        asked = segments_asked(record.flag)
        compiled = compile_flag(record.flag, record.rollout, segments)
        flag, rollout = record.flag, record.rollout
        place = rollout.attempt, rollout.stage
        return Entry(compiled, row, asked, None, flag.unit, *place, _edges(flag), _judged(flag, rollout))
    except KeyError as error:
        problem = f"segment {error.args[0]} is missing or cannot be read"
    except Exception as error:  # whatever somebody stored: the other flags go on
        problem = str(error) if isinstance(error, FlaggateError) else f"it cannot be compiled: {error!r}"
    return Entry(constant_flag(Decision(row.name, False, "fault")), row, asked, problem)


def _judged(flag: Flag, rollout: Rollout) -> Judged | None:
    stage = current_stage(flag, rollout)
    if stage is None or not is_looked_at(rollout):
        return None
    guards = [guard for guard in guards_judged_in(flag, stage) if guard.key is not None]
    own = [guard for guard in guards if guard.metric not in {"errors", "slow"}]
    limits = {(float(guard.slower_than_ms), guard.key or "") for guard in guards if guard.slower_than_ms is not None}
    return Judged(
        tuple(sorted(limits)),
        is_slower=any(guard.key == "slower" for guard in guards),
        own=frozenset(guard.metric for guard in own if guard.at_least is None),
        wanted=frozenset(guard.metric for guard in own if guard.at_least is not None),
    )


def _edges(flag: Flag) -> tuple[float, ...]:
    guards = flag.guards + tuple(guard for stage in flag.stages for guard in stage.guards)
    limits = {float(guard.slower_than_ms) for guard in guards if guard.slower_than_ms is not None}
    return tuple(sorted(limits.union(EDGES_MS))) if limits else EDGES_MS
