"""The background thread: when it starts, what it survives, when it ends; and the first question, which waits for it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
from flaggate.runtime import gate as gate_module
from flaggate.runtime.keeper import Keeper
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import UnreliableStore, bring, run, turn, until

ADA = Context("ada")


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flaggate-keeper"]


@pytest.fixture
def unreliable(store: SqlStore) -> UnreliableStore:
    bring(store)
    turn(store, Verb.ON, "banner")
    return UnreliableStore(store)


def test_nothing_starts_before_the_first_question_and_then_one_thread(store: SqlStore, tmp_path: Path) -> None:
    bring(store)
    script = """
import sys, threading
import flaggate
counts = [threading.active_count()]
gate = flaggate.Gate.open(sys.argv[1])
counts.append(threading.active_count())
gate.is_on("banner", flaggate.Context("ada"))
counts.append(threading.active_count())
with gate.visit(): gate.is_on("tiered")
gate.decisions(); gate.explain("banner"); gate.refresh()
counts.append(threading.active_count())
gate.close()
counts.append(threading.active_count())
print(counts)
"""
    assert run(tmp_path, script, store.url) == "[1, 1, 2, 2, 1]\n"


def test_a_refresh_before_the_first_question_does_not_keep_the_keeper_away(
    unreliable: UnreliableStore, open_gate: OpenGate
) -> None:
    gate = open_gate(unreliable, background=True)
    gate.refresh()
    assert gate.is_on("banner", ADA)
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives")


def test_a_pull_before_the_first_question_does_not_either(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    """An app that reads the flags while it starts, so that no request waits."""
    gate = open_gate(unreliable, background=True)
    gate.pull()
    assert not gate.health().is_keeper_alive, "it starts with a question"
    assert gate.is_on("banner", ADA)
    assert gate.health().is_keeper_alive
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: not gate.decide("banner", ADA).is_on, "the kill arrives")


def test_under_a_test_runner_it_starts_only_when_asked(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    quiet = Gate.open(unreliable)
    assert quiet.is_on("banner", ADA)
    assert not quiet.health().is_keeper_alive
    asked = open_gate(unreliable, background=True)
    assert asked.is_on("banner", ADA)
    assert asked.health().is_keeper_alive


@pytest.mark.parametrize(
    ("loaded", "arguments", "starts"),
    [
        ("django", ["manage.py", "test"], False),
        ("django", ["manage.py", "runserver"], True),
        ("another_library", ["worker.py", "test"], True),
        ("another_library", [""], True),
    ],
)
def test_a_django_test_run_is_known(
    store: SqlStore, tmp_path: Path, loaded: str, arguments: list[str], starts: bool
) -> None:
    bring(store)
    script = f"""
import sys, types
url = sys.argv[1]
sys.argv[:] = {arguments!r}
sys.modules[{loaded!r}] = types.ModuleType({loaded!r})
from flaggate import Context, Gate
gate = Gate.open(url)
gate.is_on("banner", Context("ada"))
print(gate.health().is_keeper_alive)
"""
    assert run(tmp_path, script, store.url) == f"{starts}\n"


def test_a_unittest_run_is_known(store: SqlStore, tmp_path: Path) -> None:
    bring(store)
    script = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "unittest", "-q", "cases"], env={"URL": sys.argv[1]}, capture_output=True)
print(done.stdout.decode(), end="")
"""
    (tmp_path / "cases.py").write_text("""
import os, unittest
from flaggate import Context, Gate

class Case(unittest.TestCase):
    def test_it(self):
        gate = Gate.open(os.environ["URL"])
        print(gate.decide("banner", Context("ada")).reason, gate.health().is_keeper_alive)
        gate.close()
""")
    assert run(tmp_path, script, store.url) == "off False\n"


