"""How long it would take to see that something got worse, at the traffic there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from flaggate.flags.model import FULL_SHARE, Flag, Guard, Stage, guards_judged_in
from flaggate.flags.words import span_words
from flaggate.rollout.evidence import CRIES, TIMES_WORSE
from flaggate.rollout.seen import Tally, most_bad

__all__ = ["Traffic", "expected", "seconds_to_see", "sight_words", "weights"]

_LEAST_BAD: Final = 5
_LEAST_RATE: Final = 1e-4
"""Where nothing has failed yet, one in so many might have."""
_SLOW: Final = 0.05


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that ask a flag, in an hour."""

    exposed: float
    control: float
    tally: Tally
    """What they were like."""


def expected(stage: Stage, tally: Tally, hours: float) -> Traffic | None:
    """What a stage would see, by what the flag's requests were like for so many hours. None where that says nothing: how
    many of them are in an audience nobody has counted."""
    if stage.audience or hours <= 0:
        return None
    requests, share = tally.requests / hours, stage.share_thousandths / FULL_SHARE
    return Traffic(requests * share, requests * (1 - share), tally)


def weights(flag: Flag, stage: Stage) -> int:
    """How many guards share the weight of a rollback."""
    return sum(guard.rolls_back and guard.key is not None for guard in guards_judged_in(flag, stage))


def seconds_to_see(guard: Guard, traffic: Traffic, times: float, sharing: int = 1) -> float | None:
    """When the guard would cry, about, if what is bad became so many times as frequent with the feature. None = never.

    Args:
        sharing: How many guards share the weight.
    """
    if guard.key is None or not traffic.exposed:
        return None
    bar = log(CRIES * 2 * len(TIMES_WORSE) * (sharing if guard.rolls_back else 1))
    requests, bad = traffic.tally.of(guard)
    rate = max(bad / requests if requests else 0.0, _LEAST_RATE)
    if guard.vs_control is None:
        rate = min(rate * times, 1.0)
        growth = max(_growth(rate, most_bad(guard), worse) for worse in TIMES_WORSE)
        needed = _requests(bar, growth, rate)
    else:
        if not traffic.control:
            return None
        if guard.metric == "slow":
            rate = _SLOW
        share = traffic.exposed / (traffic.exposed + traffic.control)
        treated = share * times / (share * times + 1 - share)
        growth = max(_growth_by_units(treated, share, float(guard.vs_control), worse) for worse in TIMES_WORSE)
        of_treatment = min(rate * times, 1.0)
        needed = _requests(bar, growth * (of_treatment + rate * (1 - share) / share), of_treatment)
    return None if needed is None else needed / traffic.exposed * 3600


def _requests(bar: float, growth: float, rate: float) -> float | None:
    """Exposed requests, with evidence growing so much with each."""
    return max(bar / growth, _LEAST_BAD / rate) if growth > 0 else None


def _growth(rate: float, limit: float, worse: float) -> float:
    whole = 1 - limit + limit * worse
    return rate * log(worse / whole) - (1 - rate) * log(whole)


def _growth_by_units(treated: float, share: float, allowed: float, worse: float) -> float:
    c = (share * allowed * worse + 1 - share) / (share * allowed + 1 - share)
    return treated * log(worse / c) - (1 - treated) * log(c)


def sight_words(guards: Sequence[Guard], traffic: Traffic, sharing: int) -> str:
    """a doubling would show in about 40 min, a fivefold in 6 min."""
    words = []
    for times, name in ((2.0, "a doubling"), (5.0, "five times as many")):
        found = [seconds_to_see(guard, traffic, times, sharing) for guard in guards]
        seconds = min((each for each in found if each is not None), default=None)
        words.append(f"{name} would not show" if seconds is None else f"{name} would show in {_about(seconds)}")
    return ", ".join(words)


def _about(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    if seconds > 30 * 86_400:
        return "more than a month"
    coarse = next((unit for unit in (86_400, 3_600) if seconds >= 1.5 * unit), 60)
    return f"about {span_words(round(seconds / coarse) * coarse)}"
