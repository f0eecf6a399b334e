"""What is kept of a stage's guards from look to look: evidence, and what was counted as of the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flaggate.flags.model import Guard
from flaggate.rollout.evidence import TIMES_BETTER, TIMES_WORSE, Evidence, Reverse
from flaggate.rollout.state import Rollout

__all__ = ["GuardMemory", "StageMemory", "begun", "memory_from_json"]


@dataclass(slots=True)
class GuardMemory:
    """Of one guard. What is counted here is counted since the stage was entered."""

    evidence: Evidence
    reverse: Reverse
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """Requests and bad ones, exposed and in control, as of the last look."""
    begun: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """The same when the evidence began."""
    firsts: list[int] = field(default_factory=lambda: [0, 0])
    """Units that had something bad, in treatment and in control."""
    hour: list[int] = field(default_factory=lambda: [0, 0, 0])
    """An hour (its beginning) and the units that had something bad in it."""
    window: list[float] = field(default_factory=lambda: [0, 0, 0, 0.0, 0.0, 0.0])
    """The window of the last look (its beginning): bad requests in it, and those held against them; as how many both count
    for the whole stage, and as how many the bad ones do for what began anew."""
    units_begun: list[int] = field(default_factory=lambda: [0, 0])
    """When the evidence began: units that had something bad, with the feature (with or without an arm) and in control."""
    blame: Evidence | None = None
    """That those who have the feature are hit more often than control; of a guard with a limit."""
    faded: dict[str, int] = field(default_factory=dict)
    """Of `slow` against control: the part of control's histogram that is too old to say where its 95 % point is."""
    point: float | None = None
    """Where that is, in milliseconds, as of the last look."""
    passed: list[int] = field(default_factory=lambda: [0, 0, 0])
    """How many were slower as of then: in treatment than is allowed by it, the same with the bucket in which that lies,
    and in control than the point."""
    is_holding: bool = False
    """A guard that only holds, or warns, has cried, and its evidence has not fallen off yet."""
    over_since: float | None = None
    """Since when a query's answers are over the limit."""


@dataclass(slots=True)
class StageMemory:
    """Of one stage, in one attempt, under one revision of the plan. All times are Unix time, by the looker's clock."""

    attempt: int
    stage: int
    revision: int
    begun: float
    looked: float
    guards: list[GuardMemory]
    pulse: int | None = None
    pulse_since: float = 0.0
    """When it changed last."""
    exposed: int = 0
    """The exposed requests when the evidence began."""
    split_from: list[int] = field(default_factory=lambda: [0, 0])
    """Units in treatment and in control when the evidence began."""
    quiet: list[float] = field(default_factory=list)
    """Since when treatment is silent, its requests, and those of control then; the window then (its beginning), and the
    units of control in it."""
    missed_since: float | None = None
    """When its requests began to be missed."""
    crying_since: float | None = None
    """When the guards with a limit began to cry without the feature's being to blame."""
    crying_from: list[list[int]] = field(default_factory=list)
    """Each guard's counts then, as GuardMemory has them."""
    mark: list[list[int]] | None = None
    """Each guard's exposed requests, and the bad ones, five minutes later."""

    def is_of(self, rollout: Rollout) -> bool:
        """Whether it is about where the rollout stands now."""
        return (self.attempt, self.stage, self.revision) == (rollout.attempt, rollout.stage, rollout.revision)

    def to_json(self) -> dict[str, Any]:
        """In JSON's types; at the time of a look, so that nothing is copied twice."""
        written = {name: getattr(self, name) for name in self.__slots__}
        return written | {"guards": [_guard_to_json(guard) for guard in self.guards]}


def begun(guards: Sequence[Guard], rollout: Rollout, now: float, *, has_control: bool) -> StageMemory:
    """Where a stage begins: nothing was seen yet."""
    acting = sum(guard.rolls_back and guard.key is not None for guard in guards)
    each = [
        GuardMemory(
            Evidence.begun(1 / acting if guard.rolls_back and guard.key is not None else 1.0),
            Reverse.begun(),
            blame=Evidence.begun(1.0) if has_control and guard.vs_control is None and guard.key is not None else None,
        )
        for guard in guards
    ]
    return StageMemory(rollout.attempt, rollout.stage, rollout.revision, now, now, each)


def _guard_to_json(guard: GuardMemory) -> dict[str, Any]:
    written = {name: getattr(guard, name) for name in guard.__slots__}
    for name in ("evidence", "reverse", "blame"):
        each = written[name]
        written[name] = None if each is None else {part: getattr(each, part) for part in each.__slots__}
    return written


def memory_from_json(written: Any, guards: Sequence[Guard]) -> StageMemory | None:
    """The opposite of `to_json`. None for what cannot be read, or is not about as many guards."""
    try:
        each = [_guard(one) for one in written["guards"]]
        memory = StageMemory(**written | {"guards": each})
        return memory if len(each) == len(guards) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _guard(written: Mapping[str, Any]) -> GuardMemory:
    blame = written["blame"]
    return GuardMemory(
        **dict(written)
        | {
            "evidence": _evidence(written["evidence"]),
            "reverse": Reverse(
                *(_numbers(written["reverse"][part], len(TIMES_BETTER)) for part in ("whole", "hourly"))
            ),
            "blame": None if blame is None else _evidence(blame),
        }
    )


def _evidence(written: Mapping[str, Any]) -> Evidence:
    whole, late = (_numbers(written[half], len(TIMES_WORSE)) for half in ("whole", "late"))
    return Evidence(float(written["weight"]), whole, late, int(written["minutes"]))


def _numbers(written: Sequence[Any], how_many: int) -> list[float]:
    if len(written) != how_many:
        raise ValueError("of another version")
    return [float(each) for each in written]
