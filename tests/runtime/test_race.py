"""Two processes write the same flag of the same file at the same time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Store
from flaggate.stores.record import read_flag
from tests.runtime.control_plans import BANNER, CHECKOUT, act, apply
from tests.runtime.race_agreement import assert_state_and_events_agree
from tests.runtime.race_processes import kill_rounds, meetings, move_rounds, read_rounds, switch_rounds
from tests.shared_servers import STORES, new_url
from tests.stores.children import fork, wait

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its processes")

WRITES = 1000
KILLS = 200


@pytest.fixture(params=[STORES[0], *(pytest.param(store, marks=pytest.mark.long) for store in STORES[1:])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def test_of_two_that_saw_the_same_version_one_wins_and_the_other_is_told_by_whom(
    store: Store, url: str, tmp_path: Path
) -> None:
    """A thousand rounds; no write is lost and none is done twice."""
    apply(store, BANNER)
    store.close()  # nothing is open that a child would inherit
    left, right = meetings()
    results = tmp_path / "left.json", tmp_path / "right.json"
    pids = [
        fork(lambda: switch_rounds(open_store(url), "left", left, WRITES, results[0]), is_measured=False),
        fork(lambda: switch_rounds(open_store(url), "right", right, WRITES, results[1]), is_measured=False),
    ]
    assert [wait(pid) for pid in pids] == [0, 0]

    events = store.history("banner", limit=2 * WRITES)[1:]
    assert len(events) == WRITES
    assert read_flag(store, "banner").version == store.revision() == 1 + WRITES
    assert_state_and_events_agree(store)
    rounds = list(zip(events, *map(read_rounds, results), strict=True))
    for number, (event, of_left, of_right) in enumerate(rounds, start=1):
        won, lost = (of_left, of_right) if event.actor == "left" else (of_right, of_left)
        assert (won.version, won.has_won) == (number, True)
        assert (lost.version, lost.has_won, lost.meanwhile) == (number, False, [(event.id, event.actor)])


def test_a_kill_always_lands(store: Store, url: str) -> None:
    """However the rollout is moved meanwhile."""
    apply(store, CHECKOUT)
    act(store, Verb.START)
    store.close()
    mover, killer = meetings()
    pids = [
        fork(lambda: move_rounds(open_store(url), mover, KILLS), is_measured=False),
        fork(lambda: kill_rounds(open_store(url), killer, KILLS), is_measured=False),
    ]
    assert [wait(pid) for pid in pids] == [0, 0]
    verbs = [event.verb for event in store.history(limit=10 * KILLS)]
    assert verbs.count("kill") == verbs.count("unkill") == KILLS
    assert_state_and_events_agree(store)
