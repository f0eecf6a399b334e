"""One look at one rollout: verdicts and holds -> at most one transition. Pure; what it observes it returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flaggate.flags.model import Flag
from flaggate.flags.words import span_words
from flaggate.rollout.holds import Hold, holds
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import WATCH_SECONDS, Progress, progress_of
from flaggate.rollout.state import Event, Rollout, Status, Verb, current_stage
from flaggate.rollout.verdict import Judgement, Verdict
from flaggate.rollout.verdict_words import reason_words, verdict_words

__all__ = ["Look", "is_looked_at", "tick", "verdict_to_json"]

_LOOKED_AT: Final = frozenset({Status.RUNNING, Status.PAUSED, Status.WATCHING})


@dataclass(frozen=True, slots=True)
class Look:
    """What came of it."""

    progress: Progress
    """What is observed of the stage now; as it was before the transition."""
    holds: tuple[Hold, ...] = ()
    """Why it stays where it is."""
    moved: tuple[Rollout, Event] | None = None
    """Where it stands now, and the event; None = where it stood."""


def is_looked_at(rollout: Rollout) -> bool:
    """Whether the clock or a guard may move it at all (invariant I8)."""
    return rollout.status in _LOOKED_AT and not rollout.killed


def tick(flag: Flag, rollout: Rollout, known: Progress | None, judgement: Judgement | None, now: datetime) -> Look:
    """Look once.

    Args:
        known: What was observed before; what is about another stage or attempt does not count.
        judgement: What the guards say; None, or about another stage or attempt = nothing (invariant I6).
    """
    progress = progress_of(rollout, known)
    if judgement is not None and not judgement.is_of(rollout):
        judgement = None
    is_seen = judgement is not None and not any(judgement.blind())
    is_observed = is_seen and is_looked_at(rollout) and rollout.status is not Status.PAUSED
    progress = progress.looked(now, since=rollout.since, is_observed=is_observed)
    if not is_looked_at(rollout):
        return Look(progress.held((), now))
    if judgement is not None and (guilty := [verdict for verdict in judgement.verdicts if verdict.rolls_back]):
        return _moved(flag, rollout, progress, _rollback(flag, guilty, now))
    if rollout.status is Status.PAUSED:
        return Look(progress.held((), now))
    if rollout.status is Status.WATCHING:
        return _watched(flag, rollout, progress, judgement if is_seen else None, now)
    found = holds(flag, rollout, progress, judgement, now)
    progress = progress.held((hold.kind for hold in found), now)
    if found or judgement is None or current_stage(flag, rollout) is None:  # None: nobody can tell what would be left
        return Look(progress, found)
    evidence = _observed(progress) | _verdicts(flag, judgement)
    return _moved(
        flag, rollout, progress, Act(Verb.ADVANCE, AUTOMATIC, now, "every condition is met", evidence=evidence)
    )


def _watched(flag: Flag, rollout: Rollout, progress: Progress, judgement: Judgement | None, now: datetime) -> Look:
    progress = progress.held((), now)
    is_over = progress.observed_seconds >= WATCH_SECONDS
    if judgement is None or not is_over or any(verdict.is_worse for verdict in judgement.verdicts):
        return Look(progress)
    reason = f"watched for {span_words(progress.observed_seconds)}"
    evidence = _observed(progress) | _verdicts(flag, judgement)
    return _moved(flag, rollout, progress, Act(Verb.COMPLETE, AUTOMATIC, now, reason, evidence=evidence))


def _rollback(flag: Flag, guilty: Iterable[Verdict], now: datetime) -> Act:
    shown = list(guilty)
    reason = "; ".join(dict.fromkeys(map(reason_words, shown)))  # two guards of one metric say the same
    evidence = {"guards": [verdict_to_json(each, flag.unit) for each in shown]}
    return Act(Verb.ROLLBACK, AUTOMATIC, now, reason, evidence=evidence)


def _moved(flag: Flag, rollout: Rollout, progress: Progress, act: Act) -> Look:
    return Look(progress, moved=move(flag, rollout, act))


def _observed(progress: Progress) -> dict[str, Any]:
    return {"observed_seconds": round(progress.observed_seconds)}


def _verdicts(flag: Flag, judgement: Judgement) -> dict[str, Any]:
    return {"guards": [verdict_to_json(verdict, flag.unit) for verdict in judgement.verdicts]}


def verdict_to_json(verdict: Verdict, unit: str) -> dict[str, Any]:
    """For events and for those who look."""
    said = {"metric": verdict.guard.metric, "answer": verdict.answer, "numbers": dict(verdict.numbers)}
    return said | {"words": verdict_words(verdict, unit)}
