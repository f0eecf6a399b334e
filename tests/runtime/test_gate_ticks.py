"""How often a gate looks at the rollouts, and for how long it keeps the lease."""

from __future__ import annotations

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import bring, turn, until


@pytest.fixture
def store() -> MemoryStore:
    """With a rollout that runs, and a lease that never ends by itself."""
    found = MemoryStore(clock=lambda: 0.0)
    bring(found)
    turn(found, Verb.START, "half")
    return found


def test_one_looks_and_the_other_takes_over_when_it_ends(store: MemoryStore, open_gate: OpenGate) -> None:
    one, other = open_gate(store), open_gate(store)
    for gate in (one, other):
        gate.pull()
    assert one.tick() is not None
    assert other.tick() is None
    assert (one.has_lease, other.has_lease) == (True, False)
    one.close()
    assert store.lease() is None
    assert other.tick() is not None
    assert (one.has_lease, other.has_lease) == (False, True)
    held = store.lease()
    one.close()
    assert store.lease() == held, "nobody else's"


def test_it_lets_go_where_there_is_nothing_to_look_at(store: MemoryStore, open_gate: OpenGate) -> None:
    gate = open_gate(store)
    gate.pull()
    gate.tick()
    assert gate.has_lease
    turn(store, Verb.ROLLBACK, "half")
    gate.pull()
    assert gate.tick() == []
    assert not gate.has_lease
    assert store.lease() is None


@pytest.mark.parametrize(("tick_seconds", "lasts"), [(5.0, 15.0), (0.02, 0.06)])
def test_the_lease_lasts_for_three_looks(
    store: MemoryStore, open_gate: OpenGate, tick_seconds: float, lasts: float
) -> None:
    gate = open_gate(store, tick_seconds=tick_seconds)
    gate.pull()
    gate.tick()
    held = store.lease()
    assert held is not None
    assert held.seconds == pytest.approx(lasts)


def test_a_keeper_looks_as_often_as_it_is_told(store: MemoryStore, open_gate: OpenGate) -> None:
    """Even if that is more often than it would ask the store for changes."""
    store.poll_seconds = 60.0
    gate = open_gate(store, background=True, tick_seconds=0.02)
    gate.is_on("half")
    moments: set[object] = set()

    def has_looked_thrice() -> bool:
        kept = store.progress().get("half")
        moments.update([] if kept is None else [kept["looked_at"]])
        return len(moments) >= 3

    until(has_looked_thrice, "it looks again and again")
