"""What a visit counts: which flags, where they stand, of whom, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from flaggate import Context, Decision, Gate
from flaggate.rollout.state import Verb
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import FLAGS, bring, put, seen, turn

PLAN = (
    FLAGS
    + """
[flags.staged]
description = "Staff first, then half of everyone"
owner = "owner@example.com"
stages = [
    { name = "staff", audience = { staff = true }, soak = "0s" },
    { name = "some", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""
)


@pytest.fixture
def gate(open_gate: OpenGate) -> Gate:
    """Switches that are on, and rollouts that have not started."""
    store = MemoryStore()
    bring(store, PLAN)
    turn(store, Verb.ON, "banner")
    turn(store, Verb.ON, "tiered")
    return open_gate(store)


def move(gate: Gate, verb: Verb, name: str = "half") -> None:
    """Do one thing to one flag, and let the gate know."""
    turn(gate.store, verb, name)
    gate.refresh()


def visitor(gate: Gate, *, is_in: bool, staff: bool = False) -> Context:
    """Somebody who is in the half of everyone, or is not."""
    contexts = (Context(f"user-{number}", staff=staff) for number in range(100))
    return next(context for context in contexts if gate.is_on("half", context) is is_in)


def ask(gate: Gate, context: Context, *names: str, error: BaseException | None = None) -> None:
    """A visit that asks these flags, or `half`, and ends with an exception if one is given."""
    with gate.visit(context) as visit:
        for name in names or ("half",):
            visit.is_on(name)
        if error is not None:
            raise error


# --- whom, and where ------------------------------------------------------------------------


def test_a_flag_is_counted_once_a_visit_however_often_it_is_asked(gate: Gate) -> None:
    with gate.visit(Context(tier="pro")) as visit:
        for _ in range(3):
            assert visit["tiered"]
            assert gate.is_on("tiered")
            assert gate.decide("tiered")
            assert visit.decide("tiered")
            assert not visit["half"]
    assert seen(gate) == {("half", 0, 0, "off"): (1, 0), ("tiered", 0, 0, "on"): (1, 0)}


def test_who_has_an_arm_is_counted_in_it_too(gate: Gate) -> None:
    move(gate, Verb.START)
    for is_in, times in ((True, 3), (False, 2)):
        for _ in range(times):
            ask(gate, visitor(gate, is_in=is_in))
    ask(gate, Context())
    assert seen(gate) == {
        ("half", 1, 1, "control"): (2, 0),
        ("half", 1, 1, "off"): (3, 0),  # with the one that has no key, and so no arm
        ("half", 1, 1, "on"): (3, 0),
        ("half", 1, 1, "treatment"): (3, 0),
    }


def test_a_draft_is_counted_before_its_first_stage(gate: Gate) -> None:
    ask(gate, Context("ada"))
    assert seen(gate) == {("half", 0, 0, "off"): (1, 0)}


def test_a_flag_that_is_killed_is_counted_as_off_where_it_stands(gate: Gate) -> None:
    move(gate, Verb.START)
    move(gate, Verb.KILL)
    ask(gate, visitor(gate, is_in=False))
    assert seen(gate) == {("half", 1, 1, "off"): (1, 0)}


def test_a_flag_that_is_off_in_this_process_is_counted_as_off_where_it_stands(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(gate, Verb.START)
    monkeypatch.setenv("FLAGGATE_OFF", "half")
    gate.refresh()
    ask(gate, Context("ada"))
    assert seen(gate) == {("half", 1, 1, "off"): (1, 0)}


def test_a_switch_has_no_stage_and_no_arm(gate: Gate) -> None:
    for tier in ("pro", "free", "free"):
        ask(gate, Context(tier=tier), "tiered")
    assert seen(gate) == {("tiered", 0, 0, "on"): (1, 0), ("tiered", 0, 0, "off"): (2, 0)}


def test_each_stage_and_each_attempt_has_its_own_counts(gate: Gate) -> None:
    ada = visitor(gate, is_in=False)
    move(gate, Verb.START, "staged")
    ask(gate, ada, "staged")
    move(gate, Verb.ADVANCE, "staged")
    ask(gate, ada.replace(staff=True), "staged")  # let in by a stage without a share: no arm
    move(gate, Verb.ADVANCE, "staged")
    ask(gate, ada, "staged")
    move(gate, Verb.ROLLBACK, "staged")
    ask(gate, ada, "staged")
    move(gate, Verb.RESTART, "staged")
    ask(gate, ada, "staged")
    assert seen(gate) == {
        ("staged", 1, 1, "off"): (1, 0),
        ("staged", 1, 2, "on"): (1, 0),
        ("staged", 1, 3, "on"): (1, 0),
        ("staged", 1, 3, "off"): (1, 0),  # after the rollback
        ("staged", 2, 1, "off"): (1, 0),
    }


def test_a_flag_that_moves_during_a_visit_is_counted_where_the_visit_saw_it(gate: Gate) -> None:
    move(gate, Verb.START)
    context = visitor(gate, is_in=True)
    with gate.visit(context) as visit:
        move(gate, Verb.ADVANCE)
        assert visit.is_on("half")
        ask(gate, context)
    with gate.visit(context):
        move(gate, Verb.KILL)
        assert gate.is_on("half")
    expected = {("half", 1, 1, "on"), ("half", 1, 1, "treatment"), ("half", 1, 2, "on")}
    assert set(seen(gate)) == expected
    assert seen(gate)["half", 1, 2, "on"] == (2, 0)


def test_a_visit_that_asks_nothing_counts_nothing(gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError), gate.visit(Context("ada")):
        raise ZeroDivisionError
    assert seen(gate) == {}


def test_a_question_outside_of_visits_is_not_counted(gate: Gate) -> None:
    """Nobody says how it ended."""
    gate.is_on("banner")
    gate.decide("banner", Context("ada"))
    with gate.visit(Context("ada")):
        gate.is_on("banner", Context("bob"))
    assert seen(gate) == {}


def test_what_is_not_there_or_fails_is_not_counted(gate: Gate) -> None:
    """It is in `health`; the other flags of the visit are counted."""
    put(gate.store, "flag", "broken", {})
    gate.refresh()
    ask(gate, Context("half \ud800"), "nowhere", "broken", "banner")
    move(gate, Verb.START)
    ask(gate, Context("half \ud800"))
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}
    assert gate.health().unknown == {"nowhere": 1}
    assert gate.health().faults == {"half": 1}


@dataclass
class Answered:
    """A request that was given these answers."""

    snapshot: Snapshot
    answers: Iterable[Decision]
    begun: float = 0.0
    is_counted: bool = False
    measured: frozenset[str] = frozenset()

    def unit_key(self, _unit: str) -> str | None:
        return None

    def asked(self) -> Iterable[Decision]:
        return self.answers


def test_the_same_answer_is_counted_where_the_flag_stood_when_it_was_given(gate: Gate) -> None:
    """Nothing says that a decision of one snapshot is another object in the next."""
    off = [Decision("half", False, "no_match")]
    for verb in (Verb.START, Verb.ADVANCE):
        turn(gate.store, verb, "half")
        gate.pull()
        gate.meter.count(Answered(gate.begun(), off), is_error=False, milliseconds=1.0)
    assert seen(gate) == {("half", 1, 1, "off"): (1, 0), ("half", 1, 2, "off"): (1, 0)}


# --- asking and looking ---------------------------------------------------------------------


def test_a_list_and_an_explanation_are_not_counted(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="pro")) as visit:
        gate.decisions()
        gate.explain("tiered")
        visit.look("banner")
    assert seen(gate) == {}


