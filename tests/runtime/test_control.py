"""Control: what a verb comes to in the store, and who wins a race."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flaggate.errors import (
    BusyError,
    FlaggateError,
    ForbiddenError,
    MoveError,
    OvertakenError,
    UnknownFlagError,
    UnreadableError,
)
from flaggate.flags.document import Definitions, parse
from flaggate.rollout.state import Event, Verb, rollout_to_json
from flaggate.runtime.control import Applied, Control
from flaggate.runtime.rights import Right, may
from flaggate.stores.base import Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from flaggate.stores.sql import SqlStore
from tests.runtime.control_plans import (
    BANNER,
    CHECKOUT,
    DEPUTY,
    INVOICES,
    NOW,
    OWNER,
    TO_THE_WATCH,
    VIP,
    act,
    apply,
    control_of,
    everything,
    stored,
    with_id,
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SqlStore(f"sqlite:///{tmp_path}/flags.db")
    yield store
    store.close()


# --- act ----------------------------------------------------------------------------------------


class _Case(NamedTuple):
    before: Sequence[Verb]
    verb: Verb
    name: str = "checkout"
    owner: str | None = None


_RUNNING = (Verb.START,)
CASES = [
    _Case((), Verb.START),
    _Case(_RUNNING, Verb.ADVANCE),
    _Case((Verb.START, Verb.ADVANCE), Verb.STEP_BACK),
    _Case(_RUNNING, Verb.PAUSE),
    _Case((Verb.START, Verb.PAUSE), Verb.RESUME),
    _Case((Verb.START, Verb.ROLLBACK), Verb.RESTART),
    _Case(_RUNNING, Verb.ROLLBACK),
    _Case(TO_THE_WATCH, Verb.COMPLETE),
    _Case((), Verb.ON, "banner"),
    _Case((Verb.ON,), Verb.OFF, "banner"),
    _Case(_RUNNING, Verb.KILL),
    _Case((Verb.START, Verb.KILL), Verb.UNKILL),
    _Case(_RUNNING, Verb.APPROVE, "invoices"),
    _Case((), Verb.OWNER_ACCEPT),
    _Case((), Verb.OWNER_SET, owner=DEPUTY),
    _Case(_RUNNING, Verb.OWNER_AWAY),
]


class CountedStore(MemoryStore):
    """Remembers what was handed to each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[list[Write], list[Event]]] = []

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        self.commits.append((list(writes), list(events)))
        return super().commit(writes, events, holder=holder)


def test_every_verb_has_its_case() -> None:
    assert {case.verb for case in CASES} == set(Verb)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.verb)
def test_an_accepted_act_is_one_event_in_the_commit_of_its_change(case: _Case) -> None:
    """Invariant I10: with actor, reason, before and after."""
    store = CountedStore()
    apply(store, CHECKOUT + BANNER + INVOICES)
    for verb in case.before:
        act(store, verb, case.name)
    before, last, done = read_flag(store, case.name), store.history()[-1].id, len(store.commits)
    later = NOW + timedelta(hours=1)
    outcome = Control(store, now=lambda: later).act(
        case.verb, case.name, actor=OWNER, reason="as agreed", owner=case.owner
    )
    (((write,), (_,)),) = store.commits[done:]
    (event,) = store.history(after=last)
    assert (write.name, write.expected) == (case.name, before.version)
    assert (event.name, event.verb, event.actor, event.at) == (case.name, case.verb, OWNER, later)
    assert (event.reason, event.kind) == ("as agreed", "flag")
    assert (event.before, event.after) == (rollout_to_json(before.rollout), stored(store, case.name))
    assert event.before != event.after
    assert outcome.event is not None
    assert with_id(outcome.event, event.id) == event
    assert (outcome.rollout, outcome.flag) == (read_flag(store, case.name).rollout, before.flag)
    assert outcome.revision == store.revision()


# --- rights -------------------------------------------------------------------------------------

LESS = (Verb.PAUSE, Verb.STEP_BACK, Verb.ROLLBACK, Verb.OFF, Verb.KILL)


@pytest.mark.parametrize("verb", Verb)
def test_each_verb_takes_a_right_and_less_exposure_takes_fewer(verb: Verb) -> None:
    """I17: whoever may let people in may take them out; nobody who may only look does anything."""
    enough = {right for right in Right if may(verb, {right})}
    assert enough
    assert Right.VIEW not in enough
    assert (Right.EDIT in enough) is (verb is Verb.KILL), "who may widen a plan may end what comes of it"
    assert (enough >= {right for right in Right if may(Verb.ADVANCE, {right})}) is (verb in {*LESS, *ADVANCES})


ADVANCES = {
    Verb.START, Verb.RESTART, Verb.RESUME, Verb.ADVANCE, Verb.COMPLETE, Verb.ON,
    Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.verb)
