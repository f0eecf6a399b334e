"""Why a running rollout does not advance now. Derived each time, and never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from flaggate.flags.fields import hours_text
from flaggate.flags.model import Flag, Hours, Stage
from flaggate.flags.words import moment_words, span_words
from flaggate.rollout.progress import LEASE_SECONDS, Progress
from flaggate.rollout.state import Rollout, Status, current_stage
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.rollout.verdict_words import UNCLEAR

__all__ = ["PASSABLE", "Hold", "HoldKind", "broken_words", "holds", "is_within", "opens_at"]


class HoldKind(StrEnum):
    """The kinds, in the order in which a tick looks at them."""

    UNJUDGED = "unjudged"
    BLIND = "blind"
    BREACH = "breach"
    SOAK = "soak"
    MIN_SAMPLE = "min_sample"
    PROVE = "prove"
    SPLIT = "split"
    DOUBT = "doubt"
    BROKEN = "broken"
    DATE = "date"
    HOURS = "hours"
    OWNER = "owner"
    APPROVAL = "approval"


PASSABLE: Final = frozenset(
    {
        HoldKind.UNJUDGED,
        HoldKind.SOAK,
        HoldKind.MIN_SAMPLE,
        HoldKind.PROVE,
        HoldKind.DOUBT,
        HoldKind.BROKEN,
        HoldKind.DATE,
        HoldKind.HOURS,
        HoldKind.APPROVAL,
    }
)
"""What a person may pass over, with a reason."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason."""

    kind: HoldKind
    why: str
    """With its progress: soak 3 h of 24 h."""
    ends: str
    """What would end it."""
    since: datetime
    done: float | None = None
    """How far it is, of how much; None = it is all or nothing."""
    of: float | None = None

    def __str__(self) -> str:
        return self.why


def holds(
    flag: Flag, rollout: Rollout, progress: Progress, judgement: Judgement | None, now: datetime
) -> tuple[Hold, ...]:
    """Everything that keeps the rollout in its stage, in a tick's order; nothing unless it is running."""
    stage = current_stage(flag, rollout)
    if rollout.status is not Status.RUNNING or rollout.killed or stage is None:
        return ()
    if judgement is not None and not judgement.is_of(rollout):
        judgement = None
    found = (
        *_by_guards(judgement, progress, now),
        *_by_time_and_traffic(stage, progress, judgement),
        *_by_clock(stage, now),
        *_by_people(stage, rollout),
    )
    return tuple(Hold(kind, why, ends, progress.holds.get(kind, now), *how_far) for kind, why, ends, *how_far in found)


_Found = Iterator[tuple[HoldKind, str, str] | tuple[HoldKind, str, str, float, float]]


def _by_guards(judgement: Judgement | None, progress: Progress, now: datetime) -> _Found:
    if judgement is None:
        looked_at = progress.looked_at
        if looked_at is not None and (passed := (now - looked_at).total_seconds()) >= LEASE_SECONDS:
            words = f"nobody has looked at its guards for {span_words(passed)}"
            yield HoldKind.BLIND, words, "a look at its guards"
        else:
            yield HoldKind.UNJUDGED, "a judgement of its guards", "a look at its guards"
        return
    if blind := ", ".join(map(_blind_words, judgement.blind())):
        yield HoldKind.BLIND, f"nothing is known of {blind}", "data of every guard"
    worse = [verdict for verdict in judgement.verdicts if verdict.holds]
    if breached := ", ".join(verdict.guard.metric for verdict in worse if verdict.answer is Answer.BREACH):
        yield HoldKind.BREACH, f"{breached}: worse than allowed", "the guard's evidence falling off"
    elif worse:
        shared = ", ".join(verdict.guard.metric for verdict in worse)
        words = f"{shared}: over your limit, but {UNCLEAR}"
        yield HoldKind.BREACH, words, "its end, or evidence against the feature; after ten minutes the plan's on_shared"


