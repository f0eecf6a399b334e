"""One look of one guard: what was counted since the last one becomes evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from flaggate.flags.model import Guard
from flaggate.rollout.edges import edge_at_least
from flaggate.rollout.evidence import TIMES_BETTER, Evidence, Reverse, absolute, clumping, relative
from flaggate.rollout.memory import GuardMemory
from flaggate.rollout.seen import HOUR_SECONDS, WINDOW_SECONDS, Seen, Units, by_size, most_bad, slower

__all__ = ["exposed_units", "look", "spares_control", "take_over"]

_RECENT: Final = 6000
"""When so many of control's last requests say where its 95 % point is, half of their weight fades."""
_LEAST_RECENT: Final = 200
_SLOW: Final = 0.05
"""So many are slower than the 95 % point."""
_NEAR: Final = (0.03, 0.08)
_NO_EDGE: Final = float("inf")
_LEAST_UNITS: Final = 3
_WOULD_BE_HIT: Final = 10.0
"""So many bad requests without the feature an outage would have brought: that there are next to none is no chance."""
_NONE: Final = Units()


def look(
    guard: Guard, memory: GuardMemory, seen: Seen, share: float | None, *, minutes: int, now: float, is_split: bool
) -> None:
    """Take in what was counted since the last look.

    Args:
        share: The fraction of the units with an arm that is in treatment; None = the stage has no control.
        minutes: How old the stage's evidence is.
        now: Unix time.
        is_split: The units are split in another way over the arms: what compares them learns nothing.
    """
    if guard.key is None:
        return  # a query counts nothing
    pi = None if is_split else share
    if _is_slower(guard):
        before, memory.passed = memory.passed, _passed(guard, memory.point, seen)
        if pi is not None:
            _slow(memory, before, _requests(seen), _clumped(guard, seen, now, _HAVE_ARMS), minutes, now)
        take_over(guard, memory, seen, now)
        return
    counts, firsts, hour = memory.counts, memory.firsts, memory.hour
    take_over(guard, memory, seen, now)
    compared = memory.blame if guard.vs_control is None else memory.evidence
    if memory.hour[0] != hour[0] and compared is not None:
        hour = [memory.hour[0], 0, 0]
        compared.forget_late()
    if guard.vs_control is None:
        _absolute(guard, memory, counts, _clumped(guard, seen, now, _HAVE_IT), minutes, now)
    if pi is not None and compared is not None:
        allowed, reverse = (1.0, None) if guard.vs_control is None else (float(guard.vs_control), memory.reverse)
        units, in_hour = _more(memory.firsts, firsts), _more(memory.hour[1:], hour[1:])
        _by_units(allowed, pi, units, in_hour, compared, reverse, minutes)


