"""Somebody who counts the requests of a stage by hand, and looks at its guards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from flaggate import Flag, Guard, Stage
from flaggate.rollout.judge import judge
from flaggate.rollout.seen import HOUR_SECONDS, PRESENT, REQUESTS, WINDOW_SECONDS, Sample, Seen, Tally, Units
from flaggate.rollout.state import Rollout, Status
from flaggate.rollout.verdict import Answer, Judgement, Verdict

__all__ = ["START", "Looker", "entered", "plan"]

START: Final = datetime(2026, 3, 2, 8, 0, 17, tzinfo=UTC)
"""No full hour: looks and hours have nothing to do with each other."""
_SPANS: Final = (0, HOUR_SECONDS, WINDOW_SECONDS)


def plan(share: float, *guards: Guard) -> Flag:
    """A flag whose first stage has the share."""
    stage = Stage("part", share_thousandths=round(share * 100_000), soak_seconds=0)
    stages = (stage, Stage("everyone"))
    return Flag("invoicing", "The overhauled invoicing system", "owner@example.com", stages=stages, guards=guards)


def entered(flag: Flag) -> Rollout:
    """It runs, in its first stage."""
    return Rollout(flag.name, flag.name, Status.RUNNING, START, flag.owner, (), flag.owner, stage=1, attempt=1)


class Looker:
    """Counts, the clock, and what was kept, which goes through JSON between any two looks.

    Args:
        share: Of the stage: 1 = everyone, and no control.
    """

    def __init__(self, *guards: Guard, share: float = 0.5) -> None:
        self.flag = plan(share, *guards)
        self.rollout: Rollout = entered(self.flag)
        self.now = START.timestamp()
        self.kept: Mapping[str, Any] | None = None
        self.samples: dict[str, Sample] = {}
        self.broken: dict[int, str] = {}
        self.is_soaked = True
        self._pulse = 0
        self._arms = {arm: Tally() for arm in ("on", "treatment", "control")}
        self._units: dict[tuple[str, int, int], dict[str, dict[object, int]]] = {}
        self._others = 0

    def count(
        self,
        arm: str,
        requests: int,
        *,
        errors: int = 0,
        took: Mapping[str, int] | None = None,
        measured: Mapping[str, int] | None = None,
        units: Iterable[object] | None = None,
        bad: Mapping[str, int] | None = None,
    ) -> None:
        """Add up requests of an arm; `on` here are those without one.

        Args:
            units: Whose errors those are; if nothing is said, each is of another one.
            bad: By metric: bad requests, each of another unit.
        """
        arms = ("on", "treatment") if arm == "treatment" else (arm,)
        for name in arms:
            tally = self._arms[name]
            histogram, own = ({**old} for old in (tally.histogram, tally.measured))
            for edge, number in (took or {}).items():
                histogram[edge] = histogram.get(edge, 0) + number
            for metric, number in (measured or {}).items():
                own[metric] = own.get(metric, 0) + number
            self._arms[name] = Tally(tally.requests + requests, tally.errors + errors, histogram, own)
        self._note("errors", arm, self._new(errors) if units is None else units)
        for metric, number in (bad or {}).items():
            self._note(metric, arm, self._new(number))

    def come(self, units: Iterable[object]) -> None:
        """These of control were there just now."""
        self._note(PRESENT, "control", units, (WINDOW_SECONDS,))

    def meet(self, arm: str, units: int) -> None:
        """So many units were there."""
        self._note(REQUESTS, arm, self._new(units), (0,))

    def _new(self, units: int) -> Iterable[object]:
        self._others += units
        return range(self._others - units, self._others)

    def _note(self, metric: str, arm: str, units: Iterable[object], spans: Iterable[int] = _SPANS) -> None:
        each = list(units)
        for span in spans:
            began = int(self.now // span) * span if span else 0
            found = self._units.setdefault((metric, span, began), {}).setdefault(arm, {})
            for unit in each:
                found[unit] = found.get(unit, 0) + 1

    @property
    def seen(self) -> Seen:
        """What was counted so far."""
        units = {
            place: {
                arm: Units(len(found), sum(found.values()), sum(bad * bad for bad in found.values()))
                for arm, found in arms.items()
            }
            for place, arms in self._units.items()
        }
        return Seen(dict(self._arms), units, self._pulse, dict(self.samples), dict(self.broken))

    def wait(self, seconds: float) -> None:
        """Time passes and nobody looks."""
        self.now += seconds

    def look(self, seconds: float = 5.0, *, is_silent: bool = False) -> Judgement:
        """Look once, so many seconds later.

        Args:
            is_silent: No process has reported since.
        """
        self.wait(seconds)
        if not is_silent:
            self._pulse += 1
        moment = datetime.fromtimestamp(self.now, UTC)
        judgement = judge(self.flag, self.rollout, self.seen, self.kept, moment, is_soaked=self.is_soaked)
        assert judgement is not None
        self.kept = json.loads(json.dumps(judgement.kept, allow_nan=False))
        return judgement

    def verdict(self, seconds: float = 5.0, *, is_silent: bool = False) -> Verdict:
        """Of the only guard."""
        (verdict,) = self.look(seconds, is_silent=is_silent).verdicts
        return verdict

    def answer(self, seconds: float = 5.0, *, is_silent: bool = False) -> Answer:
        """The only guard's."""
        return self.verdict(seconds, is_silent=is_silent).answer

    def edit(self, *guards: Guard) -> None:
        """The plan gets other guards."""
        self.flag = replace(self.flag, guards=guards)
        self.rollout = replace(self.rollout, revision=self.rollout.revision + 1)
