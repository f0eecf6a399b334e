"""What guards say about a stage. How they come to it is in `flaggate.rollout.evidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
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
        return self.answer in {Answer.NO_DATA, Answer.ERROR} and self.guard.on_no_data != "ignore"

    @property
    def rolls_back(self) -> bool:
        """Whether the rollout has to go."""
        if self.answer is Answer.BREACH:
            return self.guard.on_breach == "rollback"
        return self.is_blind and self.guard.on_no_data == "rollback"

    @property
    def holds(self) -> bool:
        """Whether a breach keeps the rollout where it is."""
        return self.answer is Answer.BREACH and self.guard.on_breach == "hold"


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

    def is_of(self, rollout: Rollout) -> bool:
        """Whether it is about where the rollout stands now (invariant I6)."""
        return (self.attempt, self.stage, self.revision) == (rollout.attempt, rollout.stage, rollout.revision)

    def blind(self) -> Iterator[Verdict]:
        """The verdicts that say nothing."""
        return (verdict for verdict in self.verdicts if verdict.is_blind)


def judgement_to_json(judgement: Judgement) -> dict[str, Any]:
    """For the one who looks next, in JSON's types."""
    verdicts = [{"answer": verdict.answer, "numbers": dict(verdict.numbers)} for verdict in judgement.verdicts]
    return asdict(replace(judgement, verdicts=())) | {"verdicts": verdicts}


def judgement_from_json(written: Any, flag: Flag, stage: Stage) -> Judgement | None:
    """The opposite of `judgement_to_json`. None for what is not about the guards that are judged in the stage now."""
    try:
        guards, verdicts = guards_judged_in(flag, stage), written["verdicts"]
        each = zip(guards, verdicts, strict=True)
        said = tuple(Verdict(guard, Answer(one["answer"]), one["numbers"]) for guard, one in each)
        return Judgement(**written | {"verdicts": said})
    except (KeyError, TypeError, ValueError):
        return None
