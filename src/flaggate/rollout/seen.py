"""What is known of a stage at a look: counts by arm, sets of units, whether anybody reports, and answers of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from flaggate.flags.model import Guard
from flaggate.rollout.verdict import Answer

__all__ = [
    "HOUR_SECONDS",
    "PRESENT",
    "REQUESTS",
    "WINDOW_SECONDS",
    "Sample",
    "Seen",
    "Tally",
    "Units",
    "added_up",
    "by_size",
    "most_bad",
    "slower",
]

REQUESTS: Final = "requests"
PRESENT: Final = "present now"
"""In place of a guard's key: the units that were there at all."""
WINDOW_SECONDS: Final = 600
HOUR_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted of one arm since the stage was entered."""

    requests: int = 0
    errors: int = 0
    histogram: Mapping[str, int] = field(default_factory=dict)
    """How many took longer than the edge before, and at most this one: upper edges in milliseconds, or `inf`."""
    measured: Mapping[str, int] = field(default_factory=dict)

    def of(self, guard: Guard) -> tuple[int, int]:
        """The requests that the guard judges, and how many of them were bad."""
        if guard.metric == "errors":
            return self.requests, self.errors
        if guard.metric == "slow":
            bad = 0 if guard.slower_than_ms is None else slower(self.histogram, guard.slower_than_ms)
            return sum(self.histogram.values()), bad
        measured = self.measured.get(guard.metric, 0)
        return self.requests, measured if guard.at_least is None else self.requests - measured


def added_up(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    requests = errors = 0
    histogram, measured = Counter[str](), Counter[str]()
    for tally in tallies:
        requests += tally.requests
        errors += tally.errors
        histogram.update(tally.histogram)
        measured.update(tally.measured)
    return Tally(requests, errors, histogram, measured)


def slower(histogram: Mapping[str, int], milliseconds: float) -> int:
    """How many took longer. Where that is no edge, those of the bucket that it lies in are among them."""
    return sum([histogram[edge] for edge in _beyond(tuple(histogram), milliseconds)])


@lru_cache(maxsize=512)  # histograms of one flag have the same edges, look by look
def _beyond(edges: tuple[str, ...], milliseconds: float) -> tuple[str, ...]:
    return tuple(edge for edge in edges if float(edge) > milliseconds)


@lru_cache(maxsize=64)
def by_size(edges: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
    """The edges of a histogram, each as a number and by its name, the largest first."""
    return tuple(sorted(((float(edge), edge) for edge in edges), reverse=True))


class Units(NamedTuple):
    """A set of units, summed."""

    units: int = 0
    bad: int = 0
    """Their bad requests."""
    squares: int = 0
    """The sum over units of the square of each one's."""


class Sample(NamedTuple):
    """What a query was answered last."""

    value: float | None
    """None = it was not."""
    problem: Answer | None = None
    """Why nothing can be said: NO_DATA or ERROR."""
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one stage of one attempt, since it was entered; all of it only grows."""

    arms: Mapping[str, Tally] = field(default_factory=dict)
    """By `on` (with those in treatment), `treatment` and `control`."""
    units: Mapping[tuple[str, int, int], Mapping[str, Units]] = field(default_factory=dict)
    """By metric, span and beginning (Unix time; 0 and 0 for the whole stage), and by arm: `treatment`, `control`, and `on`
    for those that have the feature and no arm."""
    pulse: int = 0
    """A number that changes whenever a process reports."""
    samples: Mapping[str, Sample] = field(default_factory=dict)
    """By query."""
    broken: Mapping[int, str] = field(default_factory=dict)
    """Which of the next stage's guards are broken without the feature already, in words; by their place."""

    def arm(self, name: str) -> Tally:
        """What was counted of it."""
        return self.arms.get(name, _NOTHING)

    def set(self, metric: str, span: int = 0, began: int = 0) -> Mapping[str, Units]:
        """One set of units, by arm."""
        return self.units.get((metric, span, began), {})


_NOTHING: Final = Tally()


def most_bad(guard: Guard) -> float:
    """The largest fraction of requests that may be bad. Of a guard that has a limit and is no query."""
    limit = guard.limit if guard.at_least is None else 1 - guard.at_least
    assert limit is not None  # or it would be against control
    return float(limit)
