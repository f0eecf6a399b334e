"""Evidence that a feature is worse than its plan allows, or that it is not, which one may look at as often as one likes.

Each guard keeps an e-process: a number that starts at its weight, and under "the feature is as allowed" is expected
never to grow. That it ever reaches 1/alpha has then a probability of at most alpha (Ville 1939), after whichever look. It
is the mean over several ways of being worse, each a likelihood ratio of which one half began with the stage and the
other begins anew with each minute, so that what broke after a good day is found as soon (Shin, Ramdas and Rinaldo:
E-detectors, 2022). Howard, Ramdas, McAuliffe and Sekhon: Time-uniform Chernoff bounds, 2020; Lindon and Malek:
Anytime-valid inference for multinomial count data, 2022; Turner, Ly and Grünwald: Generic E-variables for exact
sequential k-sample tests, 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, sqrt
from typing import Final

__all__ = [
    "ALPHA",
    "CRIES",
    "TIMES_BETTER",
    "TIMES_WORSE",
    "Evidence",
    "Reverse",
    "absolute",
    "clumping",
    "interval",
    "relative",
    "split",
    "sure",
]

ALPHA: Final = 0.01
"""The share of healthy stages that are rolled back by mistake, at most."""
CRIES: Final = 1 / ALPHA
"""The evidence at which a guard cries."""
TIMES_WORSE: Final = (1.3, 1.7, 2.5, 4.0, 8.0, 20.0, 60.0, 300.0)
"""So many times worse than allowed; equal weights."""
TIMES_BETTER: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
"""So many times the limit: for what is to be shown safe."""
_RESTART_MINUTES: Final = 2880
"""For so long a part of the late half begins anew with each minute."""
_MOST: Final = 1e200
_MOST_EXPONENT: Final = 500.0


@dataclass(slots=True)
class Evidence:
    """Of one guard. The larger, the surer that the feature is worse than allowed."""

    weight: float
    whole: list[float]
    """By alternative: worse since the stage began."""
    late: list[float]
    """By alternative: got worse since."""
    minutes: int = 0
    """Of the stage, as of the last look."""

    @classmethod
    def begun(cls, weight: float, minutes: int = 0) -> Evidence:
        """When a stage begins, or so many minutes later. The weights of guards that act together sum to one."""
        return cls(weight, [weight / 2] * len(TIMES_WORSE), [0.0] * len(TIMES_WORSE), minutes)

    @property
    def value(self) -> float:
        """The mean over the alternatives."""
        return min((sum(self.whole) + sum(self.late)) / len(TIMES_WORSE), _MOST)

    def look(self, minutes: int, whole: Sequence[float] | None, late: Sequence[float] | None) -> None:
        """Take in what was seen since the last look.

        Args:
            minutes: How old the stage is now.
            whole: Log likelihood ratios by alternative, as `absolute` and `relative` give them; None = nothing was seen.
            late: The same, of what counts for the second half.
        """
        new = min(minutes, _RESTART_MINUTES) - self.minutes
        if new > 0:
            self.minutes += new
            begun = new * self.weight / 2 / _RESTART_MINUTES
            self.late = [value + begun for value in self.late]
        if whole is not None:
            growth = _growth(whole)
            self.whole = _grown(self.whole, growth)
            if late is whole:
                self.late = _grown(self.late, growth)
                return
        if late is not None:
            self.late = _grown(self.late, _growth(late))

    def forget_late(self) -> None:
        """The late half begins anew: what it counted by is cleared."""
        self.late = [0.0] * len(TIMES_WORSE)


@dataclass(slots=True)
class Reverse:
    """Evidence that the feature is better than its limit, since the stage began."""

    whole: list[float]
    hourly: list[float]
    """The same by what is counted once an hour. Over a long stage every unit has its first error, with the feature and
    without, and there is no difference any more; over an hour those who fail all the time count too often."""

    @classmethod
    def begun(cls) -> Reverse:
        """When a stage begins."""
        return cls([1.0] * len(TIMES_BETTER), [1.0] * len(TIMES_BETTER))

    @property
    def value(self) -> float:
        """The mean over the alternatives; of the two the smaller."""
        return min(min(sum(self.whole), sum(self.hourly)) / len(TIMES_BETTER), _MOST)

    def look(self, whole: Sequence[float] | None, hourly: Sequence[float] | None) -> None:
        """Take in what was seen since the last look."""
        if whole is not None:
            growth = _growth(whole)
            self.whole = _grown(self.whole, growth)
            if hourly is whole:
                self.hourly = self.whole
                return
        if hourly is not None:
            self.hourly = _grown(self.hourly, _growth(hourly))


def _growth(exponents: Sequence[float]) -> list[float]:
    if max(exponents) > _MOST_EXPONENT or min(exponents) < -_MOST_EXPONENT:
        exponents = [max(-_MOST_EXPONENT, min(_MOST_EXPONENT, exponent)) for exponent in exponents]
    return [exp(exponent) for exponent in exponents]


def _grown(values: Sequence[float], growth: Sequence[float]) -> list[float]:
    grown = [value * times for value, times in zip(values, growth, strict=True)]
    return grown if max(grown) <= _MOST else [min(value, _MOST) for value in grown]


# --- what was seen, as log likelihood ratios ----------------------------------------------


def absolute(limit: float, good: float, bad: float, alternatives: tuple[float, ...] = TIMES_WORSE) -> list[float]:
    """Against a limit: so many exposed requests were good, and so many bad; both may be divided by how they clump.

    Args:
        limit: The largest fraction that may be bad, above 0 and below 1.
    """
    return [bad * one - good * other for one, other in _steps(limit, alternatives)]


def relative(
    allowed: float, share: float, treatment: float, control: float, alternatives: tuple[float, ...] = TIMES_WORSE
) -> list[float]:
    """Against control: so many units (or requests, divided by how they clump) in either arm that had something bad.

    Each of them is the treatment's as likely as the share says, and `allowed` times that: bursts, rush hours and outages
    that both share change how many there are, and not whose.

    Args:
        allowed: At most so many times the control's.
        share: The fraction of the units with an arm that is in treatment.
    """
    steps = _steps(share * allowed / (share * allowed + 1 - share), alternatives)
    return [treatment * one - control * other for one, other in steps]


@lru_cache(maxsize=1024)
def _steps(fraction: float, alternatives: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """If the odds of a fraction are so many times as large: logarithms of the likelihood ratio of one of it, and (negated)
    of one of the rest."""
    wholes = [(times, 1 - fraction + fraction * times) for times in alternatives]
    return tuple((log(times / whole), log(whole)) for times, whole in wholes)


def clumping(windows: Iterable[tuple[int, int]]) -> float:
    """How many bad requests come together: over windows, the largest of the sum of squares over the sum of what each unit
    had; at least 1, which is one each.

    Args:
        windows: The sum of bad requests and the sum of their squares over units, of each window.
    """
    return max(1.0, max((squares / bad for bad, squares in windows if bad), default=1.0))


def split(share: float, treatment: int, control: int) -> float:
    """Evidence that units are not split over the arms as designed. Of all units seen so far, at any look."""
    ratios = relative(1.0, share, treatment, control, _ODDS)
    return sum(_growth(ratios)) / len(_ODDS)


_ODDS: Final = (0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 2.0, 5.0)


# --- for people -------------------------------------------------------------------------------


def sure(evidence: float) -> float:
    """How sure it is, 0..1, that the feature is worse than allowed: 0.97 for evidence of 33."""
    return evidence / (1 + evidence)


def interval(bad: int, requests: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927). For no requests, all of it."""
    if not requests:
        return 0.0, 1.0
    z = 1.959964
    p, n = min(bad / requests, 1.0), requests
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return low if p > 0 else 0.0, high if p < 1 else 1.0  # there they are exact, but for rounding
