"""People, clocks, files and two tickers on one store, in any order: what always holds (DESIGN's invariants I1 to I20).

The verdicts are made up. `MovingMachine` is for each store to run: a subclass says how one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flaggate import Context, Flag, Guard, Stage
from flaggate.errors import ForbiddenError, MoveError, RevisionError
from flaggate.flags.audience import Audience, Condition
from flaggate.flags.document import Definitions
from flaggate.flags.model import Segment, guards_judged_in
from flaggate.rollout.holds import holds
from flaggate.rollout.moves import AUTOMATIC, legal_verbs
from flaggate.rollout.progress import LEASE_SECONDS, WATCH_SECONDS, Progress, progress_from_json, progress_of
from flaggate.rollout.state import EXPOSING, Event, Rollout, Status, Verb, unguarded_stages
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.runtime.control import APPLY, Control
from flaggate.runtime.rights import Right, may
from flaggate.runtime.snapshot import Snapshot
from flaggate.runtime.ticker import Ticker
from flaggate.stores.base import Row, Store
from flaggate.stores.record import Record, read_flag

OWNER, DEPUTY, OTHER = "owner@example.com", "deputy@example.com", "other@example.com"
NAME: Final = "invoicing"
BEGAN: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
PEOPLE: Final = [
    Context(user, staff=is_staff, city=city)
    for user in (None, *(f"user-{number}" for number in range(8)))
    for is_staff, city in ((False, None), (True, None), (False, "Leeds"))
]
STAFF: Final = ((Condition("staff", "equals", (True,)),),)
LEEDS: Final = ((Condition("city", "equals", ("Leeds",)),),)
FRIENDS: Final = ((Condition("segment", "segment", ("friends",)),),)
GUARD: Final = Guard("errors", limit=Decimal("0.01"))
GUARDS: Final = (
    (GUARD,),
    (GUARD,),
    (GUARD, replace(GUARD, metric="slow", slower_than_ms=400, on_breach="hold")),
    (GUARD, replace(GUARD, limit=None, vs_control=Decimal("1.25"), on_no_data="rollback")),
    (replace(GUARD, on_no_data="ignore"),),
    (replace(GUARD, on_breach="warn"),),
)
GROWS: Final = {Verb.START, Verb.RESTART, Verb.ADVANCE, Verb.UNKILL}
SHRINKS: Final = {Verb.ROLLBACK, Verb.STEP_BACK, Verb.KILL}
GOING_ON: Final = (Verb.UNKILL, Verb.RESTART, Verb.START, Verb.RESUME, Verb.OWNER_ACCEPT, Verb.APPROVE)
LIVE: Final = (Status.RUNNING, Status.PAUSED, Status.WATCHING)

shares = st.sampled_from((0, 10_000, 50_000, 100_000))
audiences: st.SearchStrategy[Audience] = st.sampled_from((STAFF, LEEDS, FRIENDS, ()))


@st.composite
def stages(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Shares of the same audience do not fall."""
    made: list[Stage] = []
    for number in range(draw(st.integers(1, 4))):
        audience = draw(audiences)
        least = max((stage.share_thousandths for stage in made if stage.audience == audience), default=0)
        stage = Stage(
            f"s{number}", audience, max(least, draw(shares)),
            soak_seconds=draw(st.sampled_from((0, 10, 60))),
            min_sample=draw(st.sampled_from((None, 500))),
            approval=draw(st.sampled_from((None, None, "any", "other"))),
        )  # fmt: skip
        made.append(stage)
    made[-1] = Stage(made[-1].name, made[-1].audience, made[-1].share_thousandths)
    return tuple(made)


@st.composite
def plans(draw: st.DrawFn) -> Flag:
    """A rollout's plan, sometimes with guards that would not do."""
    made = draw(stages())
    found = draw(st.sampled_from(GUARDS))
    if not any(stage.has_control for stage in made):
        found = tuple(guard for guard in found if guard.vs_control is None)
    return Flag(NAME, "An overhaul", OWNER, (DEPUTY,), stages=made, guards=found)


