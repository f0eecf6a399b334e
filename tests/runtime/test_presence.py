"""Processes say that they are there and what they serve, and whoever stops something hears whether it has arrived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.errors import BusyError
from flaggate.rollout.state import Verb
from flaggate.runtime import duties
from flaggate.runtime.reach import Reach, await_reach, reach_of, reach_to_json, reach_words, serving_words
from flaggate.stores.base import Presence, Store
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import UnreliableStore, bring, fork, reap, run, turn, until

ADA = Context("ada")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")


@pytest.fixture
def unreliable(store: SqlStore) -> UnreliableStore:
    bring(store)
    turn(store, Verb.ON, "banner")
    return UnreliableStore(store)


def is_there(store: Store, revision: int) -> bool:
    return [presence.revision for presence in store.presences()] == [revision]


def test_a_process_that_serves_says_so_and_says_what(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    gate = open_gate(unreliable, background=True)
    assert unreliable.presences() == []
    assert gate.is_on("banner", ADA)
    until(lambda: is_there(unreliable, 2), "it says that it is there")
    (presence,) = unreliable.presences()
    assert presence.who.endswith(f":{os.getpid()}")
    assert 0 <= presence.asked_seconds < 5
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: is_there(unreliable, 3), "it says that the kill has arrived")
    gate.close()
    assert unreliable.presences() == []


def test_it_says_so_again_and_again(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "PRESENCE_SECONDS", 0.2)
    open_gate(unreliable, background=True).is_on("banner", ADA)
    until(lambda: unreliable.presences(), "it says that it is there")
    first = unreliable.presences()[0].said_at
    until(lambda: unreliable.presences()[0].said_at > first, "it says so again")


def test_who_has_no_keeper_serves_nobody(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    """A script or a terminal that asks once: nobody waits for it."""
    gate = open_gate(unreliable)
    assert gate.is_on("banner", ADA)
    gate.refresh()
    gate.flush(is_last=True)
    assert unreliable.presences() == []


@pytest.mark.parametrize("error", [BusyError("sqlite:///flags.db", "a writer"), RuntimeError("a driver's own")])
def test_a_store_that_does_not_take_it_stops_nothing(
    store: SqlStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A busy one is told in the next round; of any other trouble it is said once."""

    class Refusing(UnreliableStore):
        refusal: Exception | None = error

        def say(self, presence: Presence) -> None:
            if self.refusal is not None:
                raise self.refusal
            super().say(presence)

    bring(store)
    turn(store, Verb.ON, "banner")
    refusing = Refusing(store)
    gate = open_gate(refusing, background=True)
    assert gate.is_on("banner", ADA)
    is_busy = isinstance(error, BusyError)
    if not is_busy:
        until(lambda: "others cannot see" in (gate.health().problem or ""), "it is known")
    turn(refusing, Verb.KILL, "banner")
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives all the same")
    refusing.refusal = None
    turn(refusing, Verb.UNKILL, "banner")
    until(lambda: is_there(refusing, 4), "it is said")
    assert gate.health().problem is None
    said = [record.message for record in caplog.records if "others cannot see" in record.message]
    assert len(said) == (0 if is_busy else 1)


@forks
def test_a_child_is_another_process(store: SqlStore) -> None:
    bring(store)
    gate = Gate.open(store, background=True)
    gate.is_on("banner", ADA)
    until(lambda: len(store.presences()) == 1, "the parent is there")

    def serve() -> None:
        gate.is_on("banner", ADA)
        until(lambda: len(store.presences()) == 2, "both are there")
        assert any(presence.who.endswith(f":{os.getpid()}") for presence in store.presences())
        gate.close()

    reap(fork(serve))
    assert [presence.who.rpartition(":")[2] for presence in store.presences()] == [str(os.getpid())]
    gate.close()


