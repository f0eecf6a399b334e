"""Which units a process reports: those it met with an arm, and those that had bad requests, as salted hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.runtime import units as units_module
from flaggate.runtime.control import Control
from flaggate.stores.base import REQUESTS, Arm, Report, UnitCount
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import OpenGate
from tests.runtime.guarded import WHOLE, begin, visit, visits


class Listening(MemoryStore):
    """Keeps what it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[Report] = []

    def add_counts(self, report: Report) -> None:
        self.reports.append(report)
        super().add_counts(report)

    def told(self) -> list[UnitCount]:
        """All units so far."""
        return [unit for report in self.reports for unit in report.units]


@pytest.fixture
def store() -> Listening:
    found = Listening()
    begin(found)
    return found


@pytest.fixture
def gate(store: Listening, open_gate: OpenGate) -> Gate:
    return open_gate(store)


def of(units: Iterable[UnitCount], metric: str) -> Counter[Arm]:
    return Counter(unit.arm for unit in units if unit.metric == metric)


def test_each_unit_that_was_there_is_told_once(gate: Gate, store: Listening) -> None:
    visits(gate, [*range(40), *range(40)])
    gate.flush()
    visits(gate, range(50))
    gate.flush()
    told = [unit for unit in store.told() if unit.metric == REQUESTS]
    assert len(told) == len({unit.unit for unit in told}) == 50
    by_arm = of(told, REQUESTS)
    assert set(by_arm) == {"treatment", "control"}
    sums = {one.arm: one.units for one in store.units("checkout", 1, 1) if one.metric == REQUESTS}
    assert sums == dict(by_arm)


def test_whose_request_was_bad_is_told_with_how_many(gate: Gate, store: Listening) -> None:
    for _ in range(3):
        visits(gate, range(20), fail=lambda number, _: number < 4)
    gate.flush()
    bad = [unit for unit in store.told() if unit.metric == "errors"]
    assert [unit.bad for unit in bad] == [3] * 4
    assert {unit.unit for unit in bad} <= {unit.unit for unit in store.told() if unit.metric == REQUESTS}


def test_no_key_leaves_the_process(gate: Gate, store: Listening) -> None:
    visits(gate, range(5), fail=lambda *_: True)
    gate.flush()
    assert all(len(unit.unit) == 16 and int(unit.unit, 16) >= 0 for unit in store.told())
    assert "u3" not in repr(store.reports)


def test_the_same_person_is_another_in_another_store(open_gate: OpenGate) -> None:
    hashes = set()
    for _ in range(2):
        store = Listening()
        begin(store)
        gate = open_gate(store)
        visit(gate, "ada")
        gate.flush()
        hashes |= {unit.unit for unit in store.told()}
    assert len(hashes) == 2


def test_what_the_app_measures_is_counted_by_its_name(gate: Gate, store: Listening) -> None:
    for user in ("ada", "grace", "linus"):
        visit(gate, user, measures=["checkout_failed", "nobody_asks"] if user == "ada" else ["checkout_done"])
    gate.flush()
    measured = Counter[str]()
    for count in store.counts("checkout"):
        if count.arm in ("on", "off"):
            measured.update(count.measured)
    assert measured == {"checkout_failed": 1, "checkout_done": 2}
    assert sum(of(store.told(), "checkout_failed").values()) == 1
    assert sum(of(store.told(), "no checkout_done").values()) == 1, "ada's"


def test_a_request_without_a_key_is_a_unit_of_its_own(open_gate: OpenGate) -> None:
    store = Listening()
    begin(store, WHOLE)
    gate = open_gate(store)
    for _ in range(3):
        assert visit(gate, None, fails=True)
    gate.flush()
    bad = [unit for unit in store.told() if unit.metric == "errors"]
    assert [(unit.arm, unit.bad) for unit in bad] == [("on", 1)] * 3
    assert len({unit.unit for unit in bad}) == 3


def test_those_who_have_it_without_an_arm_are_told_only_when_something_was_bad(open_gate: OpenGate) -> None:
    store = Listening()
    begin(store, WHOLE)
    gate = open_gate(store)
    visit(gate, "ada")
    visit(gate, "grace", fails=True)
    gate.flush()
    (unit,) = [unit for unit in store.told() if unit.metric != "no checkout_done"]
    assert (unit.arm, unit.metric) == ("on", "errors")


def test_a_flag_that_is_not_judged_has_no_units(gate: Gate, store: Listening) -> None:

    Control(store).act(Verb.ROLLBACK, "checkout", actor="owner@example.com")
    gate.refresh()
    visits(gate, range(10), fail=lambda *_: True)
    gate.flush()
    assert store.told() == []


def test_a_report_has_so_many_and_the_rest_comes_with_the_next(
    gate: Gate, store: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units_module, "_MOST_A_FLUSH", 10)
    visits(gate, range(25), fail=lambda *_: True)
    gate.flush()
    assert sum(of(store.told(), REQUESTS).values()) == 10
    assert sum(of(store.told(), "errors").values()) == 10, "what does not fit counts as seen"
    gate.meter.flush(store, is_there=True)
    gate.meter.flush(store, is_there=True)
    assert sum(of(store.told(), REQUESTS).values()) == 25


def test_of_very_many_nobody_more_is_met(gate: Gate, store: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_module, "_MOST", 5)
    visits(gate, range(25))
    gate.flush()
    assert sum(of(store.told(), REQUESTS).values()) == 5


def test_what_is_slow_is_told_by_the_limit_and_by_the_slowest_tenth(gate: Gate, store: Listening) -> None:

    def took(number: int, milliseconds: float) -> None:
        with gate.visit(Context(f"u{number}")) as made:
            made.is_on("checkout")
            made.is_counted = True
        made.is_counted = False
        gate.meter.count(made, False, milliseconds)

    for number in range(100):
        took(number, 50.0)
    gate.flush()
    for number in range(100):
        took(number, 450.0 if number < 5 else 60.0 if number < 15 else 40.0)
    gate.flush()
    assert sum(of(store.told(), "slow 400").values()) == 5
    assert sum(of(store.told(), "slower").values()) == 15


def test_where_the_flag_has_left_its_units_are_forgotten(gate: Gate, store: Listening) -> None:

    visits(gate, range(5))
    control = Control(store)
    control.act(Verb.KILL, "checkout", actor="owner@example.com")
    control.act(Verb.UNKILL, "checkout", actor="owner@example.com", reason="so")
    gate.refresh()
    visits(gate, range(5))
    gate.flush()
    assert {unit.attempt for unit in store.told()} == {1, 2}
    assert len(gate.meter._units) == 1
