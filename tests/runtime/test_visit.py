"""A visit: one request from start to end, with one answer a flag."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flaggate import Context, Decision, Gate
from flaggate.rollout.state import Verb
from flaggate.runtime.visit import Visit
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import FLAGS, FRIENDS, bring, put, seen, turn

SCORED = """
[flags.scored]
description = "A switch by an own attribute"
owner = "owner@example.com"
audience = { score = 1 }

[flags.grouped]
description = "A switch by group"
owner = "owner@example.com"
audience = { group = "beta" }
"""


@pytest.fixture
def site(open_gate: OpenGate) -> Gate:
    """A gate on flags of which all switches are on, and the rollout runs."""
    store = MemoryStore()
    bring(store, FLAGS + FRIENDS + SCORED)
    for name in ("banner", "tiered", "friendly", "scored", "grouped"):
        turn(store, Verb.ON, name)
    turn(store, Verb.START, "half")
    return open_gate(store)


def test_view_and_template_agree_while_a_kill_arrives(site: Gate) -> None:
    with site.visit(Context("ada", tier="pro")) as visit:
        in_the_view = site.is_on("tiered")
        turn(site.store, Verb.KILL, "tiered")
        turn(site.store, Verb.KILL, "banner")
        site.refresh()
        in_the_template = site.is_on("tiered")
        assert in_the_view is in_the_template is visit.is_on("tiered") is True
        assert site.is_on("banner")  # first asked after the kill: the snapshot is that of the start all the same
        assert site.decisions()["banner"].is_on
        assert str(site.explain("tiered")).endswith("; on")
    with site.visit(Context("ada", tier="pro")):
        assert site.decide("tiered").reason == "killed"
        assert site.decide("banner").reason == "killed"


def test_a_flag_that_arrives_meanwhile_is_not_part_of_the_visit(site: Gate) -> None:
    with site.visit(Context("ada")) as visit:
        before = site.decisions()
        bring(site.store, FLAGS.replace("flags.banner", "flags.newcomer"))
        site.refresh()
        assert site.decisions() == before
        assert visit.context == Context("ada")
    assert "newcomer" in site.decisions()
    assert site.health().unknown == {}


def test_what_is_no_name_is_an_unknown_flag_and_raises_nothing(site: Gate) -> None:
    name: Any = []
    with site.visit(Context("ada")) as visit:
        assert site.decide(name) == visit.decide(name) == Decision("[]", False, "unknown")
        assert not visit.is_on(name)
        assert not visit[name]
    assert site.health().unknown == {"[]": 4}
    assert seen(site) == {}


def test_a_question_with_a_context_is_not_about_the_visit(site: Gate) -> None:
    with site.visit(Context("ada", tier="pro")):
        turn(site.store, Verb.KILL, "tiered")
        site.refresh()
        assert not site.is_on("tiered", Context("bob", tier="pro"))
        assert site.is_on("tiered")


@pytest.mark.parametrize(
    ("change", "decided_again"),
    [
        ({"user": "bob"}, {"half", "friendly"}),
        ({"tier": "free"}, {"tiered"}),
        ({"groups": ["beta"]}, {"grouped"}),
        ({"attributes": {"score": 1}}, {"scored"}),
        ({"attributes": {"score": True}}, {"scored"}),
        ({"attributes": {"other": 1}}, {"scored"}),  # the score is gone
        ({"city": "Leeds"}, set()),
        ({"user": "ada"}, set()),
    ],
)
def test_identify_decides_again_only_what_reads_the_change(
    site: Gate, change: dict[str, Any], decided_again: set[str]
) -> None:
    asked: list[str] = []

    def noting(name: str, decide: Callable[[Context], Decision]) -> Callable[[Context], Decision]:
        def note_and_decide(context: Context) -> Decision:
            asked.append(name)
            return decide(context)

        return note_and_decide

    first = Context("ada", tier="pro", attributes={"score": 2})
    snapshot = site.visit().snapshot
    noted = {name: noting(name, decide) for name, decide in snapshot.decide.items()}
    visit = Visit(site, replace(snapshot, decide=noted), first)
    answers = {name: visit.decide(name) for name in snapshot.entries}
    asked.clear()
    visit.identify(**change)
    again = {name: visit.decide(name) for name in snapshot.entries}
    assert set(asked) == decided_again
    assert visit.context == first.replace(**change)
    assert all(again[name] is answers[name] for name in snapshot.entries if name not in decided_again)


def test_true_is_not_one_for_identify(site: Gate) -> None:
    with site.visit(Context(attributes={"score": True})) as visit:
        assert not visit.is_on("scored")
        visit.identify(attributes={"score": 1})
        assert visit.is_on("scored")


def test_identify_answers_from_the_same_snapshot(site: Gate) -> None:
    with site.visit() as visit:
        assert not visit.is_on("tiered")
        turn(site.store, Verb.KILL, "tiered")
        site.refresh()
        visit.identify(user="ada", tier="pro")
        assert visit.is_on("tiered")
        assert site.is_on("friendly")


def test_identify_refuses_what_is_no_key(site: Gate) -> None:
    with site.visit() as visit, pytest.raises(TypeError, match="a key is text"):
        visit.identify(user=["ada"])


def test_identify_leaves_a_flag_that_cannot_be_read(site: Gate) -> None:
    put(site.store, "flag", "broken", {})
    site.refresh()
    with site.visit() as visit:
        assert visit.decide("broken").reason == "fault"
        visit.identify(user="ada")
        assert visit.decide("broken").reason == "fault"


def test_nested_visits(site: Gate) -> None:
    with site.visit(Context(tier="pro")):
        with site.visit(Context(tier="free")):
            assert not site.is_on("tiered")
        assert site.is_on("tiered")
    assert not site.is_on("tiered")


def test_one_visit_entered_twice(site: Gate) -> None:
    visit = site.visit(Context(tier="pro"))
    with visit:
        with visit:
            assert site.is_on("tiered")
        assert site.is_on("tiered")
    assert not site.is_on("tiered")


def test_a_visit_ends_with_an_exception(site: Gate) -> None:
    with pytest.raises(ZeroDivisionError), site.visit(Context(tier="pro")):
        raise ZeroDivisionError
    assert not site.is_on("tiered")


def test_a_visit_may_end_in_another_context_than_it_began_in(site: Gate) -> None:
    """As with a generator that a framework starts and ends in different threads of a pool."""
    visit = site.visit(Context(tier="pro"))
    contextvars.copy_context().run(visit.__enter__)
    contextvars.copy_context().run(visit.__exit__, None, None, None)
    assert not site.is_on("tiered")


def test_visits_of_threads_do_not_mix(site: Gate) -> None:
    both_inside = threading.Barrier(2, timeout=20)
    answers: dict[str, bool] = {}

    def request(tier: str) -> None:
        with site.visit(Context(tier=tier)):
            both_inside.wait()
            answers[tier] = site.is_on("tiered")
            both_inside.wait()

    threads = [threading.Thread(target=request, args=(tier,)) for tier in ("pro", "free")]
    for thread in threads:
        thread.start()
    assert not site.is_on("tiered")
    for thread in threads:
        thread.join()
    assert answers == {"pro": True, "free": False}


def test_visits_of_tasks_do_not_mix(site: Gate) -> None:
    async def request(tier: str, inside: asyncio.Barrier) -> bool:
        with site.visit(Context(tier=tier)):
            await inside.wait()
            answer = site.is_on("tiered")
            await inside.wait()
        return answer

    async def requests() -> list[bool]:
        inside = asyncio.Barrier(3)
        return await asyncio.gather(*(request(tier, inside) for tier in ("pro", "free", "team")))

    assert asyncio.run(requests()) == [True, False, True]


def test_a_task_started_in_a_visit_belongs_to_it(site: Gate) -> None:
    async def request() -> tuple[bool, bool]:
        with site.visit(Context(tier="pro")):
            task = asyncio.create_task(asyncio.to_thread(site.is_on, "tiered"))
            return await task, site.is_on("tiered")

    assert asyncio.run(request()) == (True, True)


def test_visits_of_two_gates_do_not_mix(site: Gate, open_gate: OpenGate) -> None:
    other = open_gate(site.store)
    with site.visit(Context(tier="pro")), other.visit(Context(tier="free")):
        assert site.is_on("tiered")
        assert not other.is_on("tiered")
