"""What a report changes in the sums that a store keeps: of counts, and of the sets of units. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from flaggate.stores.base import (
    HOUR_SECONDS,
    MOST_UNITS,
    PRESENT,
    REQUESTS,
    UNITS_KEPT_SECONDS,
    WINDOW_SECONDS,
    WINDOWS_KEPT_SECONDS,
    Arm,
    Count,
    Report,
    UnitCount,
    UnitSet,
    UnitSum,
    added,
)

__all__ = [
    "FORGET_SECONDS",
    "Group",
    "Member",
    "Place",
    "Sum",
    "batches",
    "count_place",
    "forgets",
    "group_of",
    "grown",
    "growth",
    "is_over",
    "merged",
    "newest_stages",
    "oldest_window",
    "plus",
    "set_of",
    "sets_over",
    "span_began",
    "units_of",
]

FORGET_SECONDS: Final = 7 * 86_400
"""A process that reported nothing for so long repeats no report."""
_FORGET_EVERY: Final = 50
_MOST_FORGOTTEN: Final = MOST_UNITS
"""Units that are deleted at once, about: while they are, nobody else reports. The others are next time."""

_T = TypeVar("_T")
Place: TypeAlias = "tuple[str, int, int, Arm]"
"""Flag, attempt, stage and arm."""


class Group(NamedTuple):
    """Units of all arms that are counted together."""

    flag: str
    attempt: int
    stage: int
    metric: str
    span: int
    began: int


Member: TypeAlias = "tuple[Arm, str]"
"""A unit of a group."""


class Sum(NamedTuple):
    """How many units, their bad requests, and the squares of these."""

    units: int = 0
    bad: int = 0
    squares: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(self.units + other.units, self.bad + other.bad, self.squares + other.squares)

    def of(self, arm: Arm, group: Group) -> UnitSum:
        """As it is handed out."""
        return UnitSum(arm, group.metric, group.span, group.began, *self)


def group_of(units: UnitSet) -> Group:
    """What it is counted together with."""
    return Group(units.flag, units.attempt, units.stage, units.metric, units.span, units.began)


def set_of(arm: Arm, group: Group, units: Mapping[str, int]) -> UnitSet:
    """The units of one arm of a group."""
    return UnitSet(group.flag, group.attempt, group.stage, arm, group.metric, group.span, group.began, units)


def span_began(now: float, span: int) -> int:
    """When the one began that this moment is in; 0 for the whole stage."""
    return int(now // span) * span if span else 0


def batches(values: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """So many at a time."""
    left = iter(values)
    while some := tuple(islice(left, size)):
        yield some


# --- counts -----------------------------------------------------------------------------


def count_place(count: Count) -> Place:
    return count.flag, count.attempt, count.stage, count.arm


def plus(one: Count, other: Count) -> Count:
    """Both, at the place of the first."""
    return replace(
        one,
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        histogram=added(one.histogram, other.histogram),
        measured=added(one.measured, other.measured),
    )


def merged(counts: Iterable[Count]) -> dict[Place, Count]:
    """One of each place."""
    found: dict[Place, Count] = {}
    for count in counts:
        place = count_place(count)
        found[place] = plus(found[place], count) if place in found else count
    return found


# --- units ------------------------------------------------------------------------------


_THERE: Final[dict[str, tuple[int, ...]]] = {REQUESTS: (0,), PRESENT: (WINDOW_SECONDS,)}
"""Of which it only matters whether they were there, and for which times."""


def units_of(units: Iterable[UnitCount], now: float) -> dict[Group, dict[Member, int]]:
    """What a report says of units, in each of the groups that they belong to."""
    found: dict[tuple[str, int, int, str], dict[Member, int]] = {}
    for unit in units:
        group = found.setdefault((unit.flag, unit.attempt, unit.stage, unit.metric), {})
        member = unit.arm, unit.unit
        group[member] = 1 if unit.metric in _THERE else group.get(member, 0) + unit.bad
    return {
        Group(*what, span, span_began(now, span)): group
        for what, group in found.items()
        for span in _THERE.get(what[-1], (0, HOUR_SECONDS, WINDOW_SECONDS))
    }


def grown(group: Group, seen: Mapping[Member, int], known: Mapping[Member, int], size: int) -> dict[Member, int]:
    """The bad requests of those that change, afterwards. A group that is full takes the first ones of a report, of
    whichever arm: that it is full must not favour one. Whom a lowered share moved to the control stays where it was: or
    else all of them are new there, and nobody is new with the feature.

    Args:
        known: What the store has of those that were seen.
        size: How many units the group has in the store, over all arms.
    """
    found: dict[Member, int] = {}
    for member, bad in seen.items():
        if member in known:
            if group.metric not in _THERE:
                found[member] = known[member] + bad
        elif (other := _in_other_arm(member)) in known or other in found:
            continue
        elif size < MOST_UNITS:
            size += 1
            found[member] = bad
    return found


def _in_other_arm(member: Member) -> Member | None:
    """The same unit there; None of one without an arm."""
    arm, unit = member
    return ("control", unit) if arm == "treatment" else ("treatment", unit) if arm == "control" else None


def growth(known: Mapping[Member, int], after: Mapping[Member, int]) -> dict[Arm, Sum]:
    """By how much the sums of each arm grow."""
    found: dict[Arm, list[int]] = {}
    for member, bad in after.items():
        before = known.get(member, 0)
        total = found.setdefault(member[0], [0, 0, 0])
        total[0] += member not in known
        total[1] += bad - before
        total[2] += bad**2 - before**2
    return {arm: Sum(*total) for arm, total in found.items()}


# --- forgetting -------------------------------------------------------------------------


def forgets(report: Report, *, is_first: bool) -> bool:
    """Whether what is over is to be deleted along with this report: now and then."""
    return is_first or report.sequence % _FORGET_EVERY == 0


def oldest_window(now: float) -> float:
    """A window of counts that began before is over."""
    return now - WINDOWS_KEPT_SECONDS - WINDOW_SECONDS


def newest_stages(report: Report) -> dict[str, tuple[int, int]]:
    """The attempt and stage that each flag has come to, as far as the report tells."""
    found: dict[str, tuple[int, int]] = {}
    for unit in report.units:
        found[unit.flag] = max(found.get(unit.flag, (0, 0)), (unit.attempt, unit.stage))
    return found


def sets_over(
    sets: Iterable[tuple[int, int, Group]], newest: Mapping[str, tuple[int, int]], now: float
) -> Iterator[int]:
    """Those of a stage that was left, and of hours and windows long past: as many as are to be deleted at once.

    Args:
        sets: Their number, how many units they have, and what these are of.
    """
    left = _MOST_FORGOTTEN
    for number, units, group in sets:
        if left > 0 and is_over(group, newest, now):
            left -= units
            yield number


def is_over(group: Group, newest: Mapping[str, tuple[int, int]], now: float) -> bool:
    """Whether it is of a stage that was left, or of an hour or a window long past."""
    was_left = (group.attempt, group.stage) < newest.get(group.flag, (0, 0))
    return was_left or bool(group.span and group.began + group.span < now - UNITS_KEPT_SECONDS)