def test_what_was_listed_stays_the_same_when_it_is_asked(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="pro")) as visit:
        listed = gate.decisions()
        assert visit.look("tiered") is listed["tiered"]
        assert visit.decide("tiered") is listed["tiered"]
        assert gate.decisions() == listed
        assert visit.look("tiered") is listed["tiered"]
    assert seen(gate) == {("tiered", 0, 0, "on"): (1, 0)}


def test_what_failed_when_it_was_listed_is_not_tried_again(gate: Gate) -> None:
    move(gate, Verb.START)
    with gate.visit(Context("half \ud800")) as visit:
        assert gate.decisions()["half"].reason == "fault"
        assert not visit["half"]
        assert gate.decisions()["half"].reason == "fault"
    assert gate.health().faults == {"half": 1}


def test_after_identify_a_list_shows_the_new_answer(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="free")) as visit:
        assert not gate.decisions()["tiered"]
        visit.identify(tier="pro")
        assert gate.decisions()["tiered"]
        assert visit["tiered"]
    assert seen(gate) == {("tiered", 0, 0, "on"): (1, 0)}, "the first answer was only listed"


def test_who_hangs_may_ask_on_while_it_is_counted(gate: Gate) -> None:
    with gate.visit(Context("ada")) as visit:
        visit.is_on("banner")
        for decision in visit.asked():
            assert decision.flag == "banner"
            visit.is_on("tiered")


