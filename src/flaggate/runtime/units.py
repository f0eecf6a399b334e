"""The units of a stage as one process meets them: which were there, and which had bad requests.

Keys stay in this process: what it reports is their hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from flaggate.rollout.edges import edge_at_least

if TYPE_CHECKING:
    from flaggate.stores.base import Arm, UnitCount

__all__ = ["Judged", "Place", "StageUnits"]

Place: TypeAlias = "tuple[str, int, int]"
"""Flag, attempt and stage."""

_MOST_A_FLUSH: Final = 256
_MOST: Final = 20_000
"""Whoever comes after so many was there already, as far as anybody can tell."""
_MOST_PRESENT: Final = 128
"""So many units of control within ten minutes tell of a silence that is no chance."""
_RECENT: Final = 4000
_POINT: Final = 0.9


class Judged(NamedTuple):
    """What is counted for a stage's guards, beside errors."""

    limits: Sequence[tuple[float, str]] = ()
    """From when on a request is slow, in milliseconds, and its guard's key; the smallest first."""
    is_slower: bool = False
    """Whether slowness is compared with control's."""
    own: frozenset[str] = frozenset()
    """What the app measures and should not happen."""
    wanted: frozenset[str] = frozenset()
    """What the app measures and should."""

    def is_bad(self, milliseconds: float) -> bool:
        """Whether a request is, in which nothing failed and nothing was measured."""
        return bool(self.wanted) or bool(self.limits and milliseconds > self.limits[0][0])


class StageUnits:
    """Of one flag in one stage. All of it under the meter's lock."""

    __slots__ = (
        "_bad",
        "_named",
        "_new",
        "_nobodies",
        "_present",
        "_present_new",
        "_present_until",
        "_recent",
        "judged",
        "met",
        "place",
        "slow_from",
        "slower_from",
    )

    def __init__(self, place: Place, judged: Judged) -> None:
        self.place = place
        self.judged = judged
        self.slow_from = judged.limits[0][0] if judged.limits else float("inf")
        self.slower_from = float("inf")
        """What is slower than most of the last requests: until that is known, nothing is."""
        self.met: set[str] = set()
        """Those that were there."""
        self._new: dict[str, Arm] = {}
        """In the order in which they came, over both arms: what does not fit into a report is no arm's."""
        self._bad: dict[tuple[Arm, str, str], int] = {}
        self._named: dict[str, int] = {}
        """How many units of a metric are to be reported."""
        self._nobodies = 0
        self._present: set[str] = set()
        self._present_new: list[str] = []
        """Those to be reported."""
        self._present_until = 0.0
        self._recent: dict[float, float] = {}

    def meet(self, unit: str, arm: Arm) -> None:
        """It is there."""
        if unit not in self.met and len(self.met) < _MOST:
            self.met.add(unit)
            self._new[unit] = arm
        if arm == "control" and len(self._present) < _MOST_PRESENT and unit not in self._present:
            self._present.add(unit)
            self._present_new.append(unit)

    def note_bad(
        self, unit: str | None, arm: Arm, *, is_error: bool, milliseconds: float, measured: frozenset[str]
    ) -> None:
        """Its request was bad, in one way or another, or may have been."""
        if unit is None:  # nobody knows whose it is: each is a unit of its own
            self._nobodies += 1
            unit = f"\0{self._nobodies}"
        if is_error:
            self._count(arm, "errors", unit)
        for limit, key in self.judged.limits:
            if milliseconds > limit:
                self._count(arm, key, unit)
        if milliseconds > self.slower_from:
            self._count(arm, "slower", unit)
        for name in measured & self.judged.own:
            self._count(arm, name, unit)
        for name in self.judged.wanted - measured:
            self._count(arm, f"no {name}", unit)

    def _count(self, arm: Arm, metric: str, unit: str) -> None:
        key = arm, metric, unit
        if key in self._bad:
            self._bad[key] += 1
        elif (named := self._named.get(metric, 0)) < _MOST_A_FLUSH:
            self._named[metric] = named + 1
            self._bad[key] = 1

    def remember(self, edges: Sequence[float], buckets: Iterable[int]) -> None:
        """How long requests with an arm took: what is slower than nine of ten is told by unit."""
        recent = self._recent
        for edge, count in zip((*edges, float("inf")), buckets, strict=True):
            if count:
                recent[edge] = recent.get(edge, 0.0) + count
        total = sum(recent.values())
        passed = 0.0
        for edge in sorted(recent):
            passed += recent[edge]
            if passed >= _POINT * total:
                self.slower_from = edge_at_least(edge)
                break
        if total > _RECENT:
            self._recent = {edge: count * _RECENT / total for edge, count in recent.items()}

    def taken(self, process: str, salt: str) -> Iterator[UnitCount]:
        """What is to be reported, and is not any more afterwards.

        Args:
            process: Its id, for units that have no key.
            salt: Without it nobody can look a key up among the hashes.
        """
        from flaggate.stores.base import PRESENT, REQUESTS, WINDOW_SECONDS, UnitCount

        bad, self._bad, self._named = self._bad, {}, {}
        key, flag = salt.encode()[:64], self.place[0]
        for (arm, metric, unit), count in bad.items():
            whose = f"{process}{unit}" if unit[0] == "\0" else unit
            yield UnitCount(*self.place, arm, metric, _hashed(flag, whose, key), count)
        for unit in list(islice(self._new, _MOST_A_FLUSH)):
            yield UnitCount(*self.place, self._new.pop(unit), REQUESTS, _hashed(flag, unit, key))
        present, self._present_new = self._present_new, []
        for unit in present:
            yield UnitCount(*self.place, "control", PRESENT, _hashed(flag, unit, key))
        if not self._present_until - WINDOW_SECONDS <= (now := time()) < self._present_until:
            self._present.clear()
            self._present_until = (now // WINDOW_SECONDS + 1) * WINDOW_SECONDS

    def has_any(self) -> bool:
        """Whether anything is to be reported."""
        return bool(self._bad or self._new or self._present_new)


def _hashed(flag: str, unit: str, key: bytes) -> str:
    return blake2b(f"{flag}:{unit}".encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()


def forget_others(units: dict[Place, StageUnits], place: Place) -> None:
    """Where the flag has left nobody is judged any more."""
    for known in [known for known in units if known[0] == place[0] and known[1:] < place[1:]]:
        del units[known]
