"""All flags as of one revision, compiled. Immutable: a change makes a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    rows: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    """Flags that are off in this process whatever the store says; `*` = all."""
    decide: Mapping[str, Callable[[Context], Decision]] = field(default_factory=dict)
    is_on: Mapping[str, Callable[[Context], bool]] = field(default_factory=dict)
    """`decide` and `is_on` are what is picked at run time: entries, but for those that are off."""

    def updated(self, changes: Changes) -> Snapshot:
        """The snapshot with these rows in it; compiles only the flags that changed, or whose segments did."""
        rows = dict(self.rows)
        rows.update({(row.kind, row.name): row for row in changes.rows})
        gone = [key for key, row in rows.items() if row.document is None]
        for key in gone:
            del rows[key]
        segments, changed = dict(self.segments), set[str]()
        for row in changes.rows:
            if row.kind == "segment":
                changed.add(row.name)
                _put_segment(segments, row)
        stale = {row.name for row in changes.rows if row.kind == "flag"}
        stale |= {name for name, entry in self.entries.items() if not changed.isdisjoint(entry.segments)}
        entries = {name: entry for name, entry in self.entries.items() if ("flag", name) in rows}
        for name in stale:
            if ("flag", name) in rows:
                entries[name] = _entry(rows["flag", name], segments)
        return replace(self, revision=changes.revision, rows=rows, segments=segments, entries=entries)._picked()

    def with_off(self, off: frozenset[str]) -> Snapshot:
        """The snapshot with these flags off."""
        return replace(self, off=off)._picked()

    def is_off(self, name: str) -> bool:
        """Whether the flag is off in this process whatever the store says."""
        return name in self.off or EVERYTHING in self.off

    def problems(self) -> dict[str, str]:
        """The flags that are off because they could not be compiled."""
        return {name: entry.problem for name, entry in self.entries.items() if entry.problem is not None}

    def changes(self) -> Changes:
        """All rows, as a store would give them."""
        return Changes(self.revision, tuple(self.rows.values()))

    def _picked(self) -> Snapshot:
        compiled = {name: entry.compiled for name, entry in self.entries.items()}
        if self.off:
            killed = {name: constant_flag(Decision(name, False, "killed")) for name in compiled if self.is_off(name)}
            compiled |= killed
        return replace(
            self,
            decide={name: flag.decide for name, flag in compiled.items()},
            is_on={name: flag.is_on for name, flag in compiled.items()},
        )


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
        return Entry(compiled, asked, None, flag.unit, *place, _edges(flag), _judged(flag, rollout))
    except KeyError as error:
        problem = f"segment {error.args[0]} is missing or cannot be read"
    except Exception as error:  # whatever somebody stored: the other flags go on
        problem = str(error) if isinstance(error, FlaggateError) else f"it cannot be compiled: {error!r}"
    return Entry(constant_flag(Decision(row.name, False, "fault")), asked, problem)


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
