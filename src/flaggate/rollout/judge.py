"""What the guards of a stage say at one look. Pure: what is to be remembered is in the judgement.

The rule is that of `flaggate.rollout.evidence`; here is what counts for which guard, and what follows from what all
of them say: whose fault it is, whether somebody has gone silent, and what is safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isnan
from typing import Any, Final, TypeAlias

from flaggate.flags.model import FULL_SHARE, Flag, Guard, Stage, guards_judged_in
from flaggate.rollout.evidence import CRIES, Evidence, split
from flaggate.rollout.looks import exposed_units, look, spares_control, take_over
from flaggate.rollout.memory import GuardMemory, StageMemory, begun, memory_from_json
from flaggate.rollout.numbers import numbers_of, split_words
from flaggate.rollout.seen import PRESENT, REQUESTS, WINDOW_SECONDS, Sample, Seen, Units, most_bad
from flaggate.rollout.state import Rollout, current_stage
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.rollout.verdict_words import doubt_words

__all__ = ["judge"]

SILENT_SECONDS: Final = 60
"""Nobody reports for so long: nothing is known any more."""
VANISHED_SECONDS: Final = 300
"""Silence of those who have the feature goes on for so long after that: it is what hit them."""
_PREDICTED: Final = 30
"""So many of their requests have to be missed, by what control does meanwhile."""
_BLAME: Final = 50.0
"""Evidence against the feature that makes a guard's limit its fault. Half of the weight is on the stage as a whole: in an
outage of both arms it comes to that by chance in at most one of a hundred, whenever it is."""
_BLAME_SECONDS: Final = 300
"""Until then. Later it takes as much as a guard against control does, so that one that is held is not held for ever."""
_SHARED_SECONDS: Final = 600
"""For so long it is held while the fault is not its own."""
_CHANCE: Final = 0.001
"""That all units that came are without the feature, though it was not the feature that kept the others away."""
_HINT: Final = 10.0
"""Evidence that a person should confirm before going on; a guard that holds lets go below it."""
_NO_SIGN: Final = 3.0
_SAFE: Final = 20.0
_SAFE_REQUESTS: Final = 500
_SPLIT: Final = 1000.0
_LEAST_BAD: Final = 5
_LEAST_UNITS: Final = 3
_NOT_ASKED: Final = Sample(None, Answer.ERROR, "the process that looks knows no Prometheus server (prometheus=)")
_HAVE_ARMS: Final = ("treatment", "control")
_NONE: Final = Units()


def judge(
    flag: Flag, rollout: Rollout, seen: Seen, kept: Mapping[str, Any] | None, now: datetime, *, is_soaked: bool
) -> Judgement | None:
    """Judge the stage where the rollout stands. None where there is none.

    Args:
        seen: All that was counted in this stage and attempt so far.
        kept: What the judgement before said to keep; None = this is the first look.
        is_soaked: Whether its soak is served: nothing is safe before.
    """
    stage = current_stage(flag, rollout)
    if stage is None:
        return None
    return _Look(flag, rollout, stage, seen, kept, now.timestamp()).judged(is_soaked=is_soaked)


class _Look:
    """One look at one stage."""

    def __init__(
        self, flag: Flag, rollout: Rollout, stage: Stage, seen: Seen, kept: Mapping[str, Any] | None, now: float
    ) -> None:
        self.guards = guards_judged_in(flag, stage)
        self.rollout = rollout
        self.seen = seen
        self.now = now
        self.share = stage.share_thousandths / FULL_SHARE if stage.has_control else None
        self.memory = self._remembered(kept)
        self.each: Sequence[tuple[Guard, GuardMemory]] = list(zip(self.guards, self.memory.guards, strict=True))

    def _remembered(self, kept: Mapping[str, Any] | None) -> StageMemory:
        known = memory_from_json(kept, self.guards)
        if known is not None and known.is_of(self.rollout):
            return known
        memory = begun(self.guards, self.rollout, self.now, has_control=self.share is not None)
        memory.pulse_since = self.now
        if kept is not None and (kept.get("attempt"), kept.get("stage")) == (self.rollout.attempt, self.rollout.stage):
            self._begin_here(memory)  # an edit of the plan: what was counted before it is not about this
        return memory

    def _begin_here(self, memory: StageMemory) -> None:
        memory.exposed = self.seen.arm("on").requests
        for guard, one in zip(self.guards, memory.guards, strict=True):
            take_over(guard, one, self.seen, self.now)
            one.begun = list(one.counts)
            control = self.seen.set(guard.key or "").get("control")
            one.units_begun = [exposed_units(guard, self.seen), control.units if control is not None else 0]
        memory.split_from = self._met()

    # --- all of them ------------------------------------------------------------------------

    def judged(self, *, is_soaked: bool) -> Judgement:
        """The judgement, with what is to be kept."""
        self._pass_over()
        uneven = self._split()
        minutes = int((self.now - self.memory.begun) // 60)
        for guard, memory in self.each:
            look(guard, memory, self.seen, self.share, minutes=minutes, now=self.now, is_split=uneven is not None)
        is_alive = self._is_alive()
        silent, found = self._silence(is_alive=is_alive), self._crying(uneven)
        answers = []
        for place, (guard, memory) in enumerate(self.each):
            if guard.key is None:
                answers.append(self._asked(guard, memory))
            elif place in found:
                answers.append(found[place])
            elif silent == Answer.BREACH and guard.rolls_back:
                answers.append((Answer.BREACH, {"why": "vanished"}))
            elif not is_alive or (silent == Answer.NO_DATA and guard.rolls_back):
                answers.append((Answer.NO_DATA, {}))
            else:
                answers.append((self._answer(guard, memory, is_soaked=is_soaked, uneven=uneven), {}))
        verdicts = tuple(
            Verdict(guard, answer, numbers_of(guard, memory, self.seen) | more)
            for (guard, memory), (answer, more) in zip(self.each, answers, strict=True)
        )
        self.memory.looked = self.now
        return Judgement(
            self.rollout.attempt,
            self.rollout.stage,
            self.rollout.revision,
            verdicts,
            requests=self._requests(),
            split=uneven,
            doubts=tuple(self._doubts()),
            broken=tuple(self.seen.broken.values()),
            kept=self.memory.to_json(),
        )

    def _requests(self) -> int:
        return max(0, self.seen.arm("on").requests - self.memory.exposed)

    # --- whether there is anything to judge by ----------------------------------------------

    def _pass_over(self) -> None:
        """While nobody looked nobody was silent: all processes may have been away, or the clock was set."""
        memory, passed = self.memory, self.now - self.memory.looked
        unseen = passed - max(0.0, min(passed, SILENT_SECONDS))
        if unseen and memory.quiet:
            latest = int(self.now // WINDOW_SECONDS) * WINDOW_SECONDS
            memory.quiet[0] += unseen
            memory.quiet[3:] = [latest, self._present(latest)]
        if unseen and memory.missed_since is not None:
            memory.missed_since += unseen

    def _is_alive(self) -> bool:
        """Whether any process reports."""
        memory = self.memory
        if memory.pulse != self.seen.pulse:
            memory.pulse, memory.pulse_since = self.seen.pulse, self.now
        return self.now - memory.pulse_since < SILENT_SECONDS

    def _silence(self, *, is_alive: bool) -> Answer | None:
        """Whether those in treatment are silent while control is not: NO_DATA, and after five minutes more BREACH."""
        if self.share is None:
            return None
        memory = self.memory
        treatment, control = (self.seen.arm(arm).requests for arm in _HAVE_ARMS)
        if not is_alive or not memory.quiet or treatment != memory.quiet[1]:
            latest = int(self.now // WINDOW_SECONDS) * WINDOW_SECONDS
            memory.quiet, memory.missed_since = [self.now, treatment, control, latest, self._present(latest)], None
            return None
        since, _, before, *_ = memory.quiet
        predicted = (control - before) * self.share / (1 - self.share)
        if memory.missed_since is None and self.now - since >= SILENT_SECONDS and predicted >= _PREDICTED:
            memory.missed_since = self.now
        if memory.missed_since is None:
            return None
        is_over = self.now - memory.missed_since >= VANISHED_SECONDS
        return Answer.BREACH if is_over and self._is_no_chance(self.share) else Answer.NO_DATA

    def _is_no_chance(self, share: float) -> bool:
        """Whether so many different units came meanwhile that one with the feature would have been among them. One who
        asks again and again is one."""
        *_, window, before = self.memory.quiet
        latest = int(self.now // WINDOW_SECONDS) * WINDOW_SECONDS
        each = (began for began in (latest, latest - WINDOW_SECONDS) if began >= window)
        came = max((self._present(began) - (int(before) if began == window else 0) for began in each), default=0)
        return (1 - share) ** came <= _CHANCE

    def _present(self, began: int) -> int:
        """Units of control in a window."""
        return self.seen.set(PRESENT, WINDOW_SECONDS, began).get("control", _NONE).units

    def _met(self) -> list[int]:
        """Units that were there, in treatment and in control."""
        units = self.seen.set(REQUESTS)
        return [units[arm].units if arm in units else 0 for arm in _HAVE_ARMS]

    def _split(self) -> str | None:
        """In which way units are not split over the arms as designed."""
        if self.share is None:
            return None
        treatment, control = (max(0, now - then) for now, then in zip(self._met(), self.memory.split_from, strict=True))
        return split_words(treatment, control, self.share) if split(self.share, treatment, control) >= _SPLIT else None

    # --- a rollback -------------------------------------------------------------------------

    def _crying(self, uneven: str | None) -> dict[int, tuple[Answer, dict[str, Any]]]:
        """What the guards say that cry together, by their place: that it is the feature's fault, or shared."""
        shown = {
            place: (guard, memory)
            for place, (guard, memory) in enumerate(self.each)
            if guard.rolls_back and self._is_shown(guard, memory) and not (uneven and guard.vs_control is not None)
        }
        if _together(shown) < CRIES:
            self.memory.crying_since = self.memory.mark = None
            self.memory.crying_from = []
            return {}
        if self._is_to_blame(shown, uneven):
            return {place: (Answer.BREACH, {}) for place in _loudest(shown)}
        return self._shared(_loudest(_with_limit(shown)))

    def _is_shown(self, guard: Guard, memory: GuardMemory) -> bool:
        """Whether there is enough to show: five bad requests, of three units."""
        if guard.key is None or memory.counts[1] - memory.begun[1] < _LEAST_BAD:
            return False
        return exposed_units(guard, self.seen) - memory.units_begun[0] >= _LEAST_UNITS

    def _is_to_blame(self, shown: _Crying, uneven: str | None) -> bool:
        """Whether it is the feature, where guards cry. An outage makes those with a limit as loud as can be, and leaves
        those against control where they were."""
        if self.share is None:
            return True  # nobody to compare with
        limits = _with_limit(shown)
        compared = {place: one for place, one in shown.items() if place not in limits}
        if _together(compared) >= min(CRIES, _together(limits)):
            return True
        if uneven:
            return False
        loudest, since = _loudest(limits), self.memory.crying_since
        is_early = since is None or self.now - since <= _BLAME_SECONDS
        enough = _BLAME if is_early else CRIES
        if any(memory.blame is not None and memory.blame.value >= enough for _, memory in loudest.values()):
            return True
        if since is None or not is_early:
            return False
        before = self.memory.crying_from
        return any(
            spares_control(guard, memory, before[place], self.seen, self.now)
            for place, (guard, memory) in loudest.items()
        )

    def _shared(self, guilty: _Crying) -> dict[int, tuple[Answer, dict[str, Any]]]:
        """Over the limit, but not clearly more often than without the feature: held for ten minutes, then what the plan says, if in the last
        five more was bad than is allowed."""
        memory = self.memory
        if memory.crying_since is None:
            memory.crying_since = self.now
            memory.crying_from = [list(one.counts) for one in memory.guards]
        passed = self.now - memory.crying_since
        if passed >= _BLAME_SECONDS and memory.mark is None:
            memory.mark = [one.counts[:2] for one in memory.guards]
        found: dict[int, tuple[Answer, dict[str, Any]]] = {place: (Answer.SHARED, {}) for place in guilty}
        if passed < _SHARED_SECONDS or memory.mark is None:
            return found
        over = [place for place, (guard, one) in guilty.items() if _is_over(guard, one, memory.mark[place])]
        if not over:
            for _, one in guilty.values():
                one.evidence = Evidence.begun(one.evidence.weight, one.evidence.minutes)
            memory.crying_since = memory.mark = None
            memory.crying_from = []
            return {}
        if not (last := [place for place in over if guilty[place][0].on_shared == "rollback"]):
            memory.crying_since, memory.mark = self.now - _BLAME_SECONDS, None
        return found | {place: (Answer.BREACH, {"why": "shared"}) for place in last}

    # --- each for itself --------------------------------------------------------------------

    def _answer(self, guard: Guard, memory: GuardMemory, *, is_soaked: bool, uneven: str | None) -> Answer:
        evidence = memory.evidence.value
        if not guard.rolls_back:
            is_crying = evidence >= CRIES and self._is_shown(guard, memory)
            memory.is_holding = evidence >= _HINT if memory.is_holding else is_crying
            if memory.is_holding:
                return Answer.BREACH
        requests = self._requests()
        if requests < _SAFE_REQUESTS or (uneven is not None and guard.vs_control is not None):
            return Answer.TOO_FEW
        is_safe = is_soaked and evidence < _NO_SIGN and memory.reverse.value >= _SAFE
        return Answer.SAFE if is_safe else Answer.OK

    def _asked(self, guard: Guard, memory: GuardMemory) -> tuple[Answer, dict[str, Any]]:
        """What a query's answer says."""
        sample = self.seen.samples.get(guard.query or "", _NOT_ASKED)
        if sample.problem is not None or sample.value is None or isnan(sample.value):
            memory.over_since = None
            return sample.problem or Answer.NO_DATA, {"why": sample.why}
        is_over = sample.value > guard.limit if guard.limit is not None else sample.value < (guard.at_least or 0)
        memory.over_since = None if not is_over else self.now if memory.over_since is None else memory.over_since
        if memory.over_since is None or self.now - memory.over_since < (guard.for_seconds or 0):
            return Answer.OK, {}
        return Answer.BREACH, {}

    def _doubts(self) -> Iterator[str]:
        """The guards of which a person should confirm that it goes on all the same."""
        for guard, memory in self.each:
            if guard.key is not None and not guard.observe and memory.evidence.value >= _HINT:
                yield doubt_words(guard, memory.evidence.value)


_Crying: TypeAlias = "dict[int, tuple[Guard, GuardMemory]]"
"""By their place."""


def _together(crying: _Crying) -> float:
    return sum(memory.evidence.value for _, memory in crying.values())


def _with_limit(crying: _Crying) -> _Crying:
    return {place: one for place, one in crying.items() if one[0].vs_control is None}


def _loudest(crying: _Crying) -> _Crying:
    """Those that cry, or if they only do so together, the loudest."""
    enough = min(CRIES, max(memory.evidence.value for _, memory in crying.values()))
    return {place: one for place, one in crying.items() if one[1].evidence.value >= enough}


def _is_over(guard: Guard, memory: GuardMemory, mark: Sequence[int]) -> bool:
    requests, bad = (after - before for after, before in zip(memory.counts, mark, strict=False))
    return bad > requests * most_bad(guard)
