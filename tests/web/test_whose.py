"""Whom something bad hit, where no rule had to know who asks: one who fails again and again is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flaggate import Gate
from flaggate.stores.memory import MemoryStore
from tests.runtime.guarded import WHOLE, begin
from tests.web.scenes import Clock, Speaks


class Who:
    """The app's function, and how often it was asked."""

    def __init__(self, **words: Any) -> None:
        self.words, self.calls = words, 0

    def __call__(self, _asker: Any) -> dict[str, Any]:
        self.calls += 1
        return self.words


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(params=[True, False], ids=["at least", "limits"])
def wants(request: pytest.FixtureRequest) -> bool:
    """Whether a guard counts those that did not measure something."""
    return bool(request.param)


@pytest.fixture
def gate(store: MemoryStore, wants: bool) -> Iterator[Gate]:
    """Everyone has it; guards judge."""
    lines = WHOLE.splitlines()
    begin(store, "\n".join(line for line in lines if wants or "at_least" not in line))
    made = Gate.open(store, background=False)
    made.refresh()
    yield made
    made.close()


def hit(store: MemoryStore, gate: Gate, metric: str) -> tuple[int, int]:
    """How many units something bad has hit, and how often."""
    gate.flush()
    found = [one for one in store.units("checkout", 1, 1) if (one.metric, one.span) == (metric, 0)]
    return sum(one.units for one in found), sum(one.bad for one in found)


def ask(gate: Gate, protocol: Speaks, who: Any, times: int = 3, *, fails: bool = True) -> None:
    def respond() -> str:
        visit = gate.current.get()
        assert visit is not None
        assert visit.is_on("checkout")
        if fails:
            visit.fail()
        return "ok"

    site = protocol.site(gate, respond, context=who)
    for _ in range(times):
        protocol.ask(site)


def test_one_who_fails_again_and_again_is_one(gate: Gate, store: MemoryStore, protocol: Speaks) -> None:
    who = Who(user="ada")
    ask(gate, protocol, who)
    assert hit(store, gate, "errors") == (1, 3)
    assert who.calls == 3


def test_the_app_is_not_asked_where_all_is_well(gate: Gate, store: MemoryStore, protocol: Speaks, wants: bool) -> None:
    who = Who(user="ada")
    ask(gate, protocol, who, fails=False)
    assert hit(store, gate, "errors") == (0, 0)
    assert who.calls == (3 if wants else 0), "not unless each request is to be told by its unit"
    assert hit(store, gate, "no checkout_done") == ((1, 3) if wants else (0, 0))


def test_what_is_slow(gate: Gate, store: MemoryStore, protocol: Speaks, clock: Clock) -> None:
    def respond() -> str:
        gate.is_on("checkout")
        clock.now += 0.5
        return "ok"

    site = protocol.site(gate, respond, context=Who(user="ada"))
    for _ in range(2):
        protocol.ask(site)
    assert hit(store, gate, "slow 400") == (1, 2)


def test_nothing_is_looked_up_for_it(gate: Gate, store: MemoryStore, protocol: Speaks) -> None:
    def look_up() -> str:
        raise AssertionError("it waits for a rule that reads it")

    ask(gate, protocol, Who(user=look_up))
    assert hit(store, gate, "errors") == (3, 3)


def test_an_app_that_cannot_tell(gate: Gate, store: MemoryStore, protocol: Speaks) -> None:
    def who(_asker: Any) -> dict[str, Any]:
        raise RuntimeError("outside of a request")

    ask(gate, protocol, who)
    assert hit(store, gate, "errors") == (3, 3)