def test_a_process_that_ends_has_gone_at_once(store: SqlStore, tmp_path: Path) -> None:
    bring(store)
    script = """
import sys, time
from flaggate import Context, Gate
gate = Gate.open(sys.argv[1])
gate.is_on("banner", Context("ada"))
while not (found := gate.store.presences()): time.sleep(0.01)
print(len(found))
"""
    assert run(tmp_path, script, store.url) == "1\n"
    assert store.presences() == []


# --- whether it has arrived -------------------------------------------------------------------


def one(name: str, revision: int) -> Presence:
    return Presence(name, f"{name}:1", revision, 0.0, 15.0)


def test_it_is_in_words_and_for_programs() -> None:
    there = [replace(one(f"web-{number}", 4 + number % 2), said_at=100.0) for number in range(4)]
    reach = reach_of(there, 5)
    assert str(reach) == "reached 2 of 4 processes"
    assert list(reach_words(replace(reach, seconds=2.04), 112.0)) == [
        "reached 2 of 4 processes after 2.0 s",
        "web-0:1 serves revision 4, and was last heard 12 s ago",
        "web-2:1 serves revision 4, and was last heard 12 s ago",
    ]
    assert str(Reach(1, (), 0.31)) == "reached 1 of 1 process in 0.3 s"
    assert str(Reach(0, ())) == "no process serves flags now, or none has said so"
    assert reach_to_json(reach) == {
        "processes": 4,
        "reached": 2,
        "late": [
            {"who": "web-0:1", "revision": 4, "said_at": 100.0},
            {"who": "web-2:1", "revision": 4, "said_at": 100.0},
        ],
    }


def test_many_are_not_named_one_by_one() -> None:
    there = [one(f"web-{number:02}", 4) for number in range(13)]
    words = list(serving_words(there, 5, 0.0))
    assert words[0] == "13 processes serve flags, 13 of them not yet the newest revision (5)"
    assert (len(words), words[-1]) == (12, "and 3 others")
    assert list(serving_words(there, 4, 0.0)) == ["13 processes serve flags, the newest revision (4)"]
    assert list(serving_words(there[:1], 4, 0.0)) == ["1 process serves flags, the newest revision (4)"]


def test_who_waits_hears_of_the_last_one_or_of_who_is_late() -> None:
    store = MemoryStore()
    assert await_reach(store, 5).processes == 0
    store.say(one("a", 5))
    assert (await_reach(store, 5).late, await_reach(store, 5).processes) == ((), 1)
    store.say(one("b", 4))
    reach = await_reach(store, 5, 0.05)
    assert [presence.process for presence in reach.late] == ["b"]
    assert reach.seconds is not None
    assert reach.seconds >= 0.05


SERVING = """
import sys, time
from flaggate import Context, Gate
gate = Gate.open(sys.argv[1])
gate.is_on("banner", Context("ada"))
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP")
def test_a_kill_names_the_process_that_stands_still(store: SqlStore, tmp_path: Path) -> None:
    """In the terminal, with real processes."""
    bring(store)
    turn(store, Verb.ON, "banner")
    serving = [subprocess.Popen([sys.executable, "-c", SERVING, store.url], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        until(lambda: len(store.presences()) == 3, "they serve")
        assert terminal(store, "kill", "banner").splitlines()[-1].startswith("  reached 3 of 3 processes in ")
        serving[1].send_signal(signal.SIGSTOP)
        terminal(store, "unkill", "banner", "--reason", "a test")
        begun = time.monotonic()
        *_, count, late = terminal(store, "kill", "banner").splitlines()
        assert time.monotonic() - begun < 20
        assert count.startswith("  reached 2 of 3 processes after ")
        assert f":{serving[1].pid} serves revision 3, and was last heard" in late
        serving[1].send_signal(signal.SIGCONT)
        until(lambda: not reach_of(store.presences(), 5).late, "it wakes up")
    finally:
        for process in serving:
            process.kill()
            process.communicate()


def terminal(store: SqlStore, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flaggate", *words, "--store", store.url, "--as", "owner@example.com"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
