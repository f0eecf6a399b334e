"""Made-up traffic of a stage, as a judge gets to see it: seeded, and cheap enough for thousands of stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flaggate import Guard
from flaggate.rollout.edges import EDGES_MS
from flaggate.rollout.judge import judge
from flaggate.rollout.seen import HOUR_SECONDS, REQUESTS, WINDOW_SECONDS, Seen, Tally, Units
from flaggate.rollout.verdict import Judgement
from tests.rollout.looker import START, entered, plan

__all__ = ["ARMS", "SIGMA", "SLOW_MS", "Bad", "Numbers", "Stream", "World", "judged"]

Numbers: TypeAlias = npt.NDArray[Any]

ARMS: Final = ("treatment", "control")
SIGMA: Final = 0.6
"""The deviation of the logarithms of how long requests take: the 95 % point is at 2.7 times the median."""
SLOW_MS: Final = 400
_EDGES: Final = np.array(sorted({*EDGES_MS, float(SLOW_MS)}))
"""With the limit of a guard, as processes have it."""
_TOLD: Final = 0.9
"""Requests that are slower than so many are told by unit."""
_LOOP: Final = 40
"""So many requests a user who is stuck in a loop makes, on average."""
_LOOP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class World:
    """Who comes, how often, and how it goes."""

    share: float = 0.5
    per_second: float = 2.0
    """Requests, in both arms together."""
    users: int = 2_000
    unequal: float = 0.0
    """The deviation of the logarithms of how often users come. By 1.5 a tenth of them makes two thirds of the requests."""
    has_nights: bool = False
    """A daily rhythm: ten times as many at the best of times as at the worst."""
    phases: tuple[tuple[float, float, float], ...] = ((0.0, 0.005, 0.005),)
    """From which second on which fraction of the requests fails, in treatment and in control."""
    looped: float = 0.0
    """So many errors for each other one are of users stuck in a loop: 3/7 for 30 %."""
    median_ms: float = 100.0
    times_slower: float | None = None
    """Treatment takes so many times as long; None = no times are measured."""


class Stream:
    """What happened in one stage: request by request, and as of each look.

    Args:
        seed: Of the row, and of the stage.
        every: Seconds from look to look.
    """

    def __init__(self, world: World, seed: tuple[int, int], seconds: float, every: float) -> None:
        rng = np.random.default_rng(seed)
        self.world = world
        self.looks = int(seconds // every)
        self.times: Numbers = START.timestamp() + every * np.arange(1, self.looks + 1)
        middle = self.times - every / 2
        self.hours: Numbers = (middle // HOUR_SECONDS).astype(np.int64)
        self.windows: Numbers = (middle // WINDOW_SECONDS).astype(np.int64)
        rhythm = 1 + 0.818 * np.sin(middle * 2 * np.pi / 86_400) if world.has_nights else np.ones(self.looks)
        self.look: Numbers = np.repeat(np.arange(self.looks), rng.poisson(world.per_second * every * rhythm))
        """At which each request is counted."""
        self.user: Numbers = _who_comes(rng, world, len(self.look))
        is_control = rng.random(world.users) >= world.share
        phase = np.searchsorted([second for second, *_ in world.phases], every * np.arange(self.looks), "right") - 1
        rates = np.array([rates for _, *rates in world.phases])[phase]
        self.failed: Numbers = rng.random(len(self.look)) < rates[self.look, is_control[self.user].astype(np.int64)]
        if world.looped:
            self._stick(rng, every)
        self.in_control: Numbers = is_control[self.user].astype(np.int64)
        self.requests: Numbers = self._by_look(np.ones(len(self.look)))
        """By arm (as in ARMS) and look, of the stage so far; so are the others."""
        self.met: Numbers = self._by_look(_first(self.user, world.users))
        self.bad: dict[str, Bad] = {"errors": Bad(self, self.failed)}
        self.histograms: Numbers | None = None
        if world.times_slower is not None:
            self._measure(rng, world.times_slower)

    def _stick(self, rng: np.random.Generator, every: float) -> None:
        """Some requests are the first of many of the same user that fail."""
        begun = rng.integers(len(self.look), size=rng.poisson(self.world.looped * self.failed.sum() / _LOOP))
        which = np.repeat(begun, rng.geometric(1 / _LOOP, len(begun)))
        look = self.look[which] + (_LOOP_SECONDS * (1 + _place(which)) // every).astype(np.int64)
        which, look = which[look < self.looks], look[look < self.looks]
        order = np.argsort(np.r_[self.look, look], kind="stable")
        self.look = np.r_[self.look, look][order]
        self.user = np.r_[self.user, self.user[which]][order]
        self.failed = np.r_[self.failed, np.ones(len(which), bool)][order]

    def _measure(self, rng: np.random.Generator, times_slower: float) -> None:
        factor = np.where(self.in_control, 1.0, times_slower)
        took = factor * rng.lognormal(np.log(self.world.median_ms), SIGMA, len(self.look))
        bucket = np.searchsorted(_EDGES, took, "left")
        known, bucket = np.unique(bucket, return_inverse=True)
        self.edges = [str(edge) for edge in np.r_[_EDGES, np.inf][known].tolist()]
        of_look = np.bincount(
            (self.look + self.looks * self.in_control) * len(known) + bucket, None, 2 * self.looks * len(known)
        )
        self.histograms = np.cumsum(of_look.reshape(2, self.looks, len(known)), axis=1)
        told = _EDGES[np.searchsorted(_EDGES, np.quantile(took, _TOLD))]
        self.bad |= {"slower": Bad(self, took > told), f"slow {SLOW_MS}": Bad(self, took > SLOW_MS)}

    def _by_look(self, weights: Numbers) -> Numbers:
        return _summed(self.look, self.in_control, self.looks, weights)

    def seen(self) -> Iterator[tuple[datetime, Seen]]:
        """What a judge sees, look by look."""
        requests, met, errors = (one.T.tolist() for one in (self.requests, self.met, self.bad["errors"].total))
        histograms = None if self.histograms is None else self.histograms.transpose(1, 0, 2).tolist()
        sets = [(metric, bad.sets()) for metric, bad in self.bad.items()]
        for number, time in enumerate(self.times.tolist()):
            arms = {}
            for arm, name in enumerate(ARMS):
                took = {} if histograms is None else dict(zip(self.edges, histograms[number][arm], strict=True))
                arms[name] = Tally(requests[number][arm], errors[number][arm], took)
            hour, window = (int(time // span) * span for span in (HOUR_SECONDS, WINDOW_SECONDS))
            units = {(REQUESTS, 0, 0): _by_arm(Units(count, count, count) for count in met[number])}
            for metric, each in sets:
                stage, in_hour, latest, before = (_by_arm(row) for row in each[number])
                units[metric, 0, 0] = stage
                units[metric, HOUR_SECONDS, hour] = in_hour
                units[metric, WINDOW_SECONDS, window] = latest
                units[metric, WINDOW_SECONDS, window - WINDOW_SECONDS] = before
            yield datetime.fromtimestamp(time, UTC), Seen(arms | {"on": arms["treatment"]}, units, number)


class Bad:
    """Bad requests and whose they are, by arm and look: of the stage, and from the beginning of an hour or a window on."""

    def __init__(self, stream: Stream, is_bad: Numbers) -> None:
        look, user, in_control = stream.look[is_bad], stream.user[is_bad], stream.in_control[is_bad]
        in_hour, in_window = (_place(user + stream.world.users * span[look]) for span in (stream.hours, stream.windows))

        def by_look(weights: Numbers) -> Numbers:
            return _summed(look, in_control, stream.looks, weights)

        self.total = by_look(np.ones(len(look)))
        self.firsts = by_look(_place(user) == 0)
        self.in_hour = _since(by_look(in_hour == 0), stream, stream.hours, HOUR_SECONDS)
        self.latest, self.before = (
            [
                _since(by_look(weights), stream, stream.windows, WINDOW_SECONDS, ago)
                for weights in (in_window == 0, np.ones(len(look)), 2 * in_window + 1)
            ]
            for ago in (0, 1)
        )
        """Of this window and the one before: units, bad requests, and the sum of their squares over units."""

    def sets(self) -> Sequence[Sequence[Sequence[Units]]]:
        """By look, of the stage, the hour, the window and the one before, and by arm."""
        none = np.zeros_like(self.firsts)
        each = [[one, none, none] for one in (self.firsts, self.in_hour)] + [self.latest, self.before]
        numbers = np.array(each).transpose(3, 0, 2, 1).tolist()
        return [[[Units(*arm) for arm in one] for one in row] for row in numbers]


def _by_arm(units: Iterable[Units]) -> dict[str, Units]:
    return dict(zip(ARMS, units, strict=True))


def _who_comes(rng: np.random.Generator, world: World, requests: int) -> Numbers:
    if not world.unequal:
        return rng.integers(world.users, size=requests)
    weights = np.cumsum(rng.lognormal(0, world.unequal, world.users))
    return np.asarray(np.searchsorted(weights, weights[-1] * rng.random(requests)))


def _first(user: Numbers, users: int) -> Numbers:
    """Whether it is the first request of its user."""
    first = np.full(users, -1)
    first[user[::-1]] = np.arange(len(user))[::-1]
    return np.asarray(first[user] == np.arange(len(user)))


def _place(group: Numbers) -> Numbers:
    """Which one of its group each is, from 0 on, in the order given."""
    order = np.argsort(group, kind="stable")
    sorted_ = group[order]
    begins = np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]][: len(group)])
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.repeat(begins, np.diff(np.r_[begins, len(group)]))
    return place


def _summed(look: Numbers, in_control: Numbers, looks: int, weights: Numbers) -> Numbers:
    found = np.bincount(look + looks * in_control, weights, 2 * looks).reshape(2, looks)
    return np.cumsum(found, axis=1).astype(np.int64)


def _since(summed: Numbers, stream: Stream, spans: Numbers, seconds: int, ago: int = 0) -> Numbers:
    """Of the hour or window that a look is in, or of the one before."""
    span = (stream.times // seconds).astype(np.int64) - ago
    begins = np.searchsorted(spans, span, "left")
    ends = np.minimum(np.searchsorted(spans, span, "right"), np.arange(stream.looks) + 1)
    padded = np.concatenate([np.zeros((2, 1), np.int64), summed], axis=1)
    return np.asarray(padded[:, np.maximum(begins, ends)] - padded[:, begins])


# --- judging it -------------------------------------------------------------------------------


def judged(stream: Stream, *guards: Guard) -> Iterator[Judgement]:
    """What is said at each look."""
    flag, kept = plan(stream.world.share, *guards), None
    rollout = entered(flag)
    for now, seen in stream.seen():
        judgement = judge(flag, rollout, seen, kept, now, is_soaked=True)
        assert judgement is not None
        yield judgement
        kept = judgement.kept