def test_it_takes_over_what_changes(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives")
    turn(unreliable, Verb.UNKILL, "banner")
    until(lambda: gate.is_on("banner", ADA), "the unkill arrives")


@pytest.mark.parametrize("error", [StoreError("sqlite:///flags.db", "gone"), RuntimeError("a driver's own")])
def test_it_survives_a_store_that_fails_and_catches_up(
    unreliable: UnreliableStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    for _ in range(2):
        unreliable.error = error
        until(lambda: gate.health().problem is not None, "the failure shows")
        assert gate.is_on("banner", ADA)
        assert gate.health().is_keeper_alive
        unreliable.error = None
        until(lambda: gate.health().problem is None, "the failure is over")
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives")
    assert len(caplog.records) == 2, "each outage is said once"


def test_it_survives_whatever_a_round_ends_with() -> None:
    class Rounds:
        def __init__(self) -> None:
            self.count = 0

        def serve(self, *, is_heard: bool) -> bool:
            self.count += 1
            if self.count == 1:
                raise ZeroDivisionError("a mistake of ours")
            return False

        def is_cut_off(self) -> bool:
            return False

        def rest(self) -> None:
            """Nothing."""

    rounds = Rounds()
    keeper = Keeper(weakref.ref(rounds), MemoryStore().wait, 0.2)
    until(lambda: keeper.failure is not None, "the failure shows")
    assert keeper.failure == "ZeroDivisionError('a mistake of ours')"
    until(lambda: keeper.failure is None, "the next round is fine")
    assert keeper.is_alive()
    done: list[str] = []
    assert keeper.stop(lambda: done.append("the last thing"), 30.0)
    assert not keeper.is_alive()
    assert done == ["the last thing"]


def test_a_store_that_does_not_answer_is_asked_twice_as_often(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its return is seen within the span that a poll takes, jitter and the connection included."""
    waits: list[float] = []

    def wait(seconds: float, is_over: threading.Event) -> bool:
        waits.append(seconds)
        is_over.wait(0.01)
        return False

    monkeypatch.setattr(unreliable, "wait", wait)
    unreliable.poll_seconds = 4.0
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    until(lambda: waits and 3.5 <= waits[-1] <= 4.5, "it waits for as long as it should")
    unreliable.error = StoreError("a store", "it does not answer")
    until(lambda: waits[-1] <= 2.25, "it waits half as long")
    unreliable.error = None
    until(lambda: waits[-1] >= 3.5, "as before")


def test_it_survives_a_store_that_cannot_wait(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks as often as it would have."""

    def fails(_seconds: float, _is_over: threading.Event) -> bool:
        raise OSError("a socket of the driver's")

    monkeypatch.setattr(unreliable, "wait", fails)
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    turn(unreliable, Verb.KILL, "banner")
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives")
    assert gate.health().is_keeper_alive


def test_it_ends_with_its_gate(unreliable: UnreliableStore) -> None:
    before = set(keepers())
    gate = Gate.open(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    (thread,) = set(keepers()) - before
    gone = weakref.ref(gate)
    del gate

    def is_gone() -> bool:
        gc.collect()
        return gone() is None and not thread.is_alive()

    until(is_gone, "the gate is garbage and its thread has ended")


def test_it_ends_when_the_gate_is_closed(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    before = set(keepers())
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    (thread,) = set(keepers()) - before
    gate.close()
    assert not thread.is_alive()
    assert gate.is_on("banner", ADA)
    with gate.visit(ADA) as visit:
        assert visit.is_on("banner")
    assert set(keepers()) - before == set()


def test_a_gate_may_be_closed_in_its_own_thread(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    """As a log handler might, that ends the process in good order."""
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    inner = unreliable.inner

    class Closing(UnreliableStore):
        def revision(self) -> int:
            gate.close()
            return super().revision()

    gate._puller._store = Closing(inner)
    until(lambda: not gate.health().is_keeper_alive, "the thread ends")


def test_without_threads_to_be_had_it_answers_from_the_store(
    unreliable: UnreliableStore,
    open_gate: OpenGate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)
    assert not gate.health().is_keeper_alive
    assert [record.getMessage() for record in caplog.records] == [
        "no thread keeps the flags up to date: can't start new thread"
    ]
    assert gate.health().problem == "no thread keeps the flags up to date: can't start new thread"
    turn(unreliable, Verb.KILL, "banner")
    assert not gate.is_on("banner", ADA), "each question looks itself, until there is a thread"
    monkeypatch.undo()
    gate.is_on("banner", ADA)
    assert gate.health().is_keeper_alive
    turn(unreliable, Verb.UNKILL, "banner")
    until(lambda: gate.is_on("banner", ADA), "the thread keeps up")
    assert gate.health().problem is None


def test_without_threads_a_question_on_an_event_loop_looks_too(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    gate = open_gate(unreliable, background=True)

    async def on_the_loop() -> None:
        assert gate.is_on("banner", ADA)
        turn(unreliable, Verb.KILL, "banner")
        until(lambda: not gate.is_on("banner", ADA), "the kill is seen")

    asyncio.run(on_the_loop())


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# --- the first question ---------------------------------------------------------------------


def test_the_first_question_waits_for_the_first_snapshot(
    unreliable: UnreliableStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "FIRST_WAIT_SECONDS", 30.0)
    gate = open_gate(unreliable, background=True)
    unreliable.is_open.clear()
    answers: list[bool] = []
    askers = [threading.Thread(target=lambda: answers.append(gate.is_on("banner", ADA))) for _ in range(3)]
    for asker in askers:
        asker.start()
    assert unreliable.asked.wait(30)
    assert answers == []
    unreliable.is_open.set()
    for asker in askers:
        asker.join(30)
    assert answers == [True, True, True]


def test_it_waits_no_longer_than_it_may(
    unreliable: UnreliableStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate(unreliable, background=True)
    unreliable.is_open.clear()
    assert not gate.is_on("banner", ADA)  # or this would wait for ever
    assert f"{unreliable.url} has not answered yet; answering from what is known" in caplog.messages
    unreliable.is_open.set()
    until(lambda: gate.is_on("banner", ADA), "the snapshot arrives")


def test_waiting_over_it_answers_from_the_copy_on_disk(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    open_gate(unreliable).refresh()
    gate = open_gate(unreliable, background=True)
    unreliable.is_open.clear()
    assert gate.is_on("banner", ADA)
    assert gate.health().revision == 2
    turn(unreliable.inner, Verb.KILL, "banner")
    unreliable.is_open.set()
    until(lambda: not gate.is_on("banner", ADA), "the kill arrives")


def test_what_the_store_said_is_not_replaced_by_an_older_copy(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    """The store answers while the first question, tired of waiting, reads the copy."""
    open_gate(unreliable).refresh()
    turn(unreliable, Verb.KILL, "banner")
    gate = open_gate(unreliable, background=True)
    unreliable.is_open.clear()
    puller = gate._puller
    read = puller.without_store

    def read_slowly() -> object:
        copy = read()
        unreliable.is_open.set()
        assert gate._is_ready.wait(30)
        return copy

    puller.without_store = read_slowly  # type: ignore[method-assign,assignment]  # a disk that is slower than the store
    assert not gate.is_on("banner", ADA)
    with gate.visit(ADA):
        assert gate.decide("banner").reason == "killed"


def test_it_never_waits_on_an_event_loop(
    unreliable: UnreliableStore,
    open_gate: OpenGate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(gate_module, "FIRST_WAIT_SECONDS", 600.0)
    gate = open_gate(unreliable, background=True)
    unreliable.is_open.clear()

    async def request() -> bool:
        return gate.is_on("banner", ADA)

    assert asyncio.run(request()) is False  # or this would wait ten minutes
    assert "answering from what is known" not in caplog.text, "not having waited is no trouble"
    unreliable.is_open.set()
    until(lambda: asyncio.run(request()), "the snapshot arrives")


def test_the_wait_of_the_first_question_is_a_second() -> None:
    assert gate_module.FIRST_WAIT_SECONDS == 1.0


def test_a_gate_asked_first_while_the_interpreter_ends(store: SqlStore, tmp_path: Path) -> None:
    bring(store)
    turn(store, Verb.ON, "banner")
    script = """
import atexit, sys
from flaggate import Context, Gate
gate = Gate.open(sys.argv[1])
atexit.register(lambda: print(gate.is_on("banner", Context("ada"))))
"""
    assert run(tmp_path, script, store.url) == "True\n"


def test_many_first_questions_at_once_start_one_thread(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    before = set(keepers())
    gate = open_gate(unreliable, background=True)
    together = threading.Barrier(8, timeout=30)
    answers: list[bool] = []

    def ask() -> None:
        together.wait()
        answers.append(gate.is_on("banner", ADA))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert answers == [True] * 8
    assert len(set(keepers()) - before) == 1


def test_asking_while_flags_are_published(unreliable: UnreliableStore, open_gate: OpenGate) -> None:
    """Whatever is swapped meanwhile, a flag that is there is never unknown, and never a fault."""
    gate = open_gate(unreliable, background=True)
    reasons: set[str] = set()
    for _ in range(30):
        for verb, reason in ((Verb.KILL, "killed"), (Verb.UNKILL, "on")):
            turn(unreliable, verb, "banner")
            until(lambda expected=reason: gate.decide("banner", ADA).reason == expected, "the change arrives")  # type: ignore[misc]  # bound now
            reasons |= {gate.decide("banner", ADA).reason for _ in range(200)}
    assert reasons == {"on", "killed"}
    assert gate.health().faults == gate.health().unknown == {}


def test_a_flag_that_arrives_between_two_looks_is_no_fault(store: SqlStore, open_gate: OpenGate) -> None:
    """The table that was asked did not have it; the one that is there by then does."""
    bring(store, '[flags.tiered]\ndescription = "x"\nowner = "owner@example.com"\n')
    gate = open_gate(store)
    assert not gate.is_on("tiered", ADA)

    class Arriving(dict[str, object]):
        def __missing__(self, name: str) -> object:
            bring(store)
            turn(store, Verb.ON, "banner")
            gate.refresh()
            raise KeyError(name)

    gate._is_on = Arriving()  # type: ignore[assignment]  # the race, at the worst moment
    assert gate.is_on("banner", ADA)
    assert gate.health().faults == gate.health().unknown == {}
