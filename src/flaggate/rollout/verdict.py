"""What guards say about a stage. How they come to it is in `flaggate.rollout.evidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from flaggate.flags.model import Flag, Guard, Stage, guards_judged_in

if TYPE_CHECKING:
    from flaggate.rollout.state import Rollout

__all__ = ["Answer", "Judgement", "Verdict", "judgement_from_json", "judgement_to_json"]


class Answer(StrEnum):
    """What a guard says."""

    BREACH = "breach"
    NO_DATA = "no_data"
    """Nobody reported, or there is no fresh sample."""
    ERROR = "error"
    """The source failed."""
    SHARED = "shared"
    """Over its limit, but not clearly more often than without the feature."""
    TOO_FEW = "too_few"
    SAFE = "safe"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guard's answer, always with its numbers."""

    guard: Guard
    answer: Answer
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """In JSON's types."""

    @property
    def is_blind(self) -> bool:
        """Whether nothing can be said, of a guard that does not pass over it."""
        is_silent = self.answer in {Answer.NO_DATA, Answer.ERROR}
        return is_silent and self.guard.on_no_data != "ignore" and not self.guard.observe

    @property
    def rolls_back(self) -> bool:
        """Whether the rollout has to go."""
        if self.answer is Answer.BREACH:
            return self.guard.rolls_back
        return self.is_blind and self.guard.on_no_data == "rollback"

    @property
    def is_worse(self) -> bool:
        """Whether it found it worse than allowed, and may act on that."""
        return self.answer in {Answer.BREACH, Answer.SHARED} and not self.guard.observe

    @property
    def is_proven(self) -> bool:
        """Whether nothing more can be asked of it: a query is never safe, and one that observes never keeps anybody."""
        is_fine = self.guard.query is not None and self.answer is Answer.OK
        return self.answer is Answer.SAFE or is_fine or self.guard.observe

    @property
    def holds(self) -> bool:
        """Whether it keeps the rollout where it is."""
        is_breach = self.answer is Answer.BREACH and self.guard.on_breach == "hold" and not self.guard.observe
        return is_breach or self.answer is Answer.SHARED


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all guards that are judged in a stage said at one look, and what was seen there."""

    attempt: int
    stage: int
    revision: int
    verdicts: tuple[Verdict, ...] = ()
    requests: int = 0
    """Exposed requests since the stage was entered, or since its evidence began anew."""
    split: str | None = None
    """In which way the arms are not split as designed; None = they are, or there are too few to tell."""
    doubts: tuple[str, ...] = ()
    """Guards whose evidence a person should confirm, in words."""
    broken: tuple[str, ...] = ()
    """Guards of the next stage that are broken without the feature already, in words."""
    kept: Mapping[str, Any] | None = None
    """For the one who looks next."""

    def is_of(self, rollout: Rollout) -> bool:
        """Whether it is about where the rollout stands now (invariant I6)."""
        return (self.attempt, self.stage, self.revision) == (rollout.attempt, rollout.stage, rollout.revision)

    def blind(self) -> Iterator[Verdict]:
        """The verdicts that say nothing."""
        return (verdict for verdict in self.verdicts if verdict.is_blind)


def judgement_to_json(judgement: Judgement) -> dict[str, Any]:
    """For the one who looks next, in JSON's types."""
    verdicts = [{"answer": verdict.answer, "numbers": dict(verdict.numbers)} for verdict in judgement.verdicts]
    named = {name: getattr(judgement, name) for name in judgement.__slots__}
    return named | {"verdicts": verdicts, "doubts": list(judgement.doubts), "broken": list(judgement.broken)}


def judgement_from_json(written: Any, flag: Flag, stage: Stage) -> Judgement | None:
    """The opposite of `judgement_to_json`. None for what is not about the guards that are judged in the stage now."""
    try:
        guards, verdicts = guards_judged_in(flag, stage), written["verdicts"]
        each = zip(guards, verdicts, strict=True)
        said = tuple(Verdict(guard, Answer(one["answer"]), one["numbers"]) for guard, one in each)
        words = {name: tuple(written.get(name, ())) for name in ("doubts", "broken")}
        return Judgement(**written | words | {"verdicts": said})
    except (KeyError, TypeError, ValueError):
        return None
