"""How soon a flag's guards would see that it does harm, at the traffic of the last hours: before the start, and on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from flaggate.flags.model import Flag, Stage, guards_judged_in
from flaggate.rollout.forecast import Traffic, expected, seconds_to_see, sight_words, weights
from flaggate.rollout.progress import WATCH_SECONDS
from flaggate.rollout.seen import HOUR_SECONDS, Tally, added_up
from flaggate.rollout.state import Rollout, current_stage
from flaggate.rollout.tick import is_looked_at
from flaggate.runtime.judging import tally_of
from flaggate.stores.base import WINDOW_SECONDS, Arm, Store, Window

__all__ = ["Sight", "sight", "sight_in"]

_HOURS: Final = 24
_LEAST: Final = 100
"""Fewer requests say nothing of the traffic."""
_CLEAR: Final = 5.0
"""A stage in which not even so many times as many errors would show is not judged."""


class Sight(NamedTuple):
    """Of one stage."""

    stage: str
    words: str
    is_blind: bool = False
    """Whether it could not be judged at this traffic."""


def sight(store: Store, flag: Flag, rollout: Rollout, now: float) -> list[Sight]:
    """What would show in the current stage; before the start and after a rollback, in each that can be told.

    A stage for an audience can be told only once it runs: nobody has counted whom it lets in. Raises StoreError.
    """
    if flag.is_switch:
        return []
    return sight_in(store.windows(flag.name, now - _HOURS * HOUR_SECONDS), flag, rollout, now)


def sight_in(windows: Iterable[Window], flag: Flag, rollout: Rollout, now: float) -> list[Sight]:
    """The same by windows that were read already, of the last day or more."""
    if flag.is_switch:
        return []
    since = now - _HOURS * HOUR_SECONDS - WINDOW_SECONDS
    windows = [window for window in windows if window.began > since]
    if is_looked_at(rollout):
        stage = current_stage(flag, rollout)
        here = [one for one in windows if (one.count.attempt, one.count.stage) == (rollout.attempt, rollout.stage)]
        traffic = _now(here, now)
        return [] if stage is None or traffic is None else [_sight(flag, stage, traffic)]
    without = [window for window in windows if window.count.arm == "off"]
    hours = _hours(without, now)
    tally = added_up(tally_of(window.count) for window in without)
    if tally.requests < _LEAST:
        return []
    found = ((stage, expected(stage, tally, hours)) for stage in flag.stages)
    return [_sight(flag, stage, traffic) for stage, traffic in found if traffic is not None and traffic.exposed]


def _now(windows: Sequence[Window], now: float) -> Traffic | None:
    hours = _hours(windows, now)
    with_it, control = (_of(windows, arm) for arm in ("on", "control"))
    if with_it.requests < _LEAST:
        return None
    return Traffic(with_it.requests / hours, control.requests / hours, control if control.requests else with_it)


def _of(windows: Iterable[Window], arm: Arm) -> Tally:
    return added_up(tally_of(window.count) for window in windows if window.count.arm == arm)


def _hours(windows: Sequence[Window], now: float) -> float:
    if not windows:
        return 0.0
    return max(now - min(window.began for window in windows), WINDOW_SECONDS / 2) / HOUR_SECONDS


def _sight(flag: Flag, stage: Stage, traffic: Traffic) -> Sight:
    guards = [guard for guard in guards_judged_in(flag, stage) if guard.rolls_back and guard.key is not None]
    sharing = weights(flag, stage)
    words = sight_words(guards, traffic, sharing)
    lasts = float(WATCH_SECONDS if stage is flag.stages[-1] else stage.soak_seconds or 0)
    soonest = min(_seen(seconds_to_see(guard, traffic, _CLEAR, sharing) for guard in guards), default=None)
    return Sight(stage.name, words, is_blind=soonest is None or soonest > lasts)


def _seen(each: Iterable[float | None]) -> Iterator[float]:
    return (seconds for seconds in each if seconds is not None)
