"""Any acts and edits in any order: what may grow, what may shrink, and what always holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flaggate import Context, Flag, Guard, Stage
from flaggate.decide.compile import compile_flag
from flaggate.errors import MoveError, RevisionError
from flaggate.flags.audience import Audience
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.moves import Act, legal_verbs, move
from flaggate.rollout.revision import revise
from flaggate.rollout.state import EXPOSING, Rollout, Status, Verb, born, unguarded_stages
from tests.decide.worlds import KEYS, NAME, flags, keyless_audiences, shares
from tests.rollout.plans import DEPUTY, GUARD, NOW, OTHER, OWNER

PEOPLE: Final = [
    Context(key, account=key, visitor=key, staff=is_staff, city=city)
    for key in (None, *KEYS)
    for is_staff in (False, True)
    for city in (None, "Leeds", "Manchester")
]
GROWS: Final = {Verb.START, Verb.RESTART, Verb.ADVANCE, Verb.UNKILL, Verb.ON}
SHRINKS: Final = {Verb.ROLLBACK, Verb.STEP_BACK, Verb.KILL, Verb.OFF}
BEGINS: Final = {Verb.START, Verb.RESTART, Verb.STEP_BACK}
LIVE: Final = {Status.RUNNING, Status.PAUSED, Status.WATCHING}

guards = st.sampled_from(((GUARD,), (GUARD,), (), (replace(GUARD, on_breach="warn"),)))


@st.composite
def plans(draw: st.DrawFn) -> Flag:
    """A plan, sometimes with too few guards, or a switch."""
    flag = replace(draw(flags(of=keyless_audiences)), owner=OWNER, deputies=(DEPUTY,), guards=draw(guards))
    is_switch = draw(st.sampled_from((False, False, False, True)))
    return replace(flag, stages=(), audience=draw(keyless_audiences)) if is_switch else flag


class Moves(RuleBasedStateMachine):
    """One flag with its rollout, and the people who ask."""

    flag: Flag
    rollout: Rollout

    @initialize(flag=plans())
    def declare(self, flag: Flag) -> None:
        self.flag, self.rollout, self.now, self.named = flag, born(flag, NOW), NOW, 0

    def who_has_it(self, flag: Flag | None = None, rollout: Rollout | None = None) -> set[int]:
        is_on = compile_flag(flag or self.flag, rollout or self.rollout, {}).is_on
        return {number for number, person in enumerate(PEOPLE) if is_on(person)}

    @rule(data=st.data(), actor=st.sampled_from((None, OTHER)))
    def do_what_is_legal(self, data: st.DataObject, actor: str | None) -> None:
        self._do(
            data.draw(st.sampled_from(legal_verbs(self.flag, self.rollout))), actor or self.rollout.owner, "because"
        )

    @rule(
        verb=st.sampled_from(Verb),
        actor=st.sampled_from((OWNER, DEPUTY, OTHER)),
        reason=st.sampled_from(("because", None)),
    )
    def do_anything(self, verb: Verb, actor: str, reason: str | None) -> None:
        self._do(verb, actor, reason)

    def _do(self, verb: Verb, actor: str, reason: str | None) -> None:
        self.now += timedelta(minutes=1)
        owner = {OWNER: OTHER, OTHER: OWNER}.get(self.rollout.owner) if verb is Verb.OWNER_SET else None
        before, had = self.rollout, self.who_has_it()
        try:
            done = move(self.flag, before, Act(verb, actor, self.now, reason, owner))
        except MoveError:
            return
        if done is None:
            return
        self.rollout, event = done
        assert self.rollout != before
        assert (event.verb, event.actor, event.at, event.reason) == (verb, actor, self.now, reason)
        assert event.before != event.after
        self._check_exposure(verb, had)
        self._check_counters(verb, before)

    def _check_exposure(self, verb: Verb, had: set[int]) -> None:
        has = self.who_has_it()
        assert verb in GROWS or has <= had  # I5
        assert verb in SHRINKS or has >= had  # I3 and I5
        if verb in {Verb.ROLLBACK, Verb.KILL, Verb.OFF}:
            assert not has  # I1, I20
        if verb in {Verb.START, Verb.RESTART, Verb.ADVANCE}:
            assert self.rollout.accepted_by is not None  # I2
            assert not unguarded_stages(self.flag)

    def _check_counters(self, verb: Verb, before: Rollout) -> None:
        is_new = verb in BEGINS or (verb is Verb.UNKILL and before.status in LIVE)
        assert self.rollout.attempt == before.attempt + is_new
        assert self.rollout.revision == before.revision
        stages = {Verb.START: 1, Verb.RESTART: 1, Verb.ADVANCE: before.stage + 1, Verb.STEP_BACK: before.stage - 1}
        assert self.rollout.stage == stages.get(verb, before.stage)
        moved = is_new or (before.status, before.stage) != (self.rollout.status, self.rollout.stage)
        assert self.rollout.since == (self.now if moved else before.since)
        assert (self.rollout.flag, self.rollout.salt) == (NAME, NAME)
        assert before.status is not Status.COMPLETED or self.rollout.status is Status.COMPLETED  # I8
        assert before.status is not Status.ROLLED_BACK or verb is Verb.RESTART or self.rollout.status is before.status

    @rule(
        kind=st.sampled_from(("share", "audience", "insert", "remove", "guards")),
        number=st.integers(0, 5),
        share=shares,
        audience=keyless_audiences,
        guards=guards,
    )
    def edit(self, kind: str, number: int, share: int, audience: Audience, guards: tuple[Guard, ...]) -> None:
        """Change one thing of the plan, at any of its stages."""
        if self.flag.is_switch:
            return
        stages = list(self.flag.stages)
        number %= len(stages) + (kind == "insert")
        match kind:
            case "share":
                stages[number] = replace(stages[number], share_thousandths=share)
            case "audience":
                stages[number] = replace(stages[number], audience=audience)
            case "insert":
                self.named += 1
                stages.insert(number, Stage(f"n{self.named}", audience, share))
            case "remove" if len(stages) > 1:
                del stages[number]
        self._edit(replace(self.flag, stages=tuple(stages), guards=guards if kind == "guards" else self.flag.guards))

    def _edit(self, new: Flag) -> None:
        old, before, had = self.flag, self.rollout, self.who_has_it()
        try:
            self.rollout = revise(old, new, before, self.now)
        except RevisionError:
            assert before.status in EXPOSING
            return
        self.flag = new
        assert self.who_has_it() <= had  # who may be let in at all is not widened while it exposes
        assert replace(self.rollout, revision=before.revision) == before
        touches = before.status in EXPOSING and _current(old, before) != _current(new, before)
        assert self.rollout.revision == before.revision + touches

    @invariant()
    def killed_is_off(self) -> None:
        if self.rollout.killed:
            assert not self.who_has_it()

    @invariant()
    def status_and_stage_fit(self) -> None:
        """Only the last stage is watched or completed, and it is never run or paused."""
        if self.rollout.status in EXPOSING:
            is_last = self.rollout.stage == len(self.flag.stages)
            assert is_last is (self.rollout.status in {Status.WATCHING, Status.COMPLETED})
            assert self.rollout.attempt > 0
            assert not unguarded_stages(self.flag)  # I2

    @invariant()
    def off_is_off_as_before_the_start(self) -> None:
        if self.rollout.status in {Status.DRAFT, Status.ROLLED_BACK, Status.OFF}:
            assert not self.who_has_it()


def _current(flag: Flag, rollout: Rollout) -> tuple[Stage, object]:
    stage = flag.stages[rollout.stage - 1]
    return stage, guards_judged_in(flag, stage)


TestMoves = Moves.TestCase
TestMoves.settings = settings(deadline=None, max_examples=100, stateful_step_count=50)
