"""Counts of several processes: of those that end, and of those that fork."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flaggate import Context
from flaggate.rollout.state import Verb
from flaggate.stores.base import Count
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import bring, run, turn

ADA = Context("ada")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PROCESS = """
import os, sys, threading
from flaggate import Context, Gate
from flaggate.errors import StoreError
from flaggate.runtime import duties as duties_module
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import UnreliableStore, fork, reap

duties_module.FLUSH_SECONDS = 3600.0
ADA = Context("ada")

def ask(gate, times=1):
    for _ in range(times):
        with gate.visit(ADA) as visit:
            visit.is_on("banner")
"""


@pytest.fixture
def url(store: SqlStore) -> str:
    bring(store)
    turn(store, Verb.ON, "banner")
    store.close()
    return store.url


def counted(store: SqlStore) -> list[tuple[int, int]]:
    return [(count.requests, count.errors) for count in store.counts("banner")]


@pytest.mark.parametrize(
    "ending",
    [
        "ask(gate)",
        "ask(gate); sys.exit()",
        "ask(gate); gate.close()",
        "threading.Thread(target=ask, args=(gate,)).start()",
    ],
)
def test_what_was_counted_is_written_when_the_process_ends(
    store: SqlStore, url: str, tmp_path: Path, ending: str
) -> None:
    run(tmp_path, f"{PROCESS}\ngate = Gate.open(sys.argv[1])\nask(gate, 2)\n{ending}\n", url)
    assert counted(store) == [(3, 0)]


@pytest.mark.usefixtures("measured")
def test_a_gate_that_nobody_has_any_more_is_written_at_the_end(store: SqlStore, url: str, tmp_path: Path) -> None:
    """A script's, made in a function that has returned; its child does not write it too."""
    script = """
def main():
    ask(Gate.open(sys.argv[1]), 2)
main()
reap(fork(lambda: None))
"""
    run(tmp_path, PROCESS + script, url)
    assert counted(store) == [(2, 0)]


@pytest.mark.usefixtures("measured")
def test_a_gate_that_has_gone_and_whose_store_fails_does_not_fail_the_process(url: str, tmp_path: Path) -> None:
    script = """
def main():
    gate = Gate.open(sys.argv[1])
    ask(gate)
    gate.close()
    ask(gate)
main()
os.rename(sys.argv[1].removeprefix("sqlite:///"), "gone.db")
"""
    run(tmp_path, PROCESS + script, url)


def test_nothing_is_written_at_the_end_under_a_test_runner(store: SqlStore, url: str, tmp_path: Path) -> None:
    """There the store has gone with its test."""
    script = """
import pytest
gate = Gate.open(sys.argv[1])
ask(gate)
ask(Gate.open(sys.argv[1]))
"""
    run(tmp_path, PROCESS + script, url)
    assert counted(store) == []


def test_an_exit_from_a_visit_is_counted_and_is_no_error(store: SqlStore, url: str, tmp_path: Path) -> None:
    script = """
with Gate.open(sys.argv[1]).visit(ADA) as visit:
    visit.is_on("banner")
    sys.exit()
"""
    run(tmp_path, PROCESS + script, url)
    assert counted(store) == [(1, 0)]


def test_a_store_that_fails_at_the_end_does_not_fail_the_process(url: str, tmp_path: Path) -> None:
    script = """
import logging
logging.disable()
store = UnreliableStore(SqlStore(sys.argv[1]))
gate = Gate.open(store)
ask(gate)
store.error = StoreError(store.url, "gone")
"""
    run(tmp_path, PROCESS + script, url)


def test_two_processes_add_up(store: SqlStore, url: str, tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path, f"{PROCESS}\ngate = Gate.open(sys.argv[1])\nask(gate, 3)\n", url)
    assert counted(store) == [(6, 0)]


@forks
def test_a_child_does_not_repeat_what_its_parent_counted(store: SqlStore, url: str, tmp_path: Path) -> None:
    """Neither what waits in the parent nor what the store did not confirm to it; both go on under numbers of their own."""
    script = """
import logging
logging.disable()
store = UnreliableStore(SqlStore(sys.argv[1]))
gate = Gate.open(store, background=False)
ask(gate)
gate.flush()
ask(gate, 10)
store.error = StoreError(store.url, "gone")
gate.flush()  # not confirmed
ask(gate, 100)
assert gate.health().problem == f"counts wait to be written: {store.url}: gone"

def serve():
    assert gate.health().problem is None
    store.error = None
    gate.flush()
    ask(gate, 1000)
    gate.flush()
    ask(gate, 1000)
    gate.close()

children = [fork(serve) for _ in range(2)]
reap(*children)
store.error = None
gate.close()
"""
    run(tmp_path, PROCESS + script, url)
    assert counted(store) == [(4111, 0)]


@forks
def test_a_request_of_the_parent_that_hangs_is_not_the_childs(store: SqlStore, url: str, tmp_path: Path) -> None:
    script = """
from flaggate.runtime.visit import Visit

class Request(Visit):
    def waits(self):
        return True

gate = Gate.open(sys.argv[1], background=False, hang_seconds=0.0)
with Request(gate, gate.begun(), ADA) as visit:
    visit.is_on("banner")
    gate.meter.waiting[visit] = visit
    reap(fork(gate.keep))
    gate.keep()
"""
    run(tmp_path, PROCESS + script, url)
    assert counted(store) == [(1, 1)]


def test_histograms_of_processes_add_up(open_gate: OpenGate, store: SqlStore, url: str) -> None:
    gates = [open_gate(SqlStore(url)) for _ in range(2)]
    for gate in gates:
        for milliseconds in (5.0, 500.0):
            visit = gate.visit(ADA)
            visit.is_on("banner")
            gate.meter.count(visit, is_error=False, milliseconds=milliseconds)
        gate.flush()
    assert store.counts() == [Count("banner", 0, 0, "on", 4, 0, {"5.1": 2, "510": 2})]
