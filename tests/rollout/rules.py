"""The rule of GUARDS in closed form, over all looks of a stage at once, and what others do: beside the judge.

The closed form costs a hundredth of a judge that looks as often; the simulation holds the one against the other, and
lets the judge itself decide wherever anything comes near a rollback.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb, exp, log, log1p
from typing import Final

import numpy as np

from flaggate import Guard
from flaggate.rollout.evidence import CRIES, TIMES_BETTER, TIMES_WORSE
from flaggate.rollout.seen import most_bad
from tests.rollout.worlds import Numbers, Stream

__all__ = [
    "argo",
    "evidence_of",
    "flagger",
    "is_met",
    "lower_bound",
    "may_have_vanished",
    "oracle",
    "reverse_of",
    "z_test",
]

_RESTARTS: Final = 2880


# --- ours, in closed form ---------------------------------------------------------------------


def evidence_of(guard: Guard, stream: Stream, weight: float = 1.0) -> Numbers:
    """A guard's evidence at each look; of `errors`."""
    begins = np.flatnonzero(_is_new_hour(stream))
    if guard.vs_control is None:
        whole, late = (_absolute(guard, stream, TIMES_WORSE, is_late=is_late) for is_late in (False, True))
        begins = begins[:0]
    else:
        whole, late = (_relative(guard, stream, new, TIMES_WORSE) for new in _new_units(stream))
    minutes = np.minimum((stream.times - stream.times[0]) // 60, _RESTARTS)
    with np.errstate(divide="ignore"):
        begun = np.log(np.diff(minutes, prepend=0) * weight / 2 / _RESTARTS)
    grown = np.cumsum(late, axis=1)
    parts = begun - (grown - late)
    segments = np.split(parts, begins, axis=1)
    of_late = grown + np.concatenate([np.logaddexp.accumulate(part, axis=1) for part in segments], axis=1)
    with np.errstate(over="ignore"):
        together = weight / 2 * np.exp(np.cumsum(whole, axis=1)) + np.exp(of_late)
    return np.asarray(together.mean(axis=0))


def reverse_of(guard: Guard, stream: Stream) -> Numbers:
    """The evidence that it is within its limit, at each look; of `errors`."""
    if guard.vs_control is None:
        both = [_absolute(guard, stream, TIMES_BETTER)]
    else:
        both = [_relative(guard, stream, new, TIMES_BETTER) for new in _new_units(stream)]
    return np.asarray(np.min([np.exp(np.cumsum(ratios, axis=1)).mean(axis=0) for ratios in both], axis=0))


def _new_units(stream: Stream) -> tuple[Numbers, Numbers]:
    """With their first error of the stage, and of the hour."""
    firsts, in_hour = stream.bad["errors"].firsts, stream.bad["errors"].in_hour
    new_in_hour = np.where(_is_new_hour(stream), in_hour, np.diff(in_hour, prepend=0))
    return np.diff(firsts, prepend=0), new_in_hour


def _is_new_hour(stream: Stream) -> Numbers:
    return np.diff(stream.times // 3600, prepend=stream.times[0] // 3600) > 0


def _absolute(guard: Guard, stream: Stream, alternatives: tuple[float, ...], *, is_late: bool | None = None) -> Numbers:
    """Of each look; `is_late` says for which half, None = for neither."""
    limit, times = most_bad(guard), np.array(alternatives)[:, None]
    bad = stream.bad["errors"]
    requests, failed = (np.diff(one[0], prepend=0) for one in (stream.requests, bad.total))
    clumped = np.ones(stream.looks)
    for _, summed, squares in (bad.latest, bad.before):
        clumped = np.maximum(clumped, squares[0] / np.maximum(summed[0], 1))
    good = requests - failed
    counted, against = failed / clumped, good / clumped
    if is_late is not None:
        counted = _together(failed, clumped, stream, at_most=is_late)
    if is_late is False:
        against = _together(good, clumped, stream)
    worse = limit * times / (1 - limit + limit * times)
    ratios = counted * np.log(worse / limit) + against * np.log((1 - worse) / (1 - limit))
    return np.asarray(ratios)


def _together(each: Numbers, clumped: Numbers, stream: Stream, *, at_most: bool = False) -> Numbers:
    """Those of a window are all of them divided by how they clump; or no more than that."""
    found, so_far, whole, window = [], 0.0, 0, None
    for new, clump, number in zip(each.tolist(), clumped.tolist(), (stream.times // 600).tolist(), strict=True):
        if number != window:
            so_far, whole, window = 0.0, 0, number
        whole += new
        after = min(so_far + new / clump, whole / clump) if at_most else whole / clump
        found.append(after - so_far)
        so_far = after
    return np.array(found)


def _relative(guard: Guard, stream: Stream, new: Numbers, alternatives: tuple[float, ...]) -> Numbers:
    theta, pi, times = float(guard.vs_control or 1), stream.world.share, np.array(alternatives)[:, None]
    c = (pi * theta * times + 1 - pi) / (pi * theta + 1 - pi)
    return np.asarray(new[0] * np.log(times / c) - new[1] * np.log(c))


def may_have_vanished(stream: Stream) -> bool:
    """Whether treatment was silent for a minute while at least 30 of its requests were missed."""
    share = stream.world.share
    came = np.r_[0, np.flatnonzero(np.diff(stream.requests[0])) + 1, stream.looks]
    last, before_next = came[:-1], came[1:] - 1
    silent, meanwhile = (one[before_next] - one[last] for one in (stream.times, stream.requests[1]))
    return bool(np.any((silent >= 60) & (meanwhile * share >= 30 * (1 - share))))


# --- what others do: at which look they roll back ---------------------------------------------


def flagger(stream: Stream, limit: float) -> int | None:
    """Flagger: a check each minute fails if more of the last minute's requests failed than allowed; five failed checks in
    all (`threshold: 5`, as in its documentation), however long ago, roll back."""
    return _failed_checks(stream, limit, seconds=60, most=5)


def argo(stream: Stream, limit: float) -> int | None:
    """Argo Rollouts: a measurement each five minutes; more than three failed ones in all (`interval: 5m` and
    `failureLimit: 3`, as in its documentation) abort."""
    return _failed_checks(stream, limit, seconds=300, most=4)


def _failed_checks(stream: Stream, limit: float, *, seconds: int, most: int) -> int | None:
    at = _each(stream, seconds)
    requests, failed = (np.diff(one[0][at], prepend=0) for one in (stream.requests, stream.bad["errors"].total))
    checks = np.cumsum(failed > limit * requests)
    return _first(checks >= most, at)


def z_test(stream: Stream, every_seconds: int = 60) -> int | None:
    """Two fractions compared by a one-sided z-test at 5 %, again each minute; from five errors on."""
    at = _each(stream, every_seconds)
    n, x = stream.requests[:, at], stream.bad["errors"].total[:, at]
    together = x.sum(axis=0) / np.maximum(n.sum(axis=0), 1)
    deviation = np.sqrt(together * (1 - together) * (1 / np.maximum(n, 1)).sum(axis=0))
    difference = x[0] / np.maximum(n[0], 1) - x[1] / np.maximum(n[1], 1)
    return _first((difference > 1.645 * deviation) & (x.sum(axis=0) >= 5), at)


def _each(stream: Stream, seconds: int) -> Numbers:
    """The looks at which so many seconds more have passed."""
    every = max(1, round(seconds / (stream.times[1] - stream.times[0])))
    return np.arange(every - 1, stream.looks, every)


def _first(is_so: Numbers, at: Numbers) -> int | None:
    return int(at[np.argmax(is_so)]) if is_so.any() else None


def oracle(stream: Stream, treatment: float, control: float, allowed: float = 1.0, since: float = 0.0) -> int | None:
    """How many exposed requests Wald's test needs that knows both rates, and when they began, and looks at each request.

    It is the sequential likelihood ratio test of these rates against the nearest that the guard allows (by the expected
    logarithm of the ratio), and ends at 1/alpha.
    """
    share, every = stream.world.share, stream.times[1] - stream.times[0]

    def distance(rate: float) -> float:
        return share * _divergence(treatment, allowed * rate) + (1 - share) * _divergence(control, rate)

    null = _least(distance, 1e-9, min(1 / allowed, 1.0) - 1e-9)
    began = stream.look * every >= since
    failed, in_control = stream.failed[began], stream.in_control[began]
    rates, nulls = np.array([treatment, control]), np.array([allowed * null, null])
    with np.errstate(divide="ignore"):
        steps = np.array([np.log((1 - rates) / (1 - nulls)), np.log(rates / nulls)])
    evidence = np.cumsum(steps[failed.astype(np.int64), in_control])
    crossed = _first(evidence >= log(CRIES), np.arange(len(evidence)))
    return None if crossed is None else int((in_control[: crossed + 1] == 0).sum())


def _divergence(p: float, q: float) -> float:
    return (p * log(p / q) if p else 0.0) + ((1 - p) * log((1 - p) / (1 - q)) if p < 1 else 0.0)


def _least(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex function is least."""
    for _ in range(200):
        third = (high - low) / 3
        if of(low + third) < of(high - third):
            high -= third
        else:
            low += third
    return low


# --- what estimates say -----------------------------------------------------------------------


def is_met(target: float, alarms: int, stages: int) -> bool:
    """Whether the 99 % lower confidence bound of a fraction is not above the target (Clopper and Pearson)."""
    return _at_least(alarms, stages, target) >= 0.01


def lower_bound(alarms: int, stages: int) -> float:
    """The 99 % lower confidence bound."""
    low, high = 0.0, alarms / stages
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _at_least(alarms, stages, middle) >= 0.01 else (middle, high)
    return low


def _at_least(alarms: int, stages: int, p: float) -> float:
    """That so many happen, or more."""
    if not 0 < p < 1:
        return float(p >= 1 or not alarms)
    return 1 - sum(comb(stages, k) * exp(k * log(p) + (stages - k) * log1p(-p)) for k in range(alarms))
