"""The counts of the Redis store, their windows, and the sets of units. What adds them is `lua/counts.lua`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flaggate.stores import sums
from flaggate.stores.base import (
    MOST_UNITS,
    PRESENT,
    REQUESTS,
    UNITS_KEPT_SECONDS,
    WINDOW_SECONDS,
    Arm,
    Count,
    Report,
    UnitSum,
    Window,
)

__all__ = ["changes_of", "counts", "group_from", "report_text", "set_name", "units", "windows"]

_ARMS: Final = ("on", "off", "treatment", "control")


def report_text(report: Report, now: float) -> str:
    """For the script, in JSON."""
    groups = [
        {
            "flag": group.flag,
            "set": set_name(group),
            "is_there": group.metric in (REQUESTS, PRESENT),
            "members": [[arm, unit, bad] for (arm, unit), bad in members.items()],
        }
        for group, members in sums.units_of(report.units, now).items()
    ]
    given = {
        "process": report.process,
        "sequence": report.sequence,
        "now": now,
        "window": sums.span_began(now, WINDOW_SECONDS),
        "counts": [
            {"flag": count.flag, "changes": list(changes_of(count))} for count in sums.merged(report.counts).values()
        ],
        "groups": groups,
        "arms": _ARMS,
        "most": MOST_UNITS,
        "forgets": sums.forgets(report, is_first=False),
        "forget_seconds": sums.FORGET_SECONDS,
        "oldest_window": sums.oldest_window(now),
        "units_kept_seconds": UNITS_KEPT_SECONDS,
        "newest": sums.newest_stages(report),
    }
    return json.dumps(given)


def changes_of(count: Count) -> Iterator[tuple[str, int]]:
    """The fields of a hash, and by how much each grows."""
    place = f"{count.attempt} {count.stage} {count.arm}"
    yield f"{place} requests", count.requests
    yield f"{place} errors", count.errors
    for edge, number in count.histogram.items():
        yield f"{place} histogram {edge}", number
    for name, number in count.measured.items():
        yield f"{place} measured {name}", number


def _counts_from(flag: str, fields: Mapping[str, str]) -> Iterator[Count]:
    """By attempt, stage and arm."""
    found: dict[tuple[int, int, Any], tuple[dict[str, int], dict[str, int], dict[str, int]]] = {}
    for field, number in fields.items():
        attempt, stage, written, what, *name = field.split(" ", 4)
        arm: Any = written  # an Arm, as it was written
        place = int(attempt), int(stage), arm
        total, histogram, measured = found.setdefault(place, ({}, {}, {}))
        if name:
            (histogram if what == "histogram" else measured)[name[0]] = int(number)
        else:
            total[what] = int(number)
    for place in sorted(found):
        total, histogram, measured = found[place]
        asked, failed = total.get("requests", 0), total.get("errors", 0)
        yield Count(flag, place[0], place[1], place[2], asked, failed, histogram, measured)


def counts(client: Any, prefix: str, flag: str | None) -> list[Count]:
    flags = [flag] if flag is not None else sorted(client.smembers(f"{prefix}:counted"))
    with client.pipeline(transaction=False) as pipeline:
        for name in flags:
            pipeline.hgetall(f"{prefix}:counts:{name}")
        found = pipeline.execute()
    return [count for name, fields in zip(flags, found, strict=True) for count in _counts_from(name, fields)]


def windows(client: Any, prefix: str, flag: str, since: float) -> list[Window]:
    """Those that end after that moment."""
    lowest = "-inf" if since == float("-inf") else f"({since - WINDOW_SECONDS!r}"
    began = client.zrangebyscore(f"{prefix}:windows:{flag}", lowest, "+inf")
    with client.pipeline(transaction=False) as pipeline:
        for each in began:
            pipeline.hgetall(f"{prefix}:window:{flag}:{each}")
        found = pipeline.execute()
    each_window = zip(began, found, strict=True)
    return [Window(int(each), count) for each, fields in each_window for count in _counts_from(flag, fields)]


# --- units ------------------------------------------------------------------------------


def set_name(group: sums.Group) -> str:
    """The name of a group's sets, to which each adds its arm."""
    return f"{group.attempt} {group.stage} {group.span} {group.began} {group.metric}\t"


def group_from(flag: str, name: str) -> tuple[Arm, sums.Group]:
    """The opposite, with the arm."""
    written, _, arm = name.rpartition("\t")
    attempt, stage, span, began, metric = written.split(" ", 4)
    group = sums.Group(flag, int(attempt), int(stage), metric, int(span), int(began))
    return arm, group  # type: ignore[return-value]  # an Arm, as it was written


def units(client: Any, prefix: str, flag: str, attempt: int, stage: int) -> list[UnitSum]:
    found = []
    for name, kept in sorted(client.hgetall(f"{prefix}:sets:{flag}").items()):
        arm, group = group_from(flag, name)
        if (group.attempt, group.stage) == (attempt, stage):
            found.append(sums.Sum(*map(int, kept.split())).of(arm, group))
    return sorted(found, key=lambda one: (one.metric, one.span, one.began, one.arm))