def test_without_the_right_nothing_is_done(store: Store, case: _Case) -> None:
    apply(store, CHECKOUT + BANNER + INVOICES)
    for verb in case.before:
        act(store, verb, case.name)
    before = everything(store)
    short = [right for right in Right if not may(case.verb, {right})]
    with pytest.raises(ForbiddenError, match=rf"ada may not {case.verb}: it takes the right to ") as refused:
        Control(store).act(case.verb, case.name, actor="ada", rights=short)
    assert all(may(case.verb, {Right(right)}) for right in refused.value.rights)
    assert everything(store) == before
    one = refused.value.rights[-1]
    done = Control(store).act(case.verb, case.name, actor=OWNER, reason="so", owner=case.owner, rights=[Right(one)])
    assert done.event is not None


def test_to_edit_takes_a_right_too(store: Store) -> None:
    with pytest.raises(ForbiddenError, match="ada may not apply: it takes the right to edit"):
        Control(store).apply(parse(CHECKOUT), actor="ada", rights=set(Right) - {Right.EDIT})
    assert store.revision() == 0
    Control(store).apply(parse(CHECKOUT), actor="ada", rights={Right.EDIT})
    assert read_flag(store, "checkout")


def test_nobody_passes_for_the_clock(store: Store) -> None:
    apply(store, CHECKOUT)
    with pytest.raises(FlaggateError, match="flaggate is who acts where the clock or a guard does"):
        Control(store).act(Verb.START, "checkout", actor="flaggate")


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        (Verb.KILL, "checkout"),
        (Verb.PAUSE, "checkout"),
        (Verb.ROLLBACK, "search"),
        (Verb.ON, "banner"),
        (Verb.OWNER_ACCEPT, "checkout"),
        (Verb.UNKILL, "banner"),
    ],
)
def test_an_act_that_changes_nothing_writes_nothing_and_says_so(store: Store, verb: Verb, name: str) -> None:
    apply(store, CHECKOUT + CHECKOUT.replace("checkout", "search") + BANNER)
    for done, flag in (
        (Verb.START, "checkout"),
        (Verb.PAUSE, "checkout"),
        (Verb.KILL, "checkout"),
        (Verb.START, "search"),
        (Verb.ROLLBACK, "search"),
        (Verb.ON, "banner"),
    ):
        act(store, done, flag)
    before = everything(store)
    outcome = act(store, verb, name)
    assert (outcome.event, outcome.revision) == (None, None)
    assert rollout_to_json(outcome.rollout) == stored(store, name)
    assert everything(store) == before


def test_an_illegal_act_writes_nothing(store: Store) -> None:
    apply(store, CHECKOUT)
    before = everything(store)
    with pytest.raises(MoveError):
        act(store, Verb.ADVANCE)
    assert everything(store) == before


def test_an_unknown_flag_is_told_with_the_closest_name(store: Store) -> None:
    """Not one that was pruned, and not a segment."""
    apply(store, CHECKOUT + BANNER.replace("banner", "checkouts") + VIP.replace("vip", "checkout-s"))
    apply(store, CHECKOUT, prune=True)
    with pytest.raises(UnknownFlagError) as caught:
        act(store, Verb.KILL, "checkouts")
    assert (caught.value.name, caught.value.suggestion) == ("checkouts", "checkout")


def test_an_empty_reason_is_none(store: Store) -> None:
    apply(store, CHECKOUT)
    act(store, Verb.KILL, reason="")
    assert store.history()[-1].reason is None
    with pytest.raises(MoveError, match="needs a reason"):
        act(store, Verb.UNKILL, reason="")


def test_the_clock_of_every_day_is_aware(store: Store) -> None:
    Control(store).apply(parse(BANNER), actor=OWNER)
    before = datetime.now(UTC)
    Control(store).act(Verb.ON, "banner", actor=OWNER)
    assert before <= store.history()[-1].at <= datetime.now(UTC)


# --- races --------------------------------------------------------------------------------------


class InterruptedStore(MemoryStore):
    """Somebody else gets in between: just before a commit or a look at the history, one thing each time."""

    def __init__(self) -> None:
        super().__init__()
        self.before_commit: list[Callable[[], object]] = []
        self.before_history: list[Callable[[], object]] = []
        self._is_interrupted = False

    def _interrupt(self, todo: list[Callable[[], object]]) -> None:
        if todo and not self._is_interrupted:
            self._is_interrupted = True
            todo.pop(0)()
            self._is_interrupted = False

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        self._interrupt(self.before_commit)
        return super().commit(writes, events, holder=holder)

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        self._interrupt(self.before_history)
        return super().history(name, limit=limit, after=after)


def _running() -> InterruptedStore:
    store = InterruptedStore()
    apply(store, CHECKOUT + BANNER)
    act(store, Verb.START)
    return store