# --- how it ended ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (ZeroDivisionError(), 1),
        (TimeoutError(), 1),
        (ExceptionGroup("several", [ValueError()]), 1),
        (SystemExit(1), 0),
        (KeyboardInterrupt(), 0),
        (asyncio.CancelledError(), 0),
        (GeneratorExit(), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_is_an_error_and_an_exit_is_none(gate: Gate, error: BaseException, errors: int) -> None:
    with pytest.raises(type(error)):
        ask(gate, Context("ada"), "banner", error=error)
    assert seen(gate) == {("banner", 0, 0, "on"): (1, errors)}


def test_an_exception_is_an_error_of_every_flag_and_arm(gate: Gate) -> None:
    move(gate, Verb.START)
    with pytest.raises(ZeroDivisionError):
        ask(gate, visitor(gate, is_in=True), "banner", "half", error=ZeroDivisionError())
    assert set(seen(gate)) == {("banner", 0, 0, "on"), ("half", 1, 1, "on"), ("half", 1, 1, "treatment")}
    assert set(seen(gate).values()) == {(1, 1)}


def test_a_visit_in_a_visit_is_a_request_of_its_own(gate: Gate) -> None:
    with gate.visit(Context("ada")):
        gate.is_on("banner")
        with pytest.raises(ZeroDivisionError):
            ask(gate, Context("bob"), "banner", error=ZeroDivisionError())
    assert seen(gate) == {("banner", 0, 0, "on"): (2, 1)}


def test_one_visit_is_counted_once_however_often_it_is_entered(gate: Gate) -> None:
    visit = gate.visit(Context("ada"))
    with visit:
        gate.is_on("banner")
        with visit:
            gate.is_on("half")
        assert seen(gate) == {}, "it has not ended"
    with visit:
        gate.is_on("tiered")
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0), ("half", 0, 0, "off"): (1, 0)}


def test_tasks_that_are_cancelled_or_end(gate: Gate) -> None:
    async def request(is_inside: asyncio.Event, may_end: asyncio.Event) -> None:
        with gate.visit(Context("ada")) as visit:
            visit.is_on("banner")
            is_inside.set()
            await may_end.wait()

    async def requests() -> None:
        inside, ends = [asyncio.Event() for _ in range(2)], [asyncio.Event() for _ in range(2)]
        tasks = [asyncio.create_task(request(*events)) for events in zip(inside, ends, strict=True)]
        for event in inside:
            await event.wait()
        tasks[0].cancel()
        ends[1].set()
        await asyncio.wait(tasks)

    asyncio.run(requests())
    assert seen(gate) == {("banner", 0, 0, "on"): (2, 0)}


# --- signing in -----------------------------------------------------------------------------


def test_a_flag_that_answers_differently_after_identify_is_not_counted(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="free")) as visit:
        assert not visit["tiered"]
        assert visit["banner"]
        visit.identify(tier="pro")
        assert visit["tiered"]
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_nor_one_that_answers_as_at_first_again(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="free")) as visit:
        for tier in ("free", "pro", "free"):
            visit.identify(tier=tier)
            assert visit["tiered"] is (tier == "pro")
    assert seen(gate) == {}


def test_a_flag_that_answers_the_same_is_counted_once(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="pro")) as visit:
        assert visit["tiered"]
        for tier in ("team", "pro"):
            visit.identify(tier=tier)
            assert visit["tiered"]
    assert seen(gate) == {("tiered", 0, 0, "on"): (1, 0)}


def test_a_flag_that_is_not_asked_again_keeps_its_answer(gate: Gate) -> None:
    with gate.visit(Context("ada", tier="free")) as visit:
        assert not visit["tiered"]
        visit.identify(tier="pro")
    assert seen(gate) == {("tiered", 0, 0, "off"): (1, 0)}


def test_several_flags_that_differ(gate: Gate) -> None:
    move(gate, Verb.START)
    outside, inside = visitor(gate, is_in=False), visitor(gate, is_in=True)
    with gate.visit(outside.replace(tier="free")) as visit:
        assert not visit["half"]
        assert not visit["tiered"]
        visit.identify(user=inside.user, tier="pro")
        assert visit["half"]
        assert visit["tiered"]
        assert visit["banner"]
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_on_with_an_arm_and_on_without_one_are_different_answers(gate: Gate) -> None:
    for verb in (Verb.START, Verb.ADVANCE):
        move(gate, verb, "staged")
    context = next(one for one in (Context(f"user-{n}") for n in range(100)) if gate.is_on("staged", one))
    with gate.visit(context) as visit:
        assert visit.decide("staged").arm == "treatment"
        visit.identify(staff=True)
        assert visit.decide("staged").arm is None
        assert visit["staged"]
    assert seen(gate) == {}


def test_an_error_after_signing_in_is_one_of_what_was_asked_before(gate: Gate) -> None:
    visit = gate.visit(Context("ada", tier="free"))

    def sign_in_and_fail() -> None:
        with visit:
            visit.is_on("tiered")
            visit.identify(tier="pro")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sign_in_and_fail()
    assert seen(gate) == {("tiered", 0, 0, "off"): (1, 1)}
