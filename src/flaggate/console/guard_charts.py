"""A guard's chart: its values over the windows of the last days, with what was done meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from flaggate.console.charts import Line, Mark, chart, marked
from flaggate.flags.model import Guard
from flaggate.rollout.seen import Tally, added_up
from flaggate.rollout.state import Event
from flaggate.rollout.verdict_words import allowed_words
from flaggate.runtime.judging import tally_of
from flaggate.stores.base import WINDOW_SECONDS, Window

__all__ = ["Traffic", "guard_chart", "guard_name", "moment_words", "percent_words", "traffic_of"]


class Traffic(NamedTuple):
    """What every guard's chart is drawn from."""

    places: Sequence[int]
    """When each window began, with none left out."""
    arms: Mapping[str, Mapping[int, Tally]]
    """What was counted in it."""
    marks: Markup
    """What was done."""


def traffic_of(windows: Sequence[Window], events: Sequence[Event]) -> Traffic:
    """Read once for all guards."""
    began = {window.began for window in windows}
    places = range(min(began), max(began) + 1, WINDOW_SECONDS) if began else range(0)
    arms: Mapping[str, dict[int, Tally]] = {"on": {}, "control": {}}
    for window in windows:
        if window.count.arm in arms:
            found, tally = arms[window.count.arm], tally_of(window.count)
            known = found.get(window.began)
            found[window.began] = tally if known is None else added_up((known, tally))
    return Traffic(places, arms, marked(_marks(places, events)))


def _marks(places: Sequence[int], events: Sequence[Event]) -> Iterator[Mark]:
    for event in events if len(places) > 1 else ():
        at = (event.at.timestamp() - places[0]) / (places[-1] - places[0])
        if 0 <= at <= 1 and event.before is not None:
            yield Mark(at, f"{event.verb} by {event.actor}, {moment_words(event.at)}")


def guard_chart(name: str, guard: Guard, traffic: Traffic, now: datetime) -> Markup | None:
    """What failed of those with it, and of those without; None where that cannot be drawn."""
    if guard.metric == "slow" and guard.slower_than_ms is None:
        return None  # what counts as slow moves
    places = traffic.places
    if len(places) < 2:
        return None
    first, last = places[0], places[-1]
    lines = [
        Line("with it" if arm == "on" else "without", [_rate(guard, found.get(place)) for place in places])
        for arm, found in traffic.arms.items()
        if found
    ]
    limit = None if guard.limit is None else float(guard.limit)
    latest = [
        f"{line.name} {percent_words(next((v for v in reversed(line.values) if v is not None), None))}"
        for line in lines
    ]
    title = f"{guard_name(guard)}: share of requests that {_bad_words(guard)}, with the feature and without"
    words = f"In windows of ten minutes; now {', '.join(latest)}; allowed {allowed_words(guard)}"
    times = [
        moment_words(datetime.fromtimestamp(place, UTC))
        for place in (first, min(last + WINDOW_SECONDS, int(now.timestamp())))
    ]
    return chart(name, title, words, lines, times, limit=limit, marks=traffic.marks)


def _rate(guard: Guard, tally: Tally | None) -> float | None:
    requests, bad = (0, 0) if tally is None else tally.of(guard)
    return bad / requests if requests else None


def _bad_words(guard: Guard) -> str:
    if guard.metric == "errors":
        return "failed"
    if guard.metric == "slow":
        return "took longer"
    return f"had {guard.metric}" if guard.at_least is None else f"had no {guard.metric}"


# --- words ----------------------------------------------------------------------------------


def guard_name(guard: Guard) -> str:
    """slow (over 400 ms) against control."""
    name = guard.metric if guard.slower_than_ms is None else f"{guard.metric} (over {guard.slower_than_ms:,} ms)"
    return f"{name} against control" if guard.vs_control is not None else name


def percent_words(fraction: float | None) -> str:
    """0.25 %; 12 %."""
    return "-" if fraction is None else f"{100 * fraction:.2g} %" if fraction < 0.0995 else f"{100 * fraction:.0f} %"


def moment_words(moment: datetime) -> str:
    """Tue 24 Nov 2026 10:00 UTC, by the server's clock."""
    return f"{moment.astimezone():%a %d %b %Y %H:%M %Z}"
