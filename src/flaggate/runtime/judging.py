"""Reads what the store counted of a rollout, and has its guards judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from flaggate.flags.model import Flag, Guard, guards_judged_in
from flaggate.rollout.evidence import interval
from flaggate.rollout.judge import judge
from flaggate.rollout.progress import progress_from_json, progress_of
from flaggate.rollout.seen import HOUR_SECONDS, Sample, Seen, Tally, Units, added_up, most_bad
from flaggate.rollout.state import Rollout, current_stage
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.stores.base import Count, Store, UnitSum
from flaggate.stores.record import Record

__all__ = ["Judging", "Samples", "broken_without", "kept_of", "seen_of", "tally_of", "unjudged"]

_LEAST_BAD: Final = 5
_LOOK_AGAIN_SECONDS: Final = 60


Samples: TypeAlias = Callable[[Iterable[Guard], datetime], Mapping[str, Sample]]
"""What the queries of these guards were answered last."""


class Judging:
    """Judges one rollout after the other, for `flaggate.runtime.ticker.Ticker`.

    Args:
        store: Of the counts.
        samples: None = there is nobody to ask.
    """

    def __init__(self, store: Store, samples: Samples | None = None) -> None:
        self._store = store
        self._samples = samples
        self._broken: dict[str, tuple[tuple[int, int, int], float, dict[int, str]]] = {}
        """By flag: of which attempt, stage and revision, when it was looked at, and what was found."""

    def __call__(self, record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Judgement | None:
        """The judgement where the rollout stands. Raises StoreError."""
        flag, rollout = record.flag, record.rollout
        stage = current_stage(flag, rollout)
        if stage is None:
            return None
        queries = [guard for guard in guards_judged_in(flag, stage) if guard.query is not None]
        samples = self._samples(queries, now) if queries and self._samples is not None else {}
        seen = seen_of(self._store, rollout, samples, self._broken_next(flag, rollout, now.timestamp()))
        progress = progress_of(rollout, progress_from_json(kept))
        is_soaked = progress.observed_seconds >= (stage.soak_seconds or 0)
        return judge(flag, rollout, seen, kept_of(kept), now, is_soaked=is_soaked)

    def _broken_next(self, flag: Flag, rollout: Rollout, now: float) -> dict[int, str]:
        """Once a minute: it is about the last hour."""
        here = rollout.attempt, rollout.stage, rollout.revision
        place, looked_at, found = self._broken.get(rollout.flag, (None, 0.0, {}))
        if place != here or abs(now - looked_at) >= _LOOK_AGAIN_SECONDS:
            found = broken_without(self._store, flag, rollout.stage + 1, now)
            self._broken[rollout.flag] = here, now, found
        return found


def kept_of(kept: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What the judgement before said to keep."""
    judgement = None if kept is None else kept.get("judgement")
    found = judgement.get("kept") if isinstance(judgement, Mapping) else None
    return found if isinstance(found, Mapping) else None


def unjudged(record: Record, kept: Mapping[str, Any] | None, why: str) -> Judgement | None:
    """In place of a judgement that failed: nothing is known of any guard, and nothing is forgotten."""
    flag, rollout = record.flag, record.rollout
    stage = current_stage(flag, rollout)
    if stage is None:
        return None
    verdicts = tuple(Verdict(guard, Answer.ERROR, {"why": why}) for guard in guards_judged_in(flag, stage))
    return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts, kept=kept_of(kept))


def seen_of(
    store: Store, rollout: Rollout, samples: Mapping[str, Sample] | None = None, broken: Mapping[int, str] | None = None
) -> Seen:
    """All that was counted where the rollout stands. Raises StoreError."""
    place = rollout.attempt, rollout.stage
    arms: dict[str, Tally] = {
        count.arm: tally_of(count) for count in store.counts(rollout.flag) if (count.attempt, count.stage) == place
    }
    units: dict[tuple[str, int, int], dict[str, Units]] = {}
    for one in store.units(rollout.flag, *place):
        units.setdefault((one.metric, one.span, one.began), {})[one.arm] = _units(one)
    return Seen(arms, units, store.pulse(), samples or {}, broken or {})


def tally_of(count: Count) -> Tally:
    """What was counted, without of what."""
    return Tally(count.requests, count.errors, count.histogram, count.measured)


def _units(one: UnitSum) -> Units:
    return Units(one.units, one.bad, one.squares)


def broken_without(store: Store, flag: Flag, stage: int, now: float) -> dict[int, str]:
    """Which guards of a stage (counted from 1) are over their limit in the last hour for those without the feature.

    Raises:
        StoreError: the store does not answer.
    """
    if not 0 < stage <= len(flag.stages):
        return {}
    guards = [
        (place, guard)
        for place, guard in enumerate(guards_judged_in(flag, flag.stages[stage - 1]))
        if guard.key is not None and guard.vs_control is None and guard.rolls_back
    ]
    if not guards:
        return {}
    without = added_up(
        tally_of(window.count) for window in store.windows(flag.name, now - HOUR_SECONDS) if window.count.arm == "off"
    )
    found = {}
    for place, guard in guards:
        requests, bad = without.of(guard)
        if bad >= _LEAST_BAD and interval(bad, requests)[0] > most_bad(guard):
            found[place] = (
                f"{guard.metric}: {bad:,} of {requests:,} requests without the feature in the last hour, "
                f"over your limit of {100 * most_bad(guard):.4g} %"
            )
    return found
