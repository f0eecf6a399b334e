"""From requests to a judgement: what processes reported, judged by the process that looks, and what follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flaggate import Context, Gate
from flaggate.errors import MoveError, StoreError
from flaggate.rollout.state import Status, Verb
from flaggate.rollout.verdict import Answer, Verdict
from flaggate.runtime.control import Control
from flaggate.runtime.judging import Judging
from flaggate.runtime.ticker import Looked, Ticker
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.runtime.conftest import OpenGate
from tests.runtime.guarded import PLAN, WHOLE, Clock, begin, visit, visits
from tests.runtime.scenes import OWNER


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock.unix)


@pytest.fixture
def looks(store: MemoryStore, clock: Clock) -> Callable[[], Looked]:
    """One look at the rollout, five seconds later."""
    ticker = Ticker(store, judge=Judging(store), now=clock)

    def look() -> Looked:
        clock.passes(5)
        (looked,) = ticker.tick(store.changes().rows) or []
        return looked

    return look


@pytest.fixture
def gate(store: MemoryStore, clock: Clock, open_gate: OpenGate) -> Gate:
    begin(store, now=clock)
    return open_gate(store)


def said(looked: Looked) -> dict[str, Verdict]:
    assert looked.judgement is not None
    return {
        verdict.guard.key or "": verdict for verdict in looked.judgement.verdicts if verdict.guard.vs_control is None
    }


def test_a_feature_that_fails_is_rolled_back_and_says_why(
    gate: Gate, store: MemoryStore, looks: Callable[[], Looked]
) -> None:
    assert looks().look.moved is None
    visits(gate, range(60), fail=lambda _, is_on: is_on)
    gate.flush()
    looked = looks()
    assert looked.look.moved is not None
    rollout, event = looked.look.moved
    assert rollout.status is Status.ROLLED_BACK
    assert (event.verb, event.actor) == ("rollback", "flaggate")
    assert event.reason is not None
    assert " requests with the feature failed (100 %), 0 of " in event.reason
    words = [guard["words"] for guard in event.evidence["guards"]]
    assert all("users were hit" in one and "99.9 % sure that this is worse than you allow" in one for one in words)
    gate.refresh()
    assert not any(visit(gate, f"u{number}") for number in range(60))


def test_the_control_that_fails_is_not_the_features_fault(
    gate: Gate, store: MemoryStore, looks: Callable[[], Looked]
) -> None:
    for _ in range(20):
        visits(gate, range(60), fail=lambda _, is_on: not is_on)
        gate.flush()
        assert looks().look.moved is None
    assert read_flag(store, "checkout").rollout.status is Status.RUNNING


@pytest.mark.parametrize("each_time", ["others", "the same"])
def test_where_both_fail_it_is_held_and_then_as_the_plan_says(
    gate: Gate, store: MemoryStore, looks: Callable[[], Looked], each_time: str
) -> None:
    answers = []
    for step in range(130):
        first = 60 * step if each_time == "others" else 0
        visits(gate, range(first, first + 60), fail=lambda number, _: number % 5 == 0)
        gate.flush()
        looked = looks()
        answers.append(said(looked)["errors"].answer)
        if looked.look.moved is not None:
            break
        if answers[-1] is Answer.SHARED:
            assert "breach" in [hold.kind for hold in looked.look.holds]
    assert Answer.SHARED in answers
    assert answers[-1] is Answer.BREACH
    assert 118 <= answers.count(Answer.SHARED) <= 121, "ten minutes"
    breach = read_flag(store, "checkout").rollout.breach
    assert breach is not None
    assert breach["guards"][0]["numbers"]["why"] == "shared"


def test_one_user_in_a_loop_is_no_evidence_against_the_feature(gate: Gate, looks: Callable[[], Looked]) -> None:
    for _ in range(30):
        visits(gate, range(200), fail=lambda number, _: number == 3)
        visits(gate, [3] * 40, fail=lambda *_: True)
        gate.flush()
        assert looks().look.moved is None


def test_a_process_that_reports_nothing_is_there_all_the_same(
    clock: Clock, gate: Gate, store: MemoryStore, looks: Callable[[], Looked]
) -> None:
    visits(gate, range(10))
    gate.flush()
    for _ in range(11):
        looks()
    gate.meter.flush(store, is_there=True)
    for _ in range(11):
        assert said(looks())["errors"].answer is Answer.TOO_FEW
    for _ in range(3):
        looked = looks()
    assert said(looked)["errors"].answer is Answer.NO_DATA, "nobody has reported for a minute"
    assert looked.look.holds[0].kind == "blind"
    with pytest.raises(MoveError, match="nobody may pass over this: nothing is known of errors"):
        Control(store, now=clock).act(Verb.ADVANCE, "checkout", actor=OWNER, reason="never mind")


def test_those_who_have_it_are_silent(gate: Gate, store: MemoryStore, looks: Callable[[], Looked]) -> None:
    """A page that crashes the worker, or never comes to its end."""
    visits(gate, range(60))
    control = [n for n in range(400) if not gate.explain("checkout", Context(f"u{n}")).decision.is_on]
    gate.flush()
    looks()
    answers = []
    for look in range(80):
        visits(gate, [*control[:29], control[30 + look]])
        gate.flush()
        looked = looks()
        answers.append(said(looked)["errors"].answer)
        if looked.look.moved is not None:
            break
    assert answers.index(Answer.NO_DATA) == pytest.approx(12, abs=1), "a minute"
    assert answers[-1] is Answer.BREACH
    assert answers.count(Answer.NO_DATA) == pytest.approx(60, abs=1), "five more"
    breach = read_flag(store, "checkout").rollout.breach
    assert breach is not None
    assert breach["guards"][0]["numbers"]["why"] == "vanished"


def test_a_store_that_does_not_answer_makes_the_guards_blind_and_nothing_is_forgotten(
    gate: Gate, store: MemoryStore, looks: Callable[[], Looked], monkeypatch: pytest.MonkeyPatch
) -> None:
    visits(gate, range(40), fail=lambda number, is_on: is_on and number < 6)
    gate.flush()
    before = looks()

    def fails(*_: object) -> None:
        raise StoreError("memory://", "it is tired")

    with monkeypatch.context() as patch:
        patch.setattr(store, "units", fails)
        looked = looks()
        assert {verdict.answer for verdict in said(looked).values()} == {Answer.ERROR}
        assert looked.problem is not None
    assert before.judgement is not None
    after = looks().judgement
    assert after is not None
    assert after.kept is not None
    assert before.judgement.kept is not None
    evidence = [kept["guards"][0]["evidence"]["whole"] for kept in (before.judgement.kept, after.kept)]
    assert evidence[0] == evidence[1]


def test_a_query_that_nobody_can_ask_is_an_error(
    store: MemoryStore, clock: Clock, open_gate: OpenGate, looks: Callable[[], Looked]
) -> None:
    begin(store, PLAN.replace("guards = [", 'guards = [{ metric = "queue", query = "up", limit = 5 },'), clock)
    gate = open_gate(store)
    visit(gate, "ada")
    gate.flush()
    judgement = looks().judgement
    assert judgement is not None
    assert judgement.verdicts[0].answer is Answer.ERROR
    assert "knows no Prometheus server" in judgement.verdicts[0].numbers["why"]


# --- broken without the feature ---------------------------------------------------------------


def test_what_is_broken_without_it_is_not_started(store: MemoryStore, clock: Clock, open_gate: OpenGate) -> None:
    control = Control(store, now=clock)
    begun = begin(store, WHOLE, clock)
    begun.act(Verb.ROLLBACK, "checkout", actor=OWNER)
    gate = open_gate(store)
    visits(gate, range(50), fail=lambda number, _: number < 20)
    gate.flush()
    with pytest.raises(MoveError, match=r"broken without the feature already: errors: 20 of 50 requests without the"):
        control.act(Verb.RESTART, "checkout", actor=OWNER, reason="mended")
    clock.passes(2 * 3600)
    assert control.act(Verb.RESTART, "checkout", actor=OWNER, reason="mended").event is not None


def test_a_next_stage_whose_limit_is_broken_without_it_is_entered_by_a_person(
    store: MemoryStore, clock: Clock, open_gate: OpenGate, looks: Callable[[], Looked]
) -> None:
    harder = '    { name = "everyone", guards = [{ metric = "errors", limit = "0.1%" }] },'
    begin(store, PLAN.replace('    { name = "everyone" },', harder).replace("1h", "0s"), clock)
    gate = open_gate(store)
    for _ in range(20):
        visits(gate, range(100), fail=lambda number, is_on: number in (3, 7, 8, 11) and not is_on)
    gate.flush()
    looked = looks()
    kinds = [hold.kind for hold in looked.look.holds]
    assert "broken" in kinds
    with pytest.raises(MoveError, match="this passes over broken without the feature already: errors"):
        Control(store, now=clock).act(Verb.ADVANCE, "checkout", actor=OWNER)
    assert Control(store, now=clock).act(Verb.ADVANCE, "checkout", actor=OWNER, reason="known").event is not None