def _blind_words(verdict: Verdict) -> str:
    """errors (no data); queue_depth (error: https://prometheus.example.com answered 503)."""
    why = verdict.numbers.get("why") if verdict.guard.query is not None else None  # else the whole look failed
    return f"{verdict.guard.metric} ({verdict.answer.replace('_', ' ')}{f': {why}' if why else ''})"


def _by_time_and_traffic(stage: Stage, progress: Progress, judgement: Judgement | None) -> _Found:
    soak, observed = stage.soak_seconds or 0, progress.observed_seconds
    if observed < soak:
        words = f"soak {span_words(observed)} of {span_words(soak)}"
        yield HoldKind.SOAK, words, f"{span_words(soak - observed)} more that are observed", observed, float(soak)
    least, requests = stage.min_sample or 0, 0 if judgement is None else judgement.requests
    if requests < least:
        words = f"min_sample {requests:,} of {least:,} requests".replace(",", " ")
        yield HoldKind.MIN_SAMPLE, words, "more requests of those who have it", float(requests), float(least)
    if stage.prove:
        verdicts = () if judgement is None else judgement.verdicts
        unproven = ", ".join(verdict.guard.metric for verdict in verdicts if not verdict.is_proven)
        if unproven or not verdicts:
            yield HoldKind.PROVE, f"prove: {unproven or 'nothing'} is not known to be safe", "every guard safe"
    if judgement is not None and judgement.split is not None:
        yield HoldKind.SPLIT, f"the split is not as designed: {judgement.split}", "arms of the designed sizes"
    if judgement is not None and judgement.doubts:
        yield HoldKind.DOUBT, ", ".join(judgement.doubts), "less evidence, or somebody who goes on all the same"
    if judgement is not None and judgement.broken:
        yield HoldKind.BROKEN, broken_words(judgement.broken), "an hour in which that is within the next stage's limit"


def broken_words(broken: Iterable[str]) -> str:
    """Of guards that are broken without the feature."""
    return f"broken without the feature already: {', '.join(broken)}"


def _by_clock(stage: Stage, now: datetime) -> _Found:
    if stage.not_before is not None and now < stage.not_before:
        moment = moment_words(stage.not_before)
        yield HoldKind.DATE, f"not before {moment}", moment
    if stage.hours is not None and not is_within(stage.hours, now):
        opens = opens_at(stage.hours, now)
        yield HoldKind.HOURS, f"hours {hours_text(stage.hours)}", f"{opens:%a %d %b %Y %H:%M %Z}"


def _by_people(stage: Stage, rollout: Rollout) -> _Found:
    if rollout.accepted_by is None:
        yield HoldKind.OWNER, "nobody answers for it", f"{rollout.owner} or a deputy accepts"
    if stage.approval is not None and not rollout.is_approved(stage):
        is_any = stage.approval == "any"
        by = "somebody" if is_any else f"somebody other than {rollout.asked_by or 'who asked'}"
        yield HoldKind.APPROVAL, "approval" if is_any else "approval by another person", f"{by} approves"


# --- hours ----------------------------------------------------------------------------------


def is_within(hours: Hours, now: datetime) -> bool:
    """Whether the moment lies in the hours, by the clock of their zone; the end is not included."""
    there = now.astimezone(ZoneInfo(hours.zone))
    return there.weekday() in hours.days and hours.start_minute <= there.hour * 60 + there.minute < hours.end_minute


def opens_at(hours: Hours, now: datetime) -> datetime:
    """When the hours begin next, on the clock of their zone."""
    zone = ZoneInfo(hours.zone)
    today = now.astimezone(zone).date()
    start = time(hours.start_minute // 60, hours.start_minute % 60)
    days = (today + timedelta(days=ahead) for ahead in range(16))
    starts = (datetime.combine(day, start, zone) for day in days if day.weekday() in hours.days)
    # Over UTC and back: a start in the hour that a change of clocks leaves out is not on any clock; and where all of the
    # hours are in it, they do not begin that day.
    moments = (start.astimezone(UTC).astimezone(zone) for start in starts)
    return next(moment for moment in moments if moment > now and is_within(hours, moment))