class MovingMachine(RuleBasedStateMachine):
    """One flag and a segment in a store, and all who may move it."""

    def make_store(self, clock: Callable[[], float]) -> Store:
        """An empty one."""
        raise NotImplementedError

    @initialize(flag=plans())
    def declare(self, flag: Flag) -> None:
        self.now = BEGAN
        self.store = self.make_store(lambda: self.now.timestamp())
        self._revision, self._is_stale = -1, True
        self.control = Control(self.store, now=lambda: self.now)
        self.members = frozenset({"user-1"})
        self.judgement: Judgement | None = None
        self.apply(flag)
        self.last = Event("", "", "", self.now)
        self.moved = self.new_events()[-1]
        """The last event of the flag."""
        self.tickers = [self.new_ticker(), self.new_ticker()]
        self.could_be_observed = 0.0
        """What ticks can have observed of the stage at most."""
        self.ticked_at: datetime | None = None

    def new_ticker(self) -> Ticker:
        return Ticker(self.store, judge=lambda *_: self.judgement, now=lambda: self.now)

    def apply(self, flag: Flag) -> None:
        segment = Segment("friends", unit="user", members=self.members)
        self._is_stale = True
        self.control.apply(Definitions({NAME: flag}, {"friends": segment}), actor="file flags.toml")

    # --- what there is ----------------------------------------------------------------------

    def record(self) -> Record:
        self._look()
        return self._record

    def who_has_it(self) -> set[int]:
        self._look()
        return self._who_has_it

    def rows(self) -> Sequence[Row]:
        """As a keeper has them: the same ones until there are others."""
        self._look()
        return self._rows

    def kept(self) -> Progress | None:
        self._look()
        return self._kept

    def _look(self) -> None:
        """Once after each who may have written: most of the time goes by with asking."""
        if not self._is_stale:
            return
        self._is_stale = False
        self._kept = progress_from_json(self.store.progress().get(NAME))
        revision = self.store.revision()
        if revision == self._revision:
            return
        self._revision, self._record, changes = revision, read_flag(self.store, NAME), self.store.changes()
        self._rows = changes.rows
        is_on = Snapshot().updated(changes).is_on[NAME]
        self._who_has_it = {number for number, person in enumerate(PEOPLE) if is_on(person)}
        assert self._who_has_it == {number for number, person in enumerate(PEOPLE) if is_on(person)}  # I19

    def new_events(self) -> list[Event]:
        """Those since this was asked last."""
        found = self.store.history(limit=1_000, after=self.last.id)
        self.last = found[-1] if found else self.last
        return found

    # --- people -----------------------------------------------------------------------------

    @rule(
        verb=st.sampled_from([verb for verb in Verb if verb not in {Verb.ON, Verb.OFF}]),
        actor=st.sampled_from((OWNER, OWNER, DEPUTY, OTHER)),
        reason=st.sampled_from(("because", "because", None)),
        rights=st.none() | st.none() | st.sets(st.sampled_from(Right)),
    )
    def somebody_acts(self, verb: Verb, actor: str, reason: str | None, rights: set[Right] | None) -> None:
        self.act(verb, actor, reason, rights)

    def act(self, verb: Verb, actor: str, reason: str | None, rights: set[Right] | None) -> None:
        before, had = self.record(), self.who_has_it()
        owner = {OWNER: OTHER, OTHER: OWNER}.get(before.rollout.owner) if verb is Verb.OWNER_SET else None
        seen = self.control.holds(before.flag, before.rollout)
        self._is_stale = True
        try:
            outcome = self.control.act(verb, NAME, actor=actor, reason=reason, owner=owner, rights=rights)
        except ForbiddenError:
            assert rights is not None
            assert not may(verb, rights)
            assert not self.new_events()
            return
        except MoveError:
            assert self.record() == before
            assert not self.new_events()
            return
        after = self.record()
        assert rights is None or may(verb, rights)
        if outcome.event is None:
            assert after == before
            assert not self.new_events()  # I10
            return
        self.check_event(verb, actor, before.rollout, after.rollout, reason)
        self.check_exposure(verb, had)
        if verb is Verb.ADVANCE:
            kinds = {str(hold.kind) for hold in seen}
            assert not kinds & {"blind", "breach", "split"}
            assert reason or kinds <= {"owner", "unjudged"}

    @rule(verb=st.sampled_from((*GOING_ON, Verb.PAUSE)))
    def the_owner_goes_on(self, verb: Verb) -> None:
        """Or most of the steps would be on what somebody has stopped."""
        record = self.record()
        legal = legal_verbs(record.flag, record.rollout)
        chosen = verb if verb in legal else next((each for each in GOING_ON if each in legal), None)
        if chosen is not None:
            self.act(chosen, record.rollout.owner, "because", None)

    # --- clocks -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 5, 5, 15, 20, 3600, 3 * 86_400, -5, -3600)))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(which=st.integers(0, 1), data=st.data(), is_stale=st.sampled_from((False, False, False, True)))
    def a_ticker_ticks(self, which: int, data: st.DataObject, is_stale: bool) -> None:
        record = self.record()
        self.judgement = self.made_up(record, data, is_stale)
        self.tick(self.tickers[which], record)

    @rule(data=st.data())
    def both_tick_at_once(self, data: st.DataObject) -> None:
        """I9: what two did is what one would have done."""
        record = self.record()
        self.judgement = self.made_up(record, data, False)
        looked = [self.tick(ticker, self.record()) for ticker in self.tickers]
        assert looked.count(True) <= 1

    @rule(data=st.data(), rounds=st.integers(1, 40))
    def it_goes_on_for_a_while(self, data: st.DataObject, rounds: int) -> None:
        record = self.record()
        self.judgement = self.made_up(record, data, False)
        for _ in range(rounds):
            self.now += timedelta(seconds=5)
            self.tick(self.tickers[0], self.record())

    def is_watched(self) -> bool:
        rollout = self.record().rollout
        return rollout.status is Status.WATCHING and not rollout.killed

    @precondition(is_watched)
    @rule()
    def the_watch_is_observed(self) -> None:
        """Up to its last second, as ten thousand looks would: they are too many for here."""
        record, ticker = self.record(), self.tickers[0]
        self.judgement = None
        if not self.tick(ticker, record):  # the other one does
            return
        done = replace(progress_of(record.rollout, self.kept()), observed_seconds=WATCH_SECONDS - 1.0)
        self._is_stale = True
        self.store.save_progress({NAME: done.to_json()}, holder=ticker.holder)
        self.could_be_observed = WATCH_SECONDS

    @rule(which=st.integers(0, 1), is_clean=st.booleans())
    def a_process_is_replaced(self, which: int, is_clean: bool) -> None:
        if is_clean:
            self.tickers[which].release()
        self.tickers[which] = self.new_ticker()

    def made_up(self, record: Record, data: st.DataObject, is_stale: bool) -> Judgement | None:
        """What guards could say of the stage."""
        flag, rollout = record.flag, record.rollout
        if not 0 < rollout.stage <= len(flag.stages):
            return None
        guards = guards_judged_in(flag, flag.stages[rollout.stage - 1])
        answers = st.sampled_from((Answer.OK, Answer.OK, Answer.OK, Answer.SAFE, *Answer))
        verdicts = tuple(Verdict(guard, data.draw(answers)) for guard in guards)
        split = data.draw(st.sampled_from((None, None, None, "as 2 to 1")))
        if data.draw(st.booleans()):
            verdicts = tuple(replace(verdict, answer=Answer.OK) for verdict in verdicts)
        made = Judgement(
            rollout.attempt, rollout.stage, rollout.revision, verdicts, data.draw(st.sampled_from((0, 500))), split
        )
        return replace(made, attempt=made.attempt - 1) if is_stale else made

    def tick(self, ticker: Ticker, record: Record) -> bool:
        """Returns whether it looked."""
        had, kept, rows = self.who_has_it(), self.kept(), self.rows()
        self._is_stale = True
        looked = ticker.tick(rows)
        after = self.record()
        if looked is None:
            held = self.store.lease()
            assert held is not None
            assert held.holder != ticker.holder
            assert self.kept() == kept
            assert after == record
            assert not self.new_events()
            return False
        self.check_observed(kept, self.kept())
        if after == record:
            assert not self.new_events()
            self.check_it_had_to_stay(record, looked)
            return bool(looked)
        verb = self.check_event(None, AUTOMATIC, record.rollout, after.rollout, None)
        self.check_exposure(verb, had)
        self.check_automatic(verb, record, after)
        return True

    # --- files ------------------------------------------------------------------------------

    @rule(
        change=st.sampled_from(("lower", "raise", "audience", "append", "cut", "guards", "deny", "all")),
        number=st.integers(0, 3), share=shares, audience=audiences, guards=st.sampled_from(GUARDS), data=st.data(),
    )  # fmt: skip
    def the_file_is_edited(
        self, change: str, number: int, share: int, audience: Audience, guards: tuple[Guard, ...], data: st.DataObject
    ) -> None:
        before, had = self.record(), self.who_has_it()
        flag, edited = before.flag, list(before.flag.stages)
        number %= len(edited)
        match change:
            case "lower" | "raise":
                edited[number] = replace(edited[number], share_thousandths=share)
            case "audience":
                edited[number] = replace(edited[number], audience=audience)
            case "append":
                edited[-1] = replace(edited[-1], soak_seconds=0)
                edited.append(Stage(f"s{len(edited)}", audience, 100_000))
            case "cut" if len(edited) > 1:
                edited = [*edited[:-2], Stage(edited[-2].name, edited[-2].audience, edited[-2].share_thousandths)]
        new = data.draw(plans()) if change == "all" else replace(flag, stages=tuple(edited))
        if change == "guards":
            new = replace(new, guards=guards)
        if change == "deny":
            new = replace(new, deny=() if flag.deny else STAFF)
        if not _is_valid(new):  # no assumption: it would throw away all that came before
            return
        try:
            self.apply(new)
        except RevisionError:
            assert self.record() == before
            assert not self.new_events()
            assert before.rollout.status in EXPOSING
            return
        after = self.record()
        assert after.flag == new
        new_events = self.new_events()
        assert [(event.name, event.verb) for event in new_events] == [(NAME, APPLY)] * (flag != new)  # I10
        self.moved = (new_events or [self.moved])[-1]
        has = self.who_has_it()
        # I5: in progress an edit widens nothing but by a deny that is taken back
        assert before.rollout.status not in EXPOSING or has <= had or (flag.deny and not new.deny)
        if before.rollout.status in EXPOSING and before.rollout.revision != after.rollout.revision:
            self.could_be_observed = 0.0

    @rule(members=st.sets(st.sampled_from([f"user-{number}" for number in range(8)])))
    def the_segment_is_edited(self, members: set[str]) -> None:
        before = self.record()
        changed = members != self.members
        self.members = frozenset(members)
        self.apply(before.flag)
        assert self.record() == before
        new = self.new_events()
        assert [(event.kind, event.name, event.verb) for event in new] == [("segment", "friends", APPLY)] * changed

    # --- what has to hold -------------------------------------------------------------------

    def check_event(self, verb: Verb | None, actor: str, before: Rollout, after: Rollout, reason: str | None) -> Verb:
        """I10: exactly one, and it says all of it. Returns its verb."""
        (event,) = self.new_events()
        self.moved = event
        assert (event.name, event.actor, event.at) == (NAME, actor, self.now)
        assert (verb, reason) == (event.verb, event.reason) or (verb is None and event.reason)
        assert event.before != event.after
        assert (event.before or {})["status"] == before.status
        assert (event.after or {})["status"] == after.status
        if (before.attempt, before.stage, before.revision) != (after.attempt, after.stage, after.revision):
            self.could_be_observed = 0.0
        return Verb(event.verb)

    def check_exposure(self, verb: Verb, had: set[int]) -> None:
        has, rollout = self.who_has_it(), self.record().rollout
        assert verb in GROWS or has <= had  # I5
        assert verb in SHRINKS or has >= had  # I3, I5
        if verb in {Verb.START, Verb.RESTART, Verb.ADVANCE}:
            assert rollout.accepted_by is not None  # I2
            assert not unguarded_stages(self.record().flag)

    def check_automatic(self, verb: Verb, before: Record, after: Record) -> None:
        """What the clock may do, and on what grounds."""
        judgement = self.judgement
        assert judgement is not None
        assert judgement.is_of(before.rollout)  # I6
        assert before.rollout.status in LIVE  # I8
        assert not before.rollout.killed
        if verb is Verb.ROLLBACK:
            assert any(verdict.rolls_back for verdict in judgement.verdicts)
            assert after.rollout.breach  # I7
            return
        assert not any(verdict.rolls_back or verdict.is_blind for verdict in judgement.verdicts)  # I12
        if verb is Verb.COMPLETE:
            assert (before.rollout.status, after.rollout.status) == (Status.WATCHING, Status.COMPLETED)
            assert not any(verdict.answer is Answer.BREACH for verdict in judgement.verdicts)
            return
        stage = before.flag.stages[before.rollout.stage - 1]
        assert (verb, after.rollout.stage) == (Verb.ADVANCE, before.rollout.stage + 1)
        assert not any(verdict.holds for verdict in judgement.verdicts)
        assert judgement.requests >= (stage.min_sample or 0)
        assert judgement.split is None
        if stage.approval:
            given = before.rollout.approval
            assert given is not None
            assert (given.attempt, given.stage, given.revision) == (
                before.rollout.attempt, before.rollout.stage, before.rollout.revision,
            )  # fmt: skip  # I13
            assert stage.approval == "any" or given.by != before.rollout.asked_by

    def check_it_had_to_stay(self, record: Record, looked: Any) -> None:
        rollout, judgement = record.rollout, self.judgement
        if rollout.status not in LIVE or rollout.killed or judgement is None or not judgement.is_of(rollout):
            return
        assert not any(verdict.rolls_back for verdict in judgement.verdicts)  # I11
        kept = progress_of(rollout, self.kept())
        if rollout.status is Status.RUNNING:
            found = holds(record.flag, rollout, kept, judgement, self.now)
            assert found
            assert [hold.kind for hold in found] == [hold.kind for hold in looked[0].look.holds]

    def check_observed(self, kept: Progress | None, written: Progress | None) -> None:
        """I16: never more than the looks could have seen."""
        if self.ticked_at is not None:
            passed = (self.now - self.ticked_at).total_seconds()
            self.could_be_observed += min(max(passed, 0.0), LEASE_SECONDS)
        self.ticked_at = self.now
        if written is not None and kept is not None and progress_of(self.record().rollout, written) is written:
            assert written.observed_seconds <= self.could_be_observed + 1e-6

    @invariant()
    def killed_is_off(self) -> None:
        if self.record().rollout.killed:
            assert not self.who_has_it()  # I1

    @invariant()
    def off_is_off_as_before_the_start(self) -> None:
        if self.record().rollout.status in {Status.DRAFT, Status.ROLLED_BACK}:
            assert not self.who_has_it()  # I20

    @invariant()
    def a_breach_is_latched(self) -> None:
        rollout = self.record().rollout
        assert rollout.breach is None or rollout.status is Status.ROLLED_BACK  # I7

    @invariant()
    def nothing_but_the_events_moved_it(self) -> None:
        """I8, I10: the last event of the flag says where it stands."""
        rollout = self.record().rollout
        after = self.moved.after or {}
        assert (after["status"], after["stage"], after["killed"]) == (rollout.status, rollout.stage, rollout.killed)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def _is_valid(flag: Flag) -> bool:
    """Whether a file could say this: shares do not fall, and a guard against control has one."""
    for number, stage in enumerate(flag.stages):
        for earlier in flag.stages[:number]:
            if earlier.audience == stage.audience and earlier.share_thousandths > stage.share_thousandths:
                return False
    has_control = any(stage.has_control for stage in flag.stages)
    return has_control or all(guard.vs_control is None for guard in flag.guards)