def _by_other(store: Store, verb: Verb) -> Callable[[], object]:
    return lambda: act(store, verb, actor=DEPUTY)


def _verbs(events: Sequence[Event]) -> list[str]:
    return [event.verb for event in events]


@pytest.mark.parametrize("verb", [Verb.KILL, Verb.ROLLBACK])
def test_a_kill_and_a_rollback_try_again_until_they_win(verb: Verb) -> None:
    """The event says what it was done to in the end, with all that the others did meanwhile."""
    store = _running()
    store.before_commit = [_by_other(store, other) for other in (Verb.PAUSE, Verb.RESUME, Verb.OWNER_ACCEPT)]
    outcome = act(store, verb)
    assert outcome.event is not None
    assert outcome.event.before is not None
    assert outcome.event.before["accepted_by"] == DEPUTY
    assert _verbs(store.history())[-4:] == ["pause", "resume", "owner accept", verb]
    assert stored(store) == outcome.event.after


@pytest.mark.parametrize("verb", [Verb.KILL, Verb.ROLLBACK])
def test_a_kill_and_a_rollback_do_not_ask_what_the_actor_had_seen(store: Store, verb: Verb) -> None:
    apply(store, CHECKOUT)
    act(store, Verb.START)
    outcome = control_of(store).act(verb, "checkout", actor=DEPUTY, expected_version=1)
    assert outcome.event is not None


def test_a_kill_that_another_kill_overtakes_has_nothing_left_to_do() -> None:
    store = _running()
    store.before_commit = [_by_other(store, Verb.KILL)]
    outcome = act(store, Verb.KILL)
    assert outcome.event is None
    assert outcome.rollout.killed
    assert _verbs(store.history("checkout")) == ["apply", "start", "kill"]


def test_a_kill_of_a_flag_that_is_pruned_meanwhile_says_that_it_is_not_there() -> None:
    store = InterruptedStore()
    apply(store, CHECKOUT + BANNER)
    store.before_commit = [lambda: apply(store, BANNER, prune=True)]
    with pytest.raises(UnknownFlagError):
        act(store, Verb.KILL)


@pytest.mark.parametrize("verb", [Verb.ADVANCE, Verb.PAUSE, Verb.OWNER_AWAY])
def test_any_other_act_is_told_who_overtook_it(verb: Verb) -> None:
    """And does nothing, not even if it still could."""
    store = _running()
    store.before_commit = [lambda: act(store, Verb.OWNER_ACCEPT, actor=DEPUTY, reason="taking over")]
    with pytest.raises(OvertakenError) as caught:
        act(store, verb)
    assert list(caught.value.meanwhile) == store.history("checkout")[-1:]
    assert f"{DEPUTY} owner accept: taking over" in str(caught.value)
    assert _verbs(store.history("checkout")) == ["apply", "start", "owner accept"]


def test_an_act_that_looked_at_an_older_version_is_told_all_that_came_since(store: Store) -> None:
    apply(store, CHECKOUT + "[segments.checkout]\naudience = { staff = true }\n")
    seen = read_flag(store, "checkout").version
    act(store, Verb.START)
    apply(store, CHECKOUT + "[segments.checkout]\naudience = { staff = false }\n")  # a namesake, but no flag
    act(store, Verb.PAUSE)
    before = everything(store)
    with pytest.raises(OvertakenError) as caught:
        control_of(store).act(Verb.RESUME, "checkout", actor=OWNER, expected_version=seen)
    assert (caught.value.name, _verbs(caught.value.meanwhile)) == ("checkout", ["start", "pause"])
    assert everything(store) == before


def test_an_act_that_looked_at_the_present_version_is_done(store: Store) -> None:
    apply(store, CHECKOUT)
    seen = read_flag(store, "checkout").version
    outcome = control_of(store).act(Verb.START, "checkout", actor=OWNER, expected_version=seen)
    assert outcome.event is not None


def test_a_version_that_never_was_has_been_overtaken_by_nobody(store: Store) -> None:
    apply(store, CHECKOUT)
    with pytest.raises(OvertakenError) as caught:
        control_of(store).act(Verb.START, "checkout", actor=OWNER, expected_version=7)
    assert caught.value.meanwhile == ()


def test_who_overtook_is_named_even_while_others_go_on_writing() -> None:
    """The one who won is not pushed out of the answer by those who came after."""
    store = _running()
    store.before_commit = [_by_other(store, Verb.PAUSE)]
    store.before_history = [_by_other(store, Verb.RESUME), _by_other(store, Verb.KILL)]
    with pytest.raises(OvertakenError) as caught:
        act(store, Verb.ADVANCE)
    assert _verbs(caught.value.meanwhile) == ["pause", "resume", "kill"]


