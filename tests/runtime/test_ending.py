"""The end of a gate and of its process: what is said last is said in the keeper's thread, and a store that hangs holds nobody up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from flaggate import Context
from flaggate.rollout.state import Verb
from flaggate.runtime import gate as gates
from flaggate.runtime import pull
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import UnreliableStore, bring, run, turn, until

ADA = Context("ada")


@pytest.fixture
def unreliable(store: SqlStore) -> Iterator[UnreliableStore]:
    bring(store)
    turn(store, Verb.ON, "banner")
    made = UnreliableStore(store)
    yield made
    made.is_open.set()


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flaggate-keeper"]


def test_a_gate_is_closed_while_its_store_hangs_and_says_the_rest_once_that_answers(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "END_SECONDS", 0.2)
    gate = open_gate(unreliable, background=True)
    with gate.visit(ADA):
        assert gate.is_on("banner")
    unreliable.is_open.clear()
    unreliable.asked.clear()
    assert unreliable.asked.wait(30)
    gate.close()
    assert not unreliable.is_open.is_set()
    assert gate.is_on("banner", ADA)
    monkeypatch.setattr(gates, "END_SECONDS", 300.0)
    gate.close()  # it is not waited for again, nor at the end of the process
    gate.flush(is_last=True)
    assert gate.meter.has_counts()
    unreliable.is_open.set()
    until(lambda: not keepers(), "the keeper ends")
    assert not gate.meter.has_counts()
    assert [(count.flag, count.requests) for count in unreliable.counts()] == [("banner", 1)]


def test_a_store_that_kept_the_last_pull_waiting_in_vain_is_asked_nothing_more(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = open_gate(unreliable)
    with gate.visit(ADA):
        assert gate.is_on("banner")
    unreliable.error = OSError("a time-out")
    monkeypatch.setattr(pull, "_HANGING_SECONDS", 0.0)
    gate.pull()
    gate.close()
    assert unreliable.reports == []


def test_a_store_that_failed_at_once_is_asked_once_more(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    gate = open_gate(unreliable)
    with gate.visit(ADA):
        assert gate.is_on("banner")
    unreliable.error = OSError("refused")
    gate.pull()
    unreliable.error = None
    gate.close()
    assert len(unreliable.reports) == 1


def test_another_threads_pull_that_hangs_is_not_waited_for_long(
    unreliable: UnreliableStore, open_gate: OpenGate
) -> None:
    gate = open_gate(unreliable)
    with gate.visit(ADA):
        assert gate.is_on("banner")
    unreliable.is_open.clear()
    unreliable.asked.clear()
    thread = threading.Thread(target=gate.pull)
    thread.start()
    assert unreliable.asked.wait(30)
    gate.close()
    assert unreliable.reports == []
    unreliable.is_open.set()
    thread.join(30)


def test_both_the_end_of_a_gate_and_of_its_process_leave_nothing_uncounted(store: SqlStore, tmp_path: Path) -> None:
    bring(store)
    turn(store, Verb.ON, "banner")
    script = """
import sys
from flaggate import Context, Gate
gate = Gate.open(sys.argv[1])
def asks():
    with gate.visit(Context("ada")): gate.is_on("banner")
asks()
if sys.argv[2] == "closed": gate.close()
if sys.argv[2] == "closed, and asked again":
    gate.close()
    asks()
"""
    for number, words in enumerate(("closed", "left open", "closed, and asked again"), 1):
        run(tmp_path, script, store.url, words)
        counted = sum(count.requests for count in store.counts("banner"))
        assert counted == number + (words == "closed, and asked again")


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_port_that_never_answers_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    """By the drivers' own time-outs and tries it took half a minute."""
    pytest.importorskip("psycopg" if kind == "postgresql" else "redis", reason=f"pip install 'flaggate[{kind}]'")
    script = """
import logging, sys, time
from flaggate import Context, Gate
logging.disable()
gate = Gate.open(sys.argv[1])
with gate.visit(Context("ada")): assert not gate.is_on("banner")
began = time.monotonic()
gate.close()
print(time.monotonic() - began)
import atexit
atexit.register(lambda: print(time.monotonic() - began))
"""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        began = monotonic()
        closed, ended = map(float, run(tmp_path, script, f"{kind}://127.0.0.1:{port}/0").split())
        assert closed < 15
        assert ended < 15
        assert monotonic() - began < 45