def take_over(guard: Guard, memory: GuardMemory, seen: Seen, now: float) -> None:
    """From here on only what comes is new."""
    if guard.key is None:
        return
    if _is_slower(guard):
        _take_over_slow(guard, memory, seen)
        return
    exposed = seen.arm("on" if guard.vs_control is None else "treatment").of(guard)
    memory.counts = [*exposed, *seen.arm("control").of(guard)]
    hour = int(now // HOUR_SECONDS) * HOUR_SECONDS
    memory.firsts = [*_units(seen.set(guard.key))]
    memory.hour = [hour, *_units(seen.set(guard.key, HOUR_SECONDS, hour))]


def exposed_units(guard: Guard, seen: Seen) -> int:
    """Units with the feature that had something bad."""
    arms = seen.set(guard.key or "")
    return sum(arms[arm].units for arm in (_HAVE_IT if guard.vs_control is None else _HAVE_IT[:1]) if arm in arms)


def spares_control(guard: Guard, memory: GuardMemory, before: Sequence[int], seen: Seen, now: float) -> bool:
    """Whether those without the feature are within the limit while those with it are over it: no outage, which would
    have hit so many of them as well.

    Args:
        before: The guard's counts since which that is asked.
    """
    requests, bad, in_control, bad_in_control = (
        after - then for after, then in zip(memory.counts, before, strict=True)
    )
    most = most_bad(guard)
    if bad <= most * requests or bad_in_control > most * in_control:
        return False
    latest = int(now // WINDOW_SECONDS) * WINDOW_SECONDS
    units = seen.set(guard.key or "", WINDOW_SECONDS, latest)
    if sum(units[arm].units for arm in _HAVE_IT if arm in units) < _LEAST_UNITS:
        return False
    return bad / requests * in_control / _clumped(guard, seen, now, _HAVE_IT) >= _WOULD_BE_HIT


_HAVE_IT: Final = ("treatment", "on")
_HAVE_ARMS: Final = ("treatment", "control")


def _is_slower(guard: Guard) -> bool:
    return guard.metric == "slow" and guard.vs_control is not None


_Pair: TypeAlias = "tuple[int, int]"


def _units(found: Mapping[str, Units]) -> _Pair:
    """In treatment and in control."""
    return found.get("treatment", _NONE).units, found.get("control", _NONE).units


def _more(after: Sequence[int], before: Sequence[int]) -> _Pair:
    """Of the first two."""
    return max(0, after[0] - before[0]), max(0, after[1] - before[1])


# --- bad requests that come together -----------------------------------------------------------


_Share: TypeAlias = "tuple[float, float]"
"""As how many bad requests something counts, and as how many of those held against them."""


def _counted(memory: GuardMemory, new: _Pair, clumped: float, now: float) -> tuple[_Share, _Share]:
    """As how many the requests since the last look count: for the whole stage, and for what began anew meanwhile.

    Those of a window are all of them divided by how they clump by now: who fails again and again counts for one, however
    often one looks. For the whole stage that is the difference to what was counted of the window before. What began
    within the window must not be given back what was taken from others: it has what is new divided, and of the bad
    ones no more than those of the window together.

    Args:
        new: Bad requests, and those held against them.
    """
    window = int(now // WINDOW_SECONDS) * WINDOW_SECONDS
    if memory.window[0] != window:
        memory.window = [window, 0, 0, 0.0, 0.0, 0.0]
    _, bad, against, whole_bad, whole_against, late_bad = memory.window
    bad, against = bad + new[0], against + new[1]
    late = min(late_bad + new[0] / clumped, bad / clumped)
    memory.window = [window, bad, against, bad / clumped, against / clumped, late]
    whole = bad / clumped - whole_bad, against / clumped - whole_against
    return whole, (late - late_bad, new[1] / clumped)


def _clumped(guard: Guard, seen: Seen, now: float, arms: Sequence[str]) -> float:
    """Over this and the window before."""
    key = guard.key or ""
    latest = int(now // WINDOW_SECONDS) * WINDOW_SECONDS
    windows = []
    for began in (latest, latest - WINDOW_SECONDS):
        found = seen.set(key, WINDOW_SECONDS, began)
        units = [found[arm] for arm in arms if arm in found]
        windows.append((sum([one.bad for one in units]), sum([one.squares for one in units])))
    return clumping(windows)


# --- against a limit --------------------------------------------------------------------------


def _absolute(
    guard: Guard, memory: GuardMemory, before: Sequence[int], clumped: float, minutes: int, now: float
) -> None:
    requests, bad = _more(memory.counts, before)
    good = requests - bad
    whole, late = _counted(memory, (bad, good), clumped, now)
    if not (requests or bad):
        memory.evidence.look(minutes, None, None)
        return
    limit = most_bad(guard)
    ratios = absolute(limit, whole[1], whole[0])
    memory.evidence.look(minutes, ratios, ratios if late == whole else absolute(limit, late[1], late[0]))
    better = absolute(limit, good / clumped, bad / clumped, TIMES_BETTER)
    memory.reverse.look(better, better)


# --- against control --------------------------------------------------------------------------


def _by_units(
    allowed: float, share: float, new: _Pair, in_hour: _Pair, evidence: Evidence, reverse: Reverse | None, minutes: int
) -> None:
    """Units in treatment and control with their first bad request: of the stage, and of this hour."""
    whole = relative(allowed, share, *new) if any(new) else None
    late = relative(allowed, share, *in_hour) if any(in_hour) else None
    evidence.look(minutes, whole, late)
    if reverse is not None:
        both = (relative(allowed, share, *one, TIMES_BETTER) if any(one) else None for one in (new, in_hour))
        reverse.look(*both)


def _slow(
    memory: GuardMemory, before: Sequence[int], requests: _Pair, clumped: float, minutes: int, now: float
) -> None:
    """The 95 % point of control, times what is allowed, is passed by no more of treatment than that point is by control.

    Where that lies within a bucket of the histogram, the bucket counts neither for the feature nor against it. The share
    is that of the requests: units come as often as they like.
    """
    treatment, at_most, control = (max(0, new - old) for new, old in zip(memory.passed, before, strict=True))
    exposed, slow, in_control, slow_in_control = memory.counts
    new = _more(requests, (exposed, in_control))
    memory.counts = [exposed, slow + treatment, in_control, slow_in_control + control]
    whole, late = _counted(memory, (treatment, control), clumped, now)
    if not any(new) or not (treatment or at_most or control):
        memory.evidence.look(minutes, None, None)
        return
    share = new[0] / sum(new)
    ratios = relative(1.0, share, *whole)
    memory.evidence.look(minutes, ratios, ratios if late == whole else relative(1.0, share, *late))
    better = relative(1.0, share, at_most / clumped, control / clumped, TIMES_BETTER)
    memory.reverse.look(better, better)


def _requests(seen: Seen) -> _Pair:
    treatment, control = (sum(seen.arm(arm).histogram.values()) for arm in _HAVE_ARMS)
    return treatment, control


def _passed(guard: Guard, point: float | None, seen: Seen) -> list[int]:
    """How many were slower: in treatment than is allowed by that point, from the next edge on and from the one before,
    and in control than the point."""
    if point is None:
        return [0, 0, 0]
    treatment, control = (seen.arm(arm).histogram for arm in _HAVE_ARMS)
    allowed = round(float(guard.vs_control or 1) * point, 3)  # 1.2 * 1.5 is not 1.8
    edge = edge_at_least(allowed)
    return [slower(treatment, edge), slower(treatment, allowed), slower(control, point)]


def _take_over_slow(guard: Guard, memory: GuardMemory, seen: Seen) -> None:
    """How many were slow is added up look by look: what counts as slow moves."""
    treatment, control = _requests(seen)
    memory.counts = [treatment, memory.counts[1], control, memory.counts[3]]
    histogram = seen.arm("control").histogram
    faded = memory.faded
    if control - sum(faded.values()) > _RECENT:
        memory.faded = {edge: (count + faded.get(edge, 0)) // 2 for edge, count in histogram.items()}
    point = _point(histogram, faded, float(guard.vs_control or 1))
    if point != memory.point:
        memory.point, memory.passed = point, _passed(guard, point, seen)


def _point(histogram: Mapping[str, int], faded: Mapping[str, int], allowed: float) -> float | None:
    """An edge near the 95 % point, such that times what is allowed it is as near to an edge again as can be."""
    total = sum(histogram.values()) - sum(faded.values())
    if total < _LEAST_RECENT:
        return None
    slower_still, near, nearest = 0, [], _NO_EDGE
    for edge, name in by_size(tuple(histogram)):
        fraction = slower_still / total
        if fraction > _NEAR[1]:
            break
        if fraction <= _SLOW:
            nearest = edge
        if fraction >= _NEAR[0]:
            near.append((round(edge_at_least(round(allowed * edge, 3)) / edge, 2), abs(fraction - _SLOW), edge))
        slower_still += histogram[name] - faded.get(name, 0)
    point = min(near)[-1] if near else nearest
    return point if point < _NO_EDGE else None