def test_an_apply_that_is_overtaken_writes_nothing() -> None:
    """Also what nobody else touched."""
    store = _running()
    store.before_commit = [_by_other(store, Verb.PAUSE)]
    with pytest.raises(OvertakenError) as caught:
        apply(store, BANNER.replace("spring", "summer") + CHECKOUT.replace('"1%"', '"2%"'))
    assert (caught.value.name, _verbs(caught.value.meanwhile)) == ("checkout", ["pause"])
    assert _verbs(store.history()) == ["apply", "apply", "start", "pause"]
    assert "spring" in read_flag(store, "banner").flag.description


def test_two_processes_that_apply_the_same_file_apply_it_once() -> None:
    """The second is told, and finds nothing left to do when it looks again."""
    store = InterruptedStore()
    definitions: Definitions = parse(CHECKOUT)
    store.before_commit = [lambda: control_of(store).apply(definitions, actor=DEPUTY, fingerprint="one")]
    with pytest.raises(OvertakenError) as caught:
        control_of(store).apply(definitions, actor=OWNER, fingerprint="one")
    assert [event.actor for event in caught.value.meanwhile] == [DEPUTY]
    assert control_of(store).apply(definitions, actor=OWNER, fingerprint="one") == Applied((), ())


def test_two_processes_that_differ_only_in_the_file_know_it() -> None:
    """No flag changed, so there is no event to name."""
    store = InterruptedStore()
    definitions: Definitions = parse(CHECKOUT)
    control_of(store).apply(definitions, actor=OWNER, fingerprint="one")
    store.before_commit = [lambda: control_of(store).apply(definitions, actor=DEPUTY, fingerprint="two")]
    with pytest.raises(OvertakenError) as caught:
        control_of(store).apply(definitions, actor=OWNER, fingerprint="three")
    assert caught.value.meanwhile == ()
    assert control_of(store).applied_fingerprint() == "two"


# --- a kill is stopped by nothing ---------------------------------------------------------------


def test_a_flag_whose_plan_nobody_can_read_is_killed_all_the_same(store: Store) -> None:
    """A newer flaggate may expose it elsewhere. What this one does not understand stays as it is."""
    apply(store, CHECKOUT)
    newer: dict[str, Any] = {"flag": {"novelty": 1}, "rollout": {**stored(store), "novelty": 2}}
    store.commit([Write("flag", "checkout", 1, newer)], [])
    assert act(store, Verb.KILL).rollout.killed
    row = store.get("flag", "checkout")
    assert row is not None
    assert row.document == {"flag": {"novelty": 1}, "rollout": {**newer["rollout"], "killed": True}}
    assert store.history()[-1].verb == "kill"
    with pytest.raises(UnreadableError, match="stored flag checkout cannot be read"):
        act(store, Verb.UNKILL)


@pytest.mark.parametrize("rollout", [{"status": "shadow", "deputies": []}, None, "text"])
def test_a_flag_of_which_nobody_can_read_anything_is_killed_all_the_same(store: Store, rollout: Any) -> None:
    store.commit([Write("flag", "odd", 0, {"flag": 1, "rollout": rollout})], [])
    assert act(store, Verb.KILL, "odd").event is not None
    row = store.get("flag", "odd")
    assert row is not None
    kept = rollout if isinstance(rollout, dict) else {}
    assert row.document == {"flag": 1, "rollout": {**kept, "killed": True}}


class BusyStore(MemoryStore):
    """Somebody else is writing when one of the next commits comes."""

    busy = 0

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        if self.busy:
            self.busy -= 1
            raise BusyError(self.url, "database is locked")
        return super().commit(writes, events, holder=holder)


@pytest.mark.parametrize("verb", [Verb.KILL, Verb.ROLLBACK])
def test_less_exposure_waits_for_a_writer_who_takes_long(verb: Verb) -> None:
    store = BusyStore()
    apply(store, CHECKOUT)
    act(store, Verb.START)
    store.busy = 5
    assert act(store, verb).event is not None
    assert store.busy == 0


def test_it_does_not_wait_for_ever_and_others_do_not_wait() -> None:
    store = BusyStore()
    apply(store, CHECKOUT)
    store.busy = 1000
    with pytest.raises(BusyError):
        act(store, Verb.START)
    assert store.busy == 999
    with pytest.raises(BusyError):
        act(store, Verb.KILL)


class RestlessStore(MemoryStore):
    """Somebody writes between any two questions."""

    looks = 0

    def revision(self) -> int:
        self.looks += 1
        return super().revision() + self.looks


def test_who_is_overtaken_is_told_even_where_nobody_rests() -> None:
    store = RestlessStore()
    apply(store, CHECKOUT)
    act(store, Verb.OWNER_ACCEPT)
    with pytest.raises(OvertakenError, match="owner accept"):
        control_of(store).act(Verb.START, "checkout", actor=OWNER, expected_version=1)
